"""What `cryoem.yaml` may say: every property, its unit, its default and what is allowed.

Units are in the names. Rules that belong to a construct are the construct's own; they run here too, so that a wrong value
is reported with its line before anything is synthesised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from cdk_cryoem import Capacity, HeadNode, Lane, Problem, default_lanes
from cdk_cryoem.cryosparc import CRYOSPARC_VERSION, cryosparc_problems
from cdk_cryoem.lane import SPOT_SUFFIX, lane_problems, lane_set_problems
from cdk_cryoem.lane_manifest import manifest_text, size_problems
from cdk_cryoem.lustre_rules import file_system_problems
from cdk_cryoem.microscope_ingest import ingest_problems
from cdk_cryoem.monthly_budget import budget_problems
from cdk_cryoem.parallel_cluster import (
    OPERATING_SYSTEMS,
    backstop_problems,
    cluster_problems,
    retention_problems,
    tag_problems,
)
from cdk_cryoem.pcs_rules import pcs_problems
from cdk_cryoem.stages import lane_warnings, stage_lanes, stage_problems

_SECRET_ARN = r"^arn:aws[a-z-]*:secretsmanager:[a-z0-9-]+:\d{12}:secret:.+-[A-Za-z0-9]{6}$"
_POLICY_ARN = r"^arn:aws[a-z-]*:iam::(\d{12}|aws):policy/.+$"
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,19}$")]
# ParallelCluster's API takes no cluster of one letter.
SystemName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{1,19}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def _report(problems: Iterable[Problem]) -> None:
    """Raise all problems of one section at once; config_file.py takes them apart again."""
    found = list(problems)
    if found:
        raise PydanticCustomError("problems", "{text}", {"text": "; ".join(map(str, found)), "problems": found})


def _at_its_field(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Problems that begin with their field's name, without it: pydantic puts it before them again."""
    for problem in problems:
        yield dataclasses.replace(problem, property=problem.property.partition(".")[2])


class Share(_Section):
    """An NFS export of the microscope: every folder directly below `path` is a dataset."""

    host: str = Field(description="Host name or address of the share")
    path: str = Field(description="What it exports, for example /krios")


class SmbShareConfig(_Section):
    """An SMB share of the microscope: every folder directly below `path` is a dataset."""

    host: str = Field(description="Host name or address of the share")
    path: str = Field(description="Share and folder with forward slashes, for example /krios")
    user: str = Field(description="Who reads the share")
    password_secret_arn: str = Field(
        pattern=_SECRET_ARN,
        description="Secrets Manager secret with the password as plain text; the whole ARN with its six last characters",
    )
    domain: str | None = Field(default=None, description="Windows domain of the user")


class MicroscopeConfig(_Section):
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
        _report(problems)
        return self


class LandingConfig(_Section):
    """The landing bucket, and when a dataset counts as complete."""

    quiet_minutes: int = Field(default=180, ge=1, le=10080, description="Nothing new for so long: it has landed")
    sentinel: str | None = Field(
        default=None, pattern=r"^[^/]+$", description="A file of this name in a dataset says that it is complete"
    )
    noncurrent_days: int = Field(
        default=90, ge=1, description="How long a replaced version of a movie is kept, in days"
    )


class FileSystemConfig(_Section):
    """FSx for Lustre."""

    capacity_gib: int = Field(default=2400, description="1200, 2400 or a multiple of 2400")
    throughput_mibps_per_tib: int | None = Field(default=250, description="125, 250, 500 or 1000")
    deployment_type: str = Field(default="PERSISTENT_2", description="PERSISTENT_2 or SCRATCH_2")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _report(
            file_system_problems(
                deployment_type=self.deployment_type,
                capacity_gib=self.capacity_gib,
                throughput_mibps_per_tib=self.throughput_mibps_per_tib,
                metadata_iops=None,
                lustre_version="2.15",
            )
        )
        return self


class LaneConfig(_Section):
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
        _report(problems)
        return self

    def _values(self) -> dict[str, Any]:
        return self.model_dump(exclude={"spot_twin"}) | {"capacity": Capacity(self.capacity)}

    def lanes(self) -> list[Lane]:
        """The value objects that the constructs take: the lane, and its spot twin."""
        lane = Lane(**self._values())
        return [lane, lane.spot_twin()] if self.spot_twin else [lane]


