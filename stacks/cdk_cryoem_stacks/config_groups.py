"""Section `groups` of the file: who reads which movies and results in S3."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Self

from pydantic import Field, model_validator

from cdk_cryoem import Problem
from cdk_cryoem.dataset_group import group_problems

from .config_sections import Section, report

_ROLE_ARN = re.compile(r"arn:aws[a-z-]*:iam::(\d{12}):role/.+")


class GroupConfig(Section):
    """One group of people, whose movies and results no other group reads in S3."""

    name: str = Field(description="Its results are below projects/NAME/")
    datasets: list[str] = Field(description="Names of datasets, or beginnings of names with a * at the end")
    reader_role_arns: list[str] = Field(description="Roles of this account that read as this group")
    vpc_only: bool = Field(default=False, description="Its access points answer in the system's network alone")

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(_reader_problems(self.reader_role_arns))
        return self


def groups_problems(groups: Sequence[GroupConfig], *, account: str | None) -> Iterator[Problem]:
    """What is wrong with groups beside each other, and with readers of another account than the system's."""
    yield from group_problems([(group.name, group.datasets) for group in groups])
    for index, group in enumerate(groups):
        for arn in group.reader_role_arns:
            found = _ROLE_ARN.fullmatch(arn)
            if found is not None and account is not None and found[1] != account:
                yield Problem(
                    property=f"groups[{index}].reader_role_arns", value=arn, allowed=f"roles of account {account}"
                )


def _reader_problems(arns: Sequence[str]) -> Iterator[Problem]:
    if not arns:
        yield Problem(property="reader_role_arns", value=[], allowed="one role at least")
    for arn in arns:
        if not _ROLE_ARN.fullmatch(arn):
            yield Problem(
                property="reader_role_arns", value=arn, allowed="arn:aws:iam::ACCOUNT:role/NAME, with its path"
            )
