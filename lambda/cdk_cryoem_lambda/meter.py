"""Decisions about money: what a finished job cost to the millionth of a dollar, and which totals it counts in.

Money is whole millionths of a dollar (micro-USD) wherever it is added up: a sum of such numbers is exact in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction

from .jobs import Job, Lane

MICRO = 1_000_000
ALWAYS = "always"


def node_share(job: Job, lane: Lane) -> Fraction:
    """The part of its nodes that a job kept from others: the largest of its shares in GPUs, CPUs and memory.

    The whole node when Slurm did not say what the job had.
    """
    nodes = max(1, job.node_count)
    shares = [
        Fraction(job.tres.get(name, 0.0)) / (has * nodes)
        for name, has in (("gres/gpu", lane.gpus), ("cpu", lane.vcpus), ("mem", lane.memory_mib))
        if has
    ]
    return min(Fraction(1), max(shares)) or Fraction(1)


def price_micro_usd(job: Job, lane: Lane) -> int:
    """Run time x nodes x the lane's price x the job's share of a node, rounded half to even."""
    # By its shortest decimal: 1.006 USD an hour is what the price list says, its binary neighbour is not.
    per_hour = Fraction(repr(lane.usd_per_hour)) * MICRO
    return round(Fraction(job.seconds, 3600) * max(1, job.node_count) * per_hour * node_share(job, lane))


def month_of(at: float) -> str:
    """The calendar month of a moment, UTC: 2026-11."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m")


def totals_of(job: Job) -> tuple[str, ...]:
    """Names of the totals that a job counts in. It counts in the month in which it ended.

    A project is the folder below /fsx/projects, empty for a job that was started elsewhere; that of a dataset has the
    dataset's name.
    """
    month = month_of(job.ended_at)
    return (
        f"{month}#month",
        f"{month}#lane#{job.lane}",
        f"{month}#user#{job.user}",
        f"{month}#project#{job.project}",
        f"{ALWAYS}#project#{job.project}",
    )


def amounts(job: Job, micro_usd: int | None) -> Mapping[str, int]:
    """What one job adds to each of its totals. micro_usd: None for a job whose partition is no lane."""
    return {
        "jobs": 1,
        "usd_micro": micro_usd or 0,
        "unpriced": int(micro_usd is None),
        "seconds": job.seconds,
        "gpu_seconds": round(job.seconds * job.tres.get("gres/gpu", 0.0)),
    }
