"""The sections of `cryoem.yaml`: every property, its unit, its default and what is allowed.

Units are in the names. Rules that belong to a construct are the construct's own; they run here too, so that a wrong value
is reported with its line before anything is synthesised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from cdk_cryoem import Capacity, HeadNode, InstanceShape, Lane, Problem, instance_shapes
from cdk_cryoem.cryosparc import CRYOSPARC_VERSION, cryosparc_problems
from cdk_cryoem.lane import SPOT_SUFFIX, lane_problems
from cdk_cryoem.monthly_budget import budget_problems
from cdk_cryoem.notifications import notification_problems
from cdk_cryoem.parallel_cluster import (
    OPERATING_SYSTEMS,
    cluster_problems,
)
from cdk_cryoem.waiting import Waiting, waiting_problems
from cdk_cryoem.working_hours import DAYS, WorkingHours, working_hours_problems

SECRET_ARN = r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+-[A-Za-z0-9]{6}$"
ROLE_ARN = r"^arn:aws[a-z-]*:iam::\d{12}:role/.+$"
POLICY_ARN = r"^arn:aws[a-z-]*:iam::(\d{12}|aws):policy/.+$"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
# ParallelCluster's API takes no cluster of one letter.
SystemName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,19}$")]


class Section(BaseModel):
    """A part of the file: nothing unknown in it, nothing converted, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def report(problems: Iterable[Problem]) -> None:
    """Raise all problems of one section at once; config_file.py takes them apart again."""
    found = list(problems)
    if found:
        raise PydanticCustomError("problems", "{text}", {"text": "; ".join(map(str, found)), "problems": found})


