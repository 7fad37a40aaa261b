"""What S3 costs: list prices of one region, each with its source."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TABLE = Path(__file__).parent / "prices.csv"
REGION = "us-east-1"
GB = 2**30
"""S3 bills by binary gigabytes (S3's FAQ counts 10 TB as 10,995,116,277,760 bytes)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """A list price in USD for one unit, of a region; when it was looked up, as year and month, and where."""

    usd: float
    unit: str
    region: str
    looked_up: str
    source: str


@functools.cache
def prices() -> Mapping[str, Price]:
    """The table by name."""
    lines = [line for line in _TABLE.read_text().splitlines() if line and not line.startswith("#")]
    return {
        row["name"]: Price(
            usd=float(row["usd"]),
            unit=row["unit"],
            region=row["region"],
            looked_up=row["looked_up"],
            source=row["source"],
        )
        for row in csv.DictReader(lines)
    }


def usd(name: str) -> float:
    """The price of one unit."""
    return prices()[name].usd


def looked_up() -> str:
    """When the oldest of the prices was looked up."""
    return min(price.looked_up for price in prices().values())


def of_region(region: str) -> str:
    """What is to be said of the prices to somebody whose system is in a region."""
    said = f"list prices of {REGION}, {looked_up()}"
    return said if region == REGION else f"{said}; this system is in {region}, where they differ"
