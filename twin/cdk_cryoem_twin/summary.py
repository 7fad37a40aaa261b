"""What a run came to: jobs, nodes, price, PBR and mean cold wait. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .observer import NodeSpan


@dataclass(frozen=True, kw_only=True, slots=True)
class LaneFacts:
    """What of a lane's nodes is needed here."""

    gpus: int
    usd_per_hour: float


@dataclass(frozen=True, kw_only=True, slots=True)
class JobRow:
    """One finished job, from the hooks' records."""

    job_id: str
    name: str
    lane: str
    state: str
    submitted_at: int
    started_at: int
    ended_at: int
    gpus: float
    usd: float
    nodes: str

    @property
    def wait(self) -> int:
        """Seconds from submission to start."""
        return self.started_at - self.submitted_at


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """The run in numbers. PBR: paid GPU-seconds / used GPU-seconds, None where no GPU was used."""

    jobs: tuple[JobRow, ...]
    jobs_usd: float
    nodes_usd: float
    pbr: float | None
    mean_cold_wait_seconds: float | None


def job_rows(records: Sequence[Mapping[str, Any]]) -> tuple[JobRow, ...]:
    """Rows from the hooks' job records, in the order of their ends."""
    rows = [
        JobRow(
            job_id=str(record["sk"]).partition("#")[2],
            name=str(record["name"]),
            lane=str(record["lane"]),
            state=str(record["state"]),
            submitted_at=int(record["submitted_at"]),
            started_at=int(record["started_at"]),
            ended_at=int(record["ended_at"]),
            gpus=float(record["gpus"]),
            usd=float(record.get("usd", 0)),
            nodes=str(record["nodes"]),
        )
        for record in records
    ]
    return tuple(sorted(rows, key=lambda row: (row.ended_at, row.job_id)))


def summarise(
    jobs: Sequence[JobRow], nodes: Sequence[NodeSpan], lanes: Mapping[str, LaneFacts], *, now: float
) -> Summary:
    """The run's numbers. A node that is still on is paid until now."""
    paid = {id(span): (span.off or now) - span.launched for span in nodes}
    paid_gpu = sum(paid[id(span)] * lanes[span.lane].gpus for span in nodes)
    used_gpu = sum((job.ended_at - job.started_at) * job.gpus for job in jobs)
    # A wait is cold when a node of the lane was launched for it: after the submission, before the start.
    cold = [
        job.wait
        for job in jobs
        if any(span.lane == job.lane and job.submitted_at - 1 <= span.launched <= job.started_at for span in nodes)
    ]
    return Summary(
        jobs=tuple(jobs),
        jobs_usd=sum(job.usd for job in jobs),
        nodes_usd=sum(paid[id(span)] / 3600 * lanes[span.lane].usd_per_hour for span in nodes),
        pbr=paid_gpu / used_gpu if used_gpu else None,
        mean_cold_wait_seconds=sum(cold) / len(cold) if cold else None,
    )
