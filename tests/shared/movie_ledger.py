"""A ledger of every version of every movie that ever landed, and of what S3 does by itself to them as days go by."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from typing import Any

from botocore.exceptions import ClientError
from deployed import Json
from emulated import System

MOVIES = "datasets/"
Version = tuple[str, str]
# What a hook writes beside a dataset.
_RECEIPT = re.compile(r"datasets/[^/]+\.(receipt\.json|manifest\.jsonl\.gz)")
# Of a lifecycle rule: what says of which objects it is, what deletes nothing, and what is played here.
_OF_WHICH = {"Id", "Status", "Prefix"}
_HARMLESS = {"Transitions", "AbortIncompleteMultipartUpload", "NoncurrentVersionTransitions"}
_PLAYED = {"NoncurrentVersionExpiration", "ExpirationInDays"}


class LostError(AssertionError):
    """A movie is not what or where it was."""


class Ledger:
    """Versions that landed (key and version id) with their digests, and the contents that somebody wrote, by key."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.s3: Any = system.emulator.make("s3")
        self.bucket = system.landing_bucket
        self.landed: dict[Version, str] = {}
        self.sizes: dict[Version, int] = {}
        self.landed_on: dict[Version, float] = {}
        self.day = 0.0
        self._latest: list[Version] = []
        self._written: dict[str, set[str]] = defaultdict(set)
        self._replaced_on: dict[Version, float] = {}
        self.policy_is_as_deployed()

    def note(self, key: str, content: bytes) -> None:
        """Somebody writes this to the share or the bucket from now on."""
        self._written[key].add(hashlib.sha256(content).hexdigest())

    def policy_is_as_deployed(self) -> None:
        """Remember the bucket's policy; from now on another one is a loss."""
        self._policy = self.s3.get_bucket_policy(Bucket=self.bucket)["Policy"]

    def look(self) -> None:
        """Every version that landed is there, none is hidden, new ones are what somebody wrote. Errors: LostError."""
        there: dict[Version, bool] = {}
        sizes: dict[Version, int] = {}
        for page in self.s3.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=MOVIES):
            if page.get("DeleteMarkers"):
                raise LostError(f"a delete marker hides {page['DeleteMarkers'][0]['Key']}")
            there |= {(found["Key"], found["VersionId"]): found["IsLatest"] for found in page.get("Versions", [])}
            sizes |= {(found["Key"], found["VersionId"]): found["Size"] for found in page.get("Versions", [])}
        gone = sorted(set(self.landed) - set(there))
        if gone:
            raise LostError(f"{len(gone)} versions are gone, {gone[0]} for one")
        for version in sorted(set(there) - set(self.landed)):
            content = self._digest(version)
            if content not in self._written[version[0]] and not _RECEIPT.fullmatch(version[0]):
                raise LostError(f"{version} has a content that nobody wrote")
            self.landed[version], self.landed_on[version], self.sizes[version] = content, self.day, sizes[version]
        self._latest = sorted(version for version, latest in there.items() if latest)
        for version, latest in there.items():
            if not latest:
                self._replaced_on.setdefault(version, self.day)
        if self.s3.get_bucket_versioning(Bucket=self.bucket).get("Status") != "Enabled":
            raise LostError("the bucket keeps no versions any more")
        try:
            policy = self.s3.get_bucket_policy(Bucket=self.bucket)["Policy"]
        except ClientError as error:
            raise LostError("the bucket has no policy any more") from error
        if policy != self._policy:
            raise LostError("the bucket has another policy than was deployed")

    def holds(self, key: str, content: bytes) -> bool:
        """Whether some version of a movie has this content."""
        digest = hashlib.sha256(content).hexdigest()
        return any(landed == digest for (name, _), landed in self.landed.items() if name == key)

    def retrieve(self) -> None:
        """Every version that landed, byte for byte. Errors: LostError."""
        for version, content in self.landed.items():
            if self._digest(version) != content:
                raise LostError(f"{version} has other bytes than it landed with")

    def _digest(self, version: Version) -> str:
        answer = self.s3.get_object(Bucket=self.bucket, Key=version[0], VersionId=version[1])
        return hashlib.sha256(answer["Body"].read()).hexdigest()

    def current_versions(self) -> list[Version]:
        """Those that are the latest, as of the last look."""
        return self._latest

    def current(self) -> dict[str, int]:
        """Sizes of the movies as S3 lists them."""
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=MOVIES)
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", [])}

    def days_to_the_first_expiration(self) -> float:
        """How long nothing that was replaced is due: so long is promised for each version."""
        rules = (rule.get("NoncurrentVersionExpiration") for rule in self.rules())
        kept = min((float(rule["NoncurrentDays"]) for rule in rules if rule), default=float("inf"))
        oldest = min(self._replaced_on.values(), default=self.day)
        return oldest + kept - self.day

    def live_for(self, days: float) -> None:
        """Days pass, and S3 does what the deployed rules say; no policy is above it."""
        self.day += days
        for rule in self.rules():
            unknown = set(rule) - _OF_WHICH - _HARMLESS - _PLAYED - {"TagFilters"}
            if unknown or ("TagFilters" in rule and _PLAYED & set(rule)):
                raise ValueError(f"a lifecycle rule like {rule} is not played here")
            if rule["Status"] == "Enabled":
                for version in self.landed:
                    self._expire(version, rule)

    def _expire(self, version: Version, rule: Json) -> None:
        key, version_id = version
        if not key.startswith(rule.get("Prefix", "")):
            return
        replaced = self._replaced_on.get(version)
        if replaced is None and "ExpirationInDays" in rule and self.day >= float(rule["ExpirationInDays"]):
            self.s3.delete_object(Bucket=self.bucket, Key=key)
        after = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
        if replaced is not None and after is not None and self.day - replaced >= float(after):
            self.s3.delete_object(Bucket=self.bucket, Key=key, VersionId=version_id)

    def rules(self) -> list[Json]:
        """The bucket's lifecycle. From the template: the emulator's CloudFormation leaves lifecycles out."""
        deployed = self.system.deployed
        (found,) = (
            bucket.get("LifecycleConfiguration", {}).get("Rules", [])
            for stack, logical, bucket in deployed.of_type("AWS::S3::Bucket")
            if deployed.name(stack, logical) == self.bucket
        )
        return list(found)
