"""People are told of what the hooks say: jobs with their time and price, datasets, lanes, failures, leaks."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sns_subscriptions as subscriptions
from constructs import Construct

from .hook_function import HookFunction
from .lane_hooks import PLATFORM_EVENT_SOURCE
from .problems import Problem, known, require

TOLD_EVENTS = (
    "Dataset Landed",
    "Dataset Safe",
    "Dataset Not Safe",
    "Transfer Failed",
    "Processing Ended",
    "Job Finished",
    "Lanes Changed",
    "Node Failed",
    "Backup Failed",
    "Cost Leak Found",
    "Spend Cap Reached",
    "File System Trouble",
)


class Notifications(Construct):
    """A topic that people and chat channels subscribe to, and the function that writes to it.

    event_bus: where the hooks speak (`Engine.event_bus`). records: their table (`LaneHooks.records`); what was told is
    in it for 30 days if its TTL attribute is `expires_at`, for ever if it has none.
    cluster_name: tell of this cluster alone. Default: of all on the bus.
    emails: subscribed to the topic; SNS asks each to confirm. Default none.
    topic: where it is told. Default: a new one. A topic with a key of yours must let the function use the key.
    job_minutes: nobody is told of a job that ran for less, 0 to 10080. Default 30.
    alarm_topic: told when something could not be told (`LaneHooks.alarm_topic`).

    Errors: CryoEmError for addresses and minutes. IAM of the function: sns:Publish on the topic, dynamodb:GetItem and
    PutItem on the table's items of the kind "told". Costs: below 1 USD a month.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        event_bus: events.IEventBus,
        records: dynamodb.ITable,
        alarm_topic: sns.ITopic,
        cluster_name: str | None = None,
        emails: Sequence[str] = (),
        topic: sns.ITopic | None = None,
        job_minutes: int = 30,
    ) -> None:
        super().__init__(scope, id)
        require(f"Notifications {id!r}", notification_problems(emails=emails, job_minutes=job_minutes))
        self.topic: sns.ITopic = sns.Topic(self, "Topic", enforce_ssl=True) if topic is None else topic
        for address in emails:
            self.topic.add_subscription(subscriptions.EmailSubscription(address))
        self.notifier: HookFunction = HookFunction(
            self,
            "Notifier",
            handler="notifier",
            environment={
                "RECORDS_TABLE": records.table_name,
                "TOPIC": self.topic.topic_arn,
                "JOB_MINUTES": str(job_minutes),
            },
            alarm_topic=alarm_topic,
            dead_letters_are="kept for 14 days",
        )
        self.topic.grant_publish(self.notifier.role)
        # No other kind of record: a function that writes to people has nothing to do with prices.
        self.notifier.role.add_to_policy(
            iam.PolicyStatement(
                actions=["dynamodb:GetItem", "dynamodb:PutItem"],
                resources=[records.table_arn],
                conditions={"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["told"]}},
            )
        )
        if records.encryption_key is not None:
            records.encryption_key.grant_encrypt_decrypt(self.notifier.role)
        self.rule: events.Rule = self.notifier.on(
            "Told",
            events.EventPattern(
                source=[PLATFORM_EVENT_SOURCE],
                detail_type=list(TOLD_EVENTS),
                detail=None if cluster_name is None else {"cluster": [cluster_name]},
            ),
            bus=event_bus,
        )


def notification_problems(*, emails: Sequence[str], job_minutes: int) -> list[Problem]:
    """Everything wrong with addresses and minutes."""
    found = []
    if known(job_minutes) and not 0 <= job_minutes <= 7 * 24 * 60:
        found.append(Problem(property="job_minutes", value=job_minutes, allowed="0 (every job) to 10080 (a week)"))
    found += [
        Problem(property="emails", value=address, allowed="an e-mail address")
        for address in emails
        if known(address) and "@" not in address
    ]
    found += [
        Problem(property="emails", value=address, allowed="each address once")
        for address in sorted({address for address in emails if known(address)})
        if list(emails).count(address) > 1
    ]
    return found
