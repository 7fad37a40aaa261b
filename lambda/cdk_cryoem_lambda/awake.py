"""Decisions about the head node: why it ought to be on, and whether it may be switched off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .datasets import waits_for_recipe
from .hours import WorkingHours
from .nodes import Status


def wanted(
    datasets: Iterable[Mapping[str, Any]], *, recipe: str, asked_until: float, hours: WorkingHours | None, now: float
) -> str:
    """Why the head node ought to be on, whatever runs on it; empty for no reason.

    asked_until: until when somebody asked for it (`cryoem wake`).
    """
    known = list(datasets)
    arriving = sorted(str(item["sk"]) for item in known if item["state"] == "arriving")
    if arriving:
        return f"dataset {arriving[0]} is arriving"
    unprocessed = sorted(str(item["sk"]) for item in known if recipe and waits_for_recipe(item))
    if unprocessed:
        return f"dataset {unprocessed[0]} waits for the recipe {recipe}"
    if asked_until > now:
        return "somebody asked for it"
    return "it is working hours" if hours is not None and hours.contain(now) else ""


def may_stop(status: Status, *, after_minutes: int, last_activity: float, now: float) -> bool:
    """Whether nobody would miss the head node, and has not for so long. 0 minutes: it is never stopped."""
    return after_minutes > 0 and not status.needed and now - last_activity >= after_minutes * 60
