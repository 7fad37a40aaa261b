"""What an instance costs on spot capacity: the median of some days in each zone. Pure.

`DescribeSpotPriceHistory` tells when a price changed; each holds until the next, so that the median is over time, not over changes. The
price at the beginning is told with the moment it began, which is before it (EC2 API reference).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

DAYS = 7


@dataclass(frozen=True, kw_only=True, slots=True)
class SpotPrice:
    """The median in one zone, and among which it was chosen."""

    usd: Decimal
    zone: str
    zones: int
    lowest: Decimal
    highest: Decimal


def medians(history: Iterable[Mapping[str, Any]], *, until: datetime) -> Mapping[str, Mapping[str, Decimal]]:
    """The median price of the last days by instance type and zone. Entries of other products are not looked at."""
    since = until - timedelta(days=DAYS)
    changes: dict[tuple[str, str], list[tuple[datetime, Decimal]]] = defaultdict(list)
    for entry in history:
        if entry["ProductDescription"] in ("Linux/UNIX", "Linux/UNIX (Amazon VPC)"):
            key = (str(entry["InstanceType"]), str(entry["AvailabilityZone"]))
            changes[key].append((entry["Timestamp"], Decimal(entry["SpotPrice"])))
    found: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for (instance_type, zone), of_zone in changes.items():
        median = _median(sorted(of_zone), since, until)
        if median is not None:
            found[instance_type][zone] = median
    return found


def _median(changes: list[tuple[datetime, Decimal]], since: datetime, until: datetime) -> Decimal | None:
    """The price below and above which it was for half the time."""
    held: dict[Decimal, timedelta] = defaultdict(timedelta)
    ends = [at for at, _ in changes[1:]] + [until]
    for (at, usd), end in zip(changes, ends, strict=True):
        held[usd] += max(timedelta(), min(end, until) - max(at, since))
    whole = sum(held.values(), timedelta())
    passed = timedelta()
    for usd in sorted(held):
        passed += held[usd]
        if whole and 2 * passed >= whole:
            return usd
    return None


def choose(by_zone: Mapping[str, Decimal], zone: str | None) -> SpotPrice | None:
    """The price to count with: that of a zone where one is named, else that of the middle one, of two the dearer."""
    if not by_zone or (zone is not None and zone not in by_zone):
        return None
    ordered = sorted(by_zone, key=lambda name: (by_zone[name], name))
    chosen = zone or ordered[len(ordered) // 2]
    return SpotPrice(
        usd=by_zone[chosen],
        zone=chosen,
        zones=len(ordered),
        lowest=by_zone[ordered[0]],
        highest=by_zone[ordered[-1]],
    )
