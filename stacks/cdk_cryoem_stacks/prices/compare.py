"""What becomes of a file of prices when AWS has told new ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from .aws import Found
from .table import HOME_REGION, Price, PriceTable

MOST = Decimal(3)
"""A price that is more than so many times what it was, or less than that part of it, is not believed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """A price beside what it was, None for nothing. refused: why it is not taken; empty when it is."""

    price: Price
    before: Price | None
    refused: str = ""

    @property
    def percent(self) -> Decimal | None:
        """By how much it changed, None when there was none."""
        return None if self.before is None else (self.price.usd / self.before.usd - 1) * 100


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a refresh found and made: `rows` are the whole file."""

    region: str
    changes: Sequence[Change]
    absent: Sequence[str]
    surprises: Mapping[str, str]
    rows: Sequence[Price] = field(repr=False)

    @property
    def is_whole(self) -> bool:
        """Whether everything that was asked for is in the file or not sold there."""
        return not self.surprises and not any(change.refused for change in self.changes)


def compare(found: Found, *, region: str, table: PriceTable, own: Sequence[Price], accept: bool) -> Outcome:
    """What becomes of a file. own: its rows until now; table: the package's. Pure.

    A price that moved too far is not taken, unless it is accepted; what was there stays. Spot prices do move: they are compared with
    the file's alone, not with the package's, which are old, and may not exceed the price on demand.
    """
    rows = {(price.item, price.region): price for price in own}
    demanded = {price.item: price.usd for price in found.prices}
    changes = []
    for price in found.prices:
        before = rows.get((price.item, region)) or table.exact(price.item, region)
        like = before or table.exact(price.item, HOME_REGION)
        if price.item.endswith(":spot"):
            like = rows.get((price.item, region))
        refused = "" if accept else _too_far(price, like) or _above_demand(price, demanded)
        changes.append(Change(price=price, before=before, refused=refused))
        if not refused:
            rows[price.item, region] = price
    return Outcome(
        region=region,
        changes=changes,
        absent=found.absent,
        surprises=found.surprises,
        rows=list(rows.values()),
    )


def _too_far(price: Price, like: Price | None) -> str:
    if like is None or like.usd / MOST <= price.usd <= like.usd * MOST:
        return ""
    return f"more than a factor {MOST} from {like.usd:f} ({like.said})"


def _above_demand(price: Price, demanded: Mapping[str, Decimal]) -> str:
    if not price.item.endswith(":spot"):
        return ""
    limit = demanded.get(price.item.removesuffix(":spot") + ":on-demand")
    return f"more than on demand, {limit:f}" if limit is not None and price.usd > limit else ""
