"""How long an idle node is held in case another job comes: what the lane says, or what waiting for a node is worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .hours import WorkingHours
from .jobs import Lane

# Both from the simulation of docs/waiting.md (ADR 18). A lane is held when an hour of waiting is worth three hours of its
# node: below that no hold of any length pays, in the lane that is used most. From there on the hold that pays grows by
# about two and a half minutes for each further hour.
WORTH_HOLDING = 3.0
SECONDS_PER_NODE_HOUR = 150.0


@dataclass(frozen=True)
class Waiting:
    """What an hour in which somebody waits for a node is worth, in USD, and when somebody does.

    longest_seconds: no node is held longer for it, whatever it is worth.
    """

    usd_per_hour: float
    longest_seconds: float
    hours: WorkingHours

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Waiting:
        """From {"usd_per_hour": 5.5, "longest_minutes": 10} and the working hours. Errors: KeyError or ValueError."""
        return cls(
            usd_per_hour=float(document["usd_per_hour"]),
            longest_seconds=float(document["longest_minutes"]) * 60,
            hours=WorkingHours.parse(document),
        )


def hold_seconds(lane: Lane, *, now: float, waiting: Waiting | None) -> float:
    """How long an idle node of the lane is held at this moment (epoch seconds), in seconds.

    Without a price of waiting, or when nobody works, what the lane says. Else that or what waiting is worth, whichever is
    more: cheap lanes are held, expensive ones are not.
    """
    held = float(lane.hold_minutes * 60)
    if waiting is None or not waiting.hours.contain(now):
        return held
    return max(held, min(waiting.longest_seconds, _worth_seconds(lane, waiting)))


def _worth_seconds(lane: Lane, waiting: Waiting) -> float:
    if lane.usd_per_hour <= 0:
        return waiting.longest_seconds
    node_hours = waiting.usd_per_hour / lane.usd_per_hour
    return node_hours * SECONDS_PER_NODE_HOUR if node_hours >= WORTH_HOLDING else 0.0
