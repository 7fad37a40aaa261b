"""Data repository tasks of FSx for Lustre: export, import, release. They run in a thread and really copy.

What differs from FSx: a release frees no space (content is read from S3 again at once), goes by the times of reading and
writing but not by that of the last change of metadata, and which error FSx gives for an export task beside an automatic
export is not known.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from .extension import ApiError, Json, account, client, in_this_context, region
from .lustre_sync import Association, export_all, import_once, release

_RUNNING = ("PENDING", "EXECUTING", "CANCELING")
_DAY = 24 * 3600.0

tasks: dict[str, Json] = {}
_tokens: dict[str, str] = {}


def create(args: Json, associations: Mapping[str, Association]) -> Json:
    """CreateDataRepositoryTask on a file system with these associations, by the folder of each, such as /data."""
    token = args.get("ClientRequestToken", "")
    if token in _tokens:
        return {"DataRepositoryTask": tasks[_tokens[token]]}
    if not associations:
        raise ApiError("BadRequest", "the file system has no data repository association")
    if any(t["FileSystemId"] == args["FileSystemId"] and t["Lifecycle"] in _RUNNING for t in tasks.values()):
        raise ApiError("DataRepositoryTaskExecuting", "another data repository task is executing")
    work = _WORK[args["Type"]](args, associations)
    name = f"task-{os.urandom(9).hex()[:17]}"
    tasks[name] = {
        "TaskId": name,
        "Lifecycle": "PENDING",
        "Type": args["Type"],
        "CreationTime": datetime.now(UTC),
        "ResourceARN": f"arn:aws:fsx:{region()}:{account()}:task/{name}",
        "FileSystemId": args["FileSystemId"],
        "Paths": args.get("Paths", []),
        "Report": args["Report"],
        **({"ReleaseConfiguration": args["ReleaseConfiguration"]} if "ReleaseConfiguration" in args else {}),
    }
    if token:
        _tokens[token] = name
    threading.Thread(target=in_this_context(_run), args=(tasks[name], work), daemon=True, name=name).start()
    return {"DataRepositoryTask": tasks[name]}


def describe(args: Json) -> Json:
    """DescribeDataRepositoryTasks."""
    found = [task for name, task in tasks.items() if name in args.get("TaskIds", tasks)]
    for rule in args.get("Filters", []):
        field = {"file-system-id": "FileSystemId", "task-lifecycle": "Lifecycle"}.get(rule["Name"])
        if field is None:
            raise ApiError("BadRequest", f"the twin does not filter tasks by {rule['Name']}")
        found = [task for task in found if task[field] in rule["Values"]]
    return {"DataRepositoryTasks": found}


def running(file_system_id: str) -> bool:
    """Whether a task of this file system has not ended."""
    return any(t["FileSystemId"] == file_system_id and t["Lifecycle"] in _RUNNING for t in tasks.values())


def _run(task: Json, work: Callable[[], int]) -> None:
    task |= {"Lifecycle": "EXECUTING", "StartTime": datetime.now(UTC)}
    try:
        count = work()
    except (BotoCoreError, ClientError, OSError) as error:
        task |= {"FailureDetails": {"Message": str(error)[:256]}, "Lifecycle": "FAILED"}
    else:
        status = {"TotalCount": count, "SucceededCount": count, "FailedCount": 0}
        task |= {"Status": {**status, "LastUpdatedTime": datetime.now(UTC)}, "Lifecycle": "SUCCEEDED"}
    task["EndTime"] = datetime.now(UTC)


def _below(folder: str, path: str) -> str | None:
    """What of an association's folder a path of the file system means, None for nothing of it."""
    here, wanted = folder.strip("/"), path.strip("/")
    if not wanted or here == wanted or here.startswith(f"{wanted}/"):
        return ""
    return wanted.removeprefix(f"{here}/") if wanted.startswith(f"{here}/") else None


def _parts(args: Json, associations: Mapping[str, Association]) -> list[tuple[Association, str]]:
    paths = args.get("Paths") or [""]
    found = [
        (association, below)
        for path in paths
        for folder, association in associations.items()
        if (below := _below(folder, path)) is not None
    ]
    if not found:
        raise ApiError("BadRequest", f"{paths} are below no data repository association")
    return found


def _export(args: Json, associations: Mapping[str, Association]) -> Callable[[], int]:
    parts = _parts(args, associations)
    if any(association.exports for association, _ in parts):
        raise ApiError("BadRequest", "automatic export and export tasks cannot run at the same time")
    return lambda: sum(export_all(association, client("s3"), below=below) for association, below in parts)


def _import(args: Json, associations: Mapping[str, Association]) -> Callable[[], int]:
    paths = args.get("Paths") or []
    chosen = [
        (each, path.removeprefix(here) if path.startswith(here) else "")
        for each in associations.values()
        for path in paths or [""]
        if (here := f"s3://{each.bucket}/{each.prefix}").startswith(path) or path.startswith(here)
    ]
    if not chosen:
        raise ApiError("BadRequest", f"{paths} are in no linked data repository")
    return lambda: sum(import_once(each, client("s3"), below=below, whatever=True) for each, below in chosen)


def _release(args: Json, associations: Mapping[str, Association]) -> Callable[[], int]:
    parts = _parts(args, associations)
    since: Any = args.get("ReleaseConfiguration", {}).get("DurationSinceLastAccess", {})
    idle = since.get("Value", 0) * _DAY
    return lambda: sum(
        release(association, client("s3"), below=below, idle_seconds=idle, now=time.time())
        for association, below in parts
    )


_WORK: Mapping[str, Callable[[Json, Mapping[str, Association]], Callable[[], int]]] = {
    "EXPORT_TO_REPOSITORY": _export,
    "IMPORT_METADATA_FROM_REPOSITORY": _import,
    "RELEASE_DATA_FROM_FILESYSTEM": _release,
}