class HeadNodeConfig(_Section):
    """The small instance with Slurm, cryoSPARC and RELION."""

    instance_type: str = Field(default="m7i.xlarge", description="4 vCPUs and 16 GiB or more")
    operating_system: str = Field(default="ubuntu2204", description=", ".join(OPERATING_SYSTEMS))
    root_volume_gib: int = Field(default=100, description="50 to 16384")
    cryosparc_volume_gib: int = Field(default=200, description="Retained volume for cryoSPARC's database, 50 to 16384")
    remote_desktop_from: str | None = Field(
        default=None, description="Addresses (CIDR) that may open a DCV desktop on it; default: nobody. Not with pcs"
    )
    stop_after_minutes: int = Field(default=0, description="Stop it when idle for so long; 0: never, else 15 or more")

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
        _report(problems)
        return self

    def head_node(self) -> HeadNode:
        """The value object that the constructs take."""
        return HeadNode(
            instance_type=self.instance_type,
            root_volume_gib=self.root_volume_gib,
            cryosparc_volume_gib=self.cryosparc_volume_gib,
            remote_desktop_from=self.remote_desktop_from,
        )


class CryosparcConfig(_Section):
    """cryoSPARC on the head node; without it the lanes are RELION's alone."""

    license_secret_arn: str = Field(
        pattern=_SECRET_ARN,
        description="Secrets Manager secret with the licence id; the whole ARN with its six last characters",
    )
    version: str = Field(default=CRYOSPARC_VERSION, description="5.x.y, or 4.7.y")
    license_tokens: int | None = Field(default=None, description="GPUs that the licence allows at once, for a warning")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _report(cryosparc_problems(version=self.version, license_tokens=self.license_tokens))
        return self


class PcsConfig(_Section):
    """What AWS Parallel Computing Service needs, with engine: pcs."""

    ami_id: str = Field(
        pattern=r"^ami-[0-9a-f]{8,17}$",
        description="Image of head node and nodes: PCS agent, Slurm of that version, NVIDIA driver, Lustre client",
    )
    slurm_version: Literal["25.11"] = "25.11"
    size: Literal["SMALL", "MEDIUM", "LARGE"] = Field(
        default="SMALL", description="Up to 32, 512 or 2048 nodes; to change it means a new cluster"
    )


