"""S3's archive as days go by, before the emulator's S3: what the deployed rules move, and what was asked back of it.

The emulator moves nothing by itself, and cannot change the class of a version that is there. So who asks for objects here is told
of the class that they would have; the bytes stay where they are. Restores of its own are played in tests/twin/test_archive.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from deployed import Json
from movie_ledger import Ledger, Version

DAY = 86400.0
# Bulk is typically there within 48 hours (S3 user guide, "Archive retrieval options").
_WAY_DAYS = 2
# Smaller objects are not moved (S3 user guide, "Transitioning objects using Amazon S3 Lifecycle").
SMALLEST = 128 * 1024


class DeepArchive:
    """Which versions are in the archive, and from when to when each has a copy that can be read. now: epoch seconds."""

    def __init__(self, ledger: Ledger, now: Callable[[], float]) -> None:
        self.ledger, self.now = ledger, now
        self.moved: set[Version] = set()
        self.copies: dict[Version, tuple[float, float]] = {}

    def move(self) -> list[Version]:
        """What S3 does each day: versions that are due are moved. Returns those that were."""
        found = [
            version
            for version in self.ledger.current_versions()
            if version not in self.moved and self.ledger.sizes[version] >= SMALLEST and self._due(version)
        ]
        self.moved.update(found)
        return found

    def _due(self, version: Version) -> bool:
        age = self.ledger.day - self.ledger.landed_on[version]
        for rule in self.ledger.rules():
            days = [t["TransitionInDays"] for t in rule.get("Transitions", []) if t["StorageClass"] == "DEEP_ARCHIVE"]
            if rule["Status"] != "Enabled" or not days or not version[0].startswith(rule.get("Prefix", "")):
                continue
            wanted = {tag["Key"]: tag["Value"] for tag in rule.get("TagFilters", [])}
            if age >= min(days) and wanted.items() <= self._tags(version).items():
                return True
        return False

    def _tags(self, version: Version) -> dict[str, str]:
        answer = self.ledger.s3.get_object_tagging(Bucket=self.ledger.bucket, Key=version[0], VersionId=version[1])
        return {each["Key"]: each["Value"] for each in answer["TagSet"]}

    def readable(self, version: Version) -> bool:
        """Whether S3 would hand it out."""
        begin, end = self.copies.get(version, (0.0, 0.0))
        return version not in self.moved or begin <= self.now() < end

    def client(self, s3: Any) -> Any:
        """S3 for those who archive and restore: they see classes, restores and the bucket's rules."""
        return _Shown(self, s3)

    def client_of_fsx(self, s3: Any) -> Any:
        """S3 for a file system, which copies at import what FSx reads at first touch: what cannot be read stays away."""
        return _Hidden(self, s3)

    def latest(self, s3: Any, key: str) -> Version:
        """The current version of an object, asked of S3 only if the archive has one of this name."""
        if all(name != key for name, _ in self.moved):
            return key, ""
        return key, str(s3.head_object(Bucket=self.ledger.bucket, Key=key)["VersionId"])

    def ask(self, version: Version, days: int) -> int:
        """RestoreObject; its HTTP status."""
        if version not in self.moved:
            raise _error("ObjectAlreadyInActiveTierError", "RestoreObject")
        now, copy = self.now(), self.copies.get(version)
        if copy is not None and now < copy[0]:
            raise _error("RestoreAlreadyInProgress", "RestoreObject")
        there = self.readable(version)
        begin = now if there else now + _WAY_DAYS * DAY
        self.copies[version] = (begin, begin + days * DAY)
        return 200 if there else 202


class _Client:
    def __init__(self, archive: DeepArchive, s3: Any) -> None:
        self._archive, self._s3 = archive, s3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def get_paginator(self, name: str) -> Any:
        """With the archive's view of current objects."""
        pages = self._s3.get_paginator(name)
        return _Pages(self, pages) if name == "list_objects_v2" else pages

    def get_object(self, **given: Any) -> Any:
        """Refused for what is in the archive."""
        key = given["Key"]
        version = (key, given["VersionId"]) if "VersionId" in given else self._archive.latest(self._s3, key)
        if not self._archive.readable(version):
            raise _error("InvalidObjectState", "GetObject")
        return self._s3.get_object(**given)

    def shown(self, listed: Json) -> Json | None:
        """An object of a listing, None for one that is not to be seen."""
        raise NotImplementedError


class _Pages:
    def __init__(self, client: _Client, pages: Any) -> None:
        self._client, self._pages = client, pages

    def paginate(self, **given: Any) -> Iterator[Json]:
        for page in self._pages.paginate(**given):
            contents = (self._client.shown(each) for each in page.get("Contents", []))
            yield {**page, "Contents": [each for each in contents if each is not None]}


class _Hidden(_Client):
    def shown(self, listed: Json) -> Json | None:
        return listed if self._archive.readable(self._archive.latest(self._s3, listed["Key"])) else None


class _Shown(_Client):
    def shown(self, listed: Json) -> Json | None:
        version = self._archive.latest(self._s3, listed["Key"])
        if version not in self._archive.moved:
            return listed
        copy, status = self._archive.copies.get(version), {}
        if copy is not None and self._archive.now() < copy[1]:
            underway = self._archive.now() < copy[0]
            until = {} if underway else {"RestoreExpiryDate": datetime.fromtimestamp(copy[1], UTC)}
            status = {"RestoreStatus": {"IsRestoreInProgress": underway, **until}}
        return {**listed, "StorageClass": "DEEP_ARCHIVE", **status}

    def head_object(self, **given: Any) -> Any:
        """The header of a restore is not played: the listing tells of it."""
        return self._s3.head_object(**given)

    def restore_object(self, **given: Any) -> Any:
        """A copy for some days, some days later."""
        version = self._archive.latest(self._s3, given["Key"])
        status = self._archive.ask(version, given["RestoreRequest"]["Days"])
        return {"ResponseMetadata": {"HTTPStatusCode": status}}

    def get_bucket_lifecycle_configuration(self, **_: Any) -> Any:
        """From the template: the emulator's CloudFormation leaves lifecycles out."""
        rules = []
        for rule in self._archive.ledger.rules():
            tags = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in rule.get("TagFilters", [])]
            moves = [
                {"Days": move["TransitionInDays"], "StorageClass": move["StorageClass"]}
                for move in rule.get("Transitions", [])
            ]
            both = {"Prefix": rule.get("Prefix", ""), "Tags": tags}
            rules.append({"ID": rule["Id"], "Status": rule["Status"], "Filter": {"And": both}, "Transitions": moves})
        return {"Rules": rules}


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
