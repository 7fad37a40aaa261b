"""What may power nodes down: the shipped hooks, an engine's one idle time, and somebody who knows what comes."""

from __future__ import annotations

import csv
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cdk_cryoem_lambda import nodes
from cdk_cryoem_lambda.holding import Waiting
from cdk_cryoem_lambda.jobs import Lane

from .cluster import TEARDOWN, Cluster, Node

_INSTANCES = Path(__file__).parents[2] / "constructs" / "cdk_cryoem" / "data" / "instances.csv"
# The first type of each default lane.
_TYPES = {"gpu1": "g5.4xlarge", "gpu4": "g5.12xlarge", "gpu8": "g5.48xlarge"}
SWEEP = 300.0
# From a decision until the head node has acted on it.
ACT = 0.5
# An engine looks at its idle nodes once a minute.
POLL = 60.0
# SQS delays a message by 15 minutes at most.
_LONGEST_DELAY = 900.0


def price(usd_per_hour: float, longest_minutes: int = 10) -> Waiting:
    """Waiting at a price, as the hooks are told of it; the trace lives by UTC."""
    return Waiting.parse(
        {
            "usd_per_hour": usd_per_hour,
            "longest_minutes": longest_minutes,
            "days": ["mon", "tue", "wed", "thu", "fri"],
            "from": "09:00",
            "to": "19:00",
            "time_zone": "UTC",
        }
    )


def lanes(hold_minutes: int = 0) -> tuple[Lane, ...]:
    """The default lanes with GPUs, as the manifest has them."""
    text = [line for line in _INSTANCES.read_text().splitlines() if not line.startswith("#")]
    shapes = {row["instance_type"]: row for row in csv.DictReader(text)}
    return tuple(
        Lane(
            name=name,
            gpus=int(shapes[kind]["gpus"]),
            vcpus=int(shapes[kind]["vcpus"]),
            memory_mib=int(float(shapes[kind]["memory_gib"]) * 1024 * 0.95),
            hold_minutes=hold_minutes,
            usd_per_hour=float(shapes[kind]["usd_per_hour"]),
        )
        for name, kind in _TYPES.items()
    )


@dataclass
class IdleTime:
    """An engine without hooks: a node goes when it was idle for so long."""

    seconds: float
    poll: float = POLL

    def idle(self, cluster: Cluster, node: Node) -> None:
        """Come back when the time is over; the node has another epoch if it got a job."""
        epoch = node.epoch
        over = math.ceil((cluster.now + self.seconds) / self.poll) * self.poll
        cluster.at(over, lambda: cluster.power_down(node.name, epoch))


@dataclass
class Immediate:
    """A node goes when its job has ended, whatever waits."""

    def idle(self, cluster: Cluster, node: Node) -> None:
        """At once."""
        cluster.power_down(node.name, node.epoch)


@dataclass
class Hooks:
    """The shipped decisions, made at each job's end, when a hold ends, and by the sweeper.

    `event_seconds`: in the middle, from a job's end to the look at Slurm; half a second later the head node acts.
    """

    waiting: Waiting | None = None
    lanes: Sequence[Lane] = field(default_factory=lanes)
    event_seconds: float = 1.5
    sweeping: bool = False

    def idle(self, cluster: Cluster, node: Node) -> None:
        """The job's event is on its way; the sweeper goes on anyway."""
        delay = cluster.random.lognormvariate(0, 0.4) * self.event_seconds
        cluster.at(cluster.now + delay, lambda: self._hook(cluster, node.lane))
        if not self.sweeping:
            self.sweeping = True
            cluster.at((cluster.now // SWEEP + 1) * SWEEP, lambda: self._sweep(cluster))

    def _hook(self, cluster: Cluster, lane: str) -> None:
        """As node_hook.act: a look, and a message that comes when the hold of the job's lane ends."""
        self._look(cluster)
        used = next(each for each in self.lanes if each.name == lane)
        seconds = nodes.held_seconds(used, cluster.status(), waiting=self.waiting)
        if 0 < seconds <= _LONGEST_DELAY:
            cluster.at(cluster.now + min(_LONGEST_DELAY, int(seconds) + 2), lambda: self._look(cluster))

    def _sweep(self, cluster: Cluster) -> None:
        # Without an idle node a sweep changes nothing; the next job's end starts it again.
        self.sweeping = any(cluster.idle_nodes())
        if self.sweeping:
            self._look(cluster)
            cluster.at(cluster.now + SWEEP, lambda: self._sweep(cluster))

    def _look(self, cluster: Cluster) -> None:
        for node in nodes.to_power_down(cluster.status(), self.lanes, waiting=self.waiting):
            cluster.at(cluster.now + ACT, functools.partial(cluster.power_down, node.name, int(node.epoch)))


@dataclass
class Clairvoyant:
    """Knows when each person's next job comes and to which lane, and keeps a node if that costs less than to boot again.

    `usd_per_hour`: of waiting, 0 for the cheapest machines. A hold is worth what shutting down, booting and the wait cost.
    """

    boot_seconds: float = 310.0
    usd_per_hour: float = 0.0
    lanes: Sequence[Lane] = field(default_factory=lanes)

    def idle(self, cluster: Cluster, node: Node) -> None:
        """Decide once, when the node becomes idle."""
        cluster.at(cluster.now, lambda: self._decide(cluster, node, node.epoch))

    def _decide(self, cluster: Cluster, node: Node, epoch: int) -> None:
        if node.state != "idle" or node.epoch != epoch:
            return
        price = next(lane.usd_per_hour for lane in self.lanes if lane.name == node.lane)
        worth = TEARDOWN + self.boot_seconds * (1 + self.usd_per_hour / price)
        others = sum(other.name < node.name for other in cluster.idle_nodes(node.lane))
        coming = sorted(when for when, lanes in cluster.planned.values() for lane in lanes if lane == node.lane)
        if len(coming) > others and coming[others] - cluster.now <= worth:
            # A moment after the job is expected, for what is a little late.
            cluster.at(coming[others] + 1, lambda: self._decide(cluster, node, epoch))
        else:
            cluster.power_down(node.name, epoch)