def at_its_field(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Problems that begin with their field's name, without it: pydantic puts it before them again."""
    for problem in problems:
        yield dataclasses.replace(problem, property=problem.property.partition(".")[2])


class LaneConfig(Section):
    """One lane: a node shape, its Slurm partition, its cryoSPARC lane and its RELION queue."""

    name: str = Field(description="Lower-case letters, digits and dashes, 25 characters at most")
    instance_types: list[str] = Field(description="EC2 types of equal GPU and vCPU count, the expected one first")
    gpus: int = Field(default=0, description="GPUs of each node; 0 for a CPU lane")
    max_nodes: int = Field(default=4, description="The most nodes at once")
    capacity: Literal["on-demand", "spot", "capacity-block"] = "on-demand"
    capacity_reservation_id: str | None = Field(
        default=None, description="On-Demand Capacity Reservation or Capacity Block that the nodes come out of"
    )
    spot_twin: bool = Field(default=False, description="A second lane NAME-spot, the same on spot capacity")
    nodes_per_job: int = Field(
        default=1, description="The most nodes one RELION job may spread over; they are placed close together"
    )
    particle_cache: bool = Field(default=True, description="Use the nodes' local NVMe as particle cache")
    memory_multiplier: float = Field(default=2.0, description="Memory asked of Slurm = what the job declares x this")
    time_limit_hours: float = Field(default=48.0, description="A job that runs longer is stopped")
    hold_minutes: int = Field(default=0, description="How long an idle node is kept; 0: shut down at once")

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = list(lane_problems(**self._values()))
        if self.spot_twin and (self.capacity != "on-demand" or self.capacity_reservation_id):
            problems.append(
                Problem(property="spot_twin", value=True, allowed="for on-demand lanes without a reservation")
            )
        elif self.spot_twin:
            problems += [
                Problem(property="spot_twin", value=f"{self.name}{SPOT_SUFFIX}", allowed=p.allowed, fix=p.fix)
                for p in lane_problems(**self._values() | {"name": f"{self.name}{SPOT_SUFFIX}"})
                if p.property == "name"
            ]
        report(problems)
        return self

    def _values(self) -> dict[str, Any]:
        return self.model_dump(exclude={"spot_twin"}) | {"capacity": Capacity(self.capacity)}

    def lanes(self, shapes: Mapping[str, InstanceShape] | None = None) -> list[Lane]:
        """The value objects that the constructs take: the lane, and its spot twin. shapes: types with other prices."""
        lane = Lane(**self._values(), shapes=instance_shapes() if shapes is None else shapes)
        return [lane, lane.spot_twin()] if self.spot_twin else [lane]


class WorkingHoursConfig(Section):
    """When people work."""

    days: list[str] = Field(default=["mon", "tue", "wed", "thu", "fri"], description=", ".join(DAYS))
    start: str = Field(default="09:00", description="Time of day, in quotes")
    end: str = Field(default="19:00", description="Time of day after start; 24:00 is the end of the day")
    time_zone: str = Field(default="UTC", description="Of the IANA database, for example Europe/Vienna")

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(working_hours_problems(self.working_hours()))
        return self

    def working_hours(self) -> WorkingHours:
        """The value object that the constructs take."""
        return WorkingHours(days=tuple(self.days), start=self.start, end=self.end, time_zone=self.time_zone)


class HeadNodeConfig(Section):
    """The small instance with Slurm, cryoSPARC and RELION."""

    instance_type: str = Field(default="m7i.xlarge", description="4 vCPUs and 16 GiB or more")
    operating_system: str = Field(default="ubuntu2204", description=", ".join(OPERATING_SYSTEMS))
    root_volume_gib: int = Field(default=100, description="50 to 16384")
    cryosparc_volume_gib: int = Field(default=200, description="Retained volume for cryoSPARC's database, 50 to 16384")
    remote_desktop_from: str | None = Field(
        default=None, description="Addresses (CIDR) that may open a DCV desktop on it; default: nobody. Not with pcs"
    )
    stop_after_minutes: int = Field(default=0, description="Stop it when idle for so long; 0: never, else 15 or more")
    awake: WorkingHoursConfig | None = Field(
        default=None, description="Hours in which it is on whatever happens; only with stop_after_minutes"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [
            Problem(property=p.property.removeprefix("head_node."), value=p.value, allowed=p.allowed, fix=p.fix)
            for p in cluster_problems(
                cluster_name="name",
                stack_name="stack",
                operating_system=self.operating_system,
                head_node=self.head_node(),
            )
        ]
        if self.stop_after_minutes and not 15 <= self.stop_after_minutes <= 10080:
            problems.append(
                Problem(property="stop_after_minutes", value=self.stop_after_minutes, allowed="0, or 15 to 10080")
            )
        if self.awake is not None and not self.stop_after_minutes:
            problems.append(
                Problem(
                    property="awake",
                    value="given",
                    allowed="nothing without stop_after_minutes",
                    fix="A head node that never stops is on at all hours",
                )
            )
        report(problems)
        return self

    def head_node(self) -> HeadNode:
        """The value object that the constructs take."""
        return HeadNode(
            instance_type=self.instance_type,
            root_volume_gib=self.root_volume_gib,
            cryosparc_volume_gib=self.cryosparc_volume_gib,
            remote_desktop_from=self.remote_desktop_from,
        )


class CryosparcConfig(Section):
    """cryoSPARC on the head node; without it the lanes are RELION's alone."""

    license_secret_arn: str = Field(
        pattern=SECRET_ARN,
        description="Secrets Manager secret with the licence id; the whole ARN with its six last characters",
    )
    version: str = Field(default=CRYOSPARC_VERSION, description="5.x.y, or 4.7.y")
    license_tokens: int | None = Field(default=None, description="GPUs that the licence allows at once, for a warning")

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(cryosparc_problems(version=self.version, license_tokens=self.license_tokens))
        return self


class PcsConfig(Section):
    """What AWS Parallel Computing Service needs, with engine: pcs."""

    ami_id: str = Field(
        pattern=r"^ami-[0-9a-f]{8,17}$",
        description="Image of head node and nodes: PCS agent, Slurm of that version, NVIDIA driver, Lustre client",
    )
    slurm_version: Literal["25.11"] = "25.11"
    size: Literal["SMALL", "MEDIUM", "LARGE"] = Field(
        default="SMALL", description="Up to 32, 512 or 2048 nodes; to change it means a new cluster"
    )


class ProcessingConfig(Section):
    """What starts by itself when a dataset has landed."""

    recipes: str = Field(description="Folder of recipes (executables) beside this file, put on the head node")
    on_landed: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Its name")


class WaitingConfig(Section):
    """What waiting for a node is worth, from which the hold time of each lane follows."""

    usd_per_hour: float = Field(description="What an hour of waiting for a node is worth, USD, above 0; no salary")
    longest_minutes: int = Field(
        default=10, description="No node is held longer for it, 1 to 15; at most idle_backstop_minutes"
    )
    hours: WorkingHoursConfig = Field(default_factory=WorkingHoursConfig, description="When somebody waits")

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(waiting_problems(self.waiting()))
        return self

    def waiting(self) -> Waiting:
        """The value object that the constructs take."""
        return Waiting(
            usd_per_hour=self.usd_per_hour,
            longest_minutes=self.longest_minutes,
            hours=self.hours.working_hours(),
        )


class AtLimitConfig(Section):
    """What AWS Budgets denies when the month's budget is spent: launches of GPU nodes, by these roles."""

    roles: list[Annotated[str, Field(pattern=ROLE_ARN)]] = Field(
        min_length=1,
        max_length=100,
        description="ARNs of the roles that launch nodes: the head node's, which ParallelCluster makes",
    )
    approval: Literal["automatic", "manual"] = Field(
        default="automatic", description="manual: somebody says yes in the console of Billing first"
    )


class BudgetConfig(Section):
    """A monthly budget that writes to people."""

    monthly_usd: float = Field(description="Limit in USD, above 0")
    emails: list[str] = Field(description="Who is told of the budget and of alarms, 1 to 10 addresses")
    at_limit: AtLimitConfig | None = Field(
        default=None, description="Launches that AWS Budgets denies at 100 %, 8 to 24 hours late; not with pcs"
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(
            Problem(
                property="monthly_usd" if p.property == "limit_usd" else p.property,
                value=p.value,
                allowed=p.allowed,
                fix=p.fix,
            )
            for p in budget_problems(limit_usd=self.monthly_usd, emails=self.emails)
        )
        return self


class NotificationsConfig(Section):
    """What people are told, of jobs, datasets, lanes, failures and leaks; without it a topic is not made."""

    emails: list[str] = Field(default_factory=list, description="Who is told of everything; SNS asks each to confirm")
    job_minutes: int = Field(default=30, description="Nobody is told of a job that ran for less; 0: of every job")

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(notification_problems(emails=self.emails, job_minutes=self.job_minutes))
        return self
