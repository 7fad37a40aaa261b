"""Every few minutes: the same convergence, without any event."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .converge import (
    announce_landed,
    converge_datasets,
    converge_head_node,
    converge_lanes,
    converge_nodes,
    converge_processing,
    not_landed,
    wake_for_processing,
    world,
)
from .hints import log


def handler(event: object, context: object) -> dict[str, Any]:
    """Entry point. Does all it can, then fails if anything failed, so that the failure is seen."""
    w = world()
    failed: list[str] = []

    def sweep(name: str, converge: Callable[[], object]) -> object:
        try:
            return converge()
        except Exception:
            log.exception("sweep of %s failed", name)
            failed.append(name)
            return None

    sweep("datasets", lambda: converge_datasets(w, not_landed(w)))
    sweep("announcements", lambda: announce_landed(w))
    sweep("waking", lambda: wake_for_processing(w))
    sweep("lanes", lambda: converge_lanes(w))
    sweep("processing", lambda: converge_processing(w))
    sweep("nodes and head node", lambda: converge_head_node(w, converge_nodes(w)))
    if failed:
        raise RuntimeError(f"the sweep failed for {', '.join(failed)}; see the log above")
    return {"swept": True}
