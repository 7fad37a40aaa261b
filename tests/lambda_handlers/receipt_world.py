"""A landing bucket with versions, and DataSync's task reports on it, in memory. Every call is counted by its name."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from fakes import Aws, refusal

TASK = "arn:aws:datasync:eu-central-1:111122223333:task/task-0a"
OTHER_TASK = "arn:aws:datasync:eu-central-1:111122223333:task/task-0b"


def moment(at: float) -> datetime:
    """A time as boto3 gives it."""
    return datetime.fromtimestamp(at, UTC)


def stamp(at: float) -> str:
    """A time as DataSync writes it."""
    return f"{moment(at):%Y-%m-%dT%H:%M:%S}.{int(at % 1 * 1e9):09d}Z"


class VersionedS3:
    """What receipts need of S3: 1,000 keys a page, or `page`."""

    def __init__(self, aws: Aws, *, page: int = 1000) -> None:
        self.calls: Counter[str] = Counter()
        self.checksums: dict[str, str] = {"ChecksumCRC64NVME": "crc=="}
        self._aws, self._page, self._made = aws, page, 0
        # By key the versions, the oldest first: (id, content or its size, time, whether it marks a deletion).
        self._versions: dict[str, list[tuple[str, bytes | int, float, bool]]] = {}

    # --- the bucket as it is

    def put(self, key: str, content: bytes | int, *, at: float | None = None, deleted: bool = False) -> str:
        """Another version of an object, whose id is returned."""
        self._made += 1
        name = f"v{self._made}"
        when = self._aws.clock.now if at is None else at
        self._versions.setdefault(key, []).append((name, content, when, deleted))
        return name

    def delete(self, key: str) -> None:
        """Mark it as deleted."""
        self.put(key, 0, deleted=True)

    def content(self, key: str) -> bytes:
        """The current one."""
        found = self._versions[key][-1][1]
        assert isinstance(found, bytes)
        return found

    def current(self, prefix: str = "") -> list[tuple[str, float]]:
        """Keys that are there now, and since when."""
        found = ((key, versions[-1]) for key, versions in sorted(self._versions.items()) if key.startswith(prefix))
        return [(key, at) for key, (_, _, at, deleted) in found if not deleted]

    def versions_of(self, key: str) -> int:
        """How many there are."""
        return len(self._versions.get(key, []))

    # --- as boto3 has it

    def get_paginator(self, call: str) -> _Pages:
        return _Pages(self, call)

    def pages(self, call: str, prefix: str) -> Iterator[dict[str, Any]]:
        keys = [key for key in sorted(self._versions) if key.startswith(prefix)]
        rows = [(key, row, row is self._versions[key][-1]) for key in keys for row in reversed(self._versions[key])]
        if call == "list_objects_v2":
            rows = [each for each in rows if each[2] and not each[1][3]]
        for start in range(0, max(1, len(rows)), self._page):
            self.calls[call] += 1
            some = rows[start : start + self._page]
            if call == "list_objects_v2":
                contents = [{"Key": key, "Size": _size(row[1]), "LastModified": moment(row[2])} for key, row, _ in some]
                yield {"Contents": contents} if contents else {}
                continue
            page: dict[str, Any] = {}
            for key, (name, content, at, deleted), latest in some:
                row = {"Key": key, "VersionId": name, "IsLatest": latest, "LastModified": moment(at)}
                if deleted:
                    page.setdefault("DeleteMarkers", []).append(row)
                else:
                    page.setdefault("Versions", []).append({**row, "Size": _size(content)})
            yield page

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        assert Bucket == "landing"
        self.calls["get_object"] += 1
        if Key not in self._versions or self._versions[Key][-1][3]:
            raise refusal("NoSuchKey", "GetObject")
        return {"Body": io.BytesIO(self.content(Key))}

    def head_object(self, *, Bucket: str, Key: str, VersionId: str, ChecksumMode: str) -> dict[str, Any]:
        assert (Bucket, ChecksumMode) == ("landing", "ENABLED")
        self.calls["head_object"] += 1
        (found,) = [row for row in self._versions[Key] if row[0] == VersionId]
        return {"ContentLength": _size(found[1]), **self.checksums}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, ContentType: str) -> dict[str, Any]:
        assert Bucket == "landing"
        assert Key.endswith((".receipt.json", ".manifest.jsonl.gz")), "what the role may write"
        self.calls["put_object"] += 1
        return {"VersionId": self.put(Key, Body)}


class _Pages:
    def __init__(self, s3: VersionedS3, call: str) -> None:
        self._s3, self._call = s3, call

    def paginate(self, *, Bucket: str, Prefix: str) -> Iterator[dict[str, Any]]:
        assert Bucket == "landing"
        return self._s3.pages(self._call, Prefix)


class Share:
    """DataSync between a share and the bucket: what it copies, what its reports say, what the dataset hook writes down."""

    def __init__(self, aws: Aws, s3: VersionedS3, *, task: str = TASK) -> None:
        self.aws, self.s3, self.task = aws, s3, task
        self.patterns = {"includes": "", "excludes": ""}
        self._runs = 0

    def run(
        self,
        files: dict[str, bytes] | None = None,
        *,
        failing: tuple[str, ...] = (),
        unverified: tuple[str, ...] = (),
        took: float = 60.0,
        reports: bool = True,
        noted: bool = True,
        well: bool = True,
        split: int = 10_000,
    ) -> str:
        """One execution that ends now: the id. files: copied, by path. noted: whether its event has reached the hook."""
        clock = self.aws.clock
        began, self._runs = clock.now - took, self._runs + 1
        execution = f"exec-{self.task[-2:]}{self._runs:04x}"
        copied, checked = [], []
        for n, (path, content) in enumerate((files or {}).items()):
            at = began + 1 + n * 1e-6
            version = self.s3.put(f"datasets/{path}", len(content) if len(content) > 64 else content, at=at)
            digest = hashlib.sha256(content).hexdigest()
            source = {"Type": "Regular", "ContentSize": len(content), "Mtime": stamp(began - 100)}
            copied.append(
                {
                    "RelativePath": f"/{path}",
                    "SrcMetadata": source,
                    "Overwrite": "False",
                    "DstS3VersionId": version,
                    "TransferTimestamp": stamp(at + 1),
                    "TransferType": "CONTENT_AND_METADATA",
                    "TransferStatus": "SUCCESS",
                }
            )
            if path not in unverified:
                checked.append(
                    {
                        "RelativePath": f"/{path}",
                        "SrcMetadata": source,
                        "SrcChecksum": digest,
                        "DstChecksum": digest,
                        "VerifyTimestamp": stamp(at + 2),
                        "VerifyStatus": "SUCCESS",
                    }
                )
        for path in failing:
            given = {"RelativePath": f"/{path}", "SrcMetadata": {"Type": "Regular"}, "TransferStatus": "FAILED"}
            copied.append({**given, "TransferTimestamp": stamp(began + 5), "FailureReason": "it vanished"})
        if reports:
            self._report(execution, "transferred", "Transferred", copied, split)
            self._report(execution, "verified", "Verified", checked, split)
            self.s3.put(self._key("Summary-Reports", execution, "summary"), b"{}")
        if noted:
            self.note(execution, began=began, files=len(files or {}), well=well)
        return execution

    def note(self, execution: str, *, began: float, files: int, well: bool = True) -> None:
        """What the dataset hook writes down of an execution that is over."""
        item = {
            "pk": {"S": "transfer"},
            "sk": {"S": self.task},
            "began": {"N": repr(began)},
            "files": {"N": str(files)},
            "well": {"N": str(int(well))},
            "execution": {"S": execution},
        }
        self.aws.dynamodb.put_item(TableName="records", Item=item)
        if well:
            patterns = {name: {"S": patterns} for name, patterns in self.patterns.items()}
            seen = {"pk": {"S": "look"}, "sk": {"S": self.task}, "looked_at": {"N": repr(began)}, **patterns}
            self.aws.dynamodb.put_item(TableName="records", Item={**seen, "execution": {"S": execution}})

    def _report(self, execution: str, name: str, field: str, rows: list[dict[str, Any]], split: int) -> None:
        for start in range(0, len(rows), split):
            body = json.dumps({"TaskExecutionId": execution, field: rows[start : start + split]}).encode()
            key = self._key("Detailed-Reports", execution, f"files-{name}-v1-{start // split + 1:05}-0000000000000000")
            self.s3.put(key, body)

    def _key(self, kind: str, execution: str, name: str) -> str:
        task = self.task.rpartition("/")[2]
        return f"datasync-reports/{kind}/{task}/{execution}/{execution}.{name}.json"


def landed(aws: Aws, s3: VersionedS3, name: str, *, at: float | None = None) -> None:
    """What the dataset hook writes down of a dataset that has landed, with what the bucket has of it."""
    times = [at for _, at in s3.current(f"datasets/{name}/")]
    when = aws.clock.now if at is None else at
    item: dict[str, dict[str, str]] = {
        "pk": {"S": "dataset"},
        "sk": {"S": name},
        "state": {"S": "landed"},
        "objects": {"N": str(len(times))},
        "first_at": {"N": repr(min(times))},
        "last_at": {"N": repr(max(times))},
        "landed_at": {"N": repr(when)},
    }
    aws.dynamodb.put_item(TableName="records", Item=item)


def _size(content: bytes | int) -> int:
    return content if isinstance(content, int) else len(content)
