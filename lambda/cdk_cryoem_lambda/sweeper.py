"""Every few minutes: the same convergence, without any event."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from . import dataset_hook, lane_hook, node_hook
from .events_out import SOURCE
from .hints import Event, log
from .nodes import Status
from .reconcile import caps, datasets, head_node, lanes, leaks, metrics, node_life, nodes, processing
from .redrive import redrive
from .world import World, world

T = TypeVar("T")
_PARSE = {"dataset": dataset_hook.parse, "lane": lane_hook.parse, "node": node_hook.parse}


def handler(event: object, context: object) -> dict[str, Any]:
    """Entry point. Does all it can, then fails if anything failed, so that the failure is seen."""
    w = world()
    failed: list[str] = []

    def sweep(name: str, work: Callable[[], T]) -> T | None:
        try:
            return work()
        except Exception:
            log.exception("sweep of %s failed", name)
            failed.append(name)
            return None

    sweep("dead letters", lambda: _redrive(w))
    sweep("datasets", lambda: datasets.reconcile(w, datasets.of_sweep(w)))
    # Before what may take all of a sweep's time when cryoSPARC or a recipe does not answer: these are paid for meanwhile.
    status = sweep("nodes", lambda: nodes.reconcile(w))
    looked_at = time.time()
    shown = sweep("instances", lambda: node_life.instances(w))
    if shown is not None:
        sweep("what is paid for", lambda: node_life.reconcile(w, shown, now=looked_at))
    sweep("lanes", lambda: lanes.reconcile(w))
    sweep("processing", lambda: processing.reconcile(w))
    # Before the head node is asked to stop: some are looked for on it.
    sweep("leaks", lambda: _look_for_leaks(w, status, shown))
    sweep("metrics", lambda: metrics.tell(w, status, shown, now=looked_at))
    sweep("caps", lambda: caps.reconcile(w, now=time.time()))
    sweep("head node", lambda: head_node.reconcile(w, status))
    sweep("events", w.outbox.flush)
    if not failed:
        sweep("its own dead letters", lambda: _forget(w))
    if failed:
        raise RuntimeError(f"the sweep failed for {', '.join(failed)}; see the log above")
    return {"swept": True}


def parse(event: Event) -> None:
    """A sweep that failed. Errors: ValueError for a trouble of which nobody could be told, which is not over by a later sweep."""
    if event.get("source") == SOURCE:
        raise ValueError(f"{event['detail-type']} was not told")


def _redrive(w: World) -> None:
    for hook in w.settings.queues:
        if hook.queue:
            redrive(w.sqs, dead=hook.dead, queue=hook.queue, parse=_PARSE[hook.name])


def _forget(w: World) -> None:
    """Sweeps that failed: this one has done what they did not."""
    for own in w.settings.queues:
        if not own.queue:
            redrive(w.sqs, dead=own.dead, queue=own.queue, parse=parse)


def _look_for_leaks(w: World, status: Status | None, shown: Sequence[Mapping[str, Any]] | None) -> None:
    if status is not None:
        head_node.tell_of_backup(w, status)
    leaks.reconcile(w, status, instances=shown, now=time.time())
