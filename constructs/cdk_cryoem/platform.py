"""Everything together in one construct, for those who want it in one stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Size
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from .dataset_receipts import DatasetReceipts
from .engine import Engine
from .ingest_pace import BandwidthWindow
from .ingest_patterns import Software
from .ingest_rules import TaskMode
from .landing_zone import LandingZone
from .lane import Lane, default_lanes
from .lane_hooks import LaneHooks
from .lustre_store import ILustreStore, LustreStore
from .microscope_ingest import MicroscopeIngest, NfsShare, SmbShare
from .parallel_cluster import ParallelCluster
from .problems import Problem, require


@dataclass(frozen=True, kw_only=True, slots=True)
class Microscope:
    """One microscope: its share, its DataSync agent (agent_arn, agent_arns or activation_key), when to look (schedule), how
    much of the line that takes, and which files are copied. All as MicroscopeIngest has them.
    """

    share: NfsShare | SmbShare
    agent_arn: str | None = None
    agent_arns: tuple[str, ...] = ()
    activation_key: str | None = None
    task_mode: TaskMode = "basic"
    schedule_expression: str = "rate(1 hour)"
    time_zone: str | None = None
    bandwidth_limit_mibps: int | None = None
    bandwidth_windows: tuple[BandwidthWindow, ...] = ()
    software: Software | None = None
    include_patterns: tuple[str, ...] = ()
    exclude_patterns: tuple[str, ...] = ()


class CryoEmPlatform(Construct):
    """Landing zone, microscopes, file system, cluster, hooks and receipts, wired together.

    vpc: yours. subnet: the private subnet of cluster and file system (default: the first private one).
    lanes: default cpu, gpu1, gpu4, gpu8 and live. microscopes: by name.
    landing_zone, file_system, engine: made elsewhere, instead of new ones. An engine brings its file system with it.
    file_system_capacity: default 2400 GiB. provider_service_token: a ParallelCluster provider you already have.

    Costs and IAM: those of the parts, see their docstrings.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        vpc: ec2.IVpc,
        subnet: ec2.ISubnet | None = None,
        lanes: Sequence[Lane] | None = None,
        microscopes: Mapping[str, Microscope] | None = None,
        landing_zone: LandingZone | None = None,
        file_system: ILustreStore | None = None,
        engine: Engine | None = None,
        file_system_capacity: Size | None = None,
        provider_service_token: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        if engine is not None and lanes is not None:
            require(
                f"CryoEmPlatform {id!r}",
                [Problem(property="lanes", value="given", allowed="nothing beside engine, which has its own lanes")],
            )
        subnet = subnet or vpc.private_subnets[0]
        self.landing_zone: LandingZone = landing_zone or LandingZone(self, "LandingZone")
        self.microscopes: Mapping[str, MicroscopeIngest] = {
            name: MicroscopeIngest(
                self,
                f"Microscope-{name}",
                share=microscope.share,
                landing_bucket=self.landing_zone.landing_bucket,
                agent_arn=microscope.agent_arn,
                agent_arns=microscope.agent_arns,
                activation_key=microscope.activation_key,
                task_mode=microscope.task_mode,
                schedule_expression=microscope.schedule_expression,
                time_zone=microscope.time_zone,
                bandwidth_limit_mibps=microscope.bandwidth_limit_mibps,
                bandwidth_windows=microscope.bandwidth_windows,
                software=microscope.software,
                include_patterns=microscope.include_patterns,
                exclude_patterns=microscope.exclude_patterns,
                key=self.landing_zone.key,
            )
            for name, microscope in (microscopes or {}).items()
        }
        self.file_system: ILustreStore | None = file_system
        if engine is None:
            self.file_system = file_system or LustreStore(
                self,
                "FileSystem",
                vpc=vpc,
                subnet=subnet,
                landing_bucket=self.landing_zone.landing_bucket,
                results_bucket=self.landing_zone.results_bucket,
                capacity=file_system_capacity,
                key=self.landing_zone.key,
            )
            engine = ParallelCluster(
                self,
                "Cluster",
                vpc=vpc,
                subnet=subnet,
                lanes=default_lanes() if lanes is None else lanes,
                file_system=self.file_system,
                provider_service_token=provider_service_token,
            )
        self.engine: Engine = engine
        task_arns = [ingest.task_arn for ingest in self.microscopes.values()]
        self.hooks: LaneHooks = LaneHooks(
            self,
            "Hooks",
            engine=self.engine,
            landing_bucket=self.landing_zone.landing_bucket,
            ingest_task_arns=task_arns,
        )
        for ingest in self.microscopes.values():
            ingest.alarm_through(self.hooks.alarm_topic)
        self.receipts: DatasetReceipts = DatasetReceipts(
            self,
            "Receipts",
            engine=self.engine,
            landing_bucket=self.landing_zone.landing_bucket,
            records=self.hooks.records,
            alarm_topic=self.hooks.alarm_topic,
            ingest_task_arns=task_arns,
        )
