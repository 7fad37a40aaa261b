"""Decisions about nodes and the head node: what to power down, from what Slurm says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .jobs import Lane


@dataclass(frozen=True)
class Node:
    """A node that is powered up. `epoch` changes with every boot and every job: a decision holds for one epoch."""

    name: str
    lane: str
    state: str
    epoch: str
    idle_since: float | None


@dataclass(frozen=True)
class Status:
    """What the head node says of Slurm. Times in epoch seconds."""

    now: float
    pending: Mapping[str, int]
    running: Mapping[str, int]
    nodes: tuple[Node, ...]
    powered_up: int
    logins: int
    recipes: int

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Status:
        """From what slurm-status prints."""
        return cls(
            now=float(document["now"]),
            pending={str(lane): int(n) for lane, n in document["pending"].items()},
            running={str(lane): int(n) for lane, n in document["running"].items()},
            nodes=tuple(Node(**node) for node in document["nodes"]),
            powered_up=int(document["powered_up"]),
            logins=int(document["logins"]),
            recipes=int(document["recipes"]),
        )


def to_power_down(status: Status, lanes: Sequence[Lane]) -> list[Node]:
    """Idle nodes that nothing waits for and whose lane does not hold them any longer.

    A lane with a pending job keeps its idle nodes: the next job finds one that has booted. Nodes of a Capacity Block are
    paid for whether they run or not, and the engine would start them again.
    """
    always_on = {lane.name for lane in lanes if lane.always_on}
    hold_seconds = {lane.name: lane.hold_minutes * 60 for lane in lanes}
    return [
        node
        for node in status.nodes
        if node.state == "idle"
        and node.lane not in always_on
        and node.idle_since is not None
        and not status.pending.get(node.lane, 0)
        and status.now - node.idle_since >= hold_seconds.get(node.lane, 0)
    ]


def head_node_may_stop(
    status: Status, *, after_minutes: int, datasets_arriving: int, last_activity: float, now: float
) -> bool:
    """Whether nobody would miss the head node: nothing runs, waits or arrives, or has for so long; no logins."""
    return (
        after_minutes > 0
        and not any(status.pending.values())
        and not any(status.running.values())
        and not status.powered_up
        and not status.logins
        and not status.recipes
        and not datasets_arriving
        and now - last_activity >= after_minutes * 60
    )
