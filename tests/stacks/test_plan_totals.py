"""What is around the nodes: movies in S3, the system's month, and how many datasets a grant pays for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import default_lanes
from cdk_cryoem.stages import stage_lanes
from cdk_cryoem_stacks import prices
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.plan import Dataset, datasets
from cdk_cryoem_stacks.plan.chance import datasets_with_confidence
from cdk_cryoem_stacks.plan.choose import Prices, as_they_are, usd
from cdk_cryoem_stacks.plan.nodes import Overheads, place_all
from cdk_cryoem_stacks.plan.totals import datasets_for, of_a_dataset, of_a_month
from cdk_cryoem_stacks.plan.work import Range, work

PRICES = Prices(table=prices.load(), region="us-east-1")
TB = Dataset(name="tb", movies=3000, gb=1024**4 / 1e9, particles=1_000_000, box=256)  # 1024 GB as AWS counts
SHARE = {
    "name": "krios",
    "nfs": {"host": "10.0.0.5", "path": "/krios"},
    "activation_key": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE",
}


def config(**more: Any) -> Config:
    return Config.model_validate({"name": "cryoem", "microscopes": [SHARE], **more})


def dataset_lines(keep_months: float = 3.0, **more: Any) -> dict[str, Range]:
    lines = of_a_dataset(TB, config(**more), PRICES, keep_months=keep_months)
    assert all("us-east-1, 20" in line.price for line in lines)
    return {line.kind: line.usd for line in lines}


def month_lines(busy_hours: float = 100.0, **more: Any) -> dict[str, Range]:
    return {line.what: line.usd for line in of_a_month(config(**more), PRICES, busy_hours=busy_hours)}


def test_a_transfer_costs_the_gigabytes_of_its_mode() -> None:
    assert dataset_lines()["transfer"] == Range.of(pytest.approx(1024 * 0.0125))
    enhanced = {**SHARE, "name": "glacios", "task_mode": "enhanced"}
    both = dataset_lines(microscopes=[SHARE, enhanced])["transfer"]
    assert (both.low, both.high) == (pytest.approx(12.8), pytest.approx(15.36))
    assert "transfer" not in dataset_lines(microscopes=[])


@pytest.mark.parametrize(
    ("days", "least"),
    [
        (15, 15 * 0.023),
        (30, 30 * 0.023),
        (60, 30 * 0.023 + 30 * 0.0125),
        (120, 30 * 0.023 + 60 * 0.0125 + 30 * 0.004),
    ],
)
def test_movies_that_nobody_reads_get_cheaper_after_a_month_and_after_three(days: int, least: float) -> None:
    month = 365 / 12
    found = dataset_lines(keep_months=days / month)["storage"]
    assert found.low == found.likely == pytest.approx(1024 * least / month)
    assert found.high == pytest.approx(1024 * 0.023 * days / month)


def test_archived_movies_cost_what_deep_archive_does_from_that_day_on() -> None:
    month = 365 / 12
    found = dataset_lines(keep_months=12, landing={"archive_after_days": 30})["storage"]
    assert found.low == pytest.approx(1024 * (30 * 0.023 + 335 * 0.00099) / month)
    assert found.high == pytest.approx(found.low)
    assert dataset_lines(keep_months=0)["storage"] == Range.of(0.0)


def test_a_month_of_the_default_system_is_file_system_head_node_and_network() -> None:
    found = month_lines()
    assert {what: round(amount.likely, 2) for what, amount in found.items()} == {
        "FSx for Lustre": 504.00,
        "m7i.xlarge": 147.17,
        "its volumes": 24.00,
        "NAT gateway": 32.85,
        "its address": 3.65,
    }
    assert all(amount.exact for amount in found.values())


def test_a_head_node_that_sleeps_costs_the_hours_in_which_something_runs_and_at_most_all() -> None:
    found = month_lines(head_node={"stop_after_minutes": 60})["m7i.xlarge"]
    assert (found.likely, found.high) == (pytest.approx(100 * 0.2016), pytest.approx(730 * 0.2016))
    busy = month_lines(busy_hours=10_000, head_node={"stop_after_minutes": 60})["m7i.xlarge"]
    assert busy == Range.of(pytest.approx(730 * 0.2016))


def test_other_networks_and_file_systems_cost_what_they_are() -> None:
    yours = {
        "vpc_id": "vpc-0123456789abcdef0",
        "subnet_id": "subnet-0123456789abcdef0",
        "availability_zone": "us-east-1a",
    }
    assert "NAT gateway" not in month_lines(network=yours)
    assert month_lines(network={"endpoints": ["ssm", "ec2"]})["interface endpoints"].likely == pytest.approx(14.6)
    scratch = {"deployment_type": "SCRATCH_2", "throughput_mibps_per_tib": None, "capacity_gib": 1200}
    assert month_lines(file_system=scratch)["FSx for Lustre"].likely == pytest.approx(168.0)
    pcs = month_lines(engine="pcs", pcs={"ami_id": "ami-0123456789abcdef0"})
    assert pcs["controller of PCS, SMALL"].likely == pytest.approx(438.0)


@pytest.mark.parametrize("throughput", [125, 250, 500, 1000])
def test_every_throughput_has_a_price(throughput: int) -> None:
    found = month_lines(file_system={"capacity_gib": 2400, "throughput_mibps_per_tib": throughput})
    assert found["FSx for Lustre"].likely > 300


@pytest.mark.parametrize("size", ["SMALL", "MEDIUM"])
def test_every_size_of_pcs_that_has_a_price_is_counted(size: str) -> None:
    found = month_lines(engine="pcs", pcs={"ami_id": "ami-0123456789abcdef0", "size": size})
    assert found[f"controller of PCS, {size}"].likely > 400


@given(st.floats(0, 1e6), st.floats(0, 5e4), st.floats(1, 5e3), st.floats(1, 3))
def test_a_grant_pays_for_whole_datasets_and_never_for_one_more(
    grant: float, fixed: float, each: float, worse: float
) -> None:
    likely, least = datasets_for(
        grant,
        fixed_year=Range(low=fixed, likely=fixed, high=fixed * worse),
        each=Range(low=each, likely=each, high=each * worse),
    )
    assert 0 <= least <= likely
    assert likely == 0 or fixed + likely * each <= grant + 1e-6 * each + 1e-6
    assert fixed + (likely + 1) * each > grant - 1e-6


def confident(grant: float, fixed: Range, others: list[Range]) -> int:
    lanes = default_lanes()
    chosen = as_they_are(work(datasets()["cgrp"]), lanes, stage_lanes(lanes, {}), PRICES, Overheads())
    return datasets_with_confidence(grant, fixed_year=fixed, chosen=chosen, others=others, overheads=Overheads())


def test_confidence_is_between_the_likely_and_the_worst_and_the_same_each_time() -> None:
    lanes = default_lanes()
    nodes = usd(as_they_are(work(datasets()["cgrp"]), lanes, stage_lanes(lanes, {}), PRICES, Overheads()))
    fixed, other = Range.of(8000.0), Range(low=70.0, likely=70.0, high=100.0)
    likely, least = datasets_for(50_000, fixed_year=fixed, each=nodes + other)
    found = confident(50_000, fixed, [other])
    assert least < found < likely
    assert found == confident(50_000, fixed, [other])
    assert confident(5_000, fixed, [other]) == 0


def test_without_doubt_confidence_is_what_is_likely() -> None:
    node = PRICES.node("all", default_lanes()[1].shapes["p4d.24xlarge"], spot=False)
    chosen = tuple(place_all(work(datasets()["cgrp"]), node, Overheads()))
    each = usd(chosen)
    assert each.exact
    found = datasets_with_confidence(
        50_000, fixed_year=Range.of(1000.0), chosen=chosen, others=[], overheads=Overheads()
    )
    assert found == datasets_for(50_000, fixed_year=Range.of(1000.0), each=each)[0]
