"""A job has finished: write it down with its price, and shut down what nobody needs any more."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from . import jobs
from .hints import Event, work_off
from .jobs import Job, Lane
from .nodes import Status, held_seconds
from .reconcile import jobs as job_records
from .reconcile import nodes
from .world import World, world

LOOK_AGAIN = "Look Again"
# The longest delay of a queue (SQS API reference, SendMessage); a longer hold ends with a sweep.
_LONGEST_DELAY = 900


def handler(batch: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Entry point."""
    return work_off(batch, parse=parse, act=act)


def parse(event: Event) -> Job | None:
    """A job event of the head node, or our own reminder that a hold has ended, which carries nothing."""
    return None if event["detail-type"] == LOOK_AGAIN else jobs.parse(event["detail"])


def act(hints: Sequence[Job | None]) -> None:
    """Write the jobs down, then converge the nodes; look again when a node's hold ends."""
    w = world()
    finished = [job for job in hints if job is not None]
    _, lanes = w.manifest()
    job_records.note(w, finished, lanes)
    status = nodes.reconcile(w)
    if status is not None:
        _remind(w, finished, lanes, status)
    w.outbox.flush()


def _remind(w: World, finished: Iterable[Job], lanes: Iterable[Lane], status: Status) -> None:
    """Only for jobs, never for a reminder: so that there are never more of these than of those."""
    used = {job.lane for job in finished}
    held = {held_seconds(lane, status, waiting=w.settings.waiting) for lane in lanes if lane.name in used}
    for seconds in sorted(s for s in held if 0 < s <= _LONGEST_DELAY):
        w.sqs.send_message(
            QueueUrl=os.environ["QUEUE_URL"],
            MessageBody=json.dumps({"source": "cryoem.hooks", "detail-type": LOOK_AGAIN, "detail": {}}),
            # LastBusyTime has whole seconds.
            DelaySeconds=min(_LONGEST_DELAY, int(seconds) + 2),
        )
