"""What S3 costs: the rows of the table of prices that the archive needs, in the region of the system that is looked at."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from ..prices import HOME_REGION, Price, PriceTable, load

REGION = HOME_REGION
GB = 2**30
"""S3 bills by binary gigabytes (S3's FAQ counts 10 TB as 10,995,116,277,760 bytes)."""
_ITEMS = {
    "standard": "s3:standard:gb-month",
    "tiering-frequent": "s3:intelligent-tiering-frequent:gb-month",
    "tiering-infrequent": "s3:intelligent-tiering-infrequent:gb-month",
    "tiering-instant": "s3:intelligent-tiering-instant:gb-month",
    "tiering-monitoring": "s3:intelligent-tiering-monitoring:1000-objects-month",
    "deep-archive": "s3:deep-archive:gb-month",
    "transition": "s3:deep-archive-transition:1000-requests",
    "restore-standard-data": "s3:restore-standard:gb",
    "restore-standard-requests": "s3:restore-standard:1000-requests",
    "restore-bulk-data": "s3:restore-bulk:gb",
    "restore-bulk-requests": "s3:restore-bulk:1000-requests",
    "put": "s3:put:1000-requests",
    "get": "s3:get:1000-requests",
    "tag": "s3:tag:1000-tags-month",
}
_COUNTED_WITH: ContextVar[tuple[PriceTable, str] | None] = ContextVar("prices of the archive", default=None)


@contextmanager
def counting_with(table: PriceTable, region: str) -> Iterator[None]:
    """Within it everything is counted with the prices of a table, in a region; else with the package's, of us-east-1."""
    before = _COUNTED_WITH.set((table, region))
    try:
        yield
    finally:
        _COUNTED_WITH.reset(before)


def prices() -> Mapping[str, Price]:
    """The prices by the names that the archive gives them."""
    return _prices(*(_COUNTED_WITH.get() or (load(), REGION)))


@functools.lru_cache(maxsize=16)
def _prices(table: PriceTable, region: str) -> Mapping[str, Price]:
    return {name: table.usd(item, region) for name, item in _ITEMS.items()}


def usd(name: str) -> float:
    """The price of one unit."""
    return float(prices()[name].usd)


def looked_up() -> str:
    """When the oldest of the prices was looked up."""
    return min(price.date for price in prices().values())


def of_region(region: str) -> str:
    """What is to be said of the prices to somebody whose system is in a region."""
    regions = {price.region for price in prices().values()}
    said = f"list prices of {' and '.join(sorted(regions))}, {looked_up()}"
    if regions == {region}:
        return said
    return f"{said}; this system is in {region}, where they differ"
