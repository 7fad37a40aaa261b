"""DataSync's task reports, read: pure functions of their JSON.

The shapes are those of the DataSync user guide, "Monitoring your data transfers with task reports": Basic mode writes paths
with a slash before them and SrcMetadata, Enhanced mode paths without one, SourceMetadata and ErrorCode. A large report is
split into several files, in any order; the names of files say nothing here, only the folder says whose report it is.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

Kind = Literal["transferred", "verified", "skipped"]
_KINDS: Mapping[str, Kind] = {"Transferred": "transferred", "Verified": "verified", "Skipped": "skipped"}
_SOURCE = ("SrcMetadata", "SourceMetadata")
_SOURCE_SUM = ("SrcChecksum", "SourceChecksum", "SrcSha256", "SourceSha256")
_DESTINATION_SUM = ("DstChecksum", "DestinationChecksum", "DstSha256", "DestinationSha256")
_VERSION = ("DstS3VersionId", "DestinationS3VersionId")
_REASONS = ("FailureReason", "ErrorDetail", "FailureCode", "ErrorCode")
_MTIME = ("Mtime", "LastModified")
_HEX = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d{1,6})?\d*(Z|[+-]\d\d:?\d\d)?")
DETAILED = "Detailed-Reports"
"""Folder of the reports that tell of files; below it one for each task, and there one for each execution."""
_PLACE = re.compile(r"(?:^|/)(task-[0-9a-z]+)/(exec-[0-9a-z]+)/[^/]+\.json$")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """Whose report a file is part of: task-..., exec-..."""

    task: str
    execution: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Reported:
    """What one report says of one file. Times in epoch seconds; `at` is when the report was written where it says none.

    path: below the share. version: of the object that was written. source, destination: SHA-256 in hex.
    """

    path: str
    kind: Kind
    ok: bool
    at: float
    task: str
    execution: str
    size: int | None = None
    mtime: float | None = None
    version: str | None = None
    source: str | None = None
    destination: str | None = None
    reason: str = ""


def place_of(key: str) -> Place | None:
    """Whose report an object is, None for what is none."""
    found = _PLACE.search(key)
    return Place(task=found[1], execution=found[2]) if found else None


def has_files(key: str) -> bool:
    """Whether a report tells of files; a summary does not."""
    return f"/{DETAILED}/" in f"/{key}"


def task_id(arn: str) -> str:
    """The last part of a task's ARN."""
    return arn.rpartition("/")[2]


def entries(document: Mapping[str, Any], place: Place, *, written_at: float) -> Iterator[Reported]:
    """What a file of a report says of files; folders and what was deleted are left out.

    Errors: ValueError for a document that is no report: what it was about is not known then, and nobody may guess.
    """
    kinds = [name for name in document if name in _KINDS]
    if not kinds and "Deleted" not in document:
        raise ValueError(f"no task report of DataSync: {sorted(document)[:5]}")
    for name in kinds:
        for given in document[name] or ():
            reported = _reported(given, _KINDS[name], place, written_at)
            if reported is not None:
                yield reported


def _reported(given: Mapping[str, Any], kind: Kind, place: Place, written_at: float) -> Reported | None:
    source = _first(given, _SOURCE) or {}
    if str(source.get("Type", "Regular")).lower() == "directory":
        return None
    path = str(given["RelativePath"]).lstrip("/")
    if not path or path.endswith("/"):
        return None
    # What says nothing of its success had none.
    status = next((str(value) for name, value in given.items() if name.endswith("Status")), "no status in the report")
    stamp = next((value for name, value in given.items() if name.endswith("Timestamp")), None)
    sums = _sha256(_first(given, _SOURCE_SUM)), _sha256(_first(given, _DESTINATION_SUM))
    ok = status.upper() == "SUCCESS" and (None in sums or sums[0] == sums[1])
    size = source.get("ContentSize")
    at = _seconds(stamp)
    return Reported(
        path=path,
        kind=kind,
        ok=ok,
        at=written_at if at is None else at,
        task=place.task,
        execution=place.execution,
        size=None if size is None else int(size),
        mtime=_seconds(_first(source, _MTIME)),
        version=str(_first(given, _VERSION) or "") or None,
        source=sums[0],
        destination=sums[1],
        reason="" if ok else " ".join(str(given[name]) for name in _REASONS if given.get(name)) or status,
    )


def _first(given: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((given[name] for name in names if given.get(name) is not None), None)


def _seconds(stamp: object) -> float | None:
    """A time of a report; DataSync writes nine digits below the second, of which six count here."""
    if isinstance(stamp, int | float):
        return float(stamp)
    found = _TIME.fullmatch(str(stamp)) if stamp else None
    if found is None:
        return None
    day, clock, below, zone = found.groups()
    zone = "+00:00" if zone in (None, "Z") else zone
    return datetime.fromisoformat(f"{day}T{clock}{below or ''}{zone}").astimezone(UTC).timestamp()


def _sha256(given: object) -> str | None:
    """A SHA-256 in hex, whether it was written in hex or in base64; None for what is none."""
    text = str(given.get("Value") if isinstance(given, Mapping) else given or "").strip()
    if _HEX.fullmatch(text):
        return text.lower()
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 32 else None
