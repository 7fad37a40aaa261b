"""What the jobs of a project took, in place of what was published: for who computes such a dataset again. Pure.

All completed jobs of a stage count together, tries included. A job is of the stage that its name tells, and ran on the GPUs of its
lane's first type: records do not say which of a lane's types it was.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdk_cryoem import Lane

from ..dataset_report import names
from .calibration import speed
from .work import Range, Work

COMPLETED = "COMPLETED"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Steps with what jobs took. jobs: how many, by stage. passed_over: of the project, but of no stage or lane that is known."""

    works: Sequence[Work]
    jobs: Mapping[str, int]
    passed_over: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Run:
    """A job: its minutes on so many GPUs of a model."""

    minutes: float
    gpus: float
    gpu_model: str


def measured(
    works: Sequence[Work], items: Iterable[Mapping[str, Any]], *, project: str, lanes: Sequence[Lane]
) -> Measured:
    """The steps, those of stages with completed jobs as these took. items: records of jobs, as the hooks write them."""
    by_name = {lane.name: lane for lane in lanes}
    stages = {work.step.stage for work in works}
    runs: dict[str, list[_Run]] = defaultdict(list)
    passed_over = 0
    for item in items:
        gpus, seconds = float(item.get("gpus", 0)), float(item.get("seconds", 0))
        if item.get("project") != project or item.get("state") != COMPLETED or seconds <= 0 or gpus < 1:
            continue
        stage, lane = names.read(str(item.get("name", "")), gpus=gpus).stage, by_name.get(str(item.get("lane")))
        if stage not in stages or lane is None or not lane.gpus:
            passed_over += 1
            continue
        model = lane.shapes[lane.instance_types[0]].gpu_model
        runs[stage].append(_Run(minutes=seconds / 60, gpus=gpus, gpu_model=model))
    found = [_took(work, works, runs[work.step.stage]) if runs.get(work.step.stage) else work for work in works]
    return Measured(works=found, jobs={stage: len(some) for stage, some in runs.items()}, passed_over=passed_over)


def _took(work: Work, works: Sequence[Work], runs: Sequence[_Run]) -> Work:
    """A step with the minutes of its stage's jobs, on the model that most of them ran on. Steps of one stage share them."""
    model = max(
        sorted({run.gpu_model for run in runs}), key=lambda model: sum(r.minutes for r in runs if r.gpu_model == model)
    )
    total = sum(
        run.minutes
        * min(run.gpus, work.step.gpus) / work.step.gpus
        * speed(run.gpu_model).likely / speed(model).likely
        for run in runs
    )  # fmt: skip
    same = [each for each in works if each.step.stage == work.step.stage]
    share = work.minutes.likely / sum(each.minutes.likely for each in same)
    return dataclasses.replace(work, minutes=Range.of(total * share), scaled=False, gpu_model=model)
