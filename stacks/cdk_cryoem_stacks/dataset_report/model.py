"""What a report holds. Times in epoch seconds, money in USD; None for what nobody knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Range = tuple[float, float, float]
"""At least, most likely, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Lane:
    """A lane as its nodes are bought. instance_type, gpu_model: empty where only the manifest was read and does not tell.

    price_of: region and date of its price, and whether it is of spot capacity; empty where the price is nobody's we know.
    """

    name: str
    gpus: int
    vcpus: int
    usd_per_hour: float
    instance_type: str = ""
    gpu_model: str = ""
    price_of: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Everything that was read. notes: what could not be."""

    name: str
    system: str
    region: str
    at: float
    item: Mapping[str, Any]
    receipt: Mapping[str, Any] | None
    document: Mapping[str, Any] | None
    jobs: Sequence[Mapping[str, Any]]
    nodes: Sequence[Mapping[str, Any]]
    lanes: Sequence[Lane]
    notes: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrival:
    """How a dataset arrived. reason: why it counts as landed. processing: how its recipe ended; empty before."""

    state: str
    movies: int
    objects: int
    bytes: int
    first_at: float | None
    last_at: float | None
    landed_at: float | None
    reason: str
    operator: str
    processing: str
    archive: str

    @property
    def seconds(self) -> float:
        """From the first object to the last; 0 before there are two."""
        return max(0.0, self.last_at - self.first_at) if self.first_at and self.last_at else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What is proven of it. state: safe, not-safe or open. counts: files by what they are. left_out, included: patterns
    of names that the transfers were held to. manifest: key of the list of files.
    """

    state: str
    statement: str
    counts: Mapping[str, int]
    files: int
    movies: int
    reasons: Sequence[str]
    examples: Sequence[str]
    left_out: Sequence[str]
    included: Sequence[str]
    made_at: float | None
    looked_at: float | None
    manifest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A job that ended. started_at: None for one that never ran. run: which run of this job it was, of how many."""

    id: str
    name: str
    identity: str
    client: str
    type: str
    stage: str
    user: str
    lane: str
    state: str
    submitted_at: float | None
    started_at: float | None
    ended_at: float
    seconds: float
    gpus: float
    cpus: float
    nodes: str
    usd: float | None
    run: int = 1
    runs: int = 1

    @property
    def good(self) -> bool:
        """Whether it did what it was for."""
        return self.state == "COMPLETED"

    @property
    def wait(self) -> float:
        """Seconds in the queue, until it ran or was given up."""
        until = self.started_at if self.started_at is not None else self.ended_at
        return max(0.0, until - self.submitted_at) if self.submitted_at is not None else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Sum:
    """Jobs taken together. usd: of those with a price. failed_usd: of it what jobs cost that did not complete.

    repeats: jobs that were a second or later run. wait: seconds in the queue, longest_wait: of one job.
    """

    jobs: int
    failed: int
    repeats: int
    unpriced: int
    seconds: float
    gpu_seconds: float
    wait: float
    longest_wait: float
    usd: float
    failed_usd: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """The jobs of a stage, a lane or a person. lanes: on which they ran. first_at, last_at: from submission to end."""

    name: str
    title: str
    lanes: Sequence[str]
    sum: Sum
    first_at: float
    last_at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Elsewhere:
    """What the jobs of a stage would have taken on another lane, or why that is not known.

    seconds, usd: with just the part of a node that each job asked for. alone_usd: if nobody else had used the node.
    ran_usd: what the same jobs cost where they ran. measured: whether it is where all of them ran. assumed: whether a speed
    is an assumption.
    """

    stage: str
    lane: str
    seconds: Range | None
    usd: Range | None
    alone_usd: Range | None
    ran_usd: float
    ran_seconds: float
    measured: bool
    assumed: bool
    why_not: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneTotal:
    """All stages of which something is known on a lane, taken together; fields as those of Elsewhere."""

    lane: str
    stages: Sequence[str]
    seconds: Range
    usd: Range
    alone_usd: Range
    ran_usd: float
    ran_seconds: float
    measured: bool
    assumed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Idle:
    """Nodes of the dataset's lanes from its first submission to its last end.

    paid: what they cost; used: the part of it in which they had jobs, of whatever dataset; own: this dataset's part of that;
    usd: of what was not used, which is booting and standing idle, as large a part of each lane. pbr: paid / used GPU-seconds,
    None without GPUs. lanes: those that this is of; unknown_lanes: those whose nodes are not all in the records.
    """

    paid: float
    used: float
    own: float
    usd: float
    pbr: float | None
    lanes: Sequence[str]
    unknown_lanes: Sequence[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """All of it. unknown: what is not known, or not in it, in sentences."""

    dataset: str
    system: str
    region: str
    at: float
    arrival: Arrival
    receipt: Receipt | None
    jobs: Sequence[Job]
    total: Sum
    stages: Sequence[Group]
    lanes: Sequence[Group]
    users: Sequence[Group]
    shapes: Sequence[Lane]
    idle: Idle | None
    elsewhere: Sequence[Elsewhere]
    elsewhere_totals: Sequence[LaneTotal]
    assumptions: Sequence[str]
    unknown: Sequence[str]

    def document(self) -> dict[str, Any]:
        """For programs: JSON's own values."""
        return {"version": 1, **dataclasses.asdict(self)}
