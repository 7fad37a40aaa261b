"""What is said of a dataset before it is archived or restored, and of all of them; for people and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..operate.words import cryoem, several, size
from .contents import DAY, Sum
from .cost import MINIMUM_DAYS, TIERS, Archiving, Monthly, Restore, Tier, archiving, monthly, restore
from .decide import Verdict
from .prices import of_region
from .work import Seen


def day(at: float) -> str:
    """A day, in UTC as S3 counts them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def dollars(usd: float) -> str:
    """A sum of money: two digits, and more where two would say nothing."""
    return f"{usd:,.2f}" if usd >= 0.1 or usd == 0 else f"{usd:.2g}"


def _per_month(price: Monthly) -> str:
    least, most = dollars(price.least), dollars(price.most)
    return f"{most} USD" if least == most else f"{least} USD if nobody reads it, {most} USD if it is read every month"


def _files(of: Sum) -> str:
    return f"{several(of.files, 'file')}, {size(of.bytes)}"


def _lines(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(f"  {title:<10} {text}" for title, text in rows)


# --- archive ----------------------------------------------------------------------------------------------------------


def archive_text(seen: Seen, verdict: Verdict, *, region: str) -> str:
    """Everything about archiving a dataset: what, when, for how much, and what it means."""
    head = f"{seen.name} in s3://{seen.movies.bucket}/{seen.movies.prefix}, {seen.state}: {_files(seen.contents.all)}"
    rows: list[tuple[str, str]] = []
    if seen.rule is not None and seen.contents.moves.files:
        rows = list(_archive_rows(seen, archiving(seen.objects, seen.rule, now=seen.at), region))
    rows += [("careful", warning) for warning in verdict.warnings]
    return f"{head}\n{_lines(rows)}" if rows else head


def _archive_rows(seen: Seen, cost: Archiving, region: str) -> Iterator[tuple[str, str]]:
    assert seen.rule is not None
    contents = seen.contents
    yield "moves", f"{_files(contents.moves)}, to S3 Glacier Deep Archive"
    if contents.stays.files:
        yield "stays", f"{_files(contents.stays)}: smaller than {seen.rule.smallest:,} bytes each"
    if contents.archived.files:
        yield "is there", _files(contents.archived)
    yield "when", _when(seen)
    yield "a month", f"now {_per_month(cost.now)}; after it {dollars(cost.after)} USD"
    yield "once", f"{dollars(cost.once)} USD: {dollars(cost.moves)} for the moves, {dollars(cost.tags)} for marking"
    yield "at least", f"{MINIMUM_DAYS} days are billed for what was moved: {dollars(cost.minimum)} USD"
    for each in cost.restores:
        yield "back", _restore(each)
    yield "prices", of_region(region)
    yield (
        "reading",
        f"once moved, what is not on the file system cannot be read before `{cryoem('restore', seen.name)}`: its names are"
        " there, reading ends with an error",
    )


def due(seen: Seen) -> tuple[float, float]:
    """When the first and the last of what moves may be moved; none sooner than the next midnight UTC."""
    assert seen.rule is not None
    next_run = (seen.at // DAY + 1) * DAY
    dates = [max(seen.rule.due(each), next_run) for each in seen.objects if seen.rule.moves(each)]
    return min(dates), max(dates)


def _when(seen: Seen) -> str:
    assert seen.rule is not None
    first, last = due(seen)
    dates = day(first) if day(first) == day(last) else f"{day(first)} to {day(last)}"
    rule = several(seen.rule.days, "day")
    return f"from {dates}, {rule} after each file came; S3 may take days over it. --undo keeps what was not moved yet"


def archive_document(seen: Seen, verdict: Verdict, *, region: str) -> dict[str, Any]:
    """The same as JSON's own values. Times in epoch seconds, money in USD."""
    cost = archiving(seen.objects, seen.rule, now=seen.at) if seen.rule is not None else None
    moves = seen.rule is not None and seen.contents.moves.files
    first, last = due(seen) if moves else (None, None)
    return {
        **_document(seen, region),
        "rule": dataclasses.asdict(seen.rule) if seen.rule else None,
        "due_first": first,
        "due_last": last,
        "cost": dataclasses.asdict(cost) | {"once": cost.once} if cost else None,
        "refusals": list(verdict.refusals),
        "warnings": list(verdict.warnings),
    }


def _document(seen: Seen, region: str) -> dict[str, Any]:
    return {
        "dataset": seen.name,
        "bucket": seen.movies.bucket,
        "prefix": seen.movies.prefix,
        "state": seen.state,
        "at": seen.at,
        "contents": dataclasses.asdict(seen.contents) | {"stays": dataclasses.asdict(seen.contents.stays)},
        "prices": of_region(region),
    }


# --- restore ----------------------------------------------------------------------------------------------------------


def _restore(each: Restore) -> str:
    return (
        f"{each.tier}: {dollars(each.once_usd)} USD, typically within {each.hours} h; and"
        f" {dollars(each.copy_usd_per_day)} USD for each day of the copies"
    )


def _to_restore(seen: Seen) -> dict[Tier, Restore]:
    archived = [each for each in seen.objects if each.archived]
    wanted = [each for each in archived if not each.readable(seen.at) and not each.restoring]
    # Copies that are there already are asked for once more, and then last as long as the others.
    return {
        tier: dataclasses.replace(restore(wanted, tier), copy_usd_per_day=restore(archived, tier).copy_usd_per_day)
        for tier in TIERS
    }


def restore_text(seen: Seen, *, tier: Tier, days: int, region: str) -> str:
    """Everything about restoring a dataset."""
    contents, prices = seen.contents, _to_restore(seen)
    other = next(each for each in TIERS if each != tier)
    chosen = prices[tier]
    whole = chosen.once_usd + days * chosen.copy_usd_per_day
    rows = [("archived", f"{_files(contents.archived)} of {_files(contents.all)}")]
    if contents.restored.files or contents.restoring.files:
        rows.append(("back", f"{_files(contents.restored)}; on its way {_files(contents.restoring)}"))
    rows += [
        ("chosen", f"{_restore(chosen)}; with {several(days, 'day')} {dollars(whole)} USD"),
        ("or", f"{_restore(prices[other])} (--tier {other})"),
        ("prices", of_region(region)),
        (
            "then",
            "files are read as before: on the file system at the first touch, and they stay there after the copies end",
        ),
        ("until then", "reading a file that is not on the file system ends with an error; do not start a recipe on it"),
    ]
    return f"{seen.name}, {seen.state}\n{_lines(rows)}"


def restore_document(seen: Seen, *, tier: Tier, days: int, region: str) -> dict[str, Any]:
    """The same as JSON's own values."""
    prices = {name: dataclasses.asdict(each) for name, each in _to_restore(seen).items()}
    return {**_document(seen, region), "tier": tier, "days": days, "cost": prices}


def status_text(seen: Seen) -> str:
    """How far a restore is."""
    contents, item = seen.contents, seen.item
    if not contents.archived.files:
        return f"{seen.name} is {seen.state}: nothing of it is in the archive, all of it can be read"
    back = f"{contents.restored.files} of {several(contents.archived.files, 'archived file')} can be read"
    if contents.restored_until is not None:
        back += f", the first until {day(contents.restored_until)}"
    waiting = contents.archived.files - contents.restored.files - contents.restoring.files
    parts = [back, f"{contents.restoring.files} on the way"]
    if waiting:
        parts.append(f"{waiting} not asked for: `{cryoem('restore', seen.name)}`")
    if item.get("archive") == "restoring":
        when = datetime.fromtimestamp(float(item["archive_at"]), UTC).strftime("%Y-%m-%d %H:%M UTC")
        parts.append(f"asked by {item.get('archive_by', 'somebody')} at {when}, {item.get('archive_tier', '')}")
    return f"{seen.name} is {seen.state}: {'; '.join(parts)}"


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One dataset in the list. usd_a_month: at most; looked: whether the bucket was looked into, or the record alone."""

    dataset: str
    state: str
    landed: bool
    files: int
    bytes: int
    archived_bytes: int
    usd_a_month: float
    looked: bool
    pending: bool


def row(item: Mapping[str, Any], seen: Seen | None, *, usd_per_byte: float) -> Row:
    """A dataset's row. usd_per_byte: of what the bucket was not asked for."""
    held = int(item.get("size_bytes", 0))
    return Row(
        dataset=str(item["sk"]),
        state=seen.state if seen else "active",
        landed=item.get("state") == "landed",
        files=seen.contents.all.files if seen else int(item.get("objects", 0)),
        bytes=seen.contents.all.bytes if seen else held,
        archived_bytes=seen.contents.archived.bytes if seen else 0,
        usd_a_month=monthly(seen.objects, now=seen.at).most if seen else held * usd_per_byte,
        looked=seen is not None,
        pending="archive_pending" in item,
    )


def list_text(rows: Sequence[Row], *, region: str) -> str:
    """A table of all datasets, and its sum."""
    if not rows:
        return "there is no dataset"
    width = max(len(each.dataset) for each in rows)
    lines = []
    for each in rows:
        state = each.state + ("" if each.landed else ", arriving")
        moved = f"{size(each.archived_bytes)} archived" if each.archived_bytes else ""
        pending = "not all marked or asked for: run it again" if each.pending else ""
        line = f"{each.dataset:<{width}}  {state:<16} {each.files:>8} files {size(each.bytes):>8}"
        lines.append(
            f"{line} {dollars(each.usd_a_month):>10} USD  {moved}{'  ' if moved and pending else ''}{pending}".rstrip()
        )
    whole = Sum(files=sum(each.files for each in rows), bytes=sum(each.bytes for each in rows))
    usd = dollars(sum(each.usd_a_month for each in rows))
    return "\n".join([*lines, f"{_files(whole)}: at most {usd} USD a month ({of_region(region)})"])
