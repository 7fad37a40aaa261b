"""A job has finished on AWS Parallel Computing Service: its log record becomes a job event like ParallelCluster's."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import boto3

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

log = logging.getLogger("cryoem")
log.setLevel(logging.INFO)

SOURCE = "cryoem.slurm"
DETAIL_TYPE = "Slurm Job State Change"
_BATCH = 10  # PutEvents takes ten entries at most
_PROJECTS = PurePosixPath("/fsx/projects")
# AWS's guide says what the fields tell and not how each is spelt; Slurm's own plugins spell them in these ways.
_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "job_id": ("jobid",),
    "name": ("jobname", "name"),
    "user": ("username", "user", "userid"),
    "partition": ("partition",),
    "state": ("jobstate", "state"),
    "exit_code": ("exitcode",),
    "submit": ("submittime", "submit"),
    "start": ("starttime", "start"),
    "end": ("endtime", "end"),
    "nodes": ("nodelist", "nodes"),
    "node_count": ("nodecnt", "nodecount", "totalnodes"),
    "tres": ("tresallocstr", "tresalloc", "tres", "tresreqstr", "tresreq"),
    "work_dir": ("workdir", "workingdirectory"),
}
_NEEDED = ("job_id", "partition", "state", "end")


@functools.cache
def _events() -> EventBridgeClient:
    return boto3.client("events")


def handler(event: Mapping[str, Any], context: object) -> dict[str, int]:
    """Entry point: what CloudWatch Logs hands on. Fails when anything was not taken, so that it comes again.

    A record that cannot be understood keeps no other from becoming an event.
    """
    entries: list[dict[str, str]] = []
    wrong: list[str] = []
    for message in messages(event):
        try:
            told = detail(json.loads(message), cluster=os.environ["CLUSTER"])
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            wrong.append(f"{type(error).__name__}: {error}")
            continue
        entries.append(
            {
                "EventBusName": os.environ["EVENT_BUS"],
                "Source": SOURCE,
                "DetailType": DETAIL_TYPE,
                "Detail": json.dumps(told),
            }
        )
    for start in range(0, len(entries), _BATCH):
        answer = _events().put_events(Entries=entries[start : start + _BATCH])  # type: ignore[arg-type]
        if answer["FailedEntryCount"]:
            raise RuntimeError(f"EventBridge did not take {answer['FailedEntryCount']} events: {answer['Entries']}")
    log.info("%s jobs have finished", len(entries))
    if wrong:
        raise ValueError(f"{len(wrong)} records are no finished jobs: {'; '.join(wrong)}")
    return {"jobs": len(entries)}


def messages(event: Mapping[str, Any]) -> Iterator[str]:
    """The log records in what a subscription delivers, as they were written."""
    message = json.loads(gzip.decompress(base64.b64decode(event["awslogs"]["data"])))
    if message["messageType"] != "DATA_MESSAGE":
        return
    for entry in message["logEvents"]:
        yield str(entry["message"])


def detail(record: Mapping[str, Any], *, cluster: str) -> dict[str, object]:
    """The job event of one record. Errors: ValueError naming what the record lacks."""
    given = {re.sub(r"[^a-z]", "", name.lower()): value for name, value in record["fields"].items()}
    found = {
        ours: next((given[theirs] for theirs in spellings if given.get(theirs) not in (None, "")), None)
        for ours, spellings in _SPELLINGS.items()
    }
    missing = [name for name in _NEEDED if not str(found[name] if found[name] is not None else "").strip()]
    if missing:
        raise ValueError(f"a record without {', '.join(missing)}; it has {', '.join(sorted(record['fields']))}")
    if not epoch(found["end"]):
        raise ValueError(f"a record of job {found['job_id']} whose end is {found['end']!r}, which is no time")
    return {
        "version": 1,
        "cluster": cluster,
        "job_id": str(found["job_id"]),
        "name": str(found["name"] or ""),
        # "anna(1001)" in some plugins
        "user": re.sub(r"\(\d+\)$", "", str(found["user"] or "")),
        "partition": str(found["partition"]),
        # "CANCELLED by 1001"
        "state": str(found["state"]).strip().partition(" ")[0],
        "exit_code": str(found["exit_code"] if found["exit_code"] is not None else ""),
        "submit": epoch(found["submit"]),
        "start": epoch(found["start"]),
        "end": epoch(found["end"]),
        "nodes": str(found["nodes"] or ""),
        "node_count": int(found["node_count"] or 0),
        "tres": str(found["tres"] or ""),
        "project": project_of(str(found["work_dir"] or "")),
    }


def epoch(value: object) -> int:
    """A time as epoch seconds, 0 for none: it may come as seconds, milliseconds or ISO 8601 in UTC."""
    text = str(value if value is not None else "").strip()
    if re.fullmatch(r"[0-9]{1,15}(\.[0-9]+)?", text):
        seconds = float(text)
        # The year 5138 in seconds is 1973 in milliseconds.
        return int(seconds / 1000 if seconds > 1e11 else seconds)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        # Slurm writes Unknown or None for what has not happened.
        return 0
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def project_of(work_dir: str) -> str:
    """The project a job belongs to: the folder below /fsx/projects it was started in; empty elsewhere."""
    path = PurePosixPath(work_dir)
    if ".." in path.parts or not path.is_relative_to(_PROJECTS):
        return ""
    below = path.relative_to(_PROJECTS).parts
    return below[0] if below else ""
