"""What `cryoem.yaml` may say as a whole; its sections are in the config_*.py beside it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, PrivateAttr, field_validator, model_validator

from cdk_cryoem import Cap, Lane, Problem, default_lanes
from cdk_cryoem.caps import caps_problems, caps_warnings
from cdk_cryoem.ingest_patterns import sentinel_problems
from cdk_cryoem.ingest_tasks import task_problems
from cdk_cryoem.lane import lane_set_problems
from cdk_cryoem.lane_manifest import manifest_text, size_problems
from cdk_cryoem.parallel_cluster import backstop_problems, retention_problems, tag_problems
from cdk_cryoem.pcs_rules import pcs_problems
from cdk_cryoem.stages import lane_warnings, stage_lanes, stage_problems

from .config_caps import CapConfig
from .config_groups import GroupConfig, groups_problems
from .config_microscope import MicroscopeConfig
from .config_network import NetworkConfig, way_out_problems, way_out_warnings
from .config_sections import (
    POLICY_ARN,
    BudgetConfig,
    CryosparcConfig,
    HeadNodeConfig,
    LaneConfig,
    NotificationsConfig,
    PcsConfig,
    ProcessingConfig,
    Section,
    SystemName,
    WaitingConfig,
    at_its_field,
    report,
)
from .config_storage import DeletionConfig, FileSystemConfig, LandingConfig
from .config_web import WebConfig, place_problems
from .deletion import Keys
from .prices import PriceTable
from .prices import load as load_prices
from .prices.lanes import lane_price_warnings, priced_shapes


def _default_lanes() -> list[LaneConfig]:
    return [
        LaneConfig(name=lane.name, instance_types=list(lane.instance_types), gpus=lane.gpus, max_nodes=lane.max_nodes)
        for lane in default_lanes()
    ]


class Config(Section):
    """One cryo-EM system."""

    name: SystemName = Field(
        description="Name of the system and of its cluster; the stacks are called NAME-network and so on"
    )
    region: str = Field(default="us-east-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$")
    account: str | None = Field(default=None, pattern=r"^\d{12}$", description="Default: that of the credentials")
    prices: str | None = Field(
        default=None, description="File of prices beside this one, as `cryoem prices refresh` writes it"
    )
    engine: Literal["parallelcluster", "pcs"] = Field(default="parallelcluster", description="What runs Slurm")
    pcs: PcsConfig | None = None
    network: NetworkConfig = Field(default_factory=NetworkConfig)
    microscopes: list[MicroscopeConfig] = Field(default_factory=list)
    landing: LandingConfig = Field(default_factory=LandingConfig)
    file_system: FileSystemConfig = Field(default_factory=FileSystemConfig)
    groups: list[GroupConfig] = Field(default_factory=list)
    deletion: DeletionConfig = Field(default_factory=DeletionConfig)
    head_node: HeadNodeConfig = Field(default_factory=HeadNodeConfig)
    lanes: list[LaneConfig] = Field(default_factory=_default_lanes, min_length=1)
    idle_backstop_minutes: int = Field(
        default=10, description="An idle node goes after this even if no hook acts; no lane can hold one longer"
    )
    waiting: WaitingConfig | None = None
    stages: dict[str, str] = Field(
        default_factory=dict, description="Lane of a processing stage, where another than the default one is wanted"
    )
    cryosparc: CryosparcConfig | None = None
    web: WebConfig | None = None
    processing: ProcessingConfig | None = None
    caps: list[CapConfig] = Field(default_factory=list, description="What a month, a project or a dataset may cost")
    budget: BudgetConfig | None = None
    notifications: NotificationsConfig | None = None
    permissions_boundary_arn: str | None = Field(
        default=None,
        pattern=POLICY_ARN,
        description="Managed policy set as boundary on every role, but those of ParallelCluster's own provider",
    )
    log_retention_days: int = Field(default=180, description="How long the cluster's logs are kept, in days")
    tags: dict[str, str] = Field(default_factory=dict, description="Tags on everything, for your cost reports")
    _table: PriceTable | None = PrivateAttr(default=None)

    # Rules of one property are of its field, so that they are looked at even when another section is wrong.
    @field_validator("idle_backstop_minutes")
    @classmethod
    def _check_backstop(cls, value: int) -> int:
        report(at_its_field(backstop_problems([], value)))
        return value

    @field_validator("log_retention_days")
    @classmethod
    def _check_retention(cls, value: int) -> int:
        report(at_its_field(retention_problems(value)))
        return value

    @field_validator("tags")
    @classmethod
    def _check_tags(cls, value: dict[str, str]) -> dict[str, str]:
        report(at_its_field(tag_problems(value, reserved=("cryoem:",), others=3)))
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        problems = [
            *self._name_problems(),
            *self._hold_problems(),
            *self._number_problems(),
            *self._sentinel_problems(),
            *groups_problems(self.groups, account=self.account),
            *stage_problems(self.stages, self.all_lanes()),
            *caps_problems(self.all_caps()),
            *place_problems(self.web, self.network),
            *way_out_problems(self.network, engine=self.engine, has_cryosparc=self.cryosparc is not None),
            *size_problems(
                manifest_text(
                    hyper_threading=self.engine == "parallelcluster",
                    cluster_name=self.name,
                    lanes=self.all_lanes(),
                    stage_lanes=stage_lanes(self.all_lanes(), self.stages),
                    caps=self.all_caps(),
                )
            ),
        ]
        if self.engine == "pcs":
            problems += self._pcs_problems()
        report(problems)
        return self

    def _name_problems(self) -> Iterator[Problem]:
        seen: set[str] = set()
        for index, lane in enumerate(self.lanes):
            for made, prop in zip(lane.lanes(), ("name", "spot_twin"), strict=False):
                if made.name in seen:
                    for problem in lane_set_problems([made.name, made.name]):
                        yield dataclasses.replace(problem, property=f"lanes[{index}].{prop}")
                seen.add(made.name)

    def _number_problems(self) -> Iterator[Problem]:
        for problem in task_problems([microscope.name for microscope in self.microscopes]):
            yield dataclasses.replace(problem, property="microscopes")

    def _sentinel_problems(self) -> Iterator[Problem]:
        for index, microscope in enumerate(self.microscopes):
            for problem in sentinel_problems(self.landing.sentinel, microscope.exclude_patterns):
                section = "landing" if problem.property == "sentinel" else f"microscopes[{index}]"
                yield problem.under(section)

    def _pcs_problems(self) -> Iterator[Problem]:
        if self.budget is not None and self.budget.at_limit is not None:
            yield Problem(
                property="budget.at_limit",
                value="given",
                allowed="nothing with engine: pcs",
                fix="PCS launches nodes by its service-linked role, which no policy reaches; caps hold jobs",
            )
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
        if self.waiting is not None and self.engine == "parallelcluster":
            longest, backstop = self.waiting.longest_minutes, self.idle_backstop_minutes
            if longest > backstop:
                yield Problem(
                    property="waiting.longest_minutes",
                    value=longest,
                    allowed=f"1 to {backstop}, the cluster's idle_backstop_minutes",
                    fix="ParallelCluster powers every idle node down then",
                )

    def warnings(self) -> list[str]:
        """What is allowed and probably not meant."""
        lanes = self.all_lanes()
        tokens = self.cryosparc.license_tokens if self.cryosparc else None
        keys = Keys(system=self.name, allowed=self.deletion.allowed).warning()
        return [
            *lane_warnings(lanes, stage_lanes(lanes, self.stages), tokens),
            *caps_warnings(self.all_caps(), lanes),
            *way_out_warnings(self.network),
            *([keys] if keys is not None else []),
            *self.price_warnings(),
        ]

    def price_warnings(self) -> list[str]:
        """What is to be said of the prices that jobs get."""
        return lane_price_warnings(self.all_lanes(), self.region, file=self.prices)

    def with_prices(self, table: PriceTable) -> Self:
        """The same configuration with the prices of a table: what `config_file.load` makes of the file that `prices` names."""
        priced = self.model_copy()
        priced._table = table
        return priced

    def price_table(self) -> PriceTable:
        """The prices of this system: the package's, and over them those of the file that `prices` names."""
        return self._table if self._table is not None else load_prices()

    def all_lanes(self) -> list[Lane]:
        """Every lane, spot twins included, with the prices of the region."""
        shapes = priced_shapes(self.price_table(), self.region)
        return [made for lane in self.lanes for made in lane.lanes(shapes)]

    def all_caps(self) -> list[Cap]:
        """The caps as the constructs take them."""
        return [cap.cap() for cap in self.caps]
