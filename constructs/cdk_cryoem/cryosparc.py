"""What the head node needs to know to install cryoSPARC."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aws_cdk import aws_secretsmanager as secretsmanager

from .problems import Problem, known, require

CRYOSPARC_VERSION = "5.0.6"
"""The newest patch seen in public use when this was written (SZBL-HPC/Container-CryoSPARC)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cryosparc:
    """cryoSPARC on the head node: installed after the cluster is up, kept up, backed up every night.

    license: secret with the licence id as plain text, or as JSON with the key license_id. It is read on the head node
        only. Whole ARN, or made in the app.
    version: exact; 5.x (default 5.0.6), or 4.7.x for those who stay. Master and worker always have the same one.
    license_tokens: how many GPUs the licence allows at once, for a warning when the lanes have more. Default: not known.

    Costs nothing by itself. Errors: CryoEmError for a version that cannot be installed.
    """

    license: secretsmanager.ISecret
    version: str = CRYOSPARC_VERSION
    license_tokens: int | None = None

    def __post_init__(self) -> None:
        require("Cryosparc", cryosparc_problems(version=self.version, license_tokens=self.license_tokens))


def cryosparc_problems(*, version: str, license_tokens: int | None) -> Iterator[Problem]:
    """Everything wrong with a cryoSPARC's own values."""
    if known(version) and not re.fullmatch(r"(4\.7|5\.\d+)\.\d+", version):
        yield Problem(
            property="version",
            value=version,
            allowed="an exact version 5.x.y or 4.7.y, for example 5.0.6",
            fix="Older ones do not know the graphics drivers of ParallelCluster's and PCS's images",
        )
    if license_tokens is not None and known(license_tokens) and license_tokens < 1:
        yield Problem(property="license_tokens", value=license_tokens, allowed="1 or more, or nothing")
