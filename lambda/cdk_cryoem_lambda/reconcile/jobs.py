"""Finished jobs: each is priced and written down once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from ..events_out import JobFinished
from ..hints import log
from ..jobs import Job, Lane
from ..meter import MICRO, amounts, price_micro_usd, totals_of
from ..world import World


def note(w: World, finished: Iterable[Job], lanes: Iterable[Lane]) -> None:
    """Write them down, with what is to be said of them."""
    by_name = {lane.name: lane for lane in lanes}
    for job in finished:
        lane = by_name.get(job.lane)
        micro_usd = None if lane is None else price_micro_usd(job, lane)
        usd = None if micro_usd is None else micro_usd / MICRO
        event = JobFinished(
            job_id=job.job_id,
            name=job.name,
            user=job.user,
            project=job.project,
            lane=job.lane,
            state=job.state,
            submitted_at=job.submitted_at,
            started_at=job.started_at,
            ended_at=job.ended_at,
            seconds=job.seconds,
            nodes=job.nodes,
            gpus=job.tres.get("gres/gpu", 0.0),
            cpus=job.tres.get("cpu", 0.0),
            usd=usd,
        )
        # What is written down is what is told, but for its key.
        fields = {
            name: value for name, value in dataclasses.asdict(event).items() if name != "job_id" and value is not None
        }
        spent = dict.fromkeys(totals_of(job), amounts(job, micro_usd))
        if w.records.note_job(job_id=job.job_id, ended_at=job.ended_at, fields=fields, spent=spent, events=[event]):
            log.info("job %s on %s: %s, %s s, %s USD", job.job_id, job.lane, job.state, job.seconds, usd)
