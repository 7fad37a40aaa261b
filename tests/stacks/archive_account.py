"""A deployed system in moto with a landing bucket: versioned, with the rule that moves finished datasets.

moto restores at once, and its listing tells nothing of restores, as that of an S3 that was never asked for any. S3's own
daily moves are played by `move`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from moto.s3.models import FakeKey, s3_backends
from operate_account import ACCOUNT, TABLE, Deployed, at_hand

from cdk_cryoem_stacks.archive import work
from cdk_cryoem_stacks.operate.find import System, Target
from cdk_cryoem_stacks.operate.records import Records

BUCKET = "cryoem-storage-landing"
RULE: dict[str, Any] = {
    "ID": "archive-finished",
    "Status": "Enabled",
    "Filter": {"And": {"Prefix": "datasets/", "Tags": [{"Key": "cryoem-state", "Value": "finished"}]}},
    "Transitions": [{"Days": 30, "StorageClass": "DEEP_ARCHIVE"}],
}
LARGE, SMALL = 128 * 1024, 100
LANDED = {"state": "landed", "objects": 3, "movies": 2, "size_bytes": 2 * LARGE + SMALL, "last_at": 1000.5}


@dataclass
class Archive:
    """The bucket of a system, and what is done to it from outside."""

    system: Deployed
    progress: list[tuple[str, int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        s3 = self.system.clients.s3
        s3.create_bucket(Bucket=BUCKET)
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        self.rules(RULE)
        self.system.stack(
            "cryoem-storage", LandingBucket=BUCKET, ResultsBucket="results", FileSystemId="fs-0123456789abcdef0"
        )

    @property
    def found(self) -> System:
        """What the commands find."""
        target = Target(name="cryoem", region="us-east-1", stop_after_minutes=30)
        return System(target=target, account=ACCOUNT, table=TABLE, sweeper="sweeper", head_node=self.system.head_node)

    @property
    def records(self) -> Records:
        """The hooks' table."""
        return Records(self.system.clients, TABLE)

    def rules(self, *rules: dict[str, Any]) -> None:
        """Let the bucket have these lifecycle rules and no others."""
        self.system.clients.s3.delete_bucket_lifecycle(Bucket=BUCKET)
        if rules:
            self.system.clients.s3.put_bucket_lifecycle_configuration(
                Bucket=BUCKET,
                LifecycleConfiguration={"Rules": list(rules)},  # type: ignore[typeddict-item]
            )

    def put(self, key: str, size: int = LARGE, storage_class: str = "INTELLIGENT_TIERING", tags: str = "") -> str:
        """An object; its version id."""
        made = self.system.clients.s3.put_object(
            Bucket=BUCKET,
            Key=f"datasets/{key}",
            Body=b"x" * size,
            StorageClass=storage_class,  # type: ignore[arg-type]
            Tagging=tags,
        )
        return made["VersionId"]

    def dataset(self, name: str = "krios-1", *, receipt: bool = True, **attributes: Any) -> None:
        """Two movies, a small file, their record, and a complete receipt."""
        self.put(f"{name}/a_fractions.tiff")
        self.put(f"{name}/b ü_fractions.tiff")
        self.put(f"{name}/a.xml", SMALL, "STANDARD", tags="group=smith")
        self.system.put("dataset", name, **{**LANDED, **attributes})
        if receipt:
            self.system.put("receipt", name, state="safe", dataset_last_at=1000.5)

    def current(self, name: str = "krios-1") -> list[FakeKey]:
        """The current versions in moto."""
        bucket = s3_backends[ACCOUNT]["aws"].buckets[BUCKET]
        return [bucket.keys[key] for key in list(bucket.keys) if key.startswith(f"datasets/{name}/")]

    def move(self, name: str = "krios-1") -> int:
        """What S3 does once a day, to objects of any age; how many it moved."""
        moved = 0
        for key in self.current(name):
            if self.tags(str(key.name)).get("cryoem-state") == "finished" and key.size >= LARGE:
                key._storage_class = "DEEP_ARCHIVE"
                moved += 1
        return moved

    def tags(self, key: str, **version: str) -> dict[str, str]:
        """An object's tags. moto refuses them of archived ones; S3 does not."""
        kept = s3_backends[ACCOUNT]["aws"].buckets[BUCKET].keys.getlist(key)
        classes = [each._storage_class for each in kept]
        for each in kept:
            each._storage_class = "STANDARD"
        try:
            return self._tags(key, **version)
        finally:
            for each, before in zip(kept, classes, strict=True):
                each._storage_class = before

    def _tags(self, key: str, **version: str) -> dict[str, str]:
        tags = self.system.clients.s3.get_object_tagging(Bucket=BUCKET, Key=key, **version)["TagSet"]  # type: ignore[arg-type]
        return {each["Key"]: each["Value"] for each in tags}

    def states(self, name: str = "krios-1", *, archived: bool = True) -> dict[str, str | None]:
        """The state that each object is marked with; without the archived ones, if they are not wanted."""
        return {
            str(key.name).rpartition("/")[2]: self.tags(str(key.name)).get("cryoem-state")
            for key in self.current(name)
            if archived or key._storage_class != "DEEP_ARCHIVE"
        }

    def versions(self) -> dict[tuple[str, str], tuple[int, str]]:
        """Size and checksum of every version of every object; delete markers are an error."""
        there = self.system.clients.s3.list_object_versions(Bucket=BUCKET)
        assert not there.get("DeleteMarkers")
        return {(each["Key"], each["VersionId"]): (each["Size"], each["ETag"]) for each in there.get("Versions", ())}

    def look(self, name: str = "krios-1") -> work.Seen:
        """The dataset as the commands see it."""
        return work.look(self.system.clients, self.found, name, progress=self.told)

    def told(self, what: str, done: int, of: int) -> None:
        """Progress."""
        self.progress.append((what, done, of))


@contextmanager
def archive_at_hand(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[Archive]:
    """The system with its file, where the commands run, and its bucket."""
    with at_hand(monkeypatch, folder) as system:
        yield Archive(system)
