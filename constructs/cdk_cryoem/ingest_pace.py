"""How much of the line a microscope's transfer takes, by the hour: slow in the day, at full speed at night."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_logs as logs
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as targets
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from ._assets import NOT_SHIPPED, lambda_root
from .problems import Problem, known
from .runbooks import with_runbook
from .working_hours import WorkingHours, working_hours_problems


@dataclass(frozen=True, kw_only=True, slots=True)
class BandwidthWindow:
    """Hours in which a transfer takes at most so much of the line. limit_mibps: in MiB/s; default no limit."""

    hours: WorkingHours
    limit_mibps: int | None = None


class IngestPace(Construct):
    """Keeps a DataSync task's bandwidth at what the hour allows, also that of a run under way.

    task_arn: the task. windows: where two overlap, the lower limit holds. otherwise_mibps: outside all of them, in MiB/s;
    default no limit.

    A function looks every ten minutes and writes only what differs, so that a missed look, a deployment or a change by
    hand is mended by the next one. It changes BytesPerSecond and nothing else of the task's options.
    Its role may describe and update this task and its executions, and empty its own dead-letter queue, nothing else: a look
    that went well makes good those that failed, so that `alarm` ends.
    Costs: about 0.02 USD a month (4,380 calls of less than a second, arm64, 256 MB, us-east-1), and its log.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        task_arn: str,
        windows: Sequence[BandwidthWindow],
        otherwise_mibps: int | None = None,
    ) -> None:
        super().__init__(scope, id)
        self.dead_letter_queue: sqs.Queue = sqs.Queue(
            self,
            "DeadLetters",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(4),
        )
        self.log_group: logs.LogGroup = logs.LogGroup(
            self, "Log", retention=logs.RetentionDays.SIX_MONTHS, removal_policy=RemovalPolicy.DESTROY
        )
        self.role: iam.Role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group.grant_write(self.role)
        self.dead_letter_queue.grant_consume_messages(self.role)
        for actions, resource in (
            (["datasync:DescribeTask", "datasync:ListTaskExecutions", "datasync:UpdateTask"], task_arn),
            (["datasync:DescribeTaskExecution", "datasync:UpdateTaskExecution"], f"{task_arn}/execution/*"),
        ):
            self.role.add_to_policy(iam.PolicyStatement(actions=actions, resources=[resource]))
        self.function: lambda_.Function = lambda_.Function(
            self,
            "Resource",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            handler="cdk_cryoem_lambda.ingest_pace.handler",
            code=lambda_.Code.from_asset(str(lambda_root()), exclude=NOT_SHIPPED),
            environment={
                "TASK": task_arn,
                "DEAD_LETTERS": self.dead_letter_queue.queue_url,
                "OTHERWISE_MIBPS": "" if otherwise_mibps is None else str(otherwise_mibps),
                "WINDOWS": json.dumps(
                    [{**window.hours.document(), "limit_mibps": window.limit_mibps} for window in windows],
                    separators=(",", ":"),
                ),
            },
            memory_size=256,
            timeout=Duration.minutes(2),
            dead_letter_queue=self.dead_letter_queue,
            log_group=self.log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            role=self.role,
        )
        self.schedule_role: iam.Role = iam.Role(
            self,
            "ScheduleRole",
            assumed_by=iam.ServicePrincipal(
                "scheduler.amazonaws.com", conditions={"StringEquals": {"aws:SourceAccount": Stack.of(self).account}}
            ),
            description="Calls what keeps one microscope's bandwidth",
        )
        self.schedule: scheduler.Schedule = scheduler.Schedule(
            self,
            "Schedule",
            schedule=scheduler.ScheduleExpression.rate(Duration.minutes(10)),
            target=targets.LambdaInvoke(
                self.function, role=self.schedule_role, retry_attempts=1, dead_letter_queue=self.dead_letter_queue
            ),
            description="Keep the microscope's transfer at what the hour allows",
        )

    def alarm(self, topic: sns.ITopic, *, scope: Construct, id: str) -> cloudwatch.Alarm:
        """Tell topic when a look failed three times: the bandwidth stays what it was. Costs: 0.10 USD a month."""
        alarm = self.dead_letter_queue.metric_approximate_number_of_messages_visible(
            period=Duration.minutes(5), statistic="Maximum"
        ).create_alarm(
            scope,
            id,
            alarm_description=with_runbook(
                self,
                "The bandwidth of a microscope's transfer could not be set: it stays what it was",
                "bandwidth-not-set",
            ),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        alarm.add_alarm_action(cloudwatch_actions.SnsAction(topic))
        return alarm

    def metric_errors(self) -> cloudwatch.Metric:
        """Looks that failed: the bandwidth stays what it was."""
        return self.function.metric_errors()


def bandwidth_problems(windows: Sequence[BandwidthWindow], limit_mibps: int | None) -> Iterator[Problem]:
    """What is wrong with the limit and with the windows, each as windows[N].property."""
    if known(limit_mibps) and int(limit_mibps or 0) < 1:
        yield Problem(property="bandwidth_limit_mibps", value=limit_mibps, allowed="1 or more, or nothing")
    for index, window in enumerate(windows):
        for problem in working_hours_problems(window.hours):
            yield problem.under(f"bandwidth_windows[{index}]")
        if known(window.limit_mibps) and int(window.limit_mibps or 0) < 1:
            yield Problem(
                property=f"bandwidth_windows[{index}].limit_mibps",
                value=window.limit_mibps,
                allowed="1 or more, or nothing",
            )
