"""Every quarter of an hour: is the file system well, do its associations work; once a day, release what nobody uses."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError

from . import file_system, release
from .events_out import FileSystemTrouble
from .file_system import Expected, Trouble
from .hints import log
from .outbox import Outbox
from .records import Records
from .redrive import redrive

if TYPE_CHECKING:
    from mypy_boto3_ec2 import EC2Client
    from mypy_boto3_fsx import FSxClient
    from mypy_boto3_sqs import SQSClient

_KIND, _RELEASE = "file-system", "release"
_REMEMBERED_DAYS = 400


@dataclass(frozen=True)
class Care:
    """What the function was told, what is written down, and the clients. after_days: 0 for no release."""

    file_system_id: str
    expected: tuple[Expected, ...]
    after_days: int
    recipe: str
    instance_tag: tuple[str, str]
    head_node: str
    records: Records
    outbox: Outbox
    dead_letters: str
    fsx: FSxClient
    ec2: EC2Client
    sqs: SQSClient


@functools.cache
def care() -> Care:
    """The real one, made once for a warm function. Errors: KeyError naming the variable that is missing."""
    environment, dynamodb = os.environ, boto3.client("dynamodb")
    table, cluster = environment["RECORDS_TABLE"], environment["CLUSTER"]
    key, _, value = environment["INSTANCE_TAG"].partition("=")
    return Care(
        file_system_id=environment["FILE_SYSTEM"],
        expected=Expected.parse(environment["ASSOCIATIONS"]),
        after_days=int(environment["RELEASE_AFTER_DAYS"] or 0),
        recipe=environment["RECIPE"],
        instance_tag=(key, value),
        head_node=environment["HEAD_NODE"],
        records=Records(table, cluster=cluster, dynamodb=dynamodb),
        outbox=Outbox(
            table,
            cluster=cluster,
            event_bus=environment["EVENT_BUS"],
            dynamodb=dynamodb,
            events=boto3.client("events"),
        ),
        dead_letters=environment["DEAD_LETTERS"],
        fsx=boto3.client("fsx"),
        ec2=boto3.client("ec2"),
        sqs=boto3.client("sqs"),
    )


def handler(event: object, context: object) -> dict[str, Any]:
    """Entry point. Nothing of the event is looked at: the truth is FSx's."""
    c, now = care(), time.time()
    described = _described(c)
    tasks = [] if described is None else _pages(c.fsx.describe_data_repository_tasks, "DataRepositoryTasks", c)
    found = file_system.troubles(
        file_system_id=c.file_system_id,
        file_system=described,
        associations=[]
        if described is None
        else _pages(c.fsx.describe_data_repository_associations, "Associations", c),
        tasks=tasks,
        expected=c.expected,
    )
    _tell(c, found, now=now)
    # Before anything is released: that may fail, and what is wrong is told all the same.
    c.outbox.flush()
    released = ""
    if c.after_days and described is not None:
        _note_ended(c, tasks)
        # A file system that is not well has other worries; a release that failed is no reason not to try again.
        well = described["Lifecycle"] == "AVAILABLE" and all(trouble.kind == "task" for trouble in found)
        released = _release(c, tasks, now=now) if well else ""
    # Looks that failed: this one has done what they did not.
    redrive(c.sqs, dead=c.dead_letters, queue="", parse=lambda event: event)
    return {"troubles": len(found), "released": released}


def _tell(c: Care, found: list[Trouble], *, now: float) -> None:
    for trouble in found:
        fields = {
            "kind": trouble.kind,
            "id": trouble.id,
            "path": trouble.path,
            "state": trouble.state,
            "since": now,
            "reason": trouble.reason,
            "advice": trouble.advice,
        }
        if c.records.note_once(_KIND, trouble.name, fields=fields, events=[FileSystemTrouble(**fields)]):  # type: ignore[arg-type]
            log.warning("file system trouble: %s %s: %s", trouble.id, trouble.state, trouble.reason)
    for name in file_system.over(c.records.known(_KIND), found):
        c.records.forget(_KIND, name)
    # The metric behind the alarm is read out of this line (cdk_cryoem.FileSystemCare).
    log.info("looked at %s", c.file_system_id, extra={"file_system_troubles": len(found)})


