"""What `cryoem prices` prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from ..operate.words import several
from .compare import Change, Outcome
from .file import plain
from .table import HOME_REGION, Price


def list_text(prices: Sequence[Price], region: str) -> str:
    """A table of prices as they are used in a region."""
    rows = [("item", "USD", "unit", "region", "date", "source")]
    rows += [(price.item, plain(price.usd), price.unit, price.region, price.date, price.source) for price in prices]
    elsewhere = sum(price.region != region for price in prices)
    first = f"list prices for {region}, USD without tax"
    if elsewhere:
        first += f"; {several(elsewhere, 'price')} of {HOME_REGION}, where {region} has none in the table"
    return "\n".join([first, *_columns(rows, right=(1,))])


def list_document(prices: Sequence[Price]) -> list[dict[str, object]]:
    """The same for programs."""
    return [
        {
            "item": price.item,
            "usd": float(price.usd),
            "unit": price.unit,
            "region": price.region,
            "date": price.date,
            "source": price.source,
        }
        for price in prices
    ]


def outcome_text(outcome: Outcome) -> str:
    """What a refresh found: what changed, what is refused, what is not sold there, what was not understood."""
    taken = [change for change in outcome.changes if not change.refused]
    moved = [change for change in taken if change.before is None or change.price.usd != change.before.usd]
    lines = [f"prices of {outcome.region}: {len(taken)} taken, {len(taken) - len(moved)} of them as they were"]
    lines += _columns([_row(change) for change in sorted(moved, key=lambda change: change.price.item)], right=(1, 3, 4))
    for title, found in (
        ("refused", dict(_refused(outcome.changes))),
        ("not understood, left as it was", outcome.surprises),
        (f"not sold in {outcome.region}, or without spot prices", dict.fromkeys(outcome.absent, "")),
    ):
        if found:
            lines.append(f"{title}:")
            lines += [f"  {item}{': ' if why else ''}{why}" for item, why in sorted(found.items())]
    return "\n".join(lines)


def _refused(changes: Sequence[Change]) -> Iterator[tuple[str, str]]:
    for change in changes:
        if change.refused:
            yield change.price.item, f"{plain(change.price.usd)} is {change.refused}; --accept takes it"


def _row(change: Change) -> tuple[str, ...]:
    price, before = change.price, change.before
    if before is None:
        return (f"  {price.item}", "", "new", plain(price.usd), "")
    return (f"  {price.item}", plain(before.usd), f"({before.date}) to", plain(price.usd), _signed(change.percent))


def _signed(percent: Decimal | None) -> str:
    return "" if percent is None else f"{percent:+.1f} %"


def _columns(rows: Sequence[Sequence[str]], *, right: Sequence[int]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if number in right else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
