"""Decisions about nodes: what to power down, and which are in trouble, from what Slurm says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .holding import Waiting, hold_seconds
from .jobs import Lane

BLOCKED_SECONDS = 120
"""How long a node is kept for a job that waits for another job, a licence or a time, which may take hours. Enough for Slurm to
release the next job of a chain; ten minutes would cost 4 % more GPU time where people chain their jobs (docs/waiting.md)."""
DOWN_SECONDS = 600
"""How long a node that is down is left to Slurm and the engine: ParallelCluster replaces one within a minute or two
(clustermgtd's loop), so this is for those that nobody replaced."""
_UNUSED = ("idle", "booting", "down")


@dataclass(frozen=True)
class Node:
    """A node that is paid for and has no job. `epoch` changes with every boot and every job: a decision holds for one.

    state: idle; booting (for nobody); down (does not answer).
    """

    name: str
    lane: str
    state: str
    epoch: str
    idle_since: float | None


@dataclass(frozen=True)
class Status:
    """What the head node says of Slurm and of itself. Times in epoch seconds.

    pending: jobs by lane that could start if there were a node. blocked: those that wait for something else.
    seen_at: when somebody was last logged in, or a recipe ran. gpus: in use, by lane. waiting_since: when the oldest job of a
    lane that could start if there were a node was submitted.
    """

    now: float
    pending: Mapping[str, int]
    blocked: Mapping[str, int]
    running: Mapping[str, int]
    nodes: tuple[Node, ...]
    powered_up: int
    addresses: tuple[str, ...]
    logins: int
    recipes: int
    spool: int
    backup: Mapping[str, Any]
    seen_at: float = 0.0
    gpus: Mapping[str, int] = field(default_factory=dict)
    waiting_since: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Status:
        """From what slurm-status prints; what a head node with older programs does not print is none."""

        def counts(name: str) -> dict[str, int]:
            return {str(lane): int(n) for lane, n in document.get(name, {}).items()}

        return cls(
            now=float(document["now"]),
            pending=counts("pending"),
            blocked=counts("blocked"),
            running=counts("running"),
            nodes=tuple(
                # By name: newer programs may say more of a node.
                Node(
                    name=str(node["name"]),
                    lane=str(node["lane"]),
                    state=str(node["state"]),
                    epoch=str(node["epoch"]),
                    idle_since=node["idle_since"],
                )
                for node in document["nodes"]
            ),
            powered_up=int(document["powered_up"]),
            addresses=tuple(map(str, document.get("addresses", ()))),
            logins=int(document["logins"]),
            recipes=int(document["recipes"]),
            spool=int(document.get("spool", 0)),
            backup=dict(document.get("backup", {})),
            seen_at=float(document.get("seen_at", 0)),
            gpus=counts("gpus"),
            waiting_since={str(lane): float(at) for lane, at in document.get("waiting_since", {}).items()},
        )

    @property
    def needed(self) -> bool:
        """Whether somebody would miss the head node."""
        return bool(
            any(self.pending.values())
            or any(self.blocked.values())
            or any(self.running.values())
            or self.powered_up
            or self.logins
            or self.recipes
            or self.spool
        )


def to_power_down(status: Status, lanes: Sequence[Lane], *, waiting: Waiting | None = None) -> list[Node]:
    """Nodes that nobody uses, that nothing waits for, and that their lane does not hold any longer.

    A lane with a pending job keeps its nodes: the next job finds one that has booted. One that boots for nobody is
    powered down at once: the job it was started for is gone. One that is down has had its time to come back. Nodes of a
    Capacity Block are paid for whether they run or not, and the engine would start them again.
    """
    by_name = {lane.name: lane for lane in lanes}

    def kept_seconds(node: Node) -> float:
        lane = by_name.get(node.lane)
        if node.state == "down":
            return DOWN_SECONDS
        if node.state == "booting" or lane is None:
            return 0.0
        return held_seconds(lane, status, waiting=waiting)

    def useless(node: Node) -> bool:
        lane = by_name.get(node.lane)
        if node.state not in _UNUSED or (lane is not None and lane.always_on):
            return False
        # No job starts on one that is down; the one that waits may wait for just this node.
        if node.state != "down" and status.pending.get(node.lane, 0):
            return False
        if node.state == "booting" and status.blocked.get(node.lane, 0):
            # Slurm puts off by two minutes what it starts again (BeginTime); its node may be on its way.
            return False
        if node.idle_since is None:
            # It has had no job and has not come up: nothing says since when, and for one that boots nothing need.
            return node.state == "booting"
        return status.now - node.idle_since >= kept_seconds(node)

    return [node for node in status.nodes if useless(node)]


def held_seconds(lane: Lane, status: Status, *, waiting: Waiting | None = None) -> float:
    """How long an idle node of a lane is kept though no job could start on it."""
    held = hold_seconds(lane, now=status.now, waiting=waiting)
    return max(held, BLOCKED_SECONDS) if status.blocked.get(lane.name, 0) else held


def failed(status: Status) -> list[Node]:
    """Nodes that do not answer, for long enough to tell somebody."""
    return [
        node
        for node in status.nodes
        if node.state == "down" and node.idle_since is not None and status.now - node.idle_since >= DOWN_SECONDS
    ]
