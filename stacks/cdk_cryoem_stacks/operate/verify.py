"""Whether a dataset is the same on the share, in the bucket and on the file system: its manifest, held to each of them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .ask import Failed, ask, find
from .checksums import Kept, Read
from .checksums import read as read_file
from .find import Clients, System
from .listing import ListedFile, file_listing
from .words import several

DATASETS_PREFIX = "datasets/"
Status = Literal["verified", "missing", "different", "unverified", "unknown"]
STATUSES: tuple[Status, ...] = ("verified", "missing", "different", "unverified", "unknown")
FILE_SYSTEM = "file system"
LeavesOut = Callable[[str], bool]
"""Whether a file is not copied, by its path from the share's folder on."""
_WORKERS = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A file as the manifest has it (docs/receipts.md)."""

    path: str
    status: Status
    size: int
    kept: Kept
    version: str | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """A dataset's receipt and manifest. document: the receipt as it was written."""

    document: Mapping[str, Any]
    lines: Mapping[str, Line]

    @property
    def complete(self) -> bool:
        """Whether the disk of the microscope may be purged of it."""
        return bool(self.document["complete"])

    def counted(self) -> list[Line]:
        """All files but those of which no report tells in a complete receipt: a sentinel that somebody put there."""
        return [line for line in self.lines.values() if not (self.complete and line.status == "unknown")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one file is in one place, and why."""

    path: str
    status: Status
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Way:
    """One of the three comparisons. verdicts: None when it could not be made; note: how it was, or why not.

    left_out: files that are there, and that the microscopes' patterns leave where they are.
    """

    name: str
    note: str
    verdicts: Sequence[Verdict] | None
    left_out: Sequence[str] = ()

    @property
    def good(self) -> bool:
        """Whether it was made and found every file as it ought to be."""
        return self.verdicts is not None and all(each.status == "verified" for each in self.verdicts)

    def count(self, status: Status) -> int:
        """How many files are so."""
        return sum(each.status == status for each in self.verdicts or ())


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """All of it."""

    dataset: str
    receipt: Receipt
    ways: Sequence[Way]

    @property
    def verified(self) -> bool:
        """Whether the receipt is complete, and every place that was looked at agrees with it."""
        return self.receipt.complete and all(way.good for way in self._looked_at)

    @property
    def safe_to_purge(self) -> bool:
        """Whether the microscope's disk may be purged of it: as `verified`, whatever somebody did on the file system."""
        return self.receipt.complete and all(way.good for way in self._looked_at if way.name != FILE_SYSTEM)

    @property
    def file_system(self) -> Way | None:
        """The comparison with the file system, if it was made."""
        return next((way for way in self._looked_at if way.name == FILE_SYSTEM), None)

    @property
    def _looked_at(self) -> list[Way]:
        return [way for way in self.ways if way.verdicts is not None]

    def document(self) -> dict[str, Any]:
        """For programs."""
        return {
            "dataset": self.dataset,
            "verified": self.verified,
            "safe_to_purge": self.safe_to_purge,
            "receipt": dict(self.receipt.document),
            "ways": {
                way.name: {
                    "looked": way.verdicts is not None,
                    "note": way.note,
                    "left_out": list(way.left_out),
                    **{status: way.count(status) for status in STATUSES},
                    "files": [
                        {"path": each.path, "status": each.status, "reason": each.reason}
                        for each in way.verdicts or ()
                        if each.status != "verified"
                    ],
                }
                for way in self.ways
            },
        }


def read(clients: Clients, bucket: str, dataset: str) -> Receipt | None:
    """The receipt of a dataset and its manifest, None when there is none yet. Errors: Failed."""
    document = _get(clients, bucket, f"{DATASETS_PREFIX}{dataset}.receipt.json")
    if document is None:
        return None
    receipt: dict[str, Any] = json.loads(document)
    given = receipt["manifest"]
    packed = _get(clients, bucket, given["key"], version=given["version_id"])
    if packed is None:
        raise Failed(f"the manifest {given['key']}, version {given['version_id']}, is gone from {bucket}")
    text = gzip.decompress(packed)
    if hashlib.sha256(text).hexdigest() != given["sha256"]:
        raise Failed(f"the manifest {given['key']} is not what the receipt was made of: its SHA-256 differs")
    return Receipt(document=receipt, lines={line.path: line for line in map(_line, text.splitlines())})


def _line(text: bytes) -> Line:
    found = json.loads(text)
    return Line(
        path=found["path"],
        status=found["status"],
        size=int(found["size"]),
        kept=Kept(sha256=found["sha256"], s3_checksum=found.get("s3_checksum"), s3_algorithm=found.get("s3_algorithm")),
        version=found["version"],
        reason=found["reason"],
    )


def _get(clients: Clients, bucket: str, key: str, *, version: str = "") -> bytes | None:
    which = {"VersionId": version} if version else {}

    def call() -> bytes:
        return clients.s3.get_object(Bucket=bucket, Key=key, **which)["Body"].read()  # type: ignore[arg-type]

    return find("s3:GetObject", call, unless=("NoSuchKey", "NoSuchVersion"))


def look(
    clients: Clients,
    found: System,
    bucket: str,
    dataset: str,
    *,
    checksums: bool = False,
    share: Path | None = None,
    leaves_out: LeavesOut | None = None,
    say: Callable[[str], None],
) -> Seen:
    """Hold a dataset's manifest to its places. share: where the microscope's share is mounted here. leaves_out: which of its files
    are not copied; default none. Errors: Failed.
    """
    receipt = read(clients, bucket, dataset)
    if receipt is None:
        raise Failed(
            f"{dataset} has no receipt yet: the hook writes it within a quarter of an hour after the dataset has landed"
            " (cryoem status; docs/receipts.md)"
        )
    on_share = None if share is None else _on_share(share, dataset, receipt, leaves_out)
    return Seen(
        dataset=dataset,
        receipt=receipt,
        ways=[
            Way(name="share", note="by DataSync's task reports", verdicts=by_reports(receipt)),
            *([] if on_share is None else [on_share]),
            Way(
                name="bucket", note="current versions", verdicts=in_bucket(receipt, _current(clients, bucket, dataset))
            ),
            _on_file_system(clients, found, dataset, receipt, checksums=checksums, say=say),
        ],
    )


def _on_share(share: Path, dataset: str, receipt: Receipt, leaves_out: LeavesOut | None) -> Way:
    def left(name: str) -> bool:
        return leaves_out is not None and leaves_out(f"/{dataset}/{name}")

    verdicts, left_out = on_disk(share / dataset, receipt, left)
    note = f"{share}, read" + (f"; {several(len(left_out), 'file')} that patterns leave there" if left_out else "")
    return Way(name="share here", note=note, verdicts=verdicts, left_out=left_out)


def _on_file_system(
    clients: Clients, found: System, dataset: str, receipt: Receipt, *, checksums: bool, say: Callable[[str], None]
) -> Way:
    name = FILE_SYSTEM
    try:
        listed = file_listing(clients, found, folder=f"data/{dataset}", checksums=checksums, say=say)
    except Failed as problem:
        if checksums:
            raise
        return Way(name=name, note=f"not looked at: {problem}", verdicts=None)
    note = "every file read" if checksums else "sizes; --checksums reads every file"
    return Way(name=name, note=note, verdicts=on_file_system(receipt, listed, dataset))


def by_reports(receipt: Receipt) -> list[Verdict]:
    """What the manifest itself says, which is what task reports say of the current versions."""
    return [Verdict(path=line.path, status=line.status, reason=line.reason) for line in receipt.counted()]


def in_bucket(receipt: Receipt, current: Mapping[str, tuple[str, int]]) -> list[Verdict]:
    """Held to what is in the bucket now. current: version id and size by path."""

    def judge(line: Line) -> tuple[Status, str]:
        if line.path not in current:
            return "missing", "not in the bucket"
        version, length = current[line.path]
        if version != line.version:
            return "different", f"another version ({version}) since the manifest was made"
        if length != line.size:
            return "different", f"{length} bytes, {line.size} in the manifest"
        return _no_better(line)

    return _judged(receipt, judge, current)


def on_file_system(receipt: Receipt, listed: Iterable[ListedFile], dataset: str) -> list[Verdict]:
    """Held to the files below /fsx/data/DATASET; to their SHA-256 where the listing has it."""
    there = {file.path.removeprefix(f"data/{dataset}/"): file for file in listed}

    def judge(line: Line) -> tuple[Status, str]:
        file = there.get(line.path)
        if file is None:
            return "missing", "not on the file system"
        if file.error:
            return "unverified", file.error
        return _same(line, file.size, None if file.sha256 is None else Read(length=file.size, sha256=file.sha256))

    return _judged(receipt, judge, there)


def on_disk(
    folder: Path, receipt: Receipt, leaves_out: LeavesOut = lambda name: False
) -> tuple[list[Verdict], list[str]]:
    """Held to the files of a folder of this machine, each of which is read. What is gone from there is not judged.

    A file that the manifest does not have is missing: it is here, and not in the bucket; unless it is of those that are left
    out, whose names are the second half of the answer. Errors: Failed.
    """
    if not folder.is_dir():
        raise Failed(f"there is no folder {folder}: --share wants the share as it is mounted here")
    there = list(_walk(folder))
    left_out = [name for name in there if name not in receipt.lines and leaves_out(name)]
    without = set(left_out)
    names = [name for name in there if name not in without]

    def judge(name: str) -> Verdict:
        line = receipt.lines.get(name)
        try:
            found = read_file(folder / name)
        except OSError as error:
            return Verdict(path=name, status="unverified", reason=error.strerror or str(error))
        if line is None or line.status == "missing":
            return Verdict(path=name, status="missing", reason="on the share, and not in the bucket")
        status, reason = _same(line, found.length, found)
        return Verdict(path=name, status=status, reason=reason)

    with ThreadPoolExecutor(_WORKERS) as pool:
        return list(pool.map(judge, names)), left_out


def _judged(receipt: Receipt, judge: Callable[[Line], tuple[Status, str]], there: Iterable[str]) -> list[Verdict]:
    found = []
    for line in receipt.counted():
        status, reason = judge(line)
        found.append(Verdict(path=line.path, status=status, reason=reason))
    extra = sorted(path for path in there if path not in receipt.lines)
    return found + [Verdict(path=path, status="unknown", reason="not in the manifest") for path in extra]


def _same(line: Line, length: int, content: Read | None) -> tuple[Status, str]:
    """content: None when the file was not read."""
    if length != line.size:
        return "different", f"{length} bytes, {line.size} in the manifest"
    if content is not None and length:
        same = line.kept.same(content.sha256, content.crc64nvme)
        if same is False:
            return "different", "its checksum is not that of the manifest"
        if same is None:
            return "unverified", line.kept.why_not
    return _no_better(line)


def _no_better(line: Line) -> tuple[Status, str]:
    """A copy of what was never verified is not verified either."""
    return ("verified", "") if line.status == "verified" else (line.status, line.reason)


def _current(clients: Clients, bucket: str, dataset: str) -> dict[str, tuple[str, int]]:
    """Version id and size of what is in the bucket now."""
    prefix = f"{DATASETS_PREFIX}{dataset}/"

    def read_all() -> dict[str, tuple[str, int]]:
        pages = clients.s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix)
        return {
            each["Key"].removeprefix(prefix): (each["VersionId"], each["Size"])
            for page in pages
            for each in page.get("Versions", [])
            if each["IsLatest"] and not each["Key"].endswith("/")
        }

    return ask("s3:ListBucketVersions", read_all)


def _walk(folder: Path) -> Iterator[str]:
    """Regular files, by their names. Errors: Failed for a folder that cannot be read: nobody knows what it has."""

    def unreadable(error: OSError) -> None:
        raise Failed(f"{error.filename} cannot be read: {error.strerror}")

    for here, folders, names in os.walk(folder, onerror=unreadable):
        folders.sort()
        for name in sorted(names):
            path = Path(here) / name
            if stat.S_ISREG(path.lstat().st_mode):
                yield path.relative_to(folder).as_posix()
