"""Decisions about how long each node was paid for, from what EC2 says of it at each look.

A life is one instance from one launch to its end; one that is stopped and started again has two. Looks are joined: in
whatever order they come, and however often, the same lives come out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .jobs import Lane

KIND = "node-life"
"""pk of these records; "node" is that of nodes in trouble."""
NODE, HEAD_NODE = "node", "head-node"
LOOKED_BACK_SECONDS = 8 * 24 * 3600
"""Lives that began earlier are read only while EC2 shows their instance."""
LEAST_SECONDS = 60
"""EC2 bills no less of a launch (EC2 on-demand pricing page, "billed per second, with a minimum of 60 seconds")."""

# What ParallelCluster's launch templates set (3.16.1, queues_stack.py), and ours of PCS.
_LANE_TAGS = ("cryoem:lane", "parallelcluster:queue-name")
_ALIVE = ("pending", "running")
_REASON_TIME = re.compile(r"\((\d{4}-\d\d-\d\d \d\d:\d\d:\d\d) (?:GMT|UTC)\)")


@dataclass(frozen=True)
class Sighting:
    """An instance as EC2 showed it. ended_at: when it was told to stop or to end, None where EC2 does not say."""

    instance_id: str
    instance_type: str
    lane: str
    market: str
    launched_at: int
    alive: bool
    ended_at: int | None = None

    @property
    def name(self) -> str:
        """Of the record of this life."""
        return f"{self.launched_at:012d}#{self.instance_id}"

    @classmethod
    def parse(cls, shown: Mapping[str, Any]) -> Sighting:
        """From one entry of DescribeInstances."""
        tags = {tag["Key"]: tag["Value"] for tag in shown.get("Tags", [])}
        alive = shown["State"]["Name"] in _ALIVE
        return cls(
            instance_id=shown["InstanceId"],
            instance_type=shown.get("InstanceType", ""),
            lane=next((tags[key] for key in _LANE_TAGS if key in tags), ""),
            market=shown.get("InstanceLifecycle", "on-demand"),
            launched_at=int(shown["LaunchTime"].timestamp()),
            alive=alive,
            ended_at=None if alive else reason_time(shown.get("StateTransitionReason", "")),
        )


def reason_time(text: str) -> int | None:
    """When an instance was told to go: "User initiated (2026-11-21 10:00:00 GMT)". Others, such as Spot's, have no time."""
    found = _REASON_TIME.search(text)
    if found is None:
        return None
    return int(datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp())


@dataclass(frozen=True)
class Look:
    """What one look says of one life: paid for until then at least, and whether it is over."""

    until: int
    over: int
    looked_at: float


def look_at(seen: Sighting, *, now: float) -> Look:
    """What a sighting says. EC2 may show an instance for an hour after its end (EC2 user guide, "Terminate an instance")."""
    if seen.alive:
        return Look(until=max(int(now), seen.launched_at), over=0, looked_at=now)
    ended = seen.launched_at if seen.ended_at is None else min(seen.ended_at, int(now))
    return Look(until=max(ended, seen.launched_at + LEAST_SECONDS), over=1, looked_at=now)


def joined(before: Mapping[str, Any] | None, look: Look) -> Look:
    """A record with one look more: paid for until the latest moment that any look knows of, over if the latest look says so.

    Associative, commutative, idempotent.
    """
    if before is None:
        return look
    known = Look(until=int(before["until"]), over=int(before["over"]), looked_at=float(before["looked_at"]))
    last = max((known.looked_at, known.over), (look.looked_at, look.over))
    return Look(until=max(known.until, look.until), over=last[1], looked_at=last[0])


def fields_of(
    seen: Sighting, look: Look, *, before: Mapping[str, Any] | None, head_node: str, lanes: Mapping[str, Lane]
) -> dict[str, str | int | float]:
    """The whole record. What was written at first stays: a lane's price may change under a node that runs."""
    kept = {key: value for key, value in (before or {}).items() if key not in ("pk", "sk")}
    lane = lanes.get(seen.lane)
    fields: dict[str, str | int | float] = {
        "instance_id": seen.instance_id,
        "instance_type": seen.instance_type,
        "kind": HEAD_NODE if seen.instance_id == head_node else NODE,
        "lane": seen.lane,
        "market": seen.market,
        "from": seen.launched_at,
    }
    if lane is not None:
        fields |= {"gpus": lane.gpus, "usd_per_hour": lane.usd_per_hour}
    return {**fields, **kept, "until": look.until, "over": look.over, "looked_at": look.looked_at}


def vanished(known: Iterable[Mapping[str, Any]], seen: Sequence[Sighting], *, now: float) -> list[Mapping[str, Any]]:
    """Records of lives that are not over, whose instance an earlier launch or EC2 itself shows no longer."""
    there = {each.name for each in seen}
    return [item for item in known if not item["over"] and item["sk"] not in there and float(item["looked_at"]) <= now]


def paid_nodes(seen: Iterable[Sighting], *, head_node: str) -> dict[str, int]:
    """How many nodes each lane has that are paid for now, the head node not counted."""
    found: dict[str, int] = {}
    for each in seen:
        if each.alive and each.instance_id != head_node:
            found[each.lane] = found.get(each.lane, 0) + 1
    return found
