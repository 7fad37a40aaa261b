"""The head node has come up, the manifest changed, or a dataset landed: lanes are launched, processing starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .converge import converge_lanes, converge_processing, world
from .hints import Event, work_off


def handler(batch: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Entry point."""
    return work_off(batch, parse=parse, act=act)


def parse(event: Event) -> str:
    """The event says only that it is worth a look."""
    return str(event["detail-type"])


def act(hints: Sequence[str]) -> None:
    """Converge lanes, then processing, whatever the events said."""
    w = world()
    converge_lanes(w)
    converge_processing(w)
