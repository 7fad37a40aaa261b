"""One execution of a DataSync task: it lists the share, copies what is new or changed, compares, and reports."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..places import places
from ..transit_faults import take_all
from . import datasync_report as report
from . import recorded as recorder
from .datasync_report import Source
from .extension import Json, client, log, put_object, role_credentials

# Texts of the DataSync user guide's pages on troubleshooting.
MISMATCHES = "Transfer and verification completed. Verification detected mismatches."
SKIPPED = "Transfer and verification completed. Selected files transferred except for files skipped due to errors."
_known_times: dict[tuple[str, str, str], int] = {}
"""The time of the file that an object was made of, by bucket, key and ETag; of others it is asked for."""
_again: dict[str, set[str]] = {}
"""Files of a task whose copy was found to differ: the next execution copies them whatever their size and time."""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A file that was sent. version, etag: those of the new object; md5, sha256: of what was read."""

    source: Source
    version: str | None
    etag: str
    md5: str
    sha256: str
    bytes: int
    overwrote: bool
    at_ns: int


@dataclass(frozen=True, kw_only=True)
class Failed:
    """A file that could not be read or written, and why."""

    source: Source
    reason: str
    at_ns: int


def run(execution: Json) -> None:
    """Do everything, and leave counters and outcome in the execution. Errors: whatever kept it from beginning."""
    task = execution["Task"]
    props = recorder.recorded[task]["Properties"]
    share = _share(props)
    target = recorder.recorded[props["DestinationLocationArn"]]["Properties"]
    bucket, prefix = target["S3BucketArn"].rpartition(":")[2], str(target.get("Subdirectory", "/")).strip("/") + "/"
    credentials = role_credentials(target["S3Config"]["BucketAccessRoleArn"])
    s3 = client("s3", credentials=credentials)
    mode = str(props.get("TaskMode", "BASIC"))
    faults = take_all(places())

    execution["Status"] = "PREPARING"
    there = dict(_listing(s3, bucket, prefix))
    again = _again.setdefault(task, set())
    found = list(_sources(share, props))
    todo = [each for each in found if each.name in again or _changed(s3, bucket, prefix, each, there.get(each.name))]
    execution["EstimatedFilesToTransfer"] = len(todo)

    execution["Status"] = "TRANSFERRING"
    copier = _Copier(
        credentials=credentials,
        bucket=bucket,
        prefix=prefix,
        share=share,
        there=there,
        faults=faults,
        execution=execution,
    )
    outcomes = [copier.copy(each) for each in todo]
    copied = [each for each in outcomes if isinstance(each, Copied)]
    failed = [each for each in outcomes if isinstance(each, Failed)]

    execution["Status"] = "VERIFYING"
    checks = [_check(s3, bucket, prefix, share, each, mode) for each in copied]
    wrong = {check["RelativePath"].lstrip("/") for check in checks if check["VerifyStatus"] != "SUCCESS"}
    again.difference_update(each.name for each in todo)
    again.update(wrong)

    now = time.time_ns()
    done = {each.name for each in todo}
    entries = {
        "Transferred": [
            *(
                report.transferred(e.source, mode=mode, at_ns=e.at_ns, overwrote=e.overwrote, version=e.version)
                for e in copied
            ),
            *(
                report.transferred(e.source, mode=mode, at_ns=e.at_ns, overwrote=False, version=None, failure=e.reason)
                for e in failed
            ),
        ],
        "Verified": checks,
        "Skipped": [report.skipped(each, mode=mode, at_ns=now) for each in found if each.name not in done],
    }
    execution["BytesTransferred"] = sum(each.bytes for each in copied)
    _conclude(execution, mode, listed=len(found), copied=len(copied), failed=len(failed), wrong=len(wrong))
    _write_reports(execution, props, entries)


def _share(props: Json) -> Path:
    source = recorder.recorded[props["SourceLocationArn"]]["Properties"]
    folder = places().share / str(source["ServerHostname"]) / str(source["Subdirectory"]).strip("/")
    if not folder.is_dir():
        raise FileNotFoundError(f"the share {source['ServerHostname']}:{source['Subdirectory']} cannot be read")
    return folder


def _sources(share: Path, props: Json) -> Iterator[Source]:
    for path in sorted(share.rglob("*")):
        name = path.relative_to(share).as_posix()
        try:
            if path.is_file() and _wanted(f"/{name}", props):
                stat = path.stat()
                yield Source(name=name, size=stat.st_size, mtime_ns=stat.st_mtime_ns)
        except FileNotFoundError:
            # It went while the share was listed, as if it had gone before.
            continue


def _wanted(path: str, props: Json) -> bool:
    parts = path.strip("/").split("/")
    # A pattern hits a file or a folder that it is in.
    places_of_it = ["/" + "/".join(parts[: n + 1]) for n in range(len(parts))]

    def matches(rules: list[Json]) -> bool:
        patterns = [pattern.rstrip("/") for rule in rules for pattern in rule["Value"].split("|")]
        return any(fnmatch.fnmatchcase(place, pattern) for pattern in patterns for place in places_of_it)

    includes, excludes = props.get("Includes") or [], props.get("Excludes") or []
    return (not includes or matches(includes)) and not matches(excludes)


def _listing(s3: Any, bucket: str, prefix: str) -> Iterator[tuple[str, Json]]:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for found in page.get("Contents", []):
            yield found["Key"].removeprefix(prefix), {"Size": found["Size"], "ETag": found["ETag"]}


