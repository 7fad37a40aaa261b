"""A job has finished: write it down with its price, and shut down what nobody needs any more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import jobs
from .converge import converge_nodes, note_jobs, world
from .hints import Event, work_off


def handler(batch: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Entry point."""
    return work_off(batch, parse=parse, act=act)


def parse(event: Event) -> jobs.Job:
    """A job event of the head node."""
    return jobs.parse(event["detail"])


def act(finished: Sequence[jobs.Job]) -> None:
    """Write the jobs down, then converge the nodes."""
    w = world()
    note_jobs(w, finished)
    converge_nodes(w)
