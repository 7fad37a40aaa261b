"""Objects were created, or a transfer ended: look at the datasets concerned, and wake the head node for them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import transfers
from .datasets import dataset_of
from .hints import Event, work_off
from .reconcile import datasets, head_node
from .world import World, world

_TASK_STATE = "DataSync Task State Change"


@dataclass(frozen=True)
class Hint:
    """A dataset and the file that was added to it, or a transfer that ended, or a task whose state is another."""

    dataset: str | None = None
    file: str = ""
    execution: str | None = None
    task: str | None = None


def handler(batch: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Entry point."""
    return work_off(batch, parse=parse, act=act)


def parse(event: Event) -> Hint:
    """An S3 or a DataSync event."""
    if event["source"] == "aws.datasync":
        if event.get("detail-type") == _TASK_STATE:
            return Hint(task=event["resources"][0])
        return Hint(execution=next(arn for arn in event["resources"] if "/execution/" in arn))
    key = event["detail"]["object"]["key"]
    return Hint(dataset=dataset_of(key), file=key.rpartition("/")[2])


def act(hints: Sequence[Hint]) -> None:
    """The datasets these hints speak of; all that are arriving when a transfer has ended."""
    w = world()
    executions = sorted({hint.execution for hint in hints if hint.execution})
    for execution in executions:
        _note_transfer(w, execution)
    for task in sorted({hint.task for hint in hints if hint.task}):
        _note_state(w, task)
    names = datasets.of_hints(w, [(hint.dataset, hint.file) for hint in hints if hint.dataset])
    datasets.reconcile(w, [*names, *(datasets.arriving(w) if executions else ())])
    try:
        # Neither waits for the other.
        head_node.reconcile(w)
    finally:
        w.outbox.flush()


def _note_transfer(w: World, execution: str) -> None:
    task = w.datasync.describe_task(TaskArn=execution.partition("/execution/")[0])
    found = w.datasync.describe_task_execution(TaskExecutionArn=execution)
    transfers.note(w.records, transfers.Run.of(execution, found, task))


def _note_state(w: World, task: str) -> None:
    """Events of a task's state are late or do not come at all: what it is now counts."""
    run = transfers.Run.that_cannot_begin(task, w.datasync.describe_task(TaskArn=task), now=time.time())
    if run is not None:
        transfers.note_failed(w.records, run)
