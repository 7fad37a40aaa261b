"""A topic, a function that may write to it and to nothing else, and a rule for what people want to know."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_kms as kms
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Match, Template

from cdk_cryoem import CryoEmError, Notifications

Made = tuple[Stack, Notifications, Template]
TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"
OURS = "arn:aws:sns:eu-west-1:111122223333:chat"
TABLE = "arn:aws:dynamodb:eu-west-1:111122223333:table/records"


def parts(stack: Stack) -> dict[str, Any]:
    there = stack.node.try_find_child
    return {
        "event_bus": there("Bus") or events.EventBus.from_event_bus_name(stack, "Bus", "jobs"),
        "records": there("Records") or dynamodb.Table.from_table_arn(stack, "Records", TABLE),
        "alarm_topic": there("Alarms") or sns.Topic.from_topic_arn(stack, "Alarms", TOPIC),
    }


@pytest.fixture(scope="module")
def defaults(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Defaults")
    built = Notifications(stack, "Notifications", **parts(stack))
    return stack, built, Template.from_stack(stack)


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> Made:
    """Everything set."""
    stack = new_stack("Everything")
    key = kms.Key.from_key_arn(
        stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/0b4c5f3e-1111-2222-3333-444455556666"
    )
    records = dynamodb.Table.from_table_attributes(stack, "Own", table_arn=TABLE, encryption_key=key)
    built = Notifications(
        stack, "Notifications", **{**parts(stack), "records": records}, cluster_name="cryoem", job_minutes=5,
        emails=["ada@example.org", "em@example.org"], topic=sns.Topic.from_topic_arn(stack, "Topic", OURS),
    )  # fmt: skip
    return stack, built, Template.from_stack(stack)


def statements(template: Template) -> list[dict[str, Any]]:
    return [
        statement
        for policy in template.find_resources("AWS::IAM::Policy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    ]


def test_the_function_is_told_where_to_write_and_what(defaults: Made, made: Made) -> None:
    for (stack, built, template), minutes, arn in ((defaults, "30", None), (made, "5", OURS)):
        template.has_resource_properties(
            "AWS::Lambda::Function",
            {
                "Handler": "cdk_cryoem_lambda.notifier.handler",
                "Environment": {
                    "Variables": {
                        "RECORDS_TABLE": "records",
                        "TOPIC": arn or stack.resolve(built.topic.topic_arn),
                        "JOB_MINUTES": minutes,
                        "QUEUE_URL": Match.any_value(),
                    }
                },
            },
        )


def test_a_topic_is_made_that_refuses_plain_http(defaults: Made) -> None:
    stack, built, template = defaults
    template.resource_count_is("AWS::SNS::Topic", 1)
    template.resource_count_is("AWS::SNS::Subscription", 0)
    template.has_resource_properties("AWS::SNS::Topic", {"TopicName": Match.absent()})
    template.has_resource_properties(
        "AWS::SNS::TopicPolicy",
        {
            "Topics": [stack.resolve(built.topic.topic_arn)],
            "PolicyDocument": {
                "Statement": [
                    Match.object_like({"Effect": "Deny", "Condition": {"Bool": {"aws:SecureTransport": "false"}}})
                ]
            },
        },
    )


def test_a_topic_of_yours_is_taken_and_gets_the_addresses(made: Made) -> None:
    template = made[2]
    template.resource_count_is("AWS::SNS::Topic", 0)
    found = [s["Properties"] for s in template.find_resources("AWS::SNS::Subscription").values()]
    assert sorted((s["Protocol"], s["Endpoint"], s["TopicArn"]) for s in found) == [
        ("email", "ada@example.org", OURS),
        ("email", "em@example.org", OURS),
    ]


def test_the_rule_takes_what_people_want_to_know_from_the_clusters_bus(defaults: Made, made: Made) -> None:
    kinds = ["Dataset Landed", "Dataset Safe", "Dataset Not Safe", "Transfer Failed", "Processing Ended", "Job Finished", "Lanes Changed", "Node Failed", "Backup Failed",
             "Cost Leak Found", "Spend Cap Reached", "File System Trouble"]  # fmt: skip
    for (stack, built, template), detail in ((defaults, {}), (made, {"detail": {"cluster": ["cryoem"]}})):
        (rule,) = template.find_resources("AWS::Events::Rule").values()
        assert rule["Properties"]["EventBusName"] == "jobs"
        assert rule["Properties"]["EventPattern"] == {"source": ["cryoem.platform"], "detail-type": kinds, **detail}
        assert built.notifier.queue is not None
        assert rule["Properties"]["Targets"][0]["Arn"] == stack.resolve(built.notifier.queue.queue_arn)


def test_it_may_publish_to_the_topic_and_write_down_what_it_told_and_no_more(defaults: Made) -> None:
    stack, built, template = defaults
    found = {
        action: (statement["Resource"], statement.get("Condition"))
        for statement in statements(template)
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if not action.startswith(("logs:", "sqs:"))
    }
    own = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["told"]}}
    assert found == {
        "sns:Publish": (stack.resolve(built.topic.topic_arn), None),
        "dynamodb:GetItem": (TABLE, own),
        "dynamodb:PutItem": (TABLE, own),
    }


def test_the_page_of_actions_lists_what_the_role_may(defaults: Made) -> None:
    page = (
        (Path(__file__).parents[2] / "docs" / "iam.md")
        .read_text()
        .partition("\n## Notifier\n")[2]
        .partition("\n## ")[0]
    )
    rows = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    listed = re.findall(r"`(\w+:\w+)`", rows)
    allowed = {
        action
        for statement in statements(defaults[2])
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    assert sorted(listed) == sorted(allowed)


def test_the_key_of_a_table_of_yours_may_be_used(made: Made) -> None:
    of_the_key = [s for s in statements(made[2]) if str(s["Action"]).count("kms:")]
    assert [s["Resource"] for s in of_the_key] == [
        "arn:aws:kms:eu-west-1:111122223333:key/0b4c5f3e-1111-2222-3333-444455556666"
    ]


def test_what_could_not_be_told_raises_the_hooks_alarm(defaults: Made) -> None:
    stack, built, template = defaults
    template.resource_count_is("AWS::CloudWatch::Alarm", 1)
    template.has_resource_properties(
        "AWS::CloudWatch::Alarm",
        {
            "AlarmActions": [TOPIC],
            "Dimensions": [{"Name": "QueueName", "Value": stack.resolve(built.notifier.dead_letter_queue.queue_name)}],
        },
    )


def test_two_fit_in_one_stack(stack: Stack) -> None:
    for name in ("A", "B"):
        Notifications(stack, name, **parts(stack), emails=["em@example.org"])
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::SNS::Topic", 2)
    template.resource_count_is("AWS::Lambda::Function", 2)
    template.resource_count_is("AWS::SNS::Subscription", 2)


@pytest.mark.parametrize("minutes", [0, 10080])
def test_minutes_at_their_limits(stack: Stack, minutes: int) -> None:
    assert Notifications(stack, "Notifications", **parts(stack), job_minutes=minutes).topic is not None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"job_minutes": -1}, r"job_minutes: got -1, allowed: 0 \(every job\) to 10080 \(a week\)"),
        ({"job_minutes": 10081}, "job_minutes: got 10081"),
        ({"emails": ["bob"]}, "emails: got 'bob', allowed: an e-mail address"),
        ({"emails": ["a@b.c", "a@b.c"]}, "emails: got 'a@b.c', allowed: each address once"),
    ],
)
def test_wrong_values(stack: Stack, given: dict[str, Any], message: str) -> None:
    with pytest.raises(CryoEmError, match=message):
        Notifications(stack, "Notifications", **parts(stack), **given)


def test_all_that_is_wrong_is_said_at_once(stack: Stack) -> None:
    with pytest.raises(CryoEmError) as caught:
        Notifications(stack, "Notifications", **parts(stack), job_minutes=-1, emails=["bob", "eve"])
    assert [problem.value for problem in caught.value.problems] == [-1, "bob", "eve"]
