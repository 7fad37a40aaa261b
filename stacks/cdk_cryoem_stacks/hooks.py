"""The hooks and the budget: what acts, and what it has written down."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from cdk_cryoem import Engine, LaneHooks, MonthlyBudget

from .config import Config


class HooksStack(Stack):
    """LaneHooks and MonthlyBudget."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: Config,
        engine: Engine,
        landing_bucket: s3.IBucket,
        ingest_task_arns: Sequence[str],
        file_system_id: str,
        **kwargs: object,
    ) -> None:
        super().__init__(scope, id, **kwargs)  # type: ignore[arg-type]
        self.hooks: LaneHooks = LaneHooks(
            self,
            "Hooks",
            engine=engine,
            landing_bucket=landing_bucket,
            ingest_task_arns=ingest_task_arns,
            quiet_minutes=config.landing.quiet_minutes,
            sentinel=config.landing.sentinel,
            recipe=config.processing.on_landed if config.processing else None,
            stop_head_node_after_minutes=config.head_node.stop_after_minutes,
            file_system_id=file_system_id,
        )
        self.budget: MonthlyBudget | None = None
        if config.budget is not None:
            self.budget = MonthlyBudget(
                self, "Budget", limit_usd=config.budget.monthly_usd, emails=config.budget.emails
            )
            for address in config.budget.emails:
                self.hooks.alarm_topic.add_subscription(subscriptions.EmailSubscription(address))
        CfnOutput(self, "RecordsTable", value=self.hooks.records.table_name)
        CfnOutput(self, "AlarmTopic", value=self.hooks.alarm_topic.topic_arn)
        CfnOutput(self, "Sweeper", value=self.hooks.sweeper.function.function_name)
        # Said by the cluster's stack too; here it is beside the others that `cryoem wake` and its like look for.
        CfnOutput(self, "HeadNode", value=engine.head_node_instance_id)
