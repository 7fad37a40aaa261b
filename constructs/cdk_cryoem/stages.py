"""The stages of processing, and the lane that each of them belongs on.

The table is `head_node/lib/cryoem_head/stages.csv`; its head and its last column say where every row comes from. It lies
there because the head node reads it too: one table for both.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ._assets import head_node_root
from .lane import SPOT_SUFFIX, Capacity, Lane
from .problems import Problem

_TABLE = head_node_root() / "lib" / "cryoem_head" / "stages.csv"
_LIVE = "live"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One step of processing, as both clients do it.

    name, description: of the stage. gpus: how many GPUs one of its jobs makes good use of, 0 for none.
    lane: the lane it belongs on where a system has one of that name. memory: what its cryoSPARC jobs are given besides
    the lane's memory multiplier, x this. cryosparc_job_types, relion_job_types: types as the clients name them, possibly
    none. source: where the row comes from, and what in it is an assumption.
    """

    name: str
    description: str
    gpus: int
    lane: str
    memory: float
    cryosparc_job_types: tuple[str, ...]
    relion_job_types: tuple[str, ...]
    source: str


@functools.cache
def stages() -> Mapping[str, Stage]:
    """All stages by name, in the order in which a dataset goes through them."""
    lines = [line for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return {
        row["stage"]: Stage(
            name=row["stage"],
            description=row["description"],
            gpus=int(row["gpus"]),
            lane=row["lane"],
            memory=float(row["memory"]),
            cryosparc_job_types=tuple(row["cryosparc_job_types"].split()),
            relion_job_types=tuple(row["relion_job_types"].split()),
            source=row["source"],
        )
        for row in csv.DictReader(lines)
    }


def stage_lanes(lanes: Sequence[Lane], overrides: Mapping[str, str]) -> Mapping[str, str]:
    """The lane of each stage: one of the lanes given, always (none without lanes).

    The lane that the overrides name; else the one of the default name; else the smallest one with enough GPUs, or if
    none has enough the one with most. A lane without GPUs is never chosen for a stage that uses some if another has
    them, except by an override. An override that names no lane is passed over here; `stage_problems` reports it.
    """
    by_name = {lane.name: lane for lane in lanes}
    return {
        stage.name: overrides[stage.name] if overrides.get(stage.name) in by_name else _suggested(stage, lanes, by_name)
        for stage in stages().values()
        if lanes
    }


def _suggested(stage: Stage, lanes: Sequence[Lane], by_name: Mapping[str, Lane]) -> str:
    default = by_name.get(stage.lane)
    if default and (default.gpus or not stage.gpus):
        return default.name

    def size(lane: Lane) -> tuple[bool, int, int, bool, bool, float]:
        short = max(0, stage.gpus - lane.gpus)
        # Among lanes of one size: not spot, because cryoSPARC's jobs do not go on after a kill, and not the one that a
        # running microscope needs.
        return (bool(stage.gpus) and not lane.gpus, short, lane.gpus, lane.capacity is Capacity.SPOT,
                lane.name == _LIVE, lane.usd_per_hour)  # fmt: skip

    return min(lanes, key=size).name


def stage_problems(overrides: Mapping[str, str], lanes: Sequence[Lane]) -> Iterator[Problem]:
    """Everything wrong with stages that were put on other lanes than the default ones."""
    by_name = {lane.name: lane for lane in lanes}
    for name, lane_name in overrides.items():
        stage, lane = stages().get(name), by_name.get(lane_name)
        if stage is None:
            yield Problem(
                property=f"stages.{name}", value=lane_name, allowed=f"one of the stages {', '.join(stages())}"
            )
        if lane is None:
            yield Problem(property=f"stages.{name}", value=lane_name, allowed=f"one of the lanes {', '.join(by_name)}")
        if stage and lane and stage.gpus and not lane.gpus:
            yield Problem(
                property=f"stages.{name}",
                value=lane_name,
                allowed="a lane with GPUs, which the jobs of this stage ask for",
                fix=_cpu_hint(stage),
            )


def _cpu_hint(stage: Stage) -> str:
    twin = stages().get(f"{stage.name}-cpu")
    return f"Its jobs that need no GPU are the stage {twin.name}" if twin else ""


def lane_warnings(lanes: Sequence[Lane], stages: Mapping[str, str], license_tokens: int | None) -> list[str]:
    """What is allowed but probably not meant: lanes that no stage uses, and more GPUs than cryoSPARC's licence.

    stages: the lane of each stage, as `stage_lanes` says. license_tokens: GPUs that the licence allows at once, None when
    that is not known. A lane's spot twin counts as used if the lane is.
    """
    used = set(stages.values())
    names = {lane.name for lane in lanes}
    warnings = [
        f"lanes: no stage uses lane {lane.name!r}, so people will find it only by its name. Name it in stages"
        f" (stages: {{STAGE: {lane.name}}}) or remove it"
        for lane in lanes
        if lane.name not in used and not (_twin_of(lane) in names and _twin_of(lane) in used)
    ]
    gpus = {lane.name: (lane.max_nodes, lane.gpus) for lane in lanes if lane.gpus}
    most = sum(nodes * each for nodes, each in gpus.values())
    if license_tokens is not None and most > license_tokens:
        listed = ", ".join(f"{name} {nodes} x {each}" for name, (nodes, each) in gpus.items())
        warnings.append(
            f"lanes: max_nodes x gpus of all lanes is {most} ({listed}), cryosparc.license_tokens is {license_tokens}."
            " cryoSPARC counts a token for each GPU in use, so its jobs above that wait (waiting_licenses)."
            " Lower max_nodes, or state the tokens you have"
        )
    return warnings


def _twin_of(lane: Lane) -> str:
    return lane.name.removesuffix(SPOT_SUFFIX) if lane.capacity is Capacity.SPOT else ""
