"""One hook: a queue that collects hints, a function that looks at the truth, a dead-letter queue with an alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import Duration, RemovalPolicy
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_lambda_event_sources as event_sources
from aws_cdk import aws_logs as logs
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs
from constructs import Construct

from ._assets import NOT_SHIPPED, lambda_root
from .runbooks import with_runbook

# A sweep asks the head node several things, each of which may take a minute and a half.
_TIMEOUT = Duration.minutes(10)
_BATCH_SIZE = 100


class HookFunction(Construct):
    """A Lambda function behind its own queue, with dead-letter queue and alarm.

    handler: module of `cdk_cryoem_lambda` whose `handler` is called. environment: for the function.
    alarm_topic: told when a message could not be worked off in eight tries.
    batching_window: hints that arrive within it are looked at together. Default none.
    memory_mib, timeout: of the function, default 512 MiB and 10 minutes.
    with_queue: False for a function that is called by a schedule only; it then has just the dead-letter queue.
    dead_letters_are: what becomes of dead letters, as the alarm says it. Default: sent back by sweeps, and without a queue
        removed by the next good run, which the function has to see to.

    Costs: per million hints about 0.40 USD for the queue and 2 USD for the function. The role has no managed policies.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        handler: str,
        environment: Mapping[str, str],
        alarm_topic: sns.ITopic,
        batching_window: Duration | None = None,
        with_queue: bool = True,
        memory_mib: int = 512,
        timeout: Duration | None = None,
        dead_letters_are: str | None = None,
    ) -> None:
        super().__init__(scope, id)
        longest = timeout or _TIMEOUT
        become = dead_letters_are or ("sent back by sweeps" if with_queue else "removed by the next good run")
        self.dead_letter_queue: sqs.Queue = sqs.Queue(
            self,
            "DeadLetters",
            enforce_ssl=True,
            encryption=sqs.QueueEncryption.SQS_MANAGED,
            retention_period=Duration.days(14),
        )
        self.log_group: logs.LogGroup = logs.LogGroup(
            self, "Log", retention=logs.RetentionDays.SIX_MONTHS, removal_policy=RemovalPolicy.DESTROY
        )
        self.role: iam.Role = iam.Role(self, "Role", assumed_by=iam.ServicePrincipal("lambda.amazonaws.com"))
        self.log_group.grant_write(self.role)
        self.function: lambda_.Function = lambda_.Function(
            self,
            "Resource",
            runtime=lambda_.Runtime.PYTHON_3_14,
            architecture=lambda_.Architecture.ARM_64,
            handler=f"cdk_cryoem_lambda.{handler}.handler",
            code=lambda_.Code.from_asset(str(lambda_root()), exclude=NOT_SHIPPED),
            environment=dict(environment),
            # Half a second of a cold start instead of one: the processor comes with the memory.
            memory_size=memory_mib,
            timeout=longest,
            # Of what a schedule calls: Lambda tries twice more, then leaves it here.
            dead_letter_queue=None if with_queue else self.dead_letter_queue,
            log_group=self.log_group,
            logging_format=lambda_.LoggingFormat.JSON,
            role=self.role,
        )
        self.queue: sqs.Queue | None = None
        if with_queue:
            self.queue = sqs.Queue(
                self,
                "Queue",
                enforce_ssl=True,
                encryption=sqs.QueueEncryption.SQS_MANAGED,
                # Six times the function's timeout, as the Lambda developer guide asks for; what fails is shown again sooner.
                visibility_timeout=Duration.seconds(6 * int(longest.to_seconds())),
                dead_letter_queue=sqs.DeadLetterQueue(queue=self.dead_letter_queue, max_receive_count=8),
            )
            self.function.add_environment("QUEUE_URL", self.queue.queue_url)
            self.function.add_event_source(
                event_sources.SqsEventSource(
                    self.queue,
                    # Above ten messages a batch, Lambda wants a batching window.
                    batch_size=_BATCH_SIZE if batching_window else 10,
                    max_batching_window=batching_window,
                    report_batch_item_failures=True,
                    # The head node runs few commands at a time; more of us would only wait for each other.
                    max_concurrency=2,
                )
            )
        self.dead_letter_alarm: cloudwatch.Alarm = self.dead_letter_queue.metric_approximate_number_of_messages_visible(
            period=Duration.minutes(1), statistic="Maximum"
        ).create_alarm(
            self,
            "DeadLetterAlarm",
            alarm_description=with_runbook(
                self, f"A message of the {id} hook could not be worked off; such messages are {become}", "dead-letters"
            ),
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
        )
        self.dead_letter_alarm.add_alarm_action(cloudwatch_actions.SnsAction(alarm_topic))

    def on(self, id: str, pattern: events.EventPattern, *, bus: events.IEventBus | None = None) -> events.Rule:
        """Take events of this pattern (default: from the account's default bus) as hints."""
        assert self.queue is not None, "a hook without a queue takes no events"
        return events.Rule(
            self,
            id,
            event_bus=bus,
            event_pattern=pattern,
            targets=[targets.SqsQueue(self.queue, dead_letter_queue=self.dead_letter_queue)],
        )

    def grant_redrive(self, grantee: iam.IGrantable) -> None:
        """Let grantee send dead letters back to the queue."""
        assert self.queue is not None, "a hook without a queue has nothing to redrive to"
        self.dead_letter_queue.grant_consume_messages(grantee)
        self.queue.grant_send_messages(grantee)

    def allow(self, *, actions: Sequence[str], resources: Sequence[str]) -> None:
        """Add a statement to the function's role."""
        self.role.add_to_policy(iam.PolicyStatement(actions=list(actions), resources=list(resources)))