def _release(c: Care, tasks: list[dict[str, Any]], *, now: float) -> str:
    """The task that was started, or nothing."""
    records = c.records.known(_RELEASE)
    looked_at = next((float(each["looked_at"]) for each in records if each["sk"] == release.LOOKED), None)
    if looked_at is None:
        # Never looked: due at once, and the time over which it may be put off begins.
        looked_at = now - release.DAY
        c.records.note(_RELEASE, release.LOOKED, fields={"looked_at": looked_at})
    why_not = release.not_now(tasks, nodes_on=_nodes_on(c), looked_at=looked_at, now=now, records=records)
    if why_not:
        log.info("nothing is released: %s", why_not)
        return ""
    planned = release.plan(
        c.records.datasets(),
        jobs=c.records.jobs(),
        released=release.released_at(records),
        recipe=c.recipe,
        after_days=c.after_days,
        now=now,
        failed=release.failed(records),
    )
    task = _start(c, planned, now=now) if planned.datasets else ""
    if task is None:
        return ""
    c.records.note(_RELEASE, release.LOOKED, fields={"looked_at": now})
    if planned.put_off:
        log.info("nothing is released: %s", planned.put_off)
    return task


def _start(c: Care, planned: release.Plan, *, now: float) -> str | None:
    """The task's id; None when another task got in between."""
    try:
        task = c.fsx.create_data_repository_task(
            Type="RELEASE_DATA_FROM_FILESYSTEM",
            FileSystemId=c.file_system_id,
            Paths=planned.paths(),
            Report={"Enabled": False},
            ReleaseConfiguration={"DurationSinceLastAccess": {"Unit": "DAYS", "Value": c.after_days}},
            ClientRequestToken=planned.token(now=now),
        )["DataRepositoryTask"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "DataRepositoryTaskExecuting":
            raise
        log.info("nothing is released: another task has just begun")
        return None
    name = task["TaskId"]
    fields = {
        "state": task["Lifecycle"],
        "began_at": now,
        "datasets": json.dumps(planned.datasets, ensure_ascii=False),
        "after_days": c.after_days,
        "expires_at": int(now + _REMEMBERED_DAYS * release.DAY),
    }
    c.records.note(_RELEASE, name, fields=fields)
    log.info("released by %s: %s", name, ", ".join(planned.datasets))
    return name


def _note_ended(c: Care, tasks: list[dict[str, Any]]) -> None:
    for record, task in release.ended(c.records.known(_RELEASE), tasks):
        status = task.get("Status", {})
        counts = {"files": status.get("SucceededCount", 0), "failed": status.get("FailedCount", 0)}
        fields = {name: value for name, value in record.items() if name not in ("pk", "sk")}
        c.records.note(_RELEASE, record["sk"], fields={**fields, **counts, "state": task["Lifecycle"]})
        log.info("release %s has ended: %s, %s", record["sk"], task["Lifecycle"], counts)


def _described(c: Care) -> Mapping[str, Any] | None:
    try:
        return c.fsx.describe_file_systems(FileSystemIds=[c.file_system_id])["FileSystems"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] != "FileSystemNotFound":
            raise
        return None


def _pages(call: Any, key: str, c: Care) -> list[dict[str, Any]]:
    """Of this file system alone. boto3 has no paginators for these calls."""
    found: list[dict[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        answer = call(Filters=[{"Name": "file-system-id", "Values": [c.file_system_id]}], **more)
        found += answer[key]
        if not answer.get("NextToken"):
            return found
        more = {"NextToken": answer["NextToken"]}


def _nodes_on(c: Care) -> bool:
    key, value = c.instance_tag
    pages = c.ec2.get_paginator("describe_instances").paginate(
        Filters=[
            {"Name": f"tag:{key}", "Values": [value]},
            {"Name": "instance-state-name", "Values": ["pending", "running"]},
        ]
    )
    return any(
        each["InstanceId"] != c.head_node
        for page in pages
        for reservation in page["Reservations"]
        for each in reservation["Instances"]
    )
