"""A microscope's transfer takes as much of the line as the hour allows: look, and write what differs."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from .hours import WorkingHours
from .redrive import redrive

if TYPE_CHECKING:
    from mypy_boto3_datasync import DataSyncClient

log = logging.getLogger("cryoem")
log.setLevel(logging.INFO)

UNLIMITED = -1
"""What DataSync's BytesPerSecond is without a limit."""
_UNDER_WAY = {"QUEUED", "LAUNCHING", "PREPARING", "TRANSFERRING", "VERIFYING"}
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Window:
    """Hours, and the most bytes per second in them."""

    hours: WorkingHours
    limit: int

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Window:
        """From the hours' own document and limit_mibps."""
        return cls(hours=WorkingHours.parse(document), limit=_bytes(document["limit_mibps"]))


@dataclass(frozen=True)
class Pace:
    """What the function was told: the task, its windows, the limit outside them, and the queue of looks that failed."""

    task: str
    windows: tuple[Window, ...]
    otherwise: int
    dead_letters: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Pace:
        """Read the environment. Errors: KeyError naming the variable that is missing."""
        otherwise = environment["OTHERWISE_MIBPS"]
        return cls(
            task=environment["TASK"],
            windows=tuple(Window.parse(document) for document in json.loads(environment["WINDOWS"])),
            otherwise=_bytes(int(otherwise) if otherwise else None),
            dead_letters=environment["DEAD_LETTERS"],
        )


def handler(event: object, context: object) -> None:
    """Entry point."""
    pace = Pace.from_environment()
    act(boto3.client("datasync"), pace.task, wanted(time.time(), pace.windows, pace.otherwise))
    # Looks that failed: this one has done what they did not.
    redrive(boto3.client("sqs"), dead=pace.dead_letters, queue="", parse=lambda event: event)


def wanted(now: float, windows: Sequence[Window], otherwise: int) -> int:
    """Bytes per second that hold at a moment: the lowest limit of the windows it is in, else the other one."""
    held = [window.limit for window in windows if window.hours.contain(now)]
    limits = [limit for limit in held if limit != UNLIMITED]
    return min(limits) if limits else UNLIMITED if held else otherwise


def act(datasync: DataSyncClient, task: str, limit: int) -> None:
    """Bring the task, and each run of it that is not over, to this limit."""
    # Runs first: whatever DataSync says to a change of the task while one is under way, the line is kept.
    for execution in _under_way(datasync, task):
        run = datasync.describe_task_execution(TaskExecutionArn=execution)
        if run.get("Options", {}).get("BytesPerSecond", UNLIMITED) == limit:
            continue
        try:
            datasync.update_task_execution(TaskExecutionArn=execution, Options={"BytesPerSecond": limit})
        except ClientError:
            if datasync.describe_task_execution(TaskExecutionArn=execution)["Status"] in _UNDER_WAY:
                raise
        else:
            log.info("%s: %s bytes per second", execution, limit)
    options = datasync.describe_task(TaskArn=task)["Options"]
    if options.get("BytesPerSecond", UNLIMITED) != limit:
        # All of them again: an option that is left out may fall back to DataSync's default.
        datasync.update_task(TaskArn=task, Options={**options, "BytesPerSecond": limit})
        log.info("%s: %s bytes per second", task, limit)


def _under_way(datasync: DataSyncClient, task: str) -> Iterator[str]:
    for page in datasync.get_paginator("list_task_executions").paginate(TaskArn=task):
        for entry in page["TaskExecutions"]:
            if entry["Status"] in _UNDER_WAY:
                yield entry["TaskExecutionArn"]


def _bytes(mibps: int | None) -> int:
    return UNLIMITED if mibps is None else mibps * _MIB
