"""What receipts are made of and where they go, in S3: task reports, versions and their checksums, manifests."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from . import receipt_document, receipts
from .datasets import DATASETS_PREFIX
from .hints import log
from .receipts import File, Look, Receipt, Version
from .reports import DETAILED, Place, Reported, entries, has_files, place_of

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Versions = Mapping[str, Sequence[Version]]
CONNECTIONS = 32
_READ_TOGETHER, _HEAD_TOGETHER = 8, 512
_CHECKSUMS = ("CRC64NVME", "SHA256", "CRC32C", "CRC32", "SHA1")
# Gone, under a key that is not ours to use, or in an archive.
_LOST = ("NoSuchKey", "AccessDenied", "InvalidObjectState", "KMS.DisabledException", "KMS.NotFoundException")
NO_CHECKSUM = "none"
"""Algorithm of a version of which S3 keeps no checksum: not asked for again."""


@dataclass(frozen=True)
class Reports:
    """The task reports that there are: (key, whose, when it was written), and when the last of each execution was."""

    files: Sequence[tuple[str, Place, float]]
    executions: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Read:
    """What reports say of files; the keys of those that could not be read, known once all entries were taken."""

    entries: Iterator[Reported]
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Found:
    """A dataset as it is now. checksums_left: files whose checksum in S3 there was no time to ask for."""

    files: Sequence[File]
    last_at: float
    checksums_left: int


class Bucket:
    """The landing bucket, as far as receipts go."""

    def __init__(self, name: str, *, reports_prefix: str, s3: S3Client) -> None:
        self._name, self._reports_prefix, self._s3 = name, reports_prefix, s3

    def reports(self, of: Place | None = None) -> Reports:
        """List the task reports: all, or those that tell of the files of one execution."""
        prefix = self._reports_prefix
        if of is not None:
            prefix += f"{DETAILED}/{of.task}/{of.execution}/"
        files: list[tuple[str, Place, float]] = []
        executions: dict[tuple[str, str], float] = {}
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._name, Prefix=prefix)
        for page in pages:
            for each in page.get("Contents", []):
                key, at = each["Key"], each["LastModified"].timestamp()
                place = place_of(key)
                if place is None:
                    continue
                whose = (place.task, place.execution)
                executions[whose] = max(at, executions.get(whose, at))
                if has_files(key):
                    files.append((key, place, at))
        return Reports(files=files, executions=executions)

    def read(self, listed: Reports, *, since: float) -> Read:
        """What the reports that were written since then say, a few files of them in memory at once.

        A report is written after what it tells of was copied: older ones say nothing of a version that is newer.
        """
        read = Read(entries=iter(()))
        return replace(
            read, entries=self._entries([each for each in listed.files if each[2] >= since], read.unreadable)
        )

    def _entries(self, files: Sequence[tuple[str, Place, float]], unreadable: list[str]) -> Iterator[Reported]:
        waiting = iter(files)
        with ThreadPoolExecutor(_READ_TOGETHER) as pool:
            while some := list(itertools.islice(waiting, _READ_TOGETHER)):
                for (key, place, at), body in zip(
                    some, pool.map(self._report, [key for key, _, _ in some]), strict=True
                ):
                    if body is None:
                        unreadable.append(key)
                        continue
                    try:
                        # Whole, before any of it counts: a report that is cut off tells of half of its files.
                        told = list(entries(json.loads(body), place, written_at=at))
                    except (ValueError, KeyError, TypeError, AttributeError):
                        log.exception("%s is no task report that can be read", key)
                        unreadable.append(key)
                        continue
                    yield from told

    def _report(self, key: str) -> bytes | None:
        """None of one that S3 does not give out: it does not get better by asking again."""
        try:
            return self._get(key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _LOST:
                raise
            log.exception("%s cannot be read", key)
            return None

    def _get(self, key: str) -> bytes:
        return self._s3.get_object(Bucket=self._name, Key=key)["Body"].read()

    def look(
        self,
        dataset: str,
        versions: Versions,
        said: Mapping[str, Sequence[Reported]],
        looks: Mapping[str, Look | None],
        *,
        previous: bool,
        until: float,
    ) -> Found:
        """A dataset's files. previous: whether there is a manifest already, which has checksums of versions."""
        files = receipts.files(versions, said, looks)
        known = self._known_checksums(dataset) if previous else {}
        filled: list[File] = []
        wanted: list[int] = []
        for each in files:
            checksum, algorithm = known.get((each.path, each.version), (None, None))
            filled.append(replace(each, s3_checksum=checksum, s3_algorithm=algorithm) if algorithm else each)
            if each.version and not algorithm:
                wanted.append(len(filled) - 1)
        asked = 0
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            while asked < len(wanted) and time.time() < until:
                some = wanted[asked : asked + _HEAD_TOGETHER]
                for at, (checksum, algorithm) in zip(
                    some, pool.map(lambda at: self._checksum(dataset, filled[at]), some), strict=True
                ):
                    filled[at] = replace(filled[at], s3_checksum=checksum, s3_algorithm=algorithm)
                asked += len(some)
        last_at = max((each.at for some in versions.values() for each in some if each.latest), default=0.0)
        return Found(files=filled, last_at=last_at, checksums_left=len(wanted) - asked)

    def versions(self, dataset: str) -> Versions:
        """All versions of a dataset's files, and the marks of deletions, by path."""
        prefix = f"{DATASETS_PREFIX}{dataset}/"
        found: dict[str, list[Version]] = {}

        def add(key: str, version: Version) -> None:
            path = key.removeprefix(prefix)
            # A key with a slash at its end is a folder.
            if path and not path.endswith("/"):
                found.setdefault(path, []).append(version)

        for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=self._name, Prefix=prefix):
            for each in page.get("Versions", []):
                at, latest = each["LastModified"].timestamp(), each["IsLatest"]
                add(each["Key"], Version(id=each["VersionId"], size=each["Size"], at=at, latest=latest))
            for mark in page.get("DeleteMarkers", []):
                at, latest = mark["LastModified"].timestamp(), mark["IsLatest"]
                add(mark["Key"], Version(id=mark["VersionId"], size=0, at=at, latest=latest, deleted=True))
        return found

    def _known_checksums(self, dataset: str) -> dict[tuple[str, str | None], tuple[str | None, str | None]]:
        """From the manifest that is there; nothing when there is none any more."""
        try:
            text = gzip.decompress(self._get(receipts.manifest_key(dataset)))
            lines = [File.parse(line) for line in text.splitlines()]
        except ClientError as error:
            # S3 says AccessDenied of what is not there to who may not list it.
            if error.response["Error"]["Code"] not in _LOST:
                raise
            log.warning("the manifest of %s cannot be read (%s); checksums are asked for again", dataset, error)
            return {}
        except (OSError, EOFError, ValueError, TypeError):
            log.warning("the manifest of %s cannot be read; it is made anew", dataset)
            return {}
        return {(each.path, each.version): (each.s3_checksum, each.s3_algorithm) for each in lines if each.s3_algorithm}

    def _checksum(self, dataset: str, file: File) -> tuple[str | None, str]:
        assert file.version is not None, "only of versions that there are"
        answer: Mapping[str, Any] = self._s3.head_object(
            Bucket=self._name,
            Key=f"{DATASETS_PREFIX}{dataset}/{file.path}",
            VersionId=file.version,
            ChecksumMode="ENABLED",
        )
        for algorithm in _CHECKSUMS:
            if answer.get(f"Checksum{algorithm}"):
                return str(answer[f"Checksum{algorithm}"]), algorithm
        return None, NO_CHECKSUM

    def write(self, made: Receipt, lines: str, *, cluster: str, made_at: float, landed_at: float) -> str:
        """Write manifest and receipt; returns the manifest's version id."""
        key = receipts.manifest_key(made.dataset)
        put = self._s3.put_object(
            Bucket=self._name,
            Key=key,
            # Without a time in it: the same lines are the same bytes.
            Body=gzip.compress(lines.encode(errors="surrogatepass"), mtime=0),
            ContentType="application/gzip",
        )
        version = put.get("VersionId", "")
        manifest = {
            "key": key,
            "version_id": version,
            "sha256": hashlib.sha256(lines.encode(errors="surrogatepass")).hexdigest(),
        }
        document = receipt_document.document(
            made, cluster=cluster, made_at=made_at, manifest=manifest, landed_at=landed_at
        )
        self._s3.put_object(
            Bucket=self._name,
            Key=receipts.receipt_key(made.dataset),
            Body=f"{json.dumps(document, indent=2)}\n".encode(),
            ContentType="application/json",
        )
        return version
