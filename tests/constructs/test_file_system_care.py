"""The file system's watch: what it may, what it is told, which alarms there are and what they say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Duration, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Template

from cdk_cryoem import Association, CryoEmError, FileSystemCare, LustreStore

Made = tuple[Stack, FileSystemCare, Template]
TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"
TABLE = "arn:aws:dynamodb:eu-west-1:111122223333:table/records"


class SomeEngine:
    """As much of an engine as is needed."""

    cluster_name = "cryoem"
    head_node_instance_id = "i-1"
    instance_tag = ("fake:cluster", "cryoem")

    def __init__(self, event_bus: events.IEventBus) -> None:
        self.event_bus = event_bus


def parts(stack: Stack, **more: Any) -> dict[str, Any]:
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"], private_subnet_ids=["subnet-1"]
    )
    store = LustreStore(
        stack,
        "Store",
        vpc=vpc,
        subnet=vpc.private_subnets[0],
        landing_bucket=s3.Bucket.from_bucket_name(stack, "Landing", "movies"),
        results_bucket=s3.Bucket.from_bucket_name(stack, "Results", "results"),
        **more,
    )
    return {
        "file_system": store,
        "engine": SomeEngine(events.EventBus.from_event_bus_name(stack, "Bus", "jobs")),
        "records": dynamodb.Table.from_table_arn(stack, "Records", TABLE),
        "alarm_topic": sns.Topic.from_topic_arn(stack, "Topic", TOPIC),
    }


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Defaults")
    care = FileSystemCare(stack, "Care", **parts(stack))
    return stack, care, Template.from_stack(stack)


@pytest.fixture(scope="module")
def everything(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Everything")
    maps = Association(
        path="/maps", bucket=s3.Bucket.from_bucket_name(stack, "Maps", "maps"), prefix="m/", import_events=("NEW",)
    )
    given = parts(stack, associations=[maps])
    key = kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/own")
    given["records"] = dynamodb.Table.from_table_attributes(stack, "Own", table_arn=TABLE, encryption_key=key)
    care = FileSystemCare(stack, "Care", **given, release_after_days=14, recipe="spa", look_every=Duration.minutes(30))
    return stack, care, Template.from_stack(stack)


def variables(template: Template) -> dict[str, Any]:
    (function,) = template.find_resources("AWS::Lambda::Function").values()
    assert function["Properties"]["Handler"] == "cdk_cryoem_lambda.file_system_care.handler"
    found: dict[str, Any] = function["Properties"]["Environment"]["Variables"]
    return found


def allowed(made: Made) -> dict[str, Any]:
    """Resources of each action of the function's role."""
    role = made[0].resolve(made[1].care.role.role_name)
    (policy,) = made[2].find_resources("AWS::IAM::Policy", {"Properties": {"Roles": [role]}}).values()
    found = {}
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        found |= dict.fromkeys(actions, statement["Resource"])
    return found


def alarms(template: Template) -> dict[str, dict[str, Any]]:
    return {
        alarm["Properties"]["MetricName"]
        + "".join(d["Value"] for d in alarm["Properties"].get("Dimensions", []) if d["Name"] == "Publisher")
        + f" {alarm['Properties']['Threshold']}": alarm["Properties"]
        for alarm in template.find_resources("AWS::CloudWatch::Alarm").values()
        if alarm["Properties"].get("Namespace") != "AWS/SQS"
    }


def test_the_function_is_told_of_the_file_system_as_it_is_deployed(made: Made, everything: Made) -> None:
    found = variables(made[2])
    assert json.loads(found["ASSOCIATIONS"]) == [
        {"path": "/data", "imports": ["NEW", "CHANGED"], "exports": []},
        {"path": "/projects", "imports": [], "exports": ["NEW", "CHANGED"]},
    ]
    assert (found["RELEASE_AFTER_DAYS"], found["RECIPE"]) == ("", "")
    assert (found["RECORDS_TABLE"], found["EVENT_BUS"], found["CLUSTER"]) == ("records", "jobs", "cryoem")
    assert (found["INSTANCE_TAG"], found["HEAD_NODE"]) == ("fake:cluster=cryoem", "i-1")
    dead = made[1].care.dead_letter_queue
    assert found["DEAD_LETTERS"] == made[0].resolve(dead.queue_url)
    assert allowed(made)["sqs:ReceiveMessage"] == made[0].resolve(dead.queue_arn)
    assert found["FILE_SYSTEM"] == made[0].resolve(made[1]._file_system.file_system_id)
    found = variables(everything[2])
    assert json.loads(found["ASSOCIATIONS"])[2] == {"path": "/maps", "imports": ["NEW"], "exports": []}
    assert (found["RELEASE_AFTER_DAYS"], found["RECIPE"]) == ("14", "spa")


