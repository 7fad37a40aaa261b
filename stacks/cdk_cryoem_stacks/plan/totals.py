"""What a dataset costs besides its GPU nodes, what a month costs, and how many datasets a grant pays for. Pure.

Every line is a price times a quantity; what is not counted is in `NOT_COUNTED`. GB of AWS's prices are binary (2^30 bytes).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cdk_cryoem.private_network import endpoint_names

from ..config import Config
from ..prices import NoPrice, Price
from .calibration import Dataset
from .choose import Prices
from .work import Range

HOURS_A_MONTH = 730.0
_DAYS_A_MONTH = 365 / 12
_GB = 2**30
_TIERS = (
    (30, "intelligent-tiering-frequent"),
    (90, "intelligent-tiering-infrequent"),
    (None, "intelligent-tiering-instant"),
)
"""Where S3 puts what nobody reads: until so many days after it came, and then."""
NOT_COUNTED = (
    "results and projects in S3 and on the file system beyond its capacity, replicas, requests, logs, alarms, hooks",
    "data through NAT and endpoints, egress, taxes, support",
    "interactive work, jobs that are tried and thrown away, import, selection and other steps that Table 1 leaves out",
    "root volumes of nodes (about 0.007 USD an hour each), and what PCS charges for each hour of a node",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One amount: of what kind (transfer, storage, head node, network, engine), what, how it comes about, where the price is from."""

    kind: str
    what: str
    usd: Range
    how: str
    price: str


def of_a_dataset(dataset: Dataset, config: Config, prices: Prices, *, keep_months: float) -> Sequence[Line]:
    """What moving a dataset's movies and keeping them costs. Errors: NoPrice."""
    gb = dataset.gb * 1e9 / _GB
    return [*_transfer(gb, config, prices), _kept(gb, config, prices, keep_months)]


def _transfer(gb: float, config: Config, prices: Prices) -> Iterator[Line]:
    modes = sorted({microscope.task_mode for microscope in config.microscopes})
    if modes:
        found = [_price(prices, f"datasync:{mode}:gb") for mode in modes]
        each = [float(price.usd) for price in found]
        yield Line(
            kind="transfer",
            what=f"DataSync, {' or '.join(modes)}",
            usd=Range(low=gb * min(each), likely=gb * each[0], high=gb * max(each)),
            how=f"{gb:,.0f} GB x {each[0]:g}",
            price=found[0].said,
        )


def _kept(gb: float, config: Config, prices: Prices, keep_months: float) -> Line:
    standard = _price(prices, "s3:standard:gb-month")
    days = keep_months * _DAYS_A_MONTH
    archived_from = config.landing.archive_after_days
    bright = days if archived_from is None else min(days, archived_from)
    dark = (days - bright) / _DAYS_A_MONTH * float(_price(prices, "s3:deep-archive:gb-month").usd)
    unread, since = 0.0, 0.0
    for until, tier in _TIERS:
        last = bright if until is None else min(bright, until)
        unread += max(0.0, last - since) / _DAYS_A_MONTH * float(_price(prices, f"s3:{tier}:gb-month").usd)
        since = max(since, last)
    read = bright / _DAYS_A_MONTH * float(standard.usd)
    how = (
        f"{gb:,.0f} GB for {keep_months:g} months, Intelligent-Tiering; at most, if read all the time: x {standard.usd}"
    )
    if archived_from is not None:
        how += f"; Deep Archive after {archived_from} days"
    return Line(
        kind="storage",
        what="movies in S3",
        usd=Range(low=gb * (unread + dark), likely=gb * (unread + dark), high=gb * (read + dark)),
        how=how,
        price=standard.said,
    )


def of_a_month(config: Config, prices: Prices, *, busy_hours: float) -> Sequence[Line]:
    """What a month costs whatever is computed. busy_hours: in which the head node is awake, if it may sleep. Errors: NoPrice."""
    return [
        *_storage(config, prices),
        *_head_node(config, prices, busy_hours),
        *_network(config, prices),
        *_engine(config, prices),
    ]


def _storage(config: Config, prices: Prices) -> Iterator[Line]:
    fs = config.file_system
    kind = "scratch2" if fs.deployment_type == "SCRATCH_2" else f"persistent2-{fs.throughput_mibps_per_tib}"
    price = _price(prices, f"fsx:{kind}:gb-month")
    yield Line(
        kind="storage",
        what="FSx for Lustre",
        usd=Range.of(fs.capacity_gib * float(price.usd)),
        how=f"{fs.capacity_gib} GB x {price.usd:g}",
        price=price.said,
    )


def _head_node(config: Config, prices: Prices, busy_hours: float) -> Iterator[Line]:
    node = config.head_node
    price = prices.table.ec2(node.instance_type, prices.region)
    awake, how = Range.of(HOURS_A_MONTH), f"{HOURS_A_MONTH:.0f} h x {price.usd:g}"
    if node.stop_after_minutes:
        busy = min(busy_hours, HOURS_A_MONTH)
        awake = Range(low=busy, likely=busy, high=HOURS_A_MONTH)
        how = f"{busy:.0f} h in which datasets are computed, at most {HOURS_A_MONTH:.0f}, x {price.usd:g}"
    yield Line(
        kind="head node", what=node.instance_type, usd=awake * float(price.usd), how=how, price=price.said
    )  # fmt: skip
    disk, gib = _price(prices, "ebs:gp3:gb-month"), node.root_volume_gib + node.cryosparc_volume_gib
    yield Line(
        kind="head node",
        what="its volumes",
        usd=Range.of(gib * float(disk.usd)),
        how=f"{gib} GB x {disk.usd:g}",
        price=disk.said,
    )


def _network(config: Config, prices: Prices) -> Iterator[Line]:
    network = config.network
    counted = []
    if network.nat and network.vpc_id is None:
        counted += [("NAT gateway", "nat:hour", 1), ("its address", "ipv4:hour", 1)]
    if network.endpoints:
        counted.append(("interface endpoints", "endpoint:hour", len(endpoint_names(network.endpoints))))
    if config.web is not None:
        counted.append(("load balancer", "alb:hour", 1))
    for what, item, count in counted:
        yield _hourly("network", what, _price(prices, item), count)


def _engine(config: Config, prices: Prices) -> Iterator[Line]:
    if config.engine == "pcs" and config.pcs is not None:
        what = f"controller of PCS, {config.pcs.size}"
        try:
            price = _price(prices, f"pcs:{config.pcs.size.lower()}:hour")
        except NoPrice:
            # Nobody has looked it up, and a plan without it is better than none.
            yield Line(kind="engine", what=what, usd=Range.of(0.0), how="no price known: NOT COUNTED", price="none")
        else:
            yield _hourly("engine", what, price, 1)


def _hourly(kind: str, what: str, price: Price, count: int) -> Line:
    times = f"{count} x " if count > 1 else ""
    return Line(
        kind=kind,
        what=what,
        usd=Range.of(count * HOURS_A_MONTH * float(price.usd)),
        how=f"{times}{HOURS_A_MONTH:.0f} h x {price.usd:g}",
        price=price.said,
    )


def _price(prices: Prices, item: str) -> Price:
    return prices.table.usd(item, prices.region)


def datasets_for(grant: float, *, fixed_year: Range, each: Range) -> tuple[int, int]:
    """How many datasets a year's budget pays for: at what is likely, and surely, at the highest prices. Not below 0."""

    def count(fixed: float, usd: float) -> int:
        return max(0, math.floor((grant - fixed) / usd + 1e-9))

    return count(fixed_year.likely, each.likely), count(fixed_year.high, each.high)
