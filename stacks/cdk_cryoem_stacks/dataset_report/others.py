"""What the same jobs would have taken on other lanes. Pure.

A job that took t on GPUs of speed a takes t x a / b on as many GPUs of speed b, all else being equal. Speeds are those of
the planner's table (`plan/data/speeds.csv`), which says what of them was measured and what is an assumption.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..plan.calibration import Speed, speed
from .model import Elsewhere, Job, Lane, LaneTotal, Range

NO_CPU_SPEEDS = "no speeds of CPUs are known"
NO_GPU = "nodes there have no GPU"
OWN_UNKNOWN = "the GPU that jobs ran on is not known"


def elsewhere(jobs: Sequence[Job], lanes: Sequence[Lane]) -> list[Elsewhere]:
    """For each stage and each lane, the stage's jobs that ran and have a price."""
    by_name = {lane.name: lane for lane in lanes}
    stages: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.stage and job.seconds > 0 and job.usd is not None:
            stages[job.stage].append(job)
    return [_elsewhere(stage, of_it, lane, by_name) for stage, of_it in stages.items() for lane in lanes]


def _elsewhere(stage: str, jobs: Sequence[Job], lane: Lane, by_name: Mapping[str, Lane]) -> Elsewhere:
    ran_usd = round(sum(job.usd or 0.0 for job in jobs), 6)
    ran_seconds = sum(job.seconds for job in jobs)
    here = all(job.lane == lane.name for job in jobs)
    why_not = "" if here else next(filter(None, (_why_not(job, lane, by_name) for job in jobs)), "")
    if why_not:
        return Elsewhere(
            stage=stage, lane=lane.name, seconds=None, usd=None, alone_usd=None, ran_usd=ran_usd, ran_seconds=ran_seconds,
            measured=False, assumed=False, why_not=why_not,
        )  # fmt: skip
    parts = [_part(job, lane, by_name) for job in jobs]
    return Elsewhere(
        stage=stage,
        lane=lane.name,
        seconds=_sum([part.seconds for part in parts]),
        usd=_sum([part.usd for part in parts]),
        alone_usd=_sum([part.alone_usd for part in parts]),
        ran_usd=ran_usd,
        ran_seconds=ran_seconds,
        measured=here,
        assumed=any(_assumed(by_name[job.lane], lane) for job in jobs if job.lane != lane.name),
    )


def _why_not(job: Job, lane: Lane, by_name: Mapping[str, Lane]) -> str:
    """Why a job's time on a lane is not known; empty when it is."""
    own = by_name.get(job.lane)
    if job.lane == lane.name:
        return ""
    if not job.gpus:
        return NO_CPU_SPEEDS
    if lane.gpus < job.gpus:
        return f"jobs used {job.gpus:g} GPUs, and nodes there have fewer" if lane.gpus else NO_GPU
    if own is None or _speed(own) is None:
        return OWN_UNKNOWN
    if _speed(lane) is None:
        return f"the speed of {lane.gpu_model.upper() or 'the GPU there'} is not known"
    return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """What one job takes on a lane."""

    seconds: Range
    usd: Range
    alone_usd: Range


def _part(job: Job, lane: Lane, by_name: Mapping[str, Lane]) -> _Part:
    shares = [job.gpus / lane.gpus if lane.gpus else 0.0, job.cpus / lane.vcpus if lane.vcpus else 0.0]
    # Only where it ran can it have had more than one node.
    nodes = max(1, math.ceil(shares[0]))
    share = min(nodes, max(shares)) or nodes
    seconds = _times(_slowness(job, lane, by_name), job.seconds)
    usd = _times(seconds, share * lane.usd_per_hour / 3600)
    if job.lane == lane.name and job.usd is not None:
        usd = (job.usd, job.usd, job.usd)
    return _Part(seconds=seconds, usd=usd, alone_usd=_times(seconds, nodes * lane.usd_per_hour / 3600))


def _slowness(job: Job, lane: Lane, by_name: Mapping[str, Lane]) -> Range:
    """How many times as long a job takes on a lane."""
    if job.lane == lane.name or by_name[job.lane].gpu_model == lane.gpu_model:
        return 1.0, 1.0, 1.0
    own, other = _speed(by_name[job.lane]), _speed(lane)
    assert own is not None
    assert other is not None
    return own.low / other.high, own.likely / other.likely, own.high / other.low


def _speed(lane: Lane) -> Speed | None:
    try:
        return speed(lane.gpu_model) if lane.gpu_model else None
    except LookupError:
        return None


def _assumed(own: Lane, other: Lane) -> bool:
    if own.gpu_model == other.gpu_model:
        return False
    return any(found.assumption for found in (_speed(own), _speed(other)) if found)


def _times(given: Range, factor: float) -> Range:
    return given[0] * factor, given[1] * factor, given[2] * factor


def _sum(given: Sequence[Range]) -> Range:
    return sum(r[0] for r in given), sum(r[1] for r in given), sum(r[2] for r in given)


def totals(found: Sequence[Elsewhere]) -> list[LaneTotal]:
    """For each lane, all stages of which something is known there, taken together."""
    lanes: dict[str, list[Elsewhere]] = defaultdict(list)
    for each in found:
        if each.usd is not None:
            lanes[each.lane].append(each)
    return [
        LaneTotal(
            lane=lane,
            stages=[each.stage for each in of_it],
            seconds=_sum([each.seconds for each in of_it if each.seconds]),
            usd=_sum([each.usd for each in of_it if each.usd]),
            alone_usd=_sum([each.alone_usd for each in of_it if each.alone_usd]),
            ran_usd=round(sum(each.ran_usd for each in of_it), 6),
            ran_seconds=sum(each.ran_seconds for each in of_it),
            measured=all(each.measured for each in of_it),
            assumed=any(each.assumed for each in of_it),
        )
        for lane, of_it in lanes.items()
    ]


def assumptions_of(found: Sequence[Elsewhere], lanes: Sequence[Lane]) -> list[str]:
    """What the comparison takes for granted, in sentences; none when there is nothing to compare."""
    if not any(each.usd is not None and not each.measured for each in found):
        return []
    said = [
        "A job that took t on one GPU model takes t x speed / speed on another, on as many GPUs and with the same CPUs; memory"
        " and disk are taken to be enough."
    ]
    models = dict.fromkeys(lane.gpu_model for lane in lanes if lane.gpu_model)
    for model in models:
        known = next((_speed(lane) for lane in lanes if lane.gpu_model == model), None)
        if known is None:
            said.append(f"{model.upper()}: no speed is known, so that lanes with it are left out.")
            continue
        spread = f", {known.low:g} to {known.high:g}" if known.low != known.high else ""
        how = "an assumption" if known.assumption else known.source
        said.append(f"{model.upper()}: {known.likely:g} of an A100 with 40 GB{spread} ({how}).")
    return said
