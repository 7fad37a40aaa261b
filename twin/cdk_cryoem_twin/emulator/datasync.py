"""DataSync: a task really copies the microscope's share to the bucket, reads back what it copied, and reports.

A share HOST:/PATH is the folder share/HOST/PATH of the twin. Everything is done under the task's own role.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..places import places
from . import recorded as recorder
from .extension import ApiError, Json, client, emit, in_this_context, register_service, role_credentials

_executions: dict[str, Json] = {}


def share_folder(location: Json) -> Path:
    """The folder that plays a location's share."""
    return places().share / str(location["ServerHostname"]) / str(location["Subdirectory"]).strip("/")


def _start(args: Json) -> Json:
    task = args["TaskArn"]
    _one(task)
    running = [e for e in _executions.values() if e["Task"] == task and e["Status"] == "TRANSFERRING"]
    if running:
        raise ApiError("InvalidRequestException", f"{task} has an execution that is running")
    arn = f"{task}/execution/exec-{os.urandom(9).hex()[:17]}"
    _executions[arn] = {
        "Task": task,
        "TaskExecutionArn": arn,
        "Status": "TRANSFERRING",
        "StartTime": datetime.now(UTC),
        "FilesTransferred": 0,
        "BytesTransferred": 0,
        "FilesVerified": 0,
    }
    threading.Thread(target=in_this_context(_run), args=(arn,), daemon=True, name=arn[-12:]).start()
    return {"TaskExecutionArn": arn}


def _run(arn: str) -> None:
    execution = _executions[arn]
    try:
        _transfer(execution)
        execution["Status"] = "SUCCESS"
    except Exception as error:
        # Whatever it is, DataSync ends an execution with ERROR and says so.
        execution["Status"] = "ERROR"
        execution["Result"] = {"ErrorCode": type(error).__name__, "ErrorDetail": str(error)}
    emit("aws.datasync", "DataSync Task Execution State Change", {"State": execution["Status"]}, [arn])


def _transfer(execution: Json) -> None:
    props = recorder.recorded[execution["Task"]]["Properties"]
    source = recorder.recorded[props["SourceLocationArn"]]["Properties"]
    target = recorder.recorded[props["DestinationLocationArn"]]["Properties"]
    folder = share_folder(source)
    if not folder.is_dir():
        raise FileNotFoundError(f"the share {source['ServerHostname']}:{source['Subdirectory']} cannot be read")
    bucket, prefix = target["S3BucketArn"].rpartition(":")[2], str(target.get("Subdirectory", "/")).strip("/") + "/"
    s3 = client("s3", credentials=role_credentials(target["S3Config"]["BucketAccessRoleArn"]))
    there = {
        found["Key"].removeprefix(prefix): found["Size"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for found in page.get("Contents", [])
    }
    report: list[Json] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if not _wanted(f"/{name}", props) or not _changed(s3, bucket, prefix + name, path, there.get(name)):
            continue
        content = path.read_bytes()
        s3.put_object(
            Bucket=bucket,
            Key=prefix + name,
            Body=content,
            Metadata={"file-mtime": f"{path.stat().st_mtime_ns // 1_000_000}ms"},
        )
        _verify(s3, bucket, prefix + name, content)
        execution["FilesTransferred"] += 1
        execution["FilesVerified"] += 1
        execution["BytesTransferred"] += len(content)
        report.append(
            {"RelativePath": f"/{name}", "Size": len(content), "SrcChecksum": hashlib.sha256(content).hexdigest()}
        )
    _report(execution, props, report)


def _wanted(path: str, props: Json) -> bool:
    def matches(rules: list[Json]) -> bool:
        return any(fnmatch.fnmatch(path, pattern) for rule in rules for pattern in rule["Value"].split("|"))

    includes, excludes = props.get("Includes") or [], props.get("Excludes") or []
    return (not includes or matches(includes)) and not matches(excludes)


def _changed(s3: Any, bucket: str, key: str, path: Path, size_there: int | None) -> bool:
    """TransferMode CHANGED: size or time of the file differ from what was copied."""
    if size_there is None or size_there != path.stat().st_size:
        return True
    metadata = s3.head_object(Bucket=bucket, Key=key)["Metadata"]
    return bool(metadata.get("file-mtime") != f"{path.stat().st_mtime_ns // 1_000_000}ms")


def _verify(s3: Any, bucket: str, key: str, content: bytes) -> None:
    copied = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    if hashlib.sha256(copied).digest() != hashlib.sha256(content).digest():
        raise OSError(f"{key} differs from its source")


def _report(execution: Json, props: Json, transferred: list[Json]) -> None:
    if "TaskReportConfig" not in props:
        return
    target = props["TaskReportConfig"]["Destination"]["S3"]
    name = execution["TaskExecutionArn"].rpartition("/")[2]
    client("s3", credentials=role_credentials(target["BucketAccessRoleArn"])).put_object(
        Bucket=target["S3BucketArn"].rpartition(":")[2],
        Key=f"{str(target.get('Subdirectory', '')).strip('/')}/{name}/{name}.transferred.json",
        Body=json.dumps({"TaskExecutionId": name, "Transferred": transferred}).encode(),
    )


def _describe(args: Json) -> Json:
    arn = args["TaskExecutionArn"]
    if arn not in _executions:
        raise ApiError("InvalidRequestException", f"{arn} does not exist")
    return {key: value for key, value in _executions[arn].items() if key != "Task"}


def _describe_task(args: Json) -> Json:
    props = _one(args["TaskArn"])["Properties"]
    return {
        "TaskArn": args["TaskArn"],
        "Status": "AVAILABLE",
        "SourceLocationArn": props["SourceLocationArn"],
        "DestinationLocationArn": props["DestinationLocationArn"],
        "Options": props.get("Options", {}),
    }


def _describe_nfs(args: Json) -> Json:
    props = _one(args["LocationArn"])["Properties"]
    uri = f"nfs://{props['ServerHostname']}/{str(props['Subdirectory']).strip('/')}/"
    return {"LocationArn": args["LocationArn"], "LocationUri": uri}


def _one(arn: str) -> Json:
    if arn not in recorder.recorded:
        raise ApiError("InvalidRequestException", f"{arn} does not exist")
    return recorder.recorded[arn]


def _list(args: Json) -> Json:
    found = [e for e in _executions.values() if args.get("TaskArn") in (None, e["Task"])]
    return {"TaskExecutions": [{"TaskExecutionArn": e["TaskExecutionArn"], "Status": e["Status"]} for e in found]}


def register() -> None:
    """Make DataSync known."""
    recorder.register(
        "AWS::DataSync::Agent",
        "AWS::DataSync::LocationNFS",
        "AWS::DataSync::LocationSMB",
        "AWS::DataSync::LocationS3",
        "AWS::DataSync::Task",
    )
    register_service(
        "datasync",
        {
            "StartTaskExecution": _start,
            "DescribeTaskExecution": _describe,
            "ListTaskExecutions": _list,
            "DescribeTask": _describe_task,
            "DescribeLocationNfs": _describe_nfs,
        },
        resource_of=lambda operation, args: str(args.get("TaskExecutionArn") or args.get("TaskArn") or "*"),
    )
