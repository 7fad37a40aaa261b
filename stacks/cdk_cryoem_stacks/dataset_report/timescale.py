"""Times along a line, with the long gaps cut out of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

BREAK = 22.0
"""Width of a gap that was cut out."""
_LEAST_GAP, _LEAST_PART = 1800.0, 0.12
_STEPS = (
    1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600,
    2592000, 7776000, 31536000,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A piece of the line without a gap: its times, and where it lies."""

    since: float
    until: float
    left: float
    right: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Tick:
    """A mark on the line: where, and what it says: the time of day, and the day where it is another than at the mark before."""

    x: float
    clock: str
    day: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """Where moments lie."""

    parts: Sequence[Part]

    def x(self, at: float) -> float:
        """Where a moment lies; one in a gap at its beginning."""
        for part in self.parts:
            if at < part.since:
                return part.left
            if at <= part.until:
                return part.left + (at - part.since) / (part.until - part.since) * (part.right - part.left)
        return self.parts[-1].right

    def gaps(self) -> Iterator[tuple[float, float]]:
        """The middle of each gap that was cut out, and how long it was."""
        for before, after in pairwise(self.parts):
            yield (before.right + after.left) / 2, after.since - before.until

    def ticks(self, *, apart: float) -> list[Tick]:
        """Marks at round times, no closer than so many units."""
        shown = sum(part.right - part.left for part in self.parts)
        seconds = sum(part.until - part.since for part in self.parts)
        step = next((step for step in _STEPS if step / seconds * shown >= apart), _STEPS[-1])
        found: list[Tick] = []
        day = ""
        for part in self.parts:
            at = -(-part.since // step) * step
            while at <= part.until:
                x = self.x(at)
                if not found or x - found[-1].x >= apart * 0.9:
                    moment = datetime.fromtimestamp(at, UTC)
                    today = moment.strftime("%-d %b %Y")
                    clock = "" if step >= 86400 else moment.strftime("%H:%M:%S" if step < 60 else "%H:%M")
                    found.append(Tick(x=x, clock=clock, day="" if today == day else today))
                    day = today
                at += step
        return found


def scale(spans: Iterable[tuple[float, float]], *, left: float, right: float) -> Scale:
    """A line on which all spans lie. Gaps of half an hour or more that would take an eighth of it are cut out."""
    merged: list[list[float]] = []
    for since, until in sorted(spans):
        if merged and since <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], until)
        else:
            merged.append([since, until])
    # A moment needs some width, too.
    merged = [[since, max(until, since + 1.0)] for since, until in merged] or [[0.0, 1.0]]
    busy = sum(until - since for since, until in merged)
    gaps = sorted(after[0] - before[1] for before, after in pairwise(merged))
    # Each takes some of the line, too.
    most = int((right - left) / (5 * BREAK))
    least = max(_LEAST_GAP, _LEAST_PART * busy, gaps[-most] if len(gaps) > most else 0.0)
    kept = [merged[0]]
    for since, until in merged[1:]:
        if since - kept[-1][1] >= least:
            kept.append([since, until])
        else:
            kept[-1][1] = until
    seconds = sum(until - since for since, until in kept)
    per_second = (right - left - BREAK * (len(kept) - 1)) / seconds
    parts, x = [], left
    for since, until in kept:
        width = (until - since) * per_second
        parts.append(Part(since=since, until=until, left=x, right=x + width))
        x += width + BREAK
    return Scale(parts=parts)
