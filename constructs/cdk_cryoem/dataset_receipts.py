"""Receipts: for each dataset that has landed, whether all of it is in the bucket and verified, and which files are not."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from .engine import Engine
from .hook_function import HookFunction
from .ingest_tasks import task_ids, task_problems, transfers_that_ended
from .landing_zone import DATASETS_PREFIX
from .lane_hooks import DATASET_LANDED, PLATFORM_EVENT_SOURCE
from .microscope_ingest import REPORTS_PREFIX
from .problems import Problem, known, require

RECEIPT_SUFFIX, MANIFEST_SUFFIX = ".receipt.json", ".manifest.jsonl.gz"
"""What is written beside a dataset: datasets/NAME.receipt.json and datasets/NAME.manifest.jsonl.gz."""


class DatasetReceipts(Construct):
    """The hook that writes receipts: from DataSync's task reports and S3's versions, what became of each file.

    engine: on whose bus it speaks (`Dataset Safe`, `Dataset Not Safe`) and hears of datasets that have landed.
    landing_bucket: where datasets, task reports, and then receipts are. records: the hooks' table (`LaneHooks.records`).
    alarm_topic: told of hints that could not be worked off (`LaneHooks.alarm_topic`).
    ingest_task_arns: every DataSync task that writes to the bucket, 40 at most; all of them must have looked at their share
        again before a dataset is safe. Without any, no dataset ever is.
    sentinel: as of LaneHooks; an empty file of this name that somebody put into the bucket himself needs no report.
    not_safe_after: how long after it has landed people are told of a dataset that is still not safe; whole hours, 1 hour to
        30 days. Default 24 hours.
    look_every: default 15 minutes, besides at each event.

    Events are hints: which receipts are due follows from the records, what they say from reports and versions (docs/receipts.md).

    Errors: CryoEmError for not_safe_after and too many tasks. IAM of the function: s3:ListBucket below datasync-reports/, s3:ListBucketVersions
    below datasets/, s3:GetObject on reports and manifests, s3:GetObjectVersion on datasets/ (a checksum cannot be had with
    less), s3:PutObject on receipts and manifests alone, the bucket's key, the table (writing only receipts and what is to be
    said), events:PutEvents. Costs: about 0.01 USD for a dataset of 10,000 files, most of it one HEAD for each (S3 price
    list, us-east-1, November 2026; docs/performance.md).
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        engine: Engine,
        landing_bucket: s3.IBucket,
        records: dynamodb.ITable,
        alarm_topic: sns.ITopic,
        ingest_task_arns: Sequence[str] = (),
        sentinel: str | None = None,
        not_safe_after: Duration | None = None,
        look_every: Duration | None = None,
    ) -> None:
        super().__init__(scope, id)
        patience = not_safe_after or Duration.hours(24)
        require(f"DatasetReceipts {id!r}", [*receipt_problems(patience), *task_problems(ingest_task_arns)])
        self.hook: HookFunction = HookFunction(
            self,
            "Receipts",
            handler="receipt_hook",
            environment={
                "RECORDS_TABLE": records.table_name,
                "EVENT_BUS": engine.event_bus.event_bus_name,
                "CLUSTER": engine.cluster_name,
                "LANDING_BUCKET": landing_bucket.bucket_name,
                "REPORTS_PREFIX": REPORTS_PREFIX,
                "INGEST_TASKS": Stack.of(self).to_json_string(task_ids(ingest_task_arns)),
                "SENTINEL": sentinel or "",
                "NOT_SAFE_AFTER_HOURS": f"{patience.to_hours(integral=False):g}",
            },
            alarm_topic=alarm_topic,
            # Several hints of one moment are one look.
            batching_window=Duration.seconds(60),
            memory_mib=2048,
            timeout=Duration.minutes(15),
            dead_letters_are="removed by the next good look",
        )
        self.hook.function.add_environment("DEAD_LETTERS", self.hook.dead_letter_queue.queue_url)
        self.hook.dead_letter_queue.grant_consume_messages(self.hook.role)
        self._permit(engine, landing_bucket, records)
        assert self.hook.queue is not None, "it takes hints"
        self.schedule: events.Rule = events.Rule(
            self,
            "Schedule",
            description="Write the receipts that are due",
            schedule=events.Schedule.rate(look_every or Duration.minutes(15)),
            targets=[targets.SqsQueue(self.hook.queue, dead_letter_queue=self.hook.dead_letter_queue)],
        )
        self.landed_rule: events.Rule = self.hook.on(
            "DatasetLanded",
            events.EventPattern(
                source=[PLATFORM_EVENT_SOURCE],
                detail_type=[DATASET_LANDED],
                detail={"cluster": [engine.cluster_name]},
            ),
            bus=engine.event_bus,
        )
        self.transfer_rules: Sequence[events.Rule] = [
            self.hook.on(name, pattern) for name, pattern in transfers_that_ended(ingest_task_arns).items()
        ]
        self._not_safe: logs.MetricFilter = logs.MetricFilter(
            self,
            "NotSafe",
            log_group=self.hook.log_group,
            filter_pattern=logs.FilterPattern.exists("$.datasets_not_safe"),
            metric_namespace=f"CryoEm/{engine.cluster_name}",
            metric_name="DatasetsNotSafe",
            metric_value="$.datasets_not_safe",
        )

    def metric_not_safe(self) -> cloudwatch.Metric:
        """How many datasets were not safe, long after they landed, at the last look."""
        return self._not_safe.metric(statistic="Maximum", period=Duration.hours(1))

    def grant_read(self, grantee: iam.IGrantable, landing_bucket: s3.IBucket) -> iam.Grant:
        """Let grantee read receipts and manifests, and nothing of the movies."""
        grant = iam.Grant.add_to_principal(
            grantee=grantee, actions=["s3:GetObject", "s3:GetObjectVersion"], resource_arns=_beside(landing_bucket)
        )
        if landing_bucket.encryption_key is None:
            return grant
        return grant.combine(landing_bucket.encryption_key.grant_decrypt(grantee))

    def _permit(self, engine: Engine, bucket: s3.IBucket, records: dynamodb.ITable) -> None:
        hook = self.hook
        hook.allow(actions=["dynamodb:Query"], resources=[records.table_arn])
        # What other hooks write down is not this one's business.
        hook.role.add_to_policy(
            iam.PolicyStatement(
                actions=["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
                resources=[records.table_arn],
                conditions={
                    "ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["receipt", "report-read", "outbox"]}
                },
            )
        )
        if records.encryption_key is not None:
            records.encryption_key.grant_encrypt_decrypt(hook.role)
        hook.allow(actions=["events:PutEvents"], resources=[engine.event_bus.event_bus_arn])
        for action, prefix in (("s3:ListBucket", REPORTS_PREFIX), ("s3:ListBucketVersions", DATASETS_PREFIX)):
            hook.role.add_to_policy(
                iam.PolicyStatement(
                    actions=[action],
                    resources=[bucket.bucket_arn],
                    conditions={"StringLike": {"s3:prefix": [f"{prefix}*"]}},
                )
            )
        hook.allow(actions=["s3:GetObject"], resources=[bucket.arn_for_objects(f"{REPORTS_PREFIX}*"), *_beside(bucket)])
        hook.allow(actions=["s3:GetObjectVersion"], resources=[bucket.arn_for_objects(f"{DATASETS_PREFIX}*")])
        hook.allow(actions=["s3:PutObject"], resources=_beside(bucket))
        if bucket.encryption_key is not None:
            bucket.encryption_key.grant(hook.role, "kms:Decrypt", "kms:GenerateDataKey")


def _beside(bucket: s3.IBucket) -> list[str]:
    return [bucket.arn_for_objects(f"{DATASETS_PREFIX}*{suffix}") for suffix in (RECEIPT_SUFFIX, MANIFEST_SUFFIX)]


def receipt_problems(not_safe_after: Duration) -> list[Problem]:
    """Everything wrong with when people are told."""
    if not known(not_safe_after):
        return []
    hours = not_safe_after.to_hours(integral=False)
    if 1 <= hours <= 30 * 24 and hours % 1 == 0:
        return []
    return [
        Problem(
            property="not_safe_after",
            value=f"{hours:g} hours",
            allowed="whole hours, 1 hour to 30 days",
            fix="A share is looked at about once an hour; sooner, people would be told of what is only not done yet",
        )
    ]