class NetworkConfig(_Section):
    """The network: a new one (in availability_zone, if given), or yours (vpc_id, subnet_id and availability_zone)."""

    cidr: str = Field(default="10.20.0.0/16", pattern=r"^\d+\.\d+\.\d+\.\d+/(1[6-9]|2[0-4])$")
    vpc_id: str | None = Field(default=None, pattern=r"^vpc-[0-9a-f]{8,17}$")
    subnet_id: str | None = Field(
        default=None, pattern=r"^subnet-[0-9a-f]{8,17}$", description="A private subnet with NAT"
    )
    availability_zone: str | None = Field(
        default=None,
        description="Where file system, head node and nodes are, for example us-east-1b; default: the first zone",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            IPv4Network(self.cidr, strict=False)
        except ValueError:
            _report(
                [Problem(property="cidr", value=self.cidr, allowed="four numbers up to 255 and a size of /16 to /24")]
            )
        given = {name: getattr(self, name) for name in ("vpc_id", "subnet_id", "availability_zone")}
        if (self.vpc_id or self.subnet_id) and not all(given.values()):
            missing = next(name for name, value in given.items() if not value)
            _report([Problem(property=missing, value=None, allowed="vpc_id, subnet_id and availability_zone together")])
        return self


class ProcessingConfig(_Section):
    """What starts by itself when a dataset has landed."""

    recipes: str = Field(description="Folder of recipes (executables) beside this file, put on the head node")
    on_landed: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Its name")


class BudgetConfig(_Section):
    """A monthly budget that writes to people."""

    monthly_usd: float = Field(description="Limit in USD, above 0")
    emails: list[str] = Field(description="Who is told of the budget and of alarms, 1 to 10 addresses")

    @model_validator(mode="after")
    def _check(self) -> Self:
        _report(
            Problem(
                property="monthly_usd" if p.property == "limit_usd" else p.property,
                value=p.value,
                allowed=p.allowed,
                fix=p.fix,
            )
            for p in budget_problems(limit_usd=self.monthly_usd, emails=self.emails)
        )
        return self


def _default_lanes() -> list[LaneConfig]:
    return [
        LaneConfig(name=lane.name, instance_types=list(lane.instance_types), gpus=lane.gpus, max_nodes=lane.max_nodes)
        for lane in default_lanes()
    ]


class Config(_Section):
    """One cryo-EM system."""

    name: SystemName = Field(
        description="Name of the system and of its cluster; the stacks are called NAME-network and so on"
    )
    region: str = Field(default="us-east-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    account: str | None = Field(default=None, pattern=r"^\d{12}$", description="Default: that of the credentials")
    engine: Literal["parallelcluster", "pcs"] = Field(default="parallelcluster", description="What runs Slurm")
    pcs: PcsConfig | None = None
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    microscopes: list[MicroscopeConfig] = Field(default_factory=list)
    landing: LandingConfig = Field(default_factory=LandingConfig)
    file_system: FileSystemConfig = Field(default_factory=FileSystemConfig)
    head_node: HeadNodeConfig = Field(default_factory=HeadNodeConfig)
    lanes: list[LaneConfig] = Field(default_factory=_default_lanes, min_length=1)
    idle_backstop_minutes: int = Field(
        default=10, description="An idle node goes after this even if no hook acts; no lane can hold one longer"
    )
    stages: dict[str, str] = Field(
        default_factory=dict, description="Lane of a processing stage, where another than the default one is wanted"
    )
    cryosparc: CryosparcConfig | None = None
    processing: ProcessingConfig | None = None
    budget: BudgetConfig | None = None
    permissions_boundary_arn: str | None = Field(
        default=None, pattern=_POLICY_ARN, description="Managed policy set as boundary on every role"
    )
    log_retention_days: int = Field(default=180, description="How long the cluster's logs are kept, in days")
    tags: dict[str, str] = Field(default_factory=dict, description="Tags on everything, for your cost reports")

    # Rules of one property are of its field, so that they are looked at even when another section is wrong.
    @field_validator("idle_backstop_minutes")
    @classmethod
    def _check_backstop(cls, value: int) -> int:
        _report(_at_its_field(backstop_problems([], value)))
        return value

    @field_validator("log_retention_days")
    @classmethod
    def _check_retention(cls, value: int) -> int:
        _report(_at_its_field(retention_problems(value)))
        return value

    @field_validator("tags")
    @classmethod
    def _check_tags(cls, value: dict[str, str]) -> dict[str, str]:
        _report(_at_its_field(tag_problems(value, reserved=("cryoem:",), others=3)))
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [
            *self._name_problems(),
            *self._hold_problems(),
            *stage_problems(self.stages, self.all_lanes()),
            *size_problems(
                manifest_text(
                    hyper_threading=self.engine == "parallelcluster",
                    cluster_name=self.name,
                    lanes=self.all_lanes(),
                    stage_lanes=stage_lanes(self.all_lanes(), self.stages),
                )
            ),
        ]
        if self.engine == "pcs":
            problems += self._pcs_problems()
        _report(problems)
        return self

    def _name_problems(self) -> Iterator[Problem]:
        seen: set[str] = set()
        for index, lane in enumerate(self.lanes):
            for made, prop in zip(lane.lanes(), ("name", "spot_twin"), strict=False):
                if made.name in seen:
                    for problem in lane_set_problems([made.name, made.name]):
                        yield dataclasses.replace(problem, property=f"lanes[{index}].{prop}")
                seen.add(made.name)

    def _pcs_problems(self) -> Iterator[Problem]:
        if self.pcs is None:
            yield Problem(
                property="pcs", value=None, allowed="a section with ami_id", fix="docs/pcs.md says how to make one"
            )
            return
        here = {f"lane {lane.name}.name": f"lanes[{index}].name" for index, lane in enumerate(self.lanes)}
        for problem in pcs_problems(
            lanes=self.all_lanes(),
            size=self.pcs.size,
            slurm_version=self.pcs.slurm_version,
            ami_id=self.pcs.ami_id,
            mount_source="given by the storage stack",
            root_volume_gib=self.head_node.root_volume_gib,
            remote_desktop_from=self.head_node.remote_desktop_from,
        ):
            elsewhere = problem.property.startswith(("head_node", "lanes"))
            prop = problem.property if elsewhere else here.get(problem.property, f"pcs.{problem.property}")
            yield dataclasses.replace(problem, property=prop)

    def _hold_problems(self) -> Iterator[Problem]:
        # PCS has an idle time for each lane, always longer than what the lane holds.
        for index, lane in enumerate(self.lanes if self.engine == "parallelcluster" else []):
            # A spot twin holds as long as its lane.
            for problem in backstop_problems(lane.lanes()[:1], self.idle_backstop_minutes):
                yield dataclasses.replace(problem, property=f"lanes[{index}].hold_minutes")

    def warnings(self) -> list[str]:
        """What is allowed and probably not meant."""
        lanes = self.all_lanes()
        tokens = self.cryosparc.license_tokens if self.cryosparc else None
        return lane_warnings(lanes, stage_lanes(lanes, self.stages), tokens)

    def all_lanes(self) -> list[Lane]:
        """Every lane, spot twins included."""
        return [made for lane in self.lanes for made in lane.lanes()]
