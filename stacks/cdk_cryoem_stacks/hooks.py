"""The hooks, the budget and the notifications: what acts, what it has written down, and who is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from cdk_cryoem import (
    DatasetReceipts,
    DenyLaunches,
    Engine,
    FileSystemCare,
    LaneHooks,
    LustreStore,
    MicroscopeIngest,
    MonthlyBudget,
    Notifications,
)

from .config import Config
from .config_sections import AtLimitConfig
from .overview import Overview


class HooksStack(Stack):
    """LaneHooks, DatasetReceipts, FileSystemCare, and MonthlyBudget and Notifications when the file has their sections."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: Config,
        engine: Engine,
        landing_bucket: s3.IBucket,
        file_system: LustreStore,
        ingest_task_arns: Sequence[str],
        records: dynamodb.ITable,
        **kwargs: object,
    ) -> None:
        super().__init__(scope, id, **kwargs)  # type: ignore[arg-type]
        self.hooks: LaneHooks = LaneHooks(
            self,
            "Hooks",
            engine=engine,
            landing_bucket=landing_bucket,
            ingest_task_arns=ingest_task_arns,
            records=records,
            quiet_minutes=config.landing.quiet_minutes,
            sentinel=config.landing.sentinel,
            recipe=config.processing.on_landed if config.processing else None,
            stop_head_node_after_minutes=config.head_node.stop_after_minutes,
            waiting=config.waiting.waiting() if config.waiting else None,
            awake=config.head_node.awake.working_hours() if config.head_node.awake else None,
            system=config.name,
        )
        self.receipts: DatasetReceipts = DatasetReceipts(
            self,
            "Receipts",
            engine=engine,
            landing_bucket=landing_bucket,
            records=records,
            alarm_topic=self.hooks.alarm_topic,
            ingest_task_arns=ingest_task_arns,
            sentinel=config.landing.sentinel,
        )
        self.file_system_care: FileSystemCare = FileSystemCare(
            self,
            "FileSystemCare",
            file_system=file_system,
            engine=engine,
            records=records,
            alarm_topic=self.hooks.alarm_topic,
            release_after_days=config.file_system.release_after_days,
            recipe=config.processing.on_landed if config.processing else None,
        )
        self.budget: MonthlyBudget | None = None
        if config.budget is not None:
            self.budget = MonthlyBudget(
                self,
                "Budget",
                limit_usd=config.budget.monthly_usd,
                emails=config.budget.emails,
                at_limit=self._denied(config.budget.at_limit),
            )
            for address in config.budget.emails:
                self.hooks.alarm_topic.add_subscription(subscriptions.EmailSubscription(address))
        self.notifications: Notifications | None = None
        if config.notifications is not None:
            self.notifications = Notifications(
                self,
                "Notifications",
                event_bus=engine.event_bus,
                records=records,
                alarm_topic=self.hooks.alarm_topic,
                cluster_name=engine.cluster_name,
                emails=config.notifications.emails,
                job_minutes=config.notifications.job_minutes,
            )
            CfnOutput(self, "NotificationTopic", value=self.notifications.topic.topic_arn)
        # Names of other stacks' resources are said here for commands that look at this stack alone; nothing imports them
        # from here, which is what cfn-lint warns of.
        self.template_options.metadata = {"cfn-lint": {"config": {"ignore_checks": ["W6001"]}}}
        CfnOutput(self, "RecordsTable", value=self.hooks.records.table_name)
        CfnOutput(self, "AlarmTopic", value=self.hooks.alarm_topic.topic_arn)
        CfnOutput(self, "ListFilesDocument", value=self.hooks.documents.list_files.ref)
        CfnOutput(self, "Sweeper", value=self.hooks.sweeper.function.function_name)
        CfnOutput(self, "LaneManifest", value=engine.lane_manifest.parameter_name)
        # Said by the cluster's stack too; here it is beside the others that `cryoem wake` and its like look for.
        CfnOutput(self, "HeadNode", value=engine.head_node_instance_id)

    def _denied(self, at_limit: AtLimitConfig | None) -> DenyLaunches | None:
        if at_limit is None:
            return None
        roles = [
            iam.Role.from_role_arn(self, f"Launches{number}", arn, mutable=False)
            for number, arn in enumerate(at_limit.roles)
        ]
        return DenyLaunches(roles=roles, approval=at_limit.approval)

    def show(
        self, *, config: Config, engine: Engine, file_system: LustreStore, microscopes: Mapping[str, MicroscopeIngest]
    ) -> Overview:
        """The dashboard of all that is in this stack by now, and of what is given."""
        return Overview(
            self,
            "Overview",
            config=config,
            engine=engine,
            hooks=self.hooks,
            file_system=file_system,
            microscopes=microscopes,
        )