def test_it_may_look_and_nothing_else(made: Made) -> None:
    found = allowed(made)
    assert set(found) == {
        "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:Query", "events:PutEvents", "fsx:DescribeFileSystems",
        "fsx:DescribeDataRepositoryAssociations", "fsx:DescribeDataRepositoryTasks", "logs:CreateLogStream",
        "logs:PutLogEvents", "sqs:SendMessage", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
    }  # fmt: skip
    assert [action for action, on in found.items() if on == "*"] == [
        action for action in found if action.startswith("fsx:Describe")
    ]


def test_with_a_release_it_may_also_make_tasks_of_this_file_system(everything: Made, made: Made) -> None:
    found = allowed(everything)
    more = {"fsx:CreateDataRepositoryTask", "ec2:DescribeInstances"}
    assert {action for action in found if not action.startswith("kms:")} == set(allowed(made)) | more
    file_system = everything[0].resolve(everything[1]._file_system.file_system_id)
    text = json.dumps(found["fsx:CreateDataRepositoryTask"])
    assert json.dumps(file_system) in text
    assert ":task/*" in text
    assert "kms:Decrypt" in found


def test_it_looks_every_quarter_of_an_hour(made: Made, everything: Made) -> None:
    for (_, _, template), rate in ((made, "rate(15 minutes)"), (everything, "rate(30 minutes)")):
        template.has_resource_properties("AWS::Scheduler::Schedule", {"ScheduleExpression": rate, "State": "ENABLED"})
    made[2].resource_count_is("AWS::SQS::Queue", 1)


def test_every_alarm_goes_to_the_topic_and_says_what_to_do(made: Made) -> None:
    found = alarms(made[2])
    assert set(found) == {
        "FileSystemTroubles 1",
        f"FreeDataStorageCapacity {2400 * 2**30 * 15 // 100}",
        f"FreeDataStorageCapacity {2400 * 2**30 * 5 // 100}",
        "AgeOfOldestQueuedMessageAutoImport 1800",
        "AgeOfOldestQueuedMessageAutoExport 10800",
    }
    for alarm in found.values():
        assert alarm["AlarmActions"] == [TOPIC]
        assert "docs/runbooks/file-system-" in alarm["AlarmDescription"]
        assert alarm["TreatMissingData"] == "ignore"


def test_free_space_is_summed_over_the_disks_of_one_minute_and_says_how_to_grow(made: Made) -> None:
    for name, alarm in alarms(made[2]).items():
        if name.startswith("Free"):
            assert (alarm["Statistic"], alarm["Period"], alarm["EvaluationPeriods"]) == ("Sum", 60, 15)
            assert alarm["ComparisonOperator"] == "LessThanThreshold"
            assert "file_system.capacity_gib to the next multiple of 2400" in alarm["AlarmDescription"]
            assert "once in six hours" in alarm["AlarmDescription"]


def test_the_number_of_troubles_is_read_out_of_the_log(made: Made) -> None:
    made[2].has_resource_properties(
        "AWS::Logs::MetricFilter",
        {
            "FilterPattern": '{ $.file_system_troubles = "*" }',
            "LogGroupName": made[0].resolve(made[1].care.log_group.log_group_name),
            "MetricTransformations": [
                {
                    "MetricName": "FileSystemTroubles",
                    "MetricNamespace": "CryoEm/cryoem",
                    "MetricValue": "$.file_system_troubles",
                }
            ],
        },
    )


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_a_time_that_is_none_is_refused(stack: Stack, days: int) -> None:
    with pytest.raises(CryoEmError, match=f"release_after_days: got {days}, allowed: 1 to 3650, or nothing"):
        FileSystemCare(stack, "Care", **parts(stack), release_after_days=days)


@pytest.mark.parametrize("days", [1, 3650])
def test_the_first_and_the_last_day_are_taken(stack: Stack, days: int) -> None:
    FileSystemCare(stack, "Care", **parts(stack), release_after_days=days)
    assert variables(Template.from_stack(stack))["RELEASE_AFTER_DAYS"] == str(days)


def test_two_fit_in_one_stack(stack: Stack) -> None:
    given = parts(stack)
    for name in ("A", "B"):
        FileSystemCare(stack, name, **given)
    Template.from_stack(stack).resource_count_is("AWS::Scheduler::Schedule", 2)
