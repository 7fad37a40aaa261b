"""What a system does now, from its records and EC2. Nothing is changed."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .ask import ask, find
from .find import Clients, System
from .records import Item, Records

HOURS = 24
_KEYS = ("pk", "sk")


@dataclass(frozen=True, kw_only=True, slots=True)
class Instance:
    """An instance of the system. since: when it was last started, in epoch seconds; 0 when it is gone."""

    id: str
    type: str
    state: str
    since: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Datasets:
    """All datasets of a state."""

    datasets: int
    movies: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Jobs:
    """Finished jobs. usd: of those with a price; unpriced: how many have none; failed: how many did not complete."""

    jobs: int
    hours: float
    usd: float
    unpriced: int
    failed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Status:
    """One look at a system. Times in epoch seconds.

    nodes: the system's instances that are on, without the head node. jobs: of the last HOURS hours. lanes, datasets,
    leaks, requests: the records as they are, without pk; their sk is `name`. lanes: None when none were registered yet.
    """

    name: str
    region: str
    account: str
    at: float
    head_node: Instance
    nodes: Sequence[Instance]
    requests: Sequence[Item]
    lanes: Item | None
    dataset_counts: Mapping[str, Datasets]
    datasets: Sequence[Item]
    jobs: Jobs
    jobs_by_lane: Mapping[str, Jobs]
    jobs_by_project: Mapping[str, Jobs]
    leaks: Sequence[Item]

    def document(self) -> dict[str, Any]:
        """All of it as JSON's own values."""
        return dataclasses.asdict(self)


def look(clients: Clients, found: System, *, now: float) -> Status:
    """Everything, as it is now. Errors: Failed."""
    records = Records(clients, found.table)
    # Jobs are named by their end: see `note_job` of the hooks.
    jobs = records.items("job", since=f"{max(0, int(now) - HOURS * 3600):012d}#")
    datasets = records.items("dataset")
    lanes = next((item for item in records.items("lanes") if item["sk"] == "registered"), None)
    return Status(
        name=found.target.name,
        region=found.target.region,
        account=found.account,
        at=now,
        head_node=_head_node(clients, found.head_node),
        nodes=nodes_on(clients, found),
        requests=[_named(item) for item in records.items("request")],
        lanes=_named(lanes) if lanes else None,
        dataset_counts=count_datasets(datasets),
        datasets=[_named(item) for item in datasets],
        jobs=sum_jobs(jobs),
        jobs_by_lane=_sums(jobs, "lane"),
        jobs_by_project=_sums(jobs, "project"),
        leaks=[_named(item) for item in records.items("leak")],
    )


def count_datasets(items: Iterable[Item]) -> dict[str, Datasets]:
    """How many datasets, movies and bytes there are of each state."""
    by_state: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        by_state[str(item.get("state", "unknown"))].append(item)
    return {
        state: Datasets(
            datasets=len(of_it),
            movies=sum(int(item.get("movies", 0)) for item in of_it),
            bytes=sum(int(item.get("size_bytes", 0)) for item in of_it),
        )
        for state, of_it in sorted(by_state.items())
    }


def sum_jobs(items: Sequence[Item]) -> Jobs:
    """Sums of finished jobs."""
    return Jobs(
        jobs=len(items),
        hours=round(sum(float(item.get("seconds", 0)) for item in items) / 3600, 3),
        usd=round(sum(float(item.get("usd", 0)) for item in items), 4),
        unpriced=sum("usd" not in item for item in items),
        failed=sum(item.get("state") != "COMPLETED" for item in items),
    )


def _sums(items: Sequence[Item], by: str) -> dict[str, Jobs]:
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[str(item.get(by) or "-")].append(item)
    return {name: sum_jobs(of_it) for name, of_it in sorted(groups.items())}


def _named(item: Item) -> Item:
    return {"name": item["sk"], **{name: value for name, value in item.items() if name not in _KEYS}}


def _head_node(clients: Clients, instance: str) -> Instance:
    described = find(
        "ec2:DescribeInstances",
        lambda: clients.ec2.describe_instances(InstanceIds=[instance]),
        unless=("InvalidInstanceID.NotFound",),
    )
    for reservation in described["Reservations"] if described else []:
        for each in reservation["Instances"]:
            return _instance(each)
    return Instance(id=instance, type="", state="gone", since=0.0)


def nodes_on(clients: Clients, found: System) -> list[Instance]:
    """The system's instances that are on, the oldest first, without the head node. Errors: Failed."""

    def read() -> list[Instance]:
        pages = clients.ec2.get_paginator("describe_instances").paginate(
            Filters=[
                # Both engines put the system's tags on every node.
                {"Name": "tag:cryoem:system", "Values": [found.target.name]},
                {"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "shutting-down"]},
            ]
        )
        return [
            _instance(each)
            for page in pages
            for reservation in page["Reservations"]
            for each in reservation["Instances"]
            if each["InstanceId"] != found.head_node
        ]

    return sorted(ask("ec2:DescribeInstances", read), key=lambda node: node.since)


def _instance(described: Any) -> Instance:
    return Instance(
        id=described["InstanceId"],
        type=described.get("InstanceType", ""),
        state=described["State"]["Name"],
        since=described["LaunchTime"].timestamp(),
    )
