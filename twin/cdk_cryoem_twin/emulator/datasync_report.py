"""Task reports as DataSync writes them, in the spelling of each task mode ("Task reports", DataSync user guide).

The guide shows no verified report; that its checksums are called SrcChecksum and DstChecksum is an assumption.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .extension import Json

LARGEST = 5_000_000
"""Bytes of one report file; what is more goes into the next."""
_SECTIONS = {"Transferred": "TransferStatus", "Verified": "VerifyStatus", "Skipped": "SkipStatus"}


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file as it was on the share when it was listed. name: its path below the share's folder."""

    name: str
    size: int
    mtime_ns: int

    def metadata(self, mode: str) -> Json:
        """As the reports tell it."""
        time = stamp(self.mtime_ns)
        if mode == "ENHANCED":
            return {"SourceMetadata": {"Type": "Regular", "ContentSize": self.size, "LastModified": time}}
        owner = {"Uid": 0, "Gid": 0, "Mode": "0644"}
        return {
            "SrcMetadata": {"Type": "Regular", "ContentSize": self.size, "Mtime": time, "Atime": time, **owner},
        }

    def path(self, mode: str) -> str:
        """As the reports spell it."""
        return self.name if mode == "ENHANCED" else f"/{self.name}"


def stamp(ns: int) -> str:
    """A time in nanoseconds as ISO 8601 in UTC."""
    return f"{datetime.fromtimestamp(ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09d}Z"


def transferred(
    source: Source, *, mode: str, at_ns: int, overwrote: bool, version: str | None, failure: str = ""
) -> Json:
    """One entry of a transferred report."""
    return {
        "RelativePath": source.path(mode),
        **source.metadata(mode),
        "Overwrite": str(overwrote),
        **({"DstS3VersionId": version} if version else {}),
        "TransferTimestamp": stamp(at_ns),
        "TransferType": "CONTENT_AND_METADATA",
        "TransferStatus": "FAILED" if failure else "SUCCESS",
        **_why(mode, failure),
    }


def verified(
    source: Source, *, mode: str, at_ns: int, source_sha256: str, target_sha256: str, size: int, failure: str = ""
) -> Json:
    """One entry of a verified report."""
    return {
        "RelativePath": source.path(mode),
        **source.metadata(mode),
        "DstMetadata": {"Type": "Regular", "ContentSize": size, "Mtime": stamp(source.mtime_ns)},
        "SrcChecksum": source_sha256,
        "DstChecksum": target_sha256,
        "VerifyTimestamp": stamp(at_ns),
        "VerifyStatus": "FAILED" if failure else "SUCCESS",
        **_why(mode, failure),
    }


def skipped(source: Source, *, mode: str, at_ns: int) -> Json:
    """One entry of a skipped report: nothing changed."""
    return {
        "RelativePath": source.path(mode),
        **source.metadata(mode),
        "SkipTimestamp": stamp(at_ns),
        "SkipReason": "File already exists in the destination",
        "SkipStatus": "SUCCESS",
    }


def files(execution_id: str, entries: dict[str, list[Json]], config: Json) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the detailed reports, as a task's configuration asks for them."""
    for section, status in _SECTIONS.items():
        override = config.get("Overrides", {}).get(section, {}).get("ReportLevel")
        all_of_them = (override or config.get("ReportLevel", "ERRORS_ONLY")) == "SUCCESSES_AND_ERRORS"
        wanted = [entry for entry in entries.get(section, []) if all_of_them or entry[status] != "SUCCESS"]
        if section == "Transferred" and config.get("ObjectVersionIds", "NONE") != "INCLUDE":
            wanted = [{key: value for key, value in entry.items() if key != "DstS3VersionId"} for entry in wanted]
        for number, part in enumerate(_parts(wanted), start=1):
            name = f"{execution_id}.files-{section.lower()}-v1-{number:05d}-{os.urandom(8).hex()}.json"
            text = json.dumps({"TaskExecutionId": execution_id, section: "PLACE"}, ensure_ascii=False)
            yield name, text.replace('"PLACE"', f"[{','.join(part)}]").encode()


def _parts(entries: Sequence[Json]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 200
    for entry in entries:
        text = json.dumps(entry, ensure_ascii=False, separators=(",", ":"))
        length = len(text.encode()) + 1
        if part and size + length > LARGEST:
            yield part
            part, size = [], 200
        part.append(text)
        size += length
    if part:
        yield part


def _why(mode: str, failure: str) -> Json:
    if not failure:
        return {}
    if mode == "ENHANCED":
        return {"ErrorCode": "TransferError", "ErrorDetail": failure}
    return {"FailureReason": failure, "FailureCode": 40974}
