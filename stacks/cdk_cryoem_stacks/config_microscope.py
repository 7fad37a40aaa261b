"""Section `microscopes` of the file: their shares and their ways into the landing bucket."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from cdk_cryoem import BandwidthWindow, Problem, WorkingHours
from cdk_cryoem.ingest_rules import ingest_problems

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


class BandwidthWindowConfig(Section):
    """Hours in which the transfer takes at most so much of the line, in the microscope's time zone."""

    days: list[str] = Field(default=["mon", "tue", "wed", "thu", "fri"], description="mon to sun")
    start: str = Field(description="Time of day, in quotes")
    end: str = Field(description="Time of day after start; 24:00 is the end of the day")
    limit_mibps: int | None = Field(default=None, description="Most it takes of the line, in MiB/s; default: no limit")


class MicroscopeConfig(Section):
    """One microscope and its way into the landing bucket."""

    name: Name
    nfs: Share | None = None
    smb: SmbShareConfig | None = None
    agent_arn: str | None = Field(default=None, description="A DataSync agent that was activated before")
    agent_arns: list[str] = Field(default_factory=list, description="Several of them; all must be online for a run")
    activation_key: str | None = Field(default=None, description="The key a fresh agent shows, valid for 30 minutes")
    task_mode: Literal["basic", "enhanced"] = Field(
        default="basic",
        description="DataSync's mode; enhanced wants agents of that mode. Another one replaces the task",
    )
    schedule: str = Field(default="rate(1 hour)", description="rate(...) or cron(...), 5 minutes apart or more")
    time_zone: str = Field(default="UTC", description="Of cron(...) and of bandwidth_windows, of the IANA database")
    bandwidth_limit_mibps: int | None = Field(default=None, description="Most it takes of the line, in MiB/s")
    bandwidth_windows: list[BandwidthWindowConfig] = Field(
        default_factory=list, description="Hours with another limit; where two overlap, the lower one holds"
    )
    software: Literal["epu", "tomo5", "serialem"] | None = Field(
        default=None, description="What the microscope is run with; its pictures for people are then not copied"
    )
    include_patterns: list[str] = Field(
        default_factory=list, description="Folders to copy, such as /2026*; default: all of them"
    )
    exclude_patterns: list[str] = Field(
        default_factory=list, description="What not to copy, such as */atlas; none may hit a movie or its metadata"
    )

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
            agent_arns=self.agent_arns,
            activation_key=self.activation_key,
            task_mode=self.task_mode,
            schedule_expression=self.schedule,
            time_zone=self.time_zone,
            bandwidth_limit_mibps=self.bandwidth_limit_mibps,
            bandwidth_windows=self.windows(),
            software=self.software,
            include_patterns=self.include_patterns,
            exclude_patterns=self.exclude_patterns,
        ):
            prop = renamed.get(problem.property, problem.property)
            if prop.startswith("bandwidth_windows") and prop.endswith(".time_zone"):
                # It is the microscope's own, and reported there.
                continue
            if prop in ("host", "path"):
                prop = f"{'nfs' if self.nfs else 'smb'}.{prop}"
            problems.append(Problem(property=prop, value=problem.value, allowed=problem.allowed, fix=problem.fix))
        report(problems)
        return self

    def windows(self) -> list[BandwidthWindow]:
        """The value objects that the construct takes."""
        return [
            BandwidthWindow(
                hours=WorkingHours(
                    days=tuple(window.days), start=window.start, end=window.end, time_zone=self.time_zone
                ),
                limit_mibps=window.limit_mibps,
            )
            for window in self.bandwidth_windows
        ]
