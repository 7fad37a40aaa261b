"""draft"""

from __future__ import annotations

from dataclasses import dataclass

from .jobs import Lane


@dataclass(frozen=True)
class Waiting:
    usd_per_hour: float
    caps: dict = None


def hold_seconds(lane: Lane, *, now: float, waiting: Waiting | None) -> float:
    held = float(lane.hold_minutes * 60)
    if waiting is None:
        return held
    s = (now - 1767571200) % 604800
    if s >= 5 * 86400 or not 9 * 3600 <= s % 86400 < 19 * 3600:
        return held
    return max(held, waiting.caps.get(lane.name, 0))
