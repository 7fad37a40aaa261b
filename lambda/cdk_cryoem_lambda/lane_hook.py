"""The head node has come up, the manifest changed, or a dataset landed: lanes are launched, processing starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .hints import Event, work_off
from .reconcile import lanes, processing
from .world import world


def handler(batch: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Entry point."""
    return work_off(batch, parse=parse, act=act)


def parse(event: Event) -> str:
    """The event says only that it is worth a look."""
    return str(event["detail-type"])


def act(hints: Sequence[str]) -> None:
    """Lanes, then processing, whatever the events said."""
    w = world()
    lanes.reconcile(w)
    processing.reconcile(w)
    w.outbox.flush()
