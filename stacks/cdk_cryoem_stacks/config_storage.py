"""Sections `landing` and `file_system` of the file: where movies and results are kept."""

from __future__ import annotations

import dataclasses
from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from cdk_cryoem.file_system_care import release_problems
from cdk_cryoem.landing_zone import lock_problems
from cdk_cryoem.lustre_rules import file_system_problems, generation_problems
from cdk_cryoem.replication import SecondCopy, second_copy_problems

from .config_sections import Section, report

Deletable = Literal["file_system", "results", "landing"]
DELETABLE: tuple[str, ...] = get_args(Deletable)


class SecondCopyConfig(Section):
    """A second copy of the landing bucket, in another region or account."""

    bucket_arn: str = Field(description="A versioned bucket that lets the landing zone's replication role in")
    key_arn: str = Field(description="The key of that bucket")
    account: str | None = Field(default=None, description="The account that the bucket is of, when it is another one")
    storage_class: str = Field(default="GLACIER_IR", description="GLACIER_IR is read at once, DEEP_ARCHIVE costs less")

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(second_copy_problems(self.second_copy()))
        return self

    def second_copy(self) -> SecondCopy:
        """The value object that the constructs take."""
        return SecondCopy(**self.model_dump())


class DeletionConfig(Section):
    """The first of two keys that deleting data needs; the second is on the command line."""

    allowed: list[Deletable] = Field(
        default_factory=list, description="What goes with the storage stack when -c cryoem:delete=NAME is given, too"
    )


class LandingConfig(Section):
    """The landing bucket, and when a dataset counts as complete."""

    quiet_minutes: int = Field(default=180, ge=1, le=10080, description="Nothing new for so long: it has landed")
    sentinel: str | None = Field(
        default=None, pattern=r"^[^/]+$", description="A file of this name in a dataset says that it is complete"
    )
    noncurrent_days: int = Field(
        default=90, ge=1, description="How long a replaced version of a movie is kept, in days"
    )
    object_lock_days: int | None = Field(
        default=None, ge=1, description="No version can be deleted for so many days; only for a new landing bucket"
    )
    archive_after_days: int | None = Field(
        default=None, ge=1, description="Movies of finished datasets go to Glacier Deep Archive after so many days"
    )
    replicate_to: SecondCopyConfig | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for problem in lock_problems(
            lock=self.object_lock_days,
            noncurrent=self.noncurrent_days,
            prop="object_lock_days",
            other="noncurrent_days",
        ):
            report([dataclasses.replace(problem, value=self.object_lock_days)])
        return self


class FileSystemConfig(Section):
    """FSx for Lustre."""

    capacity_gib: int = Field(default=2400, description="1200, 2400 or a multiple of 2400")
    throughput_mibps_per_tib: int | None = Field(default=250, description="125, 250, 500 or 1000")
    deployment_type: str = Field(default="PERSISTENT_2", description="PERSISTENT_2 or SCRATCH_2")
    release_after_days: int | None = Field(
        default=None, description="Content of datasets that nobody used for so many days leaves it; it stays in S3"
    )
    generation: int = Field(default=1, description="The next number makes a new file system and keeps the old one")

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(
            file_system_problems(
                deployment_type=self.deployment_type,
                capacity_gib=self.capacity_gib,
                throughput_mibps_per_tib=self.throughput_mibps_per_tib,
                metadata_iops=None,
                lustre_version="2.15",
            )
        )
        return self

    @field_validator("release_after_days")
    @classmethod
    def _check_release(cls, value: int | None) -> int | None:
        report(dataclasses.replace(problem, property="") for problem in release_problems(value))
        return value

    @field_validator("generation")
    @classmethod
    def _check_generation(cls, value: int) -> int:
        report(dataclasses.replace(problem, property="") for problem in generation_problems(value))
        return value
