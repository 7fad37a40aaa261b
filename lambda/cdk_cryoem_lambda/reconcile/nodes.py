"""Nodes: those that nobody uses are powered down, fenced; those in trouble are told of."""

from __future__ import annotations

import json

from .. import nodes
from ..events_out import NodeFailed, NodesPoweredDown, PoweredDown
from ..hints import log
from ..world import World

# What the document takes at once.
_MOST = 100


def reconcile(w: World) -> nodes.Status | None:
    """Returns what Slurm said; None while the head node sleeps, when there are no nodes."""
    if not w.head_node.running:
        return None
    _, lanes = w.manifest()
    status = nodes.Status.parse(w.head_node.run(w.settings.slurm_status_document))
    _tell_of_failed(w, status)
    useless = nodes.to_power_down(status, lanes, waiting=w.settings.waiting)[:_MOST]
    if useless:
        fenced = ",".join(f"{node.name}={node.epoch}" for node in useless)
        done = w.head_node.run(w.settings.power_down_document, {"Nodes": fenced})
        log.info("power down: %s", json.dumps(done))
        told = [
            PoweredDown(
                name=node.name, lane=node.lane, idle_seconds=round(status.now - (node.idle_since or status.now))
            )
            for node in useless
            if node.name in done["powered_down"]
        ]
        if told:
            w.outbox.put(NodesPoweredDown(nodes=tuple(told)))
    return status


def _tell_of_failed(w: World, status: nodes.Status) -> None:
    down = {node.name for node in status.nodes if node.state == "down"}
    for item in w.records.known("node"):
        if item["node"] not in down:
            w.records.forget("node", item["sk"])
    for node in nodes.failed(status):
        since = node.idle_since or status.now
        w.records.note_once(
            "node",
            f"{node.name}#{since:.0f}",
            fields={"node": node.name, "lane": node.lane, "since": since},
            events=[NodeFailed(node=node.name, lane=node.lane, since=since, reason="it does not answer Slurm")],
        )
