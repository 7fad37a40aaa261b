"""Everything together in one construct, for those who want it in one stack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aws_cdk import Size
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from .caps import Cap
from .cryosparc import Cryosparc
from .dataset_receipts import DatasetReceipts
from .engine import Engine
from .file_system_care import FileSystemCare
from .ingest_pace import BandwidthWindow
from .ingest_patterns import Software
from .ingest_rules import TaskMode
from .landing_zone import LandingZone
from .lane import Lane, default_lanes
from .lane_hooks import LaneHooks
from .lustre_store import ILustreStore, LustreStore
from .microscope_ingest import MicroscopeIngest, NfsShare, SmbShare
from .monthly_budget import MonthlyBudget
from .notifications import Notifications
from .parallel_cluster import ParallelCluster
from .parallel_cluster_config import HeadNode
from .problems import Problem, require
from .records_table import RecordsTable
from .waiting import Waiting
from .working_hours import WorkingHours


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
    """Landing zone, microscopes, file system, cluster, hooks, receipts and what looks after the file system, wired together.

    vpc: yours. subnet: the private subnet of cluster and file system (default: the first private one).
    lanes: default cpu, gpu1, gpu4, gpu8 and live. microscopes: by name.
    landing_zone, file_system, engine: made elsewhere, instead of new ones. An engine brings its file system with it.
    records: the table of records, made elsewhere. Default: a new one, retained.
    file_system_capacity: default 2400 GiB. provider_service_token: a ParallelCluster provider you already have.
    head_node, cryosparc, recipes (a folder), stages, caps: of the cluster that is made here, as ParallelCluster has them.
    quiet_minutes, sentinel, recipe, stop_head_node_after_minutes, waiting, awake: as LaneHooks has them, with its defaults.
    release_after_days: as FileSystemCare has it, default never; for a LustreStore alone.
    budget_usd: limit of a MonthlyBudget, of which and of all alarms budget_emails are told. Default: none.
    notification_emails: whom Notifications tell of datasets, jobs and failures; an empty list makes the topic alone.
        Default: no Notifications. notification_job_minutes: nobody is told of shorter jobs, default 30.

    A file system that was only imported by its attributes has nobody looking after it: its associations are not known.
    Errors: CryoEmError. Costs and IAM: those of the parts, see their docstrings.
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
        records: dynamodb.ITable | None = None,
        file_system_capacity: Size | None = None,
        provider_service_token: str | None = None,
        head_node: HeadNode | None = None,
        cryosparc: Cryosparc | None = None,
        recipes: str | None = None,
        stages: Mapping[str, str] | None = None,
        caps: Sequence[Cap] = (),
        quiet_minutes: int = 180,
        sentinel: str | None = None,
        recipe: str | None = None,
        stop_head_node_after_minutes: int = 0,
        waiting: Waiting | None = None,
        awake: WorkingHours | None = None,
        release_after_days: int | None = None,
        budget_usd: float | None = None,
        budget_emails: Sequence[str] = (),
        notification_emails: Sequence[str] | None = None,
        notification_job_minutes: int = 30,
    ) -> None:
        super().__init__(scope, id)
        of_a_new_cluster: Mapping[str, object] = {
            "lanes": lanes,
            "head_node": head_node,
            "cryosparc": cryosparc,
            "recipes": recipes,
            "stages": stages,
            "caps": caps or None,
        }
        cared_for = isinstance(file_system, LustreStore) or (engine is None and file_system is None)
        require(
            f"CryoEmPlatform {id!r}",
            [
                *_engine_problems(of_a_new_cluster if engine is not None else {}),
                *_rest_problems(
                    recipe=recipe if engine is None and recipes is None else None,
                    release_after_days=release_after_days,
                    cared_for=cared_for,
                    budget_usd=budget_usd,
                    budget_emails=budget_emails,
                ),
            ],
        )
        subnet = subnet or vpc.private_subnets[0]
        self.landing_zone: LandingZone = landing_zone or LandingZone(self, "LandingZone")
        self.records: dynamodb.ITable = records or RecordsTable(self, "Records").table
        self.microscopes: Mapping[str, MicroscopeIngest] = {
            name: self._microscope(name, microscope, sentinel) for name, microscope in (microscopes or {}).items()
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
                head_node=head_node,
                cryosparc=cryosparc,
                backup_bucket=self.landing_zone.results_bucket if cryosparc is not None else None,
                recipes=recipes,
                stages=stages,
                caps=caps,
                records=self.records,
            )
        self.engine: Engine = engine
        task_arns = [ingest.task_arn for ingest in self.microscopes.values()]
        self.hooks: LaneHooks = LaneHooks(
            self,
            "Hooks",
            engine=self.engine,
            landing_bucket=self.landing_zone.landing_bucket,
            ingest_task_arns=task_arns,
            records=self.records,
            quiet_minutes=quiet_minutes,
            sentinel=sentinel,
            recipe=recipe,
            stop_head_node_after_minutes=stop_head_node_after_minutes,
            waiting=waiting,
            awake=awake,
        )
        for ingest in self.microscopes.values():
            ingest.alarm_through(self.hooks.alarm_topic)
        self.receipts: DatasetReceipts = DatasetReceipts(
            self,
            "Receipts",
            engine=self.engine,
            landing_bucket=self.landing_zone.landing_bucket,
            records=self.records,
            alarm_topic=self.hooks.alarm_topic,
            ingest_task_arns=task_arns,
            sentinel=sentinel,
        )
        self.file_system_care: FileSystemCare | None = None
        if isinstance(self.file_system, LustreStore):
            self.file_system_care = FileSystemCare(
                self,
                "FileSystemCare",
                file_system=self.file_system,
                engine=self.engine,
                records=self.records,
                alarm_topic=self.hooks.alarm_topic,
                release_after_days=release_after_days,
                recipe=recipe,
            )
        self.budget: MonthlyBudget | None = None
        if budget_usd is not None:
            self.budget = MonthlyBudget(self, "Budget", limit_usd=budget_usd, emails=budget_emails)
            for address in budget_emails:
                self.hooks.alarm_topic.add_subscription(subscriptions.EmailSubscription(address))
        self.notifications: Notifications | None = None
        if notification_emails is not None:
            self.notifications = Notifications(
                self,
                "Notifications",
                event_bus=self.engine.event_bus,
                records=self.records,
                alarm_topic=self.hooks.alarm_topic,
                cluster_name=self.engine.cluster_name,
                emails=notification_emails,
                job_minutes=notification_job_minutes,
            )

    def _microscope(self, name: str, microscope: Microscope, sentinel: str | None) -> MicroscopeIngest:
        return MicroscopeIngest(
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
            sentinel=sentinel,
            key=self.landing_zone.key,
        )


def _engine_problems(given: Mapping[str, object]) -> Iterator[Problem]:
    """What is given beside an engine, which has its own."""
    for name, value in given.items():
        if value is not None:
            yield Problem(property=name, value="given", allowed=f"nothing beside engine, which has its own {name}")


def _rest_problems(
    *,
    recipe: str | None,
    release_after_days: int | None,
    cared_for: bool,
    budget_usd: float | None,
    budget_emails: Sequence[str],
) -> Iterator[Problem]:
    if recipe is not None:
        yield Problem(property="recipe", value=recipe, allowed="nothing without recipes, the folder that has it")
    if release_after_days is not None and not cared_for:
        yield Problem(
            property="release_after_days",
            value=release_after_days,
            allowed="a file_system that is a LustreStore",
            fix="Of one that is imported by its attributes nobody knows the associations",
        )
    if budget_emails and budget_usd is None:
        yield Problem(property="budget_emails", value=list(budget_emails), allowed="nothing without budget_usd")