def _changed(s3: Any, bucket: str, prefix: str, source: Source, there: Json | None) -> bool:
    """TransferMode CHANGED: size or time of the file differ from what was copied."""
    if there is None or there["Size"] != source.size:
        return True
    key = (bucket, prefix + source.name, str(there["ETag"]))
    if key not in _known_times:
        metadata = s3.head_object(Bucket=bucket, Key=prefix + source.name)["Metadata"]
        _known_times[key] = int(metadata.get("file-mtime", "-1").removesuffix("ns"))
    return _known_times[key] != source.mtime_ns


@dataclass(frozen=True, kw_only=True)
class _Copier:
    credentials: Mapping[str, str]
    bucket: str
    prefix: str
    share: Path
    there: Mapping[str, Json]
    faults: Mapping[str, str]
    execution: Json

    def copy(self, source: Source) -> Copied | Failed:
        """Read, send; one file."""
        path, fault = self.share / source.name, self.faults.get(source.name, "")
        try:
            if fault == "unreadable":
                raise PermissionError("Permission denied")
            if fault == "vanish":
                path.unlink()
            content = path.read_bytes()
            if fault == "grow":
                with path.open("ab") as more:
                    more.write(b"what came after it was read")
        except OSError as error:
            reason = f"Failed to open source file: {error.strerror or error}"
            return Failed(source=source, reason=reason, at_ns=time.time_ns())
        key = self.prefix + source.name
        try:
            etag, version = put_object(
                self.credentials,
                bucket=self.bucket,
                key=key,
                body=_in_transit(content, fault),
                metadata={"file-mtime": f"{source.mtime_ns}ns"},
            )
        except OSError as error:
            return Failed(source=source, reason=str(error), at_ns=time.time_ns())
        _known_times[self.bucket, key, etag] = source.mtime_ns
        return Copied(
            source=source,
            version=version,
            etag=etag,
            md5=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            sha256=hashlib.sha256(content).hexdigest(),
            bytes=len(content),
            overwrote=source.name in self.there,
            at_ns=time.time_ns(),
        )


def _in_transit(content: bytes, fault: str) -> bytes:
    if fault == "flip":
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    return content[: len(content) // 2] if fault == "truncate" else content


def _check(s3: Any, bucket: str, prefix: str, share: Path, copied: Copied, mode: str) -> Json:
    """Compare what is in the bucket with what is on the share."""
    source, failure, target, size = copied.source, "", copied.sha256, copied.bytes
    # The emulator's ETag is the MD5 of what it keeps; what differs is read back.
    if copied.etag.strip('"') != copied.md5:
        kept = s3.get_object(Bucket=bucket, Key=prefix + source.name)["Body"].read()
        target, size, failure = hashlib.sha256(kept).hexdigest(), len(kept), "Verification failed: content differs"
    try:
        now = (share / source.name).stat()
        if (now.st_size, now.st_mtime_ns) != (source.size, source.mtime_ns):
            failure = "Verification failed: source file was changed while it was copied"
    except FileNotFoundError:
        log.info("%s went from the share after it was copied: what was copied counts", source.name)
    return report.verified(
        source,
        mode=mode,
        at_ns=time.time_ns(),
        source_sha256=copied.sha256,
        target_sha256=target,
        size=size,
        failure=failure,
    )


def _conclude(execution: Json, mode: str, *, listed: int, copied: int, failed: int, wrong: int) -> None:
    execution |= {
        "FilesTransferred": copied,
        "FilesVerified": copied - wrong,
        "FilesSkipped": listed - copied - failed,
    }
    if mode == "ENHANCED":
        execution["FilesListed"] = {"AtSource": listed}
        execution["FilesPrepared"] = copied + failed
        execution["FilesFailed"] = {"Prepare": 0, "Transfer": failed, "Verify": wrong, "Delete": 0}
    execution["Outcome"] = "ERROR" if failed or wrong else "SUCCESS"
    execution["Result"] = {
        "PrepareStatus": "SUCCESS",
        "TransferStatus": "ERROR" if failed else "SUCCESS",
        "VerifyStatus": "ERROR" if wrong else "SUCCESS",
        **({"ErrorCode": "VerificationError", "ErrorDetail": MISMATCHES} if wrong else {}),
        **({"ErrorCode": "TransferError", "ErrorDetail": SKIPPED} if failed else {}),
    }


def _write_reports(execution: Json, props: Json, entries: dict[str, list[Json]]) -> None:
    config = props.get("TaskReportConfig")
    if not config:
        return
    target = config["Destination"]["S3"]
    s3 = client("s3", credentials=role_credentials(target["BucketAccessRoleArn"]))
    bucket, folder = target["S3BucketArn"].rpartition(":")[2], str(target.get("Subdirectory", "")).strip("/")
    task_id, _, execution_id = execution["TaskExecutionArn"].partition("task/")[2].split("/")
    summary = {
        "TaskExecutionId": execution_id,
        "TaskId": task_id,
        "Status": execution["Outcome"],
        **{name: count for name, count in execution.items() if name.startswith(("Files", "Bytes"))},
        "Result": execution["Result"],
        "Options": execution["Options"],
        "StartTime": execution["StartTime"].isoformat(),
    }
    written = {f"Summary-Reports/{task_id}/{execution_id}/{execution_id}.summary-v1.json": json.dumps(summary).encode()}
    if config.get("OutputType", "STANDARD") == "STANDARD":
        for name, content in report.files(execution_id, entries, config):
            written[f"Detailed-Reports/{task_id}/{execution_id}/{name}"] = content
    for key, body in written.items():
        s3.put_object(Bucket=bucket, Key=f"{folder}/{key}", Body=body)
