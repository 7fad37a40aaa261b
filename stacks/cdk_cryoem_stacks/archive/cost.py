"""What a dataset costs where it is, in the archive, on its way there and on its way back. Pure; list prices.

Deep Archive adds 40 KB to each object, 8 of them at the price of S3 Standard, and bills each for 180 days at least; a
restored copy is billed as S3 Standard beside it (S3 user guide, "Storage classes for rarely accessed objects",
"Restoring an archived object").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .contents import DAY, Held, Rule
from .prices import GB, usd

MINIMUM_DAYS = 180
_DEEP_OVERHEAD, _STANDARD_OVERHEAD = 32 * 1024, 8 * 1024
_SMALLEST_TIERED = 128 * 1024
"""Intelligent-Tiering watches no smaller objects, and bills them as frequently used."""
Tier = Literal["standard", "bulk"]
TIERS: tuple[Tier, ...] = ("standard", "bulk")
HOURS: dict[Tier, int] = {"standard": 12, "bulk": 48}
"""Within how many hours a restore of Deep Archive typically ends (S3 user guide, "Understanding archive retrieval options")."""
_DAYS_PER_MONTH = 365 / 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Monthly:
    """USD a month: `least` if nobody has read anything since it came, `most` if everything is read every month.

    They differ by Intelligent-Tiering, whose tier of an object only S3 knows.
    """

    least: float
    most: float


def monthly(objects: Iterable[Held], *, now: float) -> Monthly:
    """What objects cost a month where they are."""
    least = most = 0.0
    for each in objects:
        low, high = _monthly(each, now)
        least, most = least + low, most + high
    return Monthly(least=least, most=most)


def _monthly(held: Held, now: float) -> tuple[float, float]:
    gb = held.size / GB
    if held.archived:
        copy = usd("standard") * gb if held.readable(now) else 0.0
        usd_a_month = _deep(held.size) + copy
        return usd_a_month, usd_a_month
    if held.storage_class != "INTELLIGENT_TIERING":
        return (usd("standard") * gb,) * 2
    watched = usd("tiering-monitoring") / 1000 if held.size >= _SMALLEST_TIERED else 0.0
    most = usd("tiering-frequent") * gb + watched
    unread = now - held.at
    if held.size < _SMALLEST_TIERED or unread < 30 * DAY:
        return most, most
    tier = "tiering-infrequent" if unread < 90 * DAY else "tiering-instant"
    return usd(tier) * gb + watched, most


def _deep(size: int) -> float:
    return usd("deep-archive") * (size + _DEEP_OVERHEAD) / GB + usd("standard") * _STANDARD_OVERHEAD / GB


@dataclass(frozen=True, kw_only=True, slots=True)
class Restore:
    """What it costs to have a dataset back: once, and while the copies are there; within so many hours."""

    tier: Tier
    hours: int
    once_usd: float
    copy_usd_per_day: float


def restore(objects: Iterable[Held], tier: Tier) -> Restore:
    """What it costs to restore these objects."""
    files = size = 0
    for each in objects:
        files, size = files + 1, size + each.size
    once = usd(f"restore-{tier}-data") * size / GB + usd(f"restore-{tier}-requests") * files / 1000
    return Restore(
        tier=tier,
        hours=HOURS[tier],
        once_usd=once,
        copy_usd_per_day=usd("standard") * size / GB / _DAYS_PER_MONTH,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Archiving:
    """What it costs to archive a dataset. USD.

    now, after: a month, before and after the move. tags: once, to mark its objects; moves: once, when they are moved.
    minimum: what is billed in any case for what is moved, for 180 days. restores: what having it back would cost.
    """

    now: Monthly
    after: float
    tags: float
    moves: float
    minimum: float
    restores: Sequence[Restore]

    @property
    def once(self) -> float:
        """Marking and moving."""
        return self.tags + self.moves


def archiving(objects: Sequence[Held], rule: Rule, *, now: float) -> Archiving:
    """What it costs to archive a dataset of these objects under a rule."""
    moved = [each for each in objects if rule.moves(each)]
    others = [each for each in objects if not rule.moves(each)]
    after = sum(_deep(each.size) for each in moved)
    return Archiving(
        now=monthly(objects, now=now),
        after=after + monthly(others, now=now).most + usd("tag") * len(objects) / 1000,
        tags=(usd("get") + usd("put")) * len(objects) / 1000,
        moves=usd("transition") * len(moved) / 1000,
        minimum=after * MINIMUM_DAYS / _DAYS_PER_MONTH,
        restores=[restore([*moved, *(each for each in others if each.archived)], tier) for tier in TIERS],
    )
