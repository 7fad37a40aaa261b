"""The head node: on while something needs it, off when nobody would miss it."""

from __future__ import annotations

import time

from .. import awake
from ..events_out import BackupFailed, HeadNodeStarted, HeadNodeStopped
from ..head_node import CommandFailed
from ..hints import log
from ..nodes import Status
from ..world import World

_KEPT_SECONDS = 90 * 24 * 3600


def reconcile(w: World, status: Status | None = None) -> None:
    """Start it if it is wanted. With what it says of itself, which a sweep has: stop it if it is not.

    Errors: CommandFailed when it is wanted and just stopping, which takes a minute: then look again.
    """
    state, launched_at = w.head_node.look()
    now = time.time()
    known = list(w.records.datasets())
    asked_until = w.records.wake_until()
    reason = awake.wanted(known, recipe=w.settings.recipe, asked_until=asked_until, hours=w.settings.awake, now=now)
    if reason:
        if state == "stopping":
            raise CommandFailed(f"{w.head_node.instance_id} is stopping, and {reason}")
        if state == "stopped":
            w.head_node.start()
            log.info("head node %s has been started: %s", w.head_node.instance_id, reason)
            w.outbox.put(HeadNodeStarted(instance_id=w.head_node.instance_id, reason=reason))
        return
    if state != "running" or status is None:
        return
    arrived = (float(item.get("last_at", 0)) for item in known)
    used_until = max([w.records.last_job_ended_at(), status.seen_at, *arrived])
    if awake.may_stop(
        status,
        after_minutes=w.settings.stop_head_node_after_minutes,
        last_activity=max(launched_at, used_until, asked_until),
        now=now,
    ):
        _stop(w, used_until=max(launched_at, used_until), decided_at=now)


def tell_of_backup(w: World, status: Status) -> None:
    """Say once of a backup that failed that it did."""
    failed_at = float(status.backup.get("failed_at", 0))
    if failed_at:
        reason = str(status.backup.get("reason", ""))
        w.records.note_once(
            "backup",
            # It is tried each hour, and one mail a day is enough.
            f"failed#{failed_at // 86_400:.0f}",
            fields={"reason": reason, "failed_at": failed_at, "expires_at": round(failed_at) + _KEPT_SECONDS},
            events=[BackupFailed(reason=reason, at=failed_at)],
        )


def _stop(w: World, *, used_until: float, decided_at: float) -> None:
    """Ask the head node to look once more, and to power itself off."""
    asked = {"UsedUntil": f"{used_until:.0f}", "DecidedAt": f"{decided_at:.0f}"}
    try:
        found = w.head_node.run(w.settings.stop_head_node_document, asked)
    except CommandFailed:
        # It may be off before it could answer.
        if w.head_node.running:
            raise
        found = {"verdict": "stop", "reason": ""}
    log.info("head node: %s", found)
    if found["verdict"] == "stop":
        w.outbox.put(HeadNodeStopped(instance_id=w.head_node.instance_id, reason="nobody needed it"))
