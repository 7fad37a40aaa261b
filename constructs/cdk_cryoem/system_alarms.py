"""Alarms on what no single part sees: jobs that wait for nodes that do not come, and a system that nobody sweeps."""

from __future__ import annotations

from aws_cdk import Duration
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from constructs import Construct

from .dashboard_metrics import SystemMetrics
from .runbooks import with_runbook

STARVED_MINUTES = 30
"""How long a job waits in a lane without a single node before it counts: one boots in five minutes, and ParallelCluster leaves a
lane without capacity alone for ten."""
SILENT_MINUTES = 30


class SystemAlarms(Construct):
    """Two alarms for whoever looks after the system.

    metrics: of the system (`CryoEmDashboard.metrics`, or a SystemMetrics). sweeper: the function that sweeps
    (`LaneHooks.sweeper.function`). alarm_topic: told (`LaneHooks.alarm_topic`).

    A lane starves when a job that could start has waited in it for half an hour and it has no node at all: no capacity, a quota, a
    lane that is closed. The sweeper is silent when it was not called for half an hour: what is idle stays on then.
    Costs: 0.20 USD a month (CloudWatch price list, us-east-1). IAM to deploy: cloudwatch:PutMetricAlarm.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        metrics: SystemMetrics,
        sweeper: lambda_.IFunction,
        alarm_topic: sns.ITopic,
    ) -> None:
        super().__init__(scope, id)
        self.starved_lanes_alarm: cloudwatch.Alarm = cloudwatch.Alarm(
            self,
            "StarvedLanes",
            metric=metrics.starved_lanes(),
            threshold=1,
            # Two sweeps of three: one may see the moment between two nodes.
            evaluation_periods=3,
            datapoints_to_alarm=2,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=with_runbook(
                self,
                f"A job has waited for {STARVED_MINUTES} minutes in a lane that has no node at all",
                "starved-lanes",
            ),
        )
        self.silent_sweeper_alarm: cloudwatch.Alarm = cloudwatch.Alarm(
            self,
            "SilentSweeper",
            metric=sweeper.metric_invocations(statistic="Sum", period=Duration.minutes(SILENT_MINUTES)),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.BREACHING,
            alarm_description=with_runbook(
                self,
                f"Nobody has swept for {SILENT_MINUTES} minutes: idle nodes stay on, and what an event did not do is not done",
                "sweeper-silent",
            ),
        )
        for alarm in (self.starved_lanes_alarm, self.silent_sweeper_alarm):
            alarm.add_alarm_action(cloudwatch_actions.SnsAction(alarm_topic))
