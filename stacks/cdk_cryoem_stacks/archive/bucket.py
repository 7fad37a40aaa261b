"""What is asked of the landing bucket and done to it: objects, tags, restores, never a deletion of an object.

Tags are written for the version they were read of, so that one that comes in between keeps its own. S3 has no condition
for tags: whoever else tags the same version within the same tenth of a second may be overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Literal

from ..operate.ask import Failed, ask, find
from .contents import Held, Rule, held, rule_of
from .cost import Tier
from .decide import FINISHED, STATE_TAG, tags_with

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Answer = Literal["requested", "on its way", "extended", "active"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Movies:
    """One dataset in the landing bucket. All methods: Errors: Failed."""

    s3: S3Client
    bucket: str
    dataset: str

    @property
    def prefix(self) -> str:
        """Where its objects are."""
        return f"datasets/{self.dataset}/"

    def objects(self) -> list[Held]:
        """Its objects, as they are now, with what S3's listing tells of restores."""

        def read() -> list[Held]:
            pages = self.s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix, OptionalObjectAttributes=["RestoreStatus"]
            )
            # A key with a slash at its end is a folder that somebody made, and no file.
            return [held(listed) for page in pages for listed in page.get("Contents", ()) if listed["Key"][-1:] != "/"]

        return ask("s3:ListBucket", read)

    def rule(self) -> Rule | None:
        """The bucket's rule that moves it once it is finished."""
        answer = find(
            "s3:GetLifecycleConfiguration",
            lambda: self.s3.get_bucket_lifecycle_configuration(Bucket=self.bucket),
            unless=("NoSuchLifecycleConfiguration",),
        )
        return rule_of(answer or {}, self.prefix, tag=STATE_TAG, value=FINISHED)

    def mark(self, key: str, value: str | None) -> bool:
        """Set an object's state, or take it away; whether that changed anything. Its other tags stay."""
        there = ask("s3:GetObjectTagging", lambda: self.s3.get_object_tagging(Bucket=self.bucket, Key=key))
        try:
            tags = tags_with(there["TagSet"], value)
        except ValueError as problem:
            raise Failed(str(problem)) from problem
        if tags is None:
            return False
        read = {"VersionId": there["VersionId"]} if there.get("VersionId") else {}
        if tags:
            self._put_tags(key, tags, read)
        else:
            ask(
                "s3:DeleteObjectVersionTagging" if read else "s3:DeleteObjectTagging",
                lambda: self.s3.delete_object_tagging(Bucket=self.bucket, Key=key, **read),
            )
        return True

    def _put_tags(self, key: str, tags: list[dict[str, str]], version: dict[str, str]) -> None:
        ask(
            "s3:PutObjectVersionTagging" if version else "s3:PutObjectTagging",
            lambda: self.s3.put_object_tagging(
                Bucket=self.bucket,
                Key=key,
                Tagging={"TagSet": tags},  # type: ignore[typeddict-item]
                **version,  # type: ignore[arg-type]
            ),
        )

    def restore(self, key: str, *, days: int, tier: Tier) -> Answer:
        """Ask for a readable copy of an archived object for so many days; of one that has one, for so many from now."""

        def call() -> Answer:
            answer = self.s3.restore_object(
                Bucket=self.bucket,
                Key=key,
                RestoreRequest={
                    "Days": days,
                    "GlacierJobParameters": {"Tier": "Bulk" if tier == "bulk" else "Standard"},
                },
            )
            return "extended" if answer["ResponseMetadata"]["HTTPStatusCode"] == 200 else "requested"

        answer = find("s3:RestoreObject", call, unless=("RestoreAlreadyInProgress", "ObjectAlreadyInActiveTierError"))
        return answer or "on its way"

    def with_status(self, objects: Sequence[Held]) -> Iterator[Held]:
        """The same objects; those of the archive of which the listing told nothing, as HeadObject tells of them."""
        for each in objects:
            yield self.head(each) if each.archived and not each.restoring and each.restored_until is None else each

    def head(self, each: Held) -> Held:
        """An archived object with its restore's status."""
        answer = ask("s3:GetObject", lambda: self.s3.head_object(Bucket=self.bucket, Key=each.key))
        return told(each, answer.get("Restore", ""))

    def read(self, key: str, first: int = 0, length: int | None = None) -> bytes:
        """Bytes of an object, from `first` on; all that are there when there are fewer."""
        part: dict[str, Any] = {} if length is None else {"Range": f"bytes={first}-{first + length - 1}"}
        return ask("s3:GetObject", lambda: self.s3.get_object(Bucket=self.bucket, Key=key, **part)["Body"].read())

    def read_if_there(self, key: str) -> bytes | None:
        """A whole object, or None."""
        return find(
            "s3:GetObject",
            lambda: self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read(),
            unless=("NoSuchKey", "404"),
        )


def told(each: Held, header: str) -> Held:
    """An object with what the header x-amz-restore says: ongoing-request="false", expiry-date="Fri, 21 Dec 2012 ..."."""
    found = dict(re.findall(r'([\w-]+)="([^"]*)"', header))
    until = found.get("expiry-date")
    expiry = parsedate_to_datetime(until) if until else None
    return replace(
        each,
        restoring=found.get("ongoing-request") == "true",
        restored_until=_utc(expiry).timestamp() if expiry else None,
    )


def _utc(moment: datetime) -> datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
