"""The file system is looked after: what is wrong with it is told, what nobody uses any longer is released."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_logs as logs
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as scheduler_targets
from aws_cdk import aws_sns as sns
from constructs import Construct

from .engine import Engine
from .hook_function import HookFunction
from .lustre_store import LustreStore
from .problems import Problem, known, require
from .runbooks import with_runbook

FREE_PERCENT = (15, 5)
"""Below which share of free space an alarm warns, and below which another one says that it is urgent."""
IMPORT_LAG = Duration.minutes(30)
EXPORT_LAG = Duration.hours(3)
_GROW = (
    "Grow it: raise file_system.capacity_gib to the next multiple of 2400 and deploy (live; at most once in six hours, "
    "never back); or let file_system.release_after_days free what nobody uses"
)


class FileSystemCare(Construct):
    """Looks every quarter of an hour whether a `LustreStore` and its associations are well, and once a day for what may
    be released.

    file_system: what is looked after. engine: whose nodes read it, and on whose bus trouble is told (the event
    `File System Trouble`, once while it lasts).
    records: the hooks' table (`LaneHooks.records`). alarm_topic: told of all alarms (`LaneHooks.alarm_topic`).
    release_after_days: content of datasets that have landed, whose recipe has ended and that nobody used for so many
        days leaves the file system; it stays in S3 and comes back when somebody reads it. 1 or more. Default: never.
    recipe: what starts on landed datasets; these are released only after it has ended. Default: nothing starts.
    look_every: default 15 minutes.

    Alarms: free space below 15 % and 5 %; imports that are half an hour late and exports that are three hours late (a
    million files of 10 kB took 85 minutes: a measurement on PERSISTENT_2 at 250 MB/s/TiB published in August 2026; the
    metric is FSx's AgeOfOldestQueuedMessage, FSx for Lustre user guide, "S3 repository metrics"); something is not well.

    Errors: CryoEmError for release_after_days. IAM of the function: fsx:Describe... of file systems, associations and
    tasks; with release_after_days fsx:CreateDataRepositoryTask on this file system and ec2:DescribeInstances; the table;
    events:PutEvents on the engine's bus. Costs: below 1 USD a month, most of it five alarms and one metric (CloudWatch
    price list, us-east-1: 0.10 USD an alarm, 0.30 USD a metric).
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        file_system: LustreStore,
        engine: Engine,
        records: dynamodb.ITable,
        alarm_topic: sns.ITopic,
        release_after_days: int | None = None,
        recipe: str | None = None,
        look_every: Duration | None = None,
    ) -> None:
        super().__init__(scope, id)
        require(f"FileSystemCare {id!r}", release_problems(release_after_days))
        self._file_system, self._topic = file_system, alarm_topic
        self.care: HookFunction = HookFunction(
            self,
            "Care",
            handler="file_system_care",
            environment={
                "RECORDS_TABLE": records.table_name,
                "EVENT_BUS": engine.event_bus.event_bus_name,
                "CLUSTER": engine.cluster_name,
                "HEAD_NODE": engine.head_node_instance_id,
                "INSTANCE_TAG": "=".join(engine.instance_tag),
                "FILE_SYSTEM": file_system.file_system_id,
                "ASSOCIATIONS": json.dumps(
                    [
                        {"path": each.path, "imports": list(each.import_events), "exports": list(each.export_events)}
                        for each in file_system.declared_associations
                    ]
                ),
                "RELEASE_AFTER_DAYS": "" if release_after_days is None else str(release_after_days),
                "RECIPE": recipe or "",
            },
            alarm_topic=alarm_topic,
            with_queue=False,
        )
        self.care.function.add_environment("DEAD_LETTERS", self.care.dead_letter_queue.queue_url)
        # A look that went well makes good those that failed.
        self.care.dead_letter_queue.grant_consume_messages(self.care.role)
        self._permit(engine, records, releases=release_after_days is not None)
        self.troubles: logs.MetricFilter = logs.MetricFilter(
            self,
            "Troubles",
            log_group=self.care.log_group,
            filter_pattern=logs.FilterPattern.exists("$.file_system_troubles"),
            metric_namespace=f"CryoEm/{engine.cluster_name}",
            metric_name="FileSystemTroubles",
            metric_value="$.file_system_troubles",
        )
        self.trouble_alarm: cloudwatch.Alarm = self._alarm(
            "TroubleAlarm",
            self.metric_troubles(),
            threshold=1,
            says="The file system, an association with S3 or a release is not well: the event File System Trouble says "
            "what FSx says and what to do",
            page="file-system-trouble",
        )
        self.low_space_alarm, self.no_space_alarm = (
            self._free_space_alarm(name, percent)
            for name, percent in zip(("LowSpaceAlarm", "NoSpaceAlarm"), FREE_PERCENT, strict=True)
        )
        self.import_alarm: cloudwatch.Alarm = self._lag_alarm("ImportAlarm", "AutoImport", IMPORT_LAG)
        self.export_alarm: cloudwatch.Alarm = self._lag_alarm("ExportAlarm", "AutoExport", EXPORT_LAG)
        self.schedule: scheduler.Schedule = scheduler.Schedule(
            self,
            "Schedule",
            schedule=scheduler.ScheduleExpression.rate(look_every or Duration.minutes(15)),
            target=scheduler_targets.LambdaInvoke(
                self.care.function, dead_letter_queue=self.care.dead_letter_queue, retry_attempts=2
            ),
            description="Look after the file system",
        )

    def metric_troubles(self) -> cloudwatch.Metric:
        """How many things were wrong at the last look."""
        return self.troubles.metric(statistic="Maximum", period=Duration.minutes(15))

    def _permit(self, engine: Engine, records: dynamodb.ITable, *, releases: bool) -> None:
        self.care.allow(
            actions=["dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query"], resources=[records.table_arn]
        )
        if records.encryption_key is not None:
            records.encryption_key.grant_encrypt_decrypt(self.care.role)
        self.care.allow(actions=["events:PutEvents"], resources=[engine.event_bus.event_bus_arn])
        self.care.allow(
            actions=[
                "fsx:DescribeFileSystems",
                "fsx:DescribeDataRepositoryAssociations",
                "fsx:DescribeDataRepositoryTasks",
            ],
            resources=["*"],
        )
        if not releases:
            return
        stack = Stack.of(self)
        self.care.allow(actions=["ec2:DescribeInstances"], resources=["*"])
        self.care.allow(
            actions=["fsx:CreateDataRepositoryTask"],
            resources=[
                stack.format_arn(service="fsx", resource="file-system", resource_name=self._file_system.file_system_id),
                # A task has no name before it is made.
                stack.format_arn(service="fsx", resource="task", resource_name="*"),
            ],
        )

    def _free_space_alarm(self, id: str, percent: int) -> cloudwatch.Alarm:
        return self._alarm(
            id,
            self._file_system.metric_free_storage_bytes(),
            threshold=self._file_system.capacity_gib * 2**30 * percent // 100,
            comparison=cloudwatch.ComparisonOperator.LESS_THAN_THRESHOLD,
            minutes=15,
            says=f"Less than {percent} % of the file system is free. {_GROW}",
            page="file-system-space",
        )

    def _lag_alarm(self, id: str, publisher: str, longest: Duration) -> cloudwatch.Alarm:
        what, advice = {
            "AutoImport": (
                "Objects wait to appear on the file system",
                "datasets land all the same; look at the association on /data",
            ),
            "AutoExport": (
                "Files wait to be copied to the results bucket",
                "until then they are on the file system alone: look at the association on /projects, and delete nothing",
            ),
        }[publisher]
        return self._alarm(
            id,
            self._file_system.metric_queued_seconds(publisher),
            threshold=int(longest.to_seconds()),
            minutes=15,
            says=f"{what} for more than {int(longest.to_minutes())} minutes; {advice}",
            page="file-system-lag",
        )

    def _alarm(
        self,
        id: str,
        metric: cloudwatch.IMetric,
        *,
        threshold: int,
        says: str,
        page: str,
        comparison: cloudwatch.ComparisonOperator = (cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD),
        minutes: int = 1,
    ) -> cloudwatch.Alarm:
        """minutes: how many values one after the other are beyond the threshold."""
        alarm = cloudwatch.Alarm(
            self,
            id,
            metric=metric,
            threshold=threshold,
            evaluation_periods=minutes,
            comparison_operator=comparison,
            # Between two looks, and while FSx has nothing in its queue, there is no value: that changes nothing.
            treat_missing_data=cloudwatch.TreatMissingData.IGNORE,
            alarm_description=with_runbook(self, says, page),
        )
        alarm.add_alarm_action(cloudwatch_actions.SnsAction(self._topic))
        return alarm


def release_problems(release_after_days: int | None) -> Sequence[Problem]:
    """What is wrong with the time after which datasets are released."""
    if release_after_days is None or not known(release_after_days) or 1 <= release_after_days <= 3650:
        return ()
    return (
        Problem(
            property="release_after_days",
            value=release_after_days,
            allowed="1 to 3650, or nothing: never",
            fix="With less than a day, movies would leave while their first jobs wait",
        ),
    )
