"""Objects were created, or a transfer ended: look at the datasets concerned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import boto3

from .converge import World, announce_landed, arriving, converge_datasets, world
from .datasets import dataset_of
from .hints import Event, work_off


@dataclass(frozen=True)
class Hint:
    """A dataset something was added to, or a transfer that ended."""

    dataset: str | None = None
    execution: str | None = None


def handler(batch: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Entry point."""
    return work_off(batch, parse=parse, act=act)


def parse(event: Event) -> Hint:
    """An S3 or a DataSync event."""
    if event["source"] == "aws.datasync":
        return Hint(execution=next(arn for arn in event["resources"] if "/execution/" in arn))
    return Hint(dataset=dataset_of(event["detail"]["object"]["key"]))


def act(hints: Sequence[Hint]) -> None:
    """Converge the datasets these hints speak of; all that are arriving when a transfer has ended."""
    w = world()
    executions = sorted({hint.execution for hint in hints if hint.execution})
    for execution in executions:
        _note_transfer(w, execution)
    names = {hint.dataset for hint in hints if hint.dataset}
    converge_datasets(w, names.union(arriving(w) if executions else ()))
    announce_landed(w)


def _note_transfer(w: World, execution: str) -> None:
    found = boto3.client("datasync").describe_task_execution(TaskExecutionArn=execution)
    w.records.note_transfer(
        execution.partition("/execution/")[0],
        began=found["StartTime"].timestamp(),
        files=found.get("FilesTransferred", 0),
    )
