"""Section `microscopes` of the file: their shares and their ways into the landing bucket."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from cdk_cryoem import Problem
from cdk_cryoem.microscope_ingest import ingest_problems

from .config_sections import SECRET_ARN, Name, Section, report


class Share(Section):
    """An NFS export of the microscope: every folder directly below `path` is a dataset."""

    host: str = Field(description="Host name or address of the share")
    path: str = Field(description="What it exports, for example /krios")


class SmbShareConfig(Section):
    """An SMB share of the microscope: every folder directly below `path` is a dataset."""

    host: str = Field(description="Host name or address of the share")
    path: str = Field(description="Share and folder with forward slashes, for example /krios")
    user: str = Field(description="Who reads the share")
    password_secret_arn: str = Field(
        pattern=SECRET_ARN,
        description="Secrets Manager secret with the password as plain text; the whole ARN with its six last characters",
    )
    domain: str | None = Field(default=None, description="Windows domain of the user")


class MicroscopeConfig(Section):
    """One microscope and its way into the landing bucket."""

    name: Name
    nfs: Share | None = None
    smb: SmbShareConfig | None = None
    agent_arn: str | None = Field(default=None, description="A DataSync agent that was activated before")
    activation_key: str | None = Field(default=None, description="The key a fresh agent shows, valid for 30 minutes")
    schedule: str = Field(default="rate(1 hour)", description="rate(N hours) or cron(...)")
    bandwidth_limit_mibps: int | None = Field(default=None, description="Most it takes of the line, in MiB/s")

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems: list[Problem] = []
        if (self.nfs is None) == (self.smb is None):
            given = "both nfs and smb" if self.nfs else "neither nfs nor smb"
            problems.append(Problem(property="nfs", value=given, allowed="either nfs or smb, with host and path"))
        share = self.nfs or self.smb
        renamed = {"schedule_expression": "schedule"}
        for problem in ingest_problems(
            host=share.host if share else "host",
            path=share.path if share else "/",
            agent_arn=self.agent_arn,
            activation_key=self.activation_key,
            schedule_expression=self.schedule,
            bandwidth_limit_mibps=self.bandwidth_limit_mibps,
        ):
            prop = renamed.get(problem.property, problem.property)
            if prop in ("host", "path"):
                prop = f"{'nfs' if self.nfs else 'smb'}.{prop}"
            problems.append(Problem(property=prop, value=problem.value, allowed=problem.allowed, fix=problem.fix))
        report(problems)
        return self
