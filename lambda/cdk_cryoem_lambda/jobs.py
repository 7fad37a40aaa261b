"""Finished jobs and the lanes they ran on, as events and the manifest tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Lane:
    """A lane of the manifest, as far as hooks need it."""

    name: str
    gpus: int
    vcpus: int
    memory_mib: int
    hold_minutes: int
    usd_per_hour: float
    always_on: bool = False

    @classmethod
    def parse(cls, entry: Mapping[str, Any]) -> Lane:
        """From one entry of the lane manifest."""
        return cls(
            name=str(entry["name"]),
            gpus=int(entry["gpus"]),
            vcpus=int(entry["vcpus"]),
            memory_mib=int(entry["memory_mib"]),
            hold_minutes=int(entry["hold_minutes"]),
            always_on=bool(entry.get("always_on", False)),
            usd_per_hour=float(entry["usd_per_hour"]),
        )


@dataclass(frozen=True)
class Job:
    """A finished job, as its event tells. Times in epoch seconds."""

    job_id: str
    name: str
    user: str
    project: str
    lane: str
    state: str
    submitted_at: int
    started_at: int
    ended_at: int
    nodes: str
    node_count: int
    tres: Mapping[str, float]

    @property
    def seconds(self) -> int:
        """How long it ran; 0 when it never started."""
        return max(0, self.ended_at - self.started_at) if self.started_at else 0


_MOST = 1e15
_UNITS = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0 * 1024}


def parse(detail: Mapping[str, Any]) -> Job:
    """From the detail of a job event. Errors: KeyError or ValueError for an event that is none."""
    return Job(
        job_id=str(detail["job_id"]),
        name=str(detail["name"]),
        user=str(detail["user"]),
        project=str(detail["project"]),
        lane=str(detail["partition"]),
        state=str(detail["state"]),
        submitted_at=int(detail["submit"]),
        started_at=int(detail["start"]),
        ended_at=int(detail["end"]),
        nodes=str(detail["nodes"]),
        node_count=int(detail["node_count"]),
        tres=parse_tres(str(detail["tres"])),
    )


def parse_tres(text: str) -> dict[str, float]:
    """Slurm's "cpu=8,mem=16G,node=1,gres/gpu=1" as numbers, memory in MiB. Errors: ValueError for what is none.

    Also for one that no machine has: the table of records would refuse it, and with it all that came in one batch.
    """
    found: dict[str, float] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        factor = _UNITS.get(value[-1:])
        found[name] = float(value[:-1]) * factor if factor is not None else float(value)
        if not 0 <= found[name] <= _MOST:
            raise ValueError(f"{part!r} is not what a job has")
    return found
