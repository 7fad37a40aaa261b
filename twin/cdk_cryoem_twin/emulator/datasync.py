"""DataSync: a task really copies the microscope's share to the bucket, compares what it copied, and reports.

A share HOST:/PATH is the folder share/HOST/PATH of the twin. Everything is done under the task's own role. What one execution
does is in datasync_run.py.
"""

from __future__ import annotations

import os
import threading
from datetime import UTC, datetime

from . import recorded as recorder
from .datasync_run import run
from .extension import (
    ApiError,
    Json,
    client,
    emit,
    in_this_context,
    on_universal_target,
    register_service,
    role_credentials,
)

_executions: dict[str, Json] = {}
_turns: dict[str, threading.Lock] = {}
_OURS = {"Task", "Outcome"}
_OVER = {"SUCCESS", "ERROR"}
_MOST_QUEUED = 50


def _start(args: Json) -> Json:
    task = args["TaskArn"]
    options = _options(_one(task)["Properties"]) | args.get("OverrideOptions", {})
    waiting = [e for e in _executions.values() if e["Task"] == task and e["Status"] not in _OVER]
    if waiting and (options.get("TaskQueueing") == "DISABLED" or len(waiting) > _MOST_QUEUED):
        raise ApiError("InvalidRequestException", f"{task} has an execution that is running")
    arn = f"{task}/execution/exec-{os.urandom(9).hex()[:17]}"
    _executions[arn] = {
        "Task": task,
        "TaskExecutionArn": arn,
        "Status": "QUEUED" if waiting else "LAUNCHING",
        "StartTime": datetime.now(UTC),
        "TaskMode": _one(task)["Properties"].get("TaskMode", "BASIC"),
        "Options": options,
        "FilesTransferred": 0,
        "BytesTransferred": 0,
        "FilesVerified": 0,
    }
    threading.Thread(target=in_this_context(_run), args=(arn,), daemon=True, name=arn[-12:]).start()
    return {"TaskExecutionArn": arn}


def _run(arn: str) -> None:
    execution = _executions[arn]
    with _turns.setdefault(execution["Task"], threading.Lock()):
        execution["LaunchTime"] = datetime.now(UTC)
        try:
            run(execution)
            status = execution["Outcome"]
        except Exception as error:
            # Whatever it is, DataSync ends an execution with ERROR and says so.
            status = "ERROR"
            execution["Result"] = {"ErrorCode": type(error).__name__, "ErrorDetail": str(error)}
        execution["EndTime"] = datetime.now(UTC)
        execution["Status"] = status
    emit("aws.datasync", "DataSync Task Execution State Change", {"State": execution["Status"]}, [arn])


def _options(props: Json) -> Json:
    found = dict(props.get("Options", {}))
    # A template may say numbers as text.
    return found | {"BytesPerSecond": int(found.get("BytesPerSecond", -1))}


def _describe(args: Json) -> Json:
    arn = args["TaskExecutionArn"]
    if arn not in _executions:
        raise ApiError("InvalidRequestException", f"{arn} does not exist")
    return {key: value for key, value in _executions[arn].items() if key not in _OURS}


def _update_execution(args: Json) -> Json:
    arn = args["TaskExecutionArn"]
    if arn not in _executions or _executions[arn]["Status"] in _OVER:
        raise ApiError("InvalidRequestException", f"{arn} is not running")
    if set(args["Options"]) != {"BytesPerSecond"}:
        raise ApiError("InvalidRequestException", "only BytesPerSecond of an execution can be changed")
    _executions[arn]["Options"] = {**_executions[arn]["Options"], **args["Options"]}
    return {}


def _update_task(args: Json) -> Json:
    props = _one(args["TaskArn"])["Properties"]
    for name in ("Options", "Includes", "Excludes", "Schedule", "TaskReportConfig", "CloudWatchLogGroupArn"):
        if name in args:
            # Of the two things that AWS may do with options that are left out, the worse: they are gone.
            props[name] = args[name]
    return {}


def _describe_task(args: Json) -> Json:
    props = _one(args["TaskArn"])["Properties"]
    return {
        "TaskArn": args["TaskArn"],
        "Status": "AVAILABLE",
        "SourceLocationArn": props["SourceLocationArn"],
        "DestinationLocationArn": props["DestinationLocationArn"],
        "Options": _options(props),
        "TaskMode": props.get("TaskMode", "BASIC"),
        "Includes": props.get("Includes") or [],
        "Excludes": props.get("Excludes") or [],
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


def _start_by_schedule(args: Json, role: str) -> None:
    client("datasync", credentials=role_credentials(role)).start_task_execution(**args)


def register() -> None:
    """Make DataSync known."""
    on_universal_target("datasync", "startTaskExecution", _start_by_schedule)
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
            "UpdateTaskExecution": _update_execution,
            "DescribeTask": _describe_task,
            "UpdateTask": _update_task,
            "DescribeLocationNfs": _describe_nfs,
        },
        resource_of=lambda operation, args: str(args.get("TaskExecutionArn") or args.get("TaskArn") or "*"),
    )
