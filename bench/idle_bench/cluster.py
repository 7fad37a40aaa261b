"""Slurm and its nodes as the hooks see them, paid for from launch to the end of the shutdown."""

from __future__ import annotations

import functools
import heapq
import math
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cdk_cryoem_lambda import nodes

from .trace import Person, at_work

# From the order to go until nobody pays for the node any more.
TEARDOWN = 60.0


@dataclass
class Node:
    """A node from its launch on. `epoch` changes with every job; a decision about another epoch has no effect."""

    name: str
    lane: str
    gpus: int
    launched: float
    state: str = "changing"
    epoch: int = 0
    idle_since: float = 0.0


@dataclass
class Outcome:
    """What a run came to."""

    paid_gpu_seconds: float = 0.0
    used_gpu_seconds: float = 0.0
    waits: list[float] = field(default_factory=list)
    idle_gpu_seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def pbr(self) -> float:
        """Paid GPU-seconds / used GPU-seconds."""
        return self.paid_gpu_seconds / self.used_gpu_seconds

    @property
    def mean_wait(self) -> float:
        """Seconds a job waited for its node, on average over all jobs; those that found one waited for none."""
        return sum(self.waits) / len(self.waits)


class Policy(Protocol):
    """What powers nodes down."""

    def idle(self, cluster: Cluster, node: Node) -> None:
        """A node has just become idle."""


class Cluster:
    """Branches of jobs on nodes, until the last job has ended and the last node has gone."""

    def __init__(self, people: Sequence[Person], policy: Policy, *, seed: int, by_dependency: bool = False) -> None:
        self.now = 0.0
        self.random = random.Random(seed)  # noqa: S311
        self.nodes: dict[str, Node] = {}
        self.dependent: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.planned: dict[tuple[int, int], tuple[float, list[str]]] = {}
        self.outcome = Outcome()
        self._policy = policy
        self._people = people
        self._left: dict[int, int] = {}
        self._by_dependency = by_dependency
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0

    def run(self) -> Outcome:
        """Everything that happens."""
        for index, person in enumerate(self._people):
            begins = self._think(index, 0, person.begins)
            self.at(begins, functools.partial(self._begin, index, 0))
        while self._events:
            self.now, _, happens = heapq.heappop(self._events)
            happens()
        return self.outcome

    def at(self, when: float, happens: Callable[[], None]) -> None:
        """Have something happen."""
        self._number += 1
        heapq.heappush(self._events, (max(when, self.now), self._number, happens))

    def idle_nodes(self, lane: str | None = None) -> Iterator[Node]:
        """Nodes on which nothing runs and that were not told to go."""
        return (node for node in self.nodes.values() if node.state == "idle" and lane in (None, node.lane))

    def status(self) -> nodes.Status:
        """What slurm-status would say. Slurm tells times in whole seconds; a job that a node boots for is running."""
        return nodes.Status.parse(
            {
                "now": self.now,
                "pending": {},
                "blocked": dict(+self.dependent),
                "running": dict(+self.running),
                "nodes": [
                    {
                        "name": node.name,
                        "lane": node.lane,
                        "state": "idle",
                        "epoch": str(node.epoch),
                        "idle_since": float(math.floor(node.idle_since)),
                    }
                    for node in self.idle_nodes()
                ],
                "powered_up": len(self.nodes),
                "logins": 0,
                "recipes": 0,
            }
        )

    def power_down(self, name: str, epoch: int) -> None:
        """What the head node's program does: a node that got a job in between stays."""
        node = self.nodes.get(name)
        if node is None or node.state != "idle" or node.epoch != epoch:
            return
        node.state = "changing"
        self.outcome.idle_gpu_seconds[node.lane] += (self.now - node.idle_since) * node.gpus
        gone = self.now + TEARDOWN
        self.outcome.paid_gpu_seconds += (gone - node.launched) * node.gpus
        self.at(gone, functools.partial(self.nodes.__delitem__, name))

    def _think(self, person: int, number: int, since: float) -> float:
        """When the step is started, if what it needs is there since then."""
        return at_work(at_work(since) + self._people[person].steps[number].think)

    def _begin(self, person: int, number: int) -> None:
        step = self._people[person].steps[number]
        self._left[person] = len(step.chains)
        for chain in range(len(step.chains)):
            self._submit(person, number, chain, 0)

    def _submit(self, person: int, number: int, chain: int, link: int) -> None:
        jobs = self._people[person].steps[number].chains[chain]
        job = jobs[link]
        self.running[job.lane] += 1
        if self._by_dependency and link + 1 < len(jobs):
            self.dependent[jobs[link + 1].lane] += 1
        node = min(self.idle_nodes(job.lane), key=lambda node: node.name, default=None)
        if node is None:
            node = Node(name=self._free_name(job.lane), lane=job.lane, gpus=job.gpus, launched=self.now)
            self.nodes[node.name] = node
            starts = self.now + job.boot
        else:
            self.outcome.idle_gpu_seconds[node.lane] += (self.now - node.idle_since) * node.gpus
            starts = self.now
        node.state, node.epoch = "busy", node.epoch + 1
        self.outcome.waits.append(starts - self.now)
        self.outcome.used_gpu_seconds += job.seconds * job.gpus
        ends = starts + job.seconds
        if link + 1 < len(jobs):
            self.planned[person, chain] = (ends + jobs[link + 1].delay, [jobs[link + 1].lane])
        else:
            self.planned[person, chain] = (ends, [])
        self.at(ends, lambda: self._end(person, number, chain, link, node))

    def _end(self, person: int, number: int, chain: int, link: int, node: Node) -> None:
        steps = self._people[person].steps
        jobs = steps[number].chains[chain]
        node.state, node.idle_since = "idle", self.now
        self.running[jobs[link].lane] -= 1
        if link + 1 < len(jobs):
            after = jobs[link + 1]
            if self._by_dependency:
                self.dependent[after.lane] -= 1
            self.at(self.now + after.delay, lambda: self._submit(person, number, chain, link + 1))
        else:
            del self.planned[person, chain]
            self._left[person] -= 1
            if not self._left[person] and number + 1 < len(steps):
                begins = self._think(person, number + 1, self.now)
                self.planned[person, 0] = (begins, [each[0].lane for each in steps[number + 1].chains])
                self.at(begins, lambda: self._begin(person, number + 1))
        self._policy.idle(self, node)

    def _free_name(self, lane: str) -> str:
        number = next(n for n in range(1, 10_000) if f"{lane}-{n:04}" not in self.nodes)
        return f"{lane}-{number:04}"
