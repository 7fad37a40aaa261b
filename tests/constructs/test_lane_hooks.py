"""The hooks listen to hints, may do what they do and no more, and are swept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aws_cdk import Duration, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Match, Template

from cdk_cryoem import CryoEmError, Engine, HookFunction, Lane, LaneHooks, LaneManifest, default_lanes

TASK = "arn:aws:datasync:eu-west-1:111122223333:task/task-1"
TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"
Made = tuple[Stack, LaneHooks, Template]


@dataclass(frozen=True, kw_only=True)
class FakeEngine:
    """An engine that is there already."""

    cluster_name: str
    lanes: Sequence[Lane]
    partitions: Mapping[str, str]
    head_node_instance_id: str
    generation: str
    event_bus: events.IEventBus
    lane_manifest: LaneManifest
    instance_tag: tuple[str, str] = ("fake:cluster", "cryoem")

    def metric_lost_job_records(self) -> None:
        """None."""

    def metric_failed_nodes(self) -> cloudwatch.IMetric:
        """A metric of its own."""
        return cloudwatch.Metric(namespace="Fake", metric_name="FailedNodes", statistic="Sum")


def engine(stack: Stack) -> Engine:
    lanes = default_lanes()
    return FakeEngine(
        cluster_name="cryoem",
        lanes=lanes,
        partitions={lane.name: lane.name for lane in lanes},
        head_node_instance_id="i-1",
        generation="first",
        event_bus=events.EventBus.from_event_bus_name(stack, "Bus", "jobs"),
        lane_manifest=LaneManifest(stack, "Manifest", cluster_name="cryoem", lanes=lanes),
    )


def parts(stack: Stack) -> dict[str, Any]:
    return {"engine": engine(stack), "landing_bucket": s3.Bucket.from_bucket_name(stack, "Landing", "movies")}


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> Made:
    """Everything set that adds something."""
    stack = new_stack("Hooks")
    hooks = LaneHooks(
        stack, "Hooks", **parts(stack), ingest_task_arns=[TASK], quiet_minutes=30, sentinel="done.txt", recipe="spa",
        stop_head_node_after_minutes=120, sweep_every=Duration.minutes(10), batching_window=Duration.seconds(60),
        alarm_topic=sns.Topic.from_topic_arn(stack, "Topic", TOPIC),
    )  # fmt: skip
    return stack, hooks, Template.from_stack(stack)


@pytest.fixture(scope="module")
def defaults(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Defaults")
    hooks = LaneHooks(stack, "Hooks", **parts(stack))
    return stack, hooks, Template.from_stack(stack)


def actions_of(made: Made, hook: HookFunction) -> set[str]:
    stack, _, template = made
    role = stack.resolve(hook.role.role_name)
    found: set[str] = set()
    for policy in template.find_resources("AWS::IAM::Policy", {"Properties": {"Roles": [role]}}).values():
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
            listed = statement["Action"]
            found |= {listed} if isinstance(listed, str) else set(listed)
    return found


def pattern(template: Template, name: str) -> dict[str, Any]:
    (rule,) = [r for key, r in template.find_resources("AWS::Events::Rule").items() if name in key]
    found = rule["Properties"]["EventPattern"]
    assert isinstance(found, dict)
    return found


def environment(template: Template) -> dict[str, Any]:
    functions = template.find_resources("AWS::Lambda::Function").values()
    first: dict[str, Any]
    first, *others = (
        {k: v for k, v in f["Properties"]["Environment"]["Variables"].items() if k not in ("QUEUE_URL", "QUEUES")}
        for f in functions
    )
    assert all(other == first for other in others), "all hooks read the same environment"
    return first


def test_any_object_of_the_right_form_is_an_engine(stack: Stack) -> None:
    assert isinstance(engine(stack), Engine)
    assert not isinstance(stack, Engine)


def watching(template: Template, queues: bool) -> list[dict[str, Any]]:
    """Alarms on dead letters, or the others."""
    alarms = [alarm["Properties"] for alarm in template.find_resources("AWS::CloudWatch::Alarm").values()]
    return [alarm for alarm in alarms if (alarm["Namespace"] == "AWS/SQS") is queues]


def test_there_are_four_hooks_each_with_dead_letters_and_alarm(defaults: Made) -> None:
    stack, hooks, template = defaults
    template.resource_count_is("AWS::Lambda::Function", 4)
    template.resource_count_is("AWS::SQS::Queue", 7)
    alarms = watching(template, queues=True)
    watched = [str(alarm["Dimensions"][0]["Value"]) for alarm in alarms]
    each = (hooks.dataset_hook, hooks.lane_hook, hooks.node_hook, hooks.sweeper)
    assert sorted(watched) == sorted(str(stack.resolve(hook.dead_letter_queue.queue_name)) for hook in each)
    topic = stack.resolve(hooks.alarm_topic.topic_arn)
    assert all(alarm["AlarmActions"] == [topic] for alarm in alarms)


def test_people_are_told_of_nodes_that_do_not_come_up(defaults: Made, made: Made) -> None:
    stack, hooks, template = defaults
    (alarm,) = watching(template, queues=False)
    assert (alarm["Namespace"], alarm["MetricName"]) == ("Fake", "FailedNodes"), "the engine knows what to look at"
    assert (alarm["Threshold"], alarm["ComparisonOperator"]) == (1, "GreaterThanOrEqualToThreshold")
    assert alarm["EvaluationPeriods"] == 1
    assert alarm["TreatMissingData"] == "notBreaching", "a cluster that starts no node sends no metric"
    assert alarm["AlarmActions"] == [stack.resolve(hooks.alarm_topic.topic_arn)]
    assert "docs/runbooks/failed-nodes.md" in alarm["AlarmDescription"]
    (own,) = watching(made[2], queues=False)
    assert own["AlarmActions"] == [TOPIC]
    assert hooks.failed_nodes_alarm.node.id == "FailedNodesAlarm"


def test_the_default_topic_refuses_plain_http(defaults: Made) -> None:
    template = defaults[2]
    template.resource_count_is("AWS::SNS::Topic", 1)
    (policy,) = template.find_resources("AWS::SNS::TopicPolicy").values()
    denied = [s for s in policy["Properties"]["PolicyDocument"]["Statement"] if s["Effect"] == "Deny"]
    assert [statement["Condition"] for statement in denied] == [{"Bool": {"aws:SecureTransport": "false"}}]


def test_records_are_retained_and_can_be_restored(defaults: Made) -> None:
    defaults[2].has_resource(
        "AWS::DynamoDB::Table",
        {
            "DeletionPolicy": "Retain",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                "TableName": Match.absent(),
            },
        },
    )


def test_the_sweeper_runs_every_five_minutes_and_loses_nothing(defaults: Made) -> None:
    stack, hooks, template = defaults
    (schedule,) = template.find_resources("AWS::Scheduler::Schedule").values()
    assert schedule["Properties"]["ScheduleExpression"] == "rate(5 minutes)"
    target = schedule["Properties"]["Target"]
    assert target["Arn"] == stack.resolve(hooks.sweeper.function.function_arn)
    assert target["DeadLetterConfig"] == {"Arn": stack.resolve(hooks.sweeper.dead_letter_queue.queue_arn)}


def test_default_settings(defaults: Made) -> None:
    found = environment(defaults[2])
    told = {name: found[name] for name in ("QUIET_MINUTES", "SENTINEL", "RECIPE", "STOP_HEAD_NODE_AFTER_MINUTES")}
    assert told == {"QUIET_MINUTES": "180", "SENTINEL": "", "RECIPE": "", "STOP_HEAD_NODE_AFTER_MINUTES": "0"}
    assert found["INGEST_TASKS"] == "[]"


def test_everything_set_reaches_the_functions(made: Made) -> None:
    found = environment(made[2])
    expected = {
        "QUIET_MINUTES": "30", "SENTINEL": "done.txt", "RECIPE": "spa", "STOP_HEAD_NODE_AFTER_MINUTES": "120",
        "CLUSTER": "cryoem", "HEAD_NODE": "i-1", "EVENT_BUS": "jobs", "LANDING_BUCKET": "movies",
        "INGEST_TASKS": json.dumps([TASK.rpartition("/")[2]]), "ENGINE_GENERATION": "first",
    }  # fmt: skip
    assert {name: found[name] for name in expected} == expected
    made[2].has_resource_properties("AWS::Scheduler::Schedule", {"ScheduleExpression": "rate(10 minutes)"})
    made[2].has_resource_properties("AWS::Lambda::EventSourceMapping", {"MaximumBatchingWindowInSeconds": 60})
    made[2].resource_count_is("AWS::SNS::Topic", 0)
    made[2].resource_count_is("AWS::Events::EventBus", 0)


def test_movies_of_the_landing_bucket_are_hints_and_reports_are_not(made: Made) -> None:
    found = pattern(made[2], "ObjectCreated")
    assert found["source"] == ["aws.s3"]
    assert found["detail"] == {"bucket": {"name": ["movies"]}, "object": {"key": [{"prefix": "datasets/"}]}}


def test_only_our_datasync_tasks_are_listened_to_however_their_runs_end(made: Made, defaults: Made) -> None:
    found = pattern(made[2], "TransferFinished")
    assert (found["resources"], found["detail"]) == ([{"prefix": TASK}], {"State": ["SUCCESS", "ERROR", "UNAVAILABLE"]})
    assert not [name for name in defaults[2].find_resources("AWS::Events::Rule") if "TransferFinished" in name]


def test_jobs_and_landed_datasets_of_this_cluster_come_from_the_engines_bus(made: Made) -> None:
    template = made[2]
    for name, source in (("JobFinished", "cryoem.slurm"), ("DatasetLanded", "cryoem.platform")):
        found = pattern(template, name)
        assert (found["source"], found["detail"]) == ([source], {"cluster": ["cryoem"]})
    template.resource_properties_count_is("AWS::Events::Rule", {"EventBusName": "jobs"}, 3)


def test_troubles_reach_the_alarm_topic(made: Made) -> None:
    template = made[2]
    found = pattern(template, "Trouble")
    assert found["detail-type"] == [
        "Node Failed", "Backup Failed", "Cost Leak Found", "Spend Cap Reached", "Dataset Gone", "Dataset Not Safe",
        "File System Trouble", "Transfer Failed",
    ]  # fmt: skip
    assert (found["source"], found["detail"]) == (["cryoem.platform"], {"cluster": ["cryoem"]})
    (rule,) = [r for name, r in template.find_resources("AWS::Events::Rule").items() if "Trouble" in name]
    (target,) = rule["Properties"]["Targets"]
    assert target["Arn"] == TOPIC
    assert target["DeadLetterConfig"]


def test_the_sweeper_may_send_dead_letters_back_to_each_queue(made: Made) -> None:
    _, hooks, template = made
    (queues,) = [
        found
        for function in template.find_resources("AWS::Lambda::Function").values()
        if (found := function["Properties"]["Environment"]["Variables"]["QUEUES"]) != "[]"
    ]
    text = "".join(part if isinstance(part, str) else "URL" for part in queues["Fn::Join"][1])
    assert [each["name"] for each in json.loads(text)] == ["dataset", "lane", "node", "sweeper"]
    assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SendMessage"} <= actions_of(made, hooks.sweeper)
    assert "sqs:SendMessage" not in actions_of(made, hooks.lane_hook)
    assert "sqs:SendMessage" in actions_of(made, hooks.node_hook), "its reminders"


def test_a_running_head_node_and_a_changed_manifest_wake_the_lane_hook(made: Made) -> None:
    stack, hooks, template = made
    assert pattern(template, "HeadNodeRunning")["detail"] == {"instance-id": ["i-1"], "state": ["running"]}
    assert hooks.lane_hook.queue is not None
    targets = [
        rule["Properties"]["Targets"][0]["Arn"]
        for name, rule in template.find_resources("AWS::Events::Rule").items()
        if any(part in name for part in ("HeadNodeRunning", "ManifestChanged", "DatasetLanded"))
    ]
    assert targets == [stack.resolve(hooks.lane_hook.queue.queue_arn)] * 3


def test_no_hook_can_read_write_or_delete_a_movie_or_end_an_instance(made: Made) -> None:
    hooks = made[1]
    for hook in (hooks.dataset_hook, hooks.lane_hook, hooks.node_hook, hooks.sweeper):
        found = actions_of(made, hook)
        assert {a for a in found if a.startswith("s3:")} <= {"s3:ListBucket"}
        assert not [a for a in found if "Delete" in a and not a.startswith(("sqs:", "dynamodb:"))]
        assert "ec2:TerminateInstances" not in found
        assert not [a for a in found if a.endswith("*")], found


def test_each_hook_may_do_its_own_verbs(made: Made) -> None:
    hooks = made[1]
    own = {
        "dataset": actions_of(made, hooks.dataset_hook),
        "lane": actions_of(made, hooks.lane_hook),
        "node": actions_of(made, hooks.node_hook),
        "sweeper": actions_of(made, hooks.sweeper),
    }

    def may(action: str) -> list[str]:
        return [name for name, found in own.items() if action in found]

    assert may("ec2:StartInstances") == ["dataset", "sweeper"]
    assert may("ec2:StopInstances") == [], "the head node stops itself"
    assert may("fsx:DescribeFileSystems") == ["sweeper"]
    assert may("ssm:SendCommand") == ["lane", "node", "sweeper"]
    assert may("datasync:DescribeTaskExecution") == may("datasync:DescribeTask") == ["dataset"]
    assert may("events:PutEvents") == ["dataset", "lane", "node", "sweeper"]
    assert may("ssm:GetParameter") == ["lane", "node", "sweeper"]


@pytest.mark.parametrize(
    ("quiet", "stop", "wrong"),
    [
        (1, 0, []), (10_080, 15, []), (60, 10_080, []),
        (0, 0, ["quiet_minutes"]), (10_081, 0, ["quiet_minutes"]),
        (60, 14, ["stop_head_node_after_minutes"]), (60, 10_081, ["stop_head_node_after_minutes"]),
        (0, -1, ["quiet_minutes", "stop_head_node_after_minutes"]),
    ],
)  # fmt: skip
def test_times(stack: Stack, quiet: int, stop: int, wrong: list[str]) -> None:
    found: list[str] = []
    try:
        LaneHooks(stack, "Hooks", **parts(stack), quiet_minutes=quiet, stop_head_node_after_minutes=stop)
    except CryoEmError as error:
        found = [problem.property for problem in error.problems]
    assert found == wrong


def test_two_sets_of_hooks_fit_in_one_stack(stack: Stack) -> None:
    given = parts(stack)
    for name in ("A", "B"):
        LaneHooks(stack, name, **given)
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::Lambda::Function", 8)
    template.resource_count_is("AWS::DynamoDB::Table", 2)
    template.all_resources_properties("AWS::Events::Rule", {"Name": Match.absent()})


def test_cloudwatch_may_publish_to_the_new_alarm_topic(defaults: Made) -> None:
    """A topic with a policy of its own has lost the default one; without this every alarm is mute."""
    (policy,) = defaults[2].find_resources("AWS::SNS::TopicPolicy").values()
    allowed = [s for s in policy["Properties"]["PolicyDocument"]["Statement"] if s["Effect"] == "Allow"]
    assert [(s["Action"], s["Principal"]) for s in allowed] == [
        ("sns:Publish", {"Service": "cloudwatch.amazonaws.com"}),
        ("sns:Publish", {"Service": "events.amazonaws.com"}),
    ]


def test_a_failed_sweep_ends_in_the_dead_letters_and_an_event_hook_has_its_queue_for_that(defaults: Made) -> None:
    stack, hooks, template = defaults
    functions = template.find_resources("AWS::Lambda::Function")
    targets = {
        functions[stack.get_logical_id(hook.function.node.default_child)]["Properties"].get("DeadLetterConfig")  # type: ignore[arg-type]
        is not None: hook
        for hook in (hooks.node_hook, hooks.sweeper)
    }
    assert targets == {False: hooks.node_hook, True: hooks.sweeper}


def test_no_hook_crowds_the_head_node(defaults: Made) -> None:
    mappings = defaults[2].find_resources("AWS::Lambda::EventSourceMapping").values()
    assert [m["Properties"]["ScalingConfig"] for m in mappings] == [{"MaximumConcurrency": 2}] * 3
