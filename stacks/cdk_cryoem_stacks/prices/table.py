"""The table of prices: the package's, and over it those of a file of your own.

The package's is `prices.csv` beside this module. EC2 on demand is not in it: `instances.csv` of the construct library is the one
place that has it, and its rows are read into the table.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

HOME_REGION = "us-east-1"
"""The region of all prices that the package has."""
PACKAGED = Path(__file__).parent / "prices.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """A list price in USD, without tax, for one unit, in a region; when it was looked up (YYYY-MM-DD, YYYY-MM or YYYY), and where."""

    item: str
    usd: Decimal
    unit: str
    region: str
    date: str
    source: str

    @property
    def said(self) -> str:
        """Region and date, as every page that prints a price has to say them."""
        return f"{self.region}, {self.date}"


class NoPrice(LookupError):
    """There is no such item, or no price of it."""


class PriceTable:
    """Prices by item and region."""

    def __init__(self, prices: Sequence[Price]) -> None:
        self._prices: Mapping[tuple[str, str], Price] = {(price.item, price.region): price for price in prices}

    def __iter__(self) -> Iterator[Price]:
        return iter(sorted(self._prices.values(), key=lambda price: (price.item, price.region)))

    def __len__(self) -> int:
        return len(self._prices)

    def usd(self, item: str, region: str = HOME_REGION) -> Price:
        """The price of an item in a region; where there is none, that of us-east-1: its `region` says so. Errors: NoPrice."""
        found = self.exact(item, region) or self.exact(item, HOME_REGION)
        if found is None:
            from .items import nearest

            raise NoPrice(f"no price of {item!r} for {region}. {nearest(item, {price.item for price in self})}".strip())
        return found

    def exact(self, item: str, region: str) -> Price | None:
        """The price of an item in just that region, None where there is none."""
        return self._prices.get((item, region))

    def ec2(self, instance_type: str, region: str = HOME_REGION, *, spot: bool = False) -> Price:
        """An hour of an instance. Errors: NoPrice.

        On spot capacity, where no spot price is known, that on demand, which it does not exceed; a price of the region
        goes before one of us-east-1. The `item` of the answer says which it is.
        """
        items = [spot_item(instance_type)] if spot else []
        items.append(on_demand_item(instance_type))
        for place in dict.fromkeys((region, HOME_REGION)):
            for item in items:
                found = self.exact(item, place)
                if found is not None:
                    return found
        return self.usd(items[-1], region)

    def over(self, prices: Sequence[Price]) -> PriceTable:
        """This table with other prices put over its own."""
        return PriceTable([*self, *prices])


def on_demand_item(instance_type: str) -> str:
    """What an hour of an instance on demand is called."""
    return f"ec2:{instance_type}:on-demand"


def spot_item(instance_type: str) -> str:
    """What an hour of an instance on spot capacity is called."""
    return f"ec2:{instance_type}:spot"


def load(path: Path | None = None) -> PriceTable:
    """The package's prices, with those of a file over them. Errors: PriceFileError with every line that is wrong."""
    if path is None:
        return _packaged()
    from .file import read

    return _packaged().over(read(path, items=units()))


@functools.cache
def units() -> Mapping[str, str]:
    """Every item that a file may price, with its unit. EC2 types of the table have both prices."""
    known = {price.item: price.unit for price in _packaged()}
    types = [item.removeprefix("ec2:").removesuffix(":on-demand") for item in known if item.endswith(":on-demand")]
    return known | {spot_item(instance_type): _HOUR for instance_type in types}


_HOUR = "hour"


@functools.cache
def _packaged() -> PriceTable:
    from .file import read, rows

    # Read as data: to import the library is to import the CDK, which takes seconds.
    spec = importlib.util.find_spec("cdk_cryoem")
    assert spec is not None
    assert spec.origin is not None
    instances = Path(spec.origin).parent / "data" / "instances.csv"
    on_demand = [
        Price(
            item=on_demand_item(row["instance_type"]),
            usd=Decimal(row["usd_per_hour"]),
            unit=_HOUR,
            region=HOME_REGION,
            date=row["price_date"],
            source=row["price_source"],
        )
        for _, row in rows(instances)
    ]
    return PriceTable([*on_demand, *read(PACKAGED)])
