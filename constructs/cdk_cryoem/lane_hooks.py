"""The hooks: datasets are noticed, lanes launched, finished jobs priced and their nodes shut down, all swept."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_events_targets as targets
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_scheduler_targets as scheduler_targets
from aws_cdk import aws_sns as sns
from constructs import Construct

from .engine import JOB_EVENT_DETAIL_TYPE, JOB_EVENT_SOURCE, Engine
from .hook_function import HookFunction
from .ingest_tasks import task_ids, task_problems, transfers_that_ended
from .landing_zone import DATASETS_PREFIX
from .problems import Problem, require
from .records_table import RecordsTable
from .runbooks import with_runbook
from .ssm_documents import HeadNodeDocuments
from .waiting import Waiting, environment_text, waiting_problems
from .working_hours import WorkingHours, working_hours_problems

PLATFORM_EVENT_SOURCE = "cryoem.platform"
"""EventBridge source of what the hooks themselves say."""
DATASET_LANDED = "Dataset Landed"
TROUBLE = (
    "Node Failed",
    "Backup Failed",
    "Cost Leak Found",
    "Spend Cap Reached",
    "Dataset Gone",
    "Dataset Not Safe",
    "File System Trouble",
    "Transfer Failed",
)
"""Events that the alarm topic is told of."""


class LaneHooks(Construct):
    """Dataset hook, lane hook, node hook and sweeper, with the record table and the head node's documents.

    engine: what runs Slurm. landing_bucket: where datasets arrive; it must send its events to EventBridge.
    ingest_task_arns: DataSync tasks; a run that finds nothing new says that a dataset is complete.
    quiet_minutes: a dataset nothing was added to for so long has landed. Default 180: with a transfer each
        hour, an hour may pass between the last object of one and the first of the next.
    sentinel: a file of this name in a dataset says that it is complete. Default none.
    recipe: processing recipe started on a dataset that has landed. Default none.
    stop_head_node_after_minutes: the head node stops when nothing ran or arrived for so long. Default 0: never.
    waiting: what an hour of waiting for a node is worth; cheap lanes are then held a little. Default: nothing.
    awake: hours in which the head node is on whatever happens. Default none.
    live_idle_minutes: a cryoSPARC Live session that got no exposure for so long is paused. Default 60.
    records: the table of records, of a RecordsTable in a stack that outlives this one. Default: a new one.
    system: value of the tag cryoem:system; file systems with it but the newest cost money for nothing. Default: not
        looked for.
    alarm_topic: told of what a person must look at. Default: a new one. The policy of one that was imported must let
        cloudwatch.amazonaws.com and events.amazonaws.com publish; if it has a key, the key's policy both use it.
    sweep_every: default 5 minutes. batching_window: of the dataset hook, default 20 seconds.

    Events are hints: each hook looks at the truth and converges, and the sweeper does so without any event.
    Costs: below 2 USD a month for a busy microscope (queue, function, table and schedule calls).
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        engine: Engine,
        landing_bucket: s3.IBucket,
        ingest_task_arns: Sequence[str] = (),
        quiet_minutes: int = 180,
        sentinel: str | None = None,
        recipe: str | None = None,
        stop_head_node_after_minutes: int = 0,
        waiting: Waiting | None = None,
        awake: WorkingHours | None = None,
        live_idle_minutes: int = 60,
        records: dynamodb.ITable | None = None,
        system: str | None = None,
        alarm_topic: sns.ITopic | None = None,
        sweep_every: Duration | None = None,
        batching_window: Duration | None = None,
    ) -> None:
        super().__init__(scope, id)
        require(
            f"LaneHooks {id!r}",
            [
                *_timing_problems(quiet_minutes, stop_head_node_after_minutes, live_idle_minutes),
                *task_problems(ingest_task_arns),
                *(problem.under("waiting") for problem in (waiting_problems(waiting) if waiting else ())),
                *(problem.under("awake") for problem in (working_hours_problems(awake) if awake else ())),
            ],
        )
        self._engine = engine
        self.alarm_topic: sns.ITopic = alarm_topic or self._alarm_topic()
        self.documents: HeadNodeDocuments = HeadNodeDocuments(self, "Documents")
        self.records: dynamodb.ITable = records or RecordsTable(self, "Records").table
        environment = {
            "RECORDS_TABLE": self.records.table_name,
            "EVENT_BUS": engine.event_bus.event_bus_name,
            "CLUSTER": engine.cluster_name,
            "HEAD_NODE": engine.head_node_instance_id,
            # Not read: without it a deployment that makes another head node would find nothing to do here.
            "ENGINE_GENERATION": engine.generation,
            "MANIFEST_PARAMETER": engine.lane_manifest.parameter_name,
            "LANDING_BUCKET": landing_bucket.bucket_name,
            "INGEST_TASKS": Stack.of(self).to_json_string(task_ids(ingest_task_arns)),
            "SLURM_STATUS_DOCUMENT": self.documents.slurm_status.ref,
            "POWER_DOWN_DOCUMENT": self.documents.power_down.ref,
            "REGISTER_LANES_DOCUMENT": self.documents.register_lanes.ref,
            "START_PROCESSING_DOCUMENT": self.documents.start_processing.ref,
            "STOP_HEAD_NODE_DOCUMENT": self.documents.stop_head_node.ref,
            "LIVE_SESSIONS_DOCUMENT": self.documents.live_sessions.ref,
            "PAUSE_LIVE_SESSION_DOCUMENT": self.documents.pause_live_session.ref,
            "QUIET_MINUTES": str(quiet_minutes),
            "SENTINEL": sentinel or "",
            "RECIPE": recipe or "",
            "STOP_HEAD_NODE_AFTER_MINUTES": str(stop_head_node_after_minutes),
            "WAITING": environment_text(waiting),
            "AWAKE": "" if awake is None else awake.text(),
            "INSTANCE_TAG": "=".join(engine.instance_tag),
            "SYSTEM": system or "",
            "LIVE_IDLE_MINUTES": str(live_idle_minutes),
            "QUEUES": "[]",
        }

        def hook(name: str, handler: str, *, window: Duration | None = None, with_queue: bool = True) -> HookFunction:
            return HookFunction(
                self,
                name,
                handler=handler,
                environment=environment,
                alarm_topic=self.alarm_topic,
                batching_window=window,
                with_queue=with_queue,
            )

        self.dataset_hook: HookFunction = hook(
            "Dataset", "dataset_hook", window=batching_window or Duration.seconds(20)
        )
        self.lane_hook: HookFunction = hook("Lane", "lane_hook")
        self.node_hook: HookFunction = hook("Node", "node_hook")
        self.sweeper: HookFunction = hook("Sweeper", "sweeper", with_queue=False)
        self._let_sweeper_redrive()
        self.trouble_rule: events.Rule = self._tell_of_trouble()
        self._permit(landing_bucket, ingest_task_arns)
        self._listen(landing_bucket, ingest_task_arns)
        self.failed_nodes_alarm: cloudwatch.Alarm = self._engine_alarm(
            "FailedNodesAlarm",
            engine.metric_failed_nodes(),
            with_runbook(
                self,
                "Nodes of the cluster do not come up. Jobs wait, and after some failures their lane is closed",
                "failed-nodes",
            ),
        )
        lost = engine.metric_lost_job_records()
        self.lost_job_records_alarm: cloudwatch.Alarm | None = None
        if lost is not None:
            self.lost_job_records_alarm = self._engine_alarm(
                "LostJobRecordsAlarm",
                lost,
                with_runbook(
                    self,
                    "Records of finished jobs could not become events, so the jobs have no price",
                    "lost-job-records",
                ),
            )
        self.schedule: scheduler.Schedule = scheduler.Schedule(
            self,
            "SweepSchedule",
            schedule=scheduler.ScheduleExpression.rate(sweep_every or Duration.minutes(5)),
            target=scheduler_targets.LambdaInvoke(
                self.sweeper.function, dead_letter_queue=self.sweeper.dead_letter_queue, retry_attempts=2
            ),
            description="Converge without waiting for events",
        )

    def _engine_alarm(self, id: str, metric: cloudwatch.IMetric, description: str) -> cloudwatch.Alarm:
        alarm = cloudwatch.Alarm(
            self,
            id,
            metric=metric,
            threshold=1,
            evaluation_periods=1,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=description,
        )
        alarm.add_alarm_action(cloudwatch_actions.SnsAction(self.alarm_topic))
        return alarm

    def _let_sweeper_redrive(self) -> None:
        hooks = {"dataset": self.dataset_hook, "lane": self.lane_hook, "node": self.node_hook}
        queues = []
        for name, hook in hooks.items():
            hook.grant_redrive(self.sweeper.role)
            assert hook.queue is not None
            queues.append({"name": name, "queue": hook.queue.queue_url, "dead": hook.dead_letter_queue.queue_url})
        # It has no queue: sweeps that failed are over with the next good one.
        own = self.sweeper.dead_letter_queue
        own.grant_consume_messages(self.sweeper.role)
        queues.append({"name": "sweeper", "queue": "", "dead": own.queue_url})
        self.sweeper.function.add_environment("QUEUES", Stack.of(self).to_json_string(queues))

    def _tell_of_trouble(self) -> events.Rule:
        """What a person must look at, and no alarm of CloudWatch sees."""
        return events.Rule(
            self,
            "Trouble",
            event_bus=self._engine.event_bus,
            event_pattern=events.EventPattern(
                source=[PLATFORM_EVENT_SOURCE],
                detail_type=list(TROUBLE),
                detail={"cluster": [self._engine.cluster_name]},
            ),
            targets=[
                targets.SnsTopic(
                    self.alarm_topic,
                    message=events.RuleTargetInput.from_object(
                        {
                            "what": events.EventField.from_path("$.detail-type"),
                            "detail": events.EventField.from_path("$.detail"),
                        }
                    ),
                    dead_letter_queue=self.sweeper.dead_letter_queue,
                )
            ],
        )

    def _alarm_topic(self) -> sns.Topic:
        topic = sns.Topic(self, "AlarmTopic", enforce_ssl=True)
        # A topic with a policy of its own has lost the default one, which lets CloudWatch publish.
        topic.grant_publish(iam.ServicePrincipal("cloudwatch.amazonaws.com"))
        return topic

    def _permit(self, landing_bucket: s3.IBucket, ingest_task_arns: Sequence[str]) -> None:
        engine, documents, head_node = self._engine, self.documents, self._engine.head_node_instance_id
        stack = Stack.of(self)
        head_node_arn = stack.format_arn(service="ec2", resource="instance", resource_name=head_node)
        data = [self.dataset_hook, self.sweeper]
        lanes = [self.lane_hook, self.sweeper]
        nodes = [self.node_hook, self.sweeper]
        for each in (self.dataset_hook, self.lane_hook, self.node_hook, self.sweeper):
            each.allow(
                actions=[
                    "dynamodb:GetItem",
                    "dynamodb:PutItem",
                    "dynamodb:UpdateItem",
                    "dynamodb:DeleteItem",
                    "dynamodb:Query",
                ],
                resources=[self.records.table_arn],
            )
            each.allow(actions=["events:PutEvents"], resources=[engine.event_bus.event_bus_arn])
            # DescribeInstances knows no resources (AWS service authorization reference, Amazon EC2).
            each.allow(actions=["ec2:DescribeInstances"], resources=["*"])
        for each in data:
            # On the bucket alone: names and sizes are all that these hooks need of a movie.
            each.allow(actions=["s3:ListBucket"], resources=[landing_bucket.bucket_arn])
            each.allow(actions=["ec2:StartInstances"], resources=[head_node_arn])
        if ingest_task_arns:
            # Not in one statement: each action knows one kind of resource.
            self.dataset_hook.allow(actions=["datasync:DescribeTask"], resources=ingest_task_arns)
            self.dataset_hook.allow(
                actions=["datasync:DescribeTaskExecution"], resources=[f"{arn}/execution/*" for arn in ingest_task_arns]
            )
        for each in (*lanes, self.node_hook):
            engine.lane_manifest.grant_read(each.role)
        for each in lanes:
            documents.grant_send(each.role, documents.register_lanes, documents.start_processing, instance_id=head_node)
        for each in nodes:
            documents.grant_send(each.role, documents.slurm_status, documents.power_down, instance_id=head_node)
        assert self.node_hook.queue is not None
        self.node_hook.queue.grant_send_messages(self.node_hook.role)
        documents.grant_send(
            self.sweeper.role,
            documents.stop_head_node,
            documents.live_sessions,
            documents.pause_live_session,
            instance_id=head_node,
        )
        # DescribeFileSystems is asked for all of the account's, to find those that nothing uses any longer.
        self.sweeper.allow(actions=["fsx:DescribeFileSystems"], resources=["*"])

    def _listen(self, landing_bucket: s3.IBucket, ingest_task_arns: Sequence[str]) -> None:
        engine = self._engine
        self.dataset_hook.on(
            "ObjectCreated",
            events.EventPattern(
                source=["aws.s3"],
                detail_type=["Object Created"],
                detail={
                    "bucket": {"name": [landing_bucket.bucket_name]},
                    "object": {"key": [{"prefix": DATASETS_PREFIX}]},
                },
            ),
        )
        for name, pattern in transfers_that_ended(ingest_task_arns).items():
            self.dataset_hook.on(name, pattern)
        self.lane_hook.on(
            "HeadNodeRunning",
            events.EventPattern(
                source=["aws.ec2"],
                detail_type=["EC2 Instance State-change Notification"],
                detail={"instance-id": [engine.head_node_instance_id], "state": ["running"]},
            ),
        )
        self.lane_hook.on(
            "ManifestChanged",
            events.EventPattern(
                source=["aws.ssm"],
                detail_type=["Parameter Store Change"],
                detail={"name": [engine.lane_manifest.parameter_name], "operation": ["Create", "Update"]},
            ),
        )
        self.lane_hook.on(
            "DatasetLanded",
            events.EventPattern(
                source=[PLATFORM_EVENT_SOURCE],
                detail_type=[DATASET_LANDED],
                detail={"cluster": [engine.cluster_name]},
            ),
            bus=engine.event_bus,
        )
        self.node_hook.on(
            "JobFinished",
            events.EventPattern(
                source=[JOB_EVENT_SOURCE],
                detail_type=[JOB_EVENT_DETAIL_TYPE],
                detail={"cluster": [engine.cluster_name]},
            ),
            bus=engine.event_bus,
        )


def _timing_problems(quiet_minutes: int, stop_head_node_after_minutes: int, live_idle_minutes: int) -> list[Problem]:
    found = []
    if not 5 <= live_idle_minutes <= 7 * 24 * 60:
        found.append(Problem(property="live_idle_minutes", value=live_idle_minutes, allowed="5 to 10080 (a week)"))
    if not 1 <= quiet_minutes <= 7 * 24 * 60:
        found.append(Problem(property="quiet_minutes", value=quiet_minutes, allowed="1 to 10080 (a week)"))
    if stop_head_node_after_minutes and not 15 <= stop_head_node_after_minutes <= 7 * 24 * 60:
        found.append(
            Problem(
                property="stop_head_node_after_minutes",
                value=stop_head_node_after_minutes,
                allowed="0 (never), or 15 to 10080 (a week)",
                fix="A shorter time would stop it between two jobs of one person",
            )
        )
    return found
