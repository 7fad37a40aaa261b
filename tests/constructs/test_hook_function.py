"""A hook is a queue, a function, a dead-letter queue and an alarm; nothing is lost silently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Duration, Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Match, Template

from cdk_cryoem import HookFunction

Made = tuple[Stack, HookFunction, Template]
TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"


def hook(stack: Stack, id: str = "Hook", **more: Any) -> HookFunction:
    topic = stack.node.try_find_child("Topic") or sns.Topic.from_topic_arn(stack, "Topic", TOPIC)
    given: dict[str, Any] = {"handler": "node_hook", "environment": {"CLUSTER": "c"}, "alarm_topic": topic}
    return HookFunction(stack, id, **given, **more)


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Defaults")
    built = hook(stack)
    built.on("Hint", events.EventPattern(source=["x"]))
    return stack, built, Template.from_stack(stack)


def test_the_function_runs_the_named_handler(made: Made) -> None:
    made[2].has_resource_properties(
        "AWS::Lambda::Function",
        {
            "Handler": "cdk_cryoem_lambda.node_hook.handler",
            "Runtime": "python3.14",
            "Architectures": ["arm64"],
            "Timeout": 600,
            "LoggingConfig": {"LogFormat": "JSON", "LogGroup": Match.any_value()},
            "Environment": {"Variables": {"CLUSTER": "c", "QUEUE_URL": Match.any_value()}},
        },
    )


def test_a_function_that_needs_more_gets_it_and_its_queue_waits_as_much_longer(stack: Stack) -> None:
    hook(stack, memory_mib=2048, timeout=Duration.minutes(15))
    template = Template.from_stack(stack)
    template.has_resource_properties("AWS::Lambda::Function", {"MemorySize": 2048, "Timeout": 900})
    template.has_resource_properties("AWS::SQS::Queue", {"VisibilityTimeout": 5400})


def test_the_role_has_no_managed_policies(made: Made) -> None:
    made[2].resource_count_is("AWS::IAM::Role", 1)
    made[2].all_resources_properties("AWS::IAM::Role", {"ManagedPolicyArns": Match.absent()})


def test_a_hint_is_tried_eight_times_and_then_kept_for_two_weeks(made: Made) -> None:
    stack, built, template = made
    template.has_resource_properties(
        "AWS::SQS::Queue",
        {
            "VisibilityTimeout": 3600,
            "RedrivePolicy": {
                "maxReceiveCount": 8,
                "deadLetterTargetArn": stack.resolve(built.dead_letter_queue.queue_arn),
            },
        },
    )
    template.has_resource_properties("AWS::SQS::Queue", {"MessageRetentionPeriod": 14 * 86_400})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "sent back by sweeps"),
        ({"with_queue": False}, "removed by the next good run"),
        ({"dead_letters_are": "kept for 14 days"}, "kept for 14 days"),
    ],
)
def test_the_alarm_says_what_becomes_of_dead_letters(stack: Stack, given: dict[str, Any], words: str) -> None:
    hook(stack, **given)
    (alarm,) = Template.from_stack(stack).find_resources("AWS::CloudWatch::Alarm").values()
    assert f"such messages are {words}. What to do: " in alarm["Properties"]["AlarmDescription"]


def test_both_queues_are_encrypted_and_refuse_plain_http(made: Made) -> None:
    template = made[2]
    template.resource_count_is("AWS::SQS::Queue", 2)
    template.all_resources_properties("AWS::SQS::Queue", {"SqsManagedSseEnabled": True})
    guarded = [
        policy["Properties"]["Queues"][0]["Ref"]
        for policy in template.find_resources("AWS::SQS::QueuePolicy").values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny" and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    ]
    assert sorted(guarded) == sorted(template.find_resources("AWS::SQS::Queue"))


def test_one_dead_letter_is_an_alarm(made: Made) -> None:
    stack, built, template = made
    template.has_resource_properties(
        "AWS::CloudWatch::Alarm",
        {
            "MetricName": "ApproximateNumberOfMessagesVisible",
            "Threshold": 1,
            "EvaluationPeriods": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": [TOPIC],
            "Dimensions": [
                {"Name": "QueueName", "Value": stack.resolve(built.dead_letter_queue.queue_name)},
            ],
        },
    )


def test_events_go_to_the_queue_and_undelivered_ones_to_the_dead_letters(made: Made) -> None:
    stack, built, template = made
    assert built.queue is not None
    (rule,) = template.find_resources("AWS::Events::Rule").values()
    (target,) = rule["Properties"]["Targets"]
    assert target["Arn"] == stack.resolve(built.queue.queue_arn)
    assert target["DeadLetterConfig"] == {"Arn": stack.resolve(built.dead_letter_queue.queue_arn)}
    assert "EventBusName" not in rule["Properties"]


def test_single_messages_can_fail(made: Made) -> None:
    made[2].has_resource_properties(
        "AWS::Lambda::EventSourceMapping",
        {
            "FunctionResponseTypes": ["ReportBatchItemFailures"],
            "BatchSize": 10,
            "MaximumBatchingWindowInSeconds": Match.absent(),
        },
    )


def test_logs_end_after_six_months(made: Made) -> None:
    made[2].has_resource("AWS::Logs::LogGroup", {"DeletionPolicy": "Delete", "Properties": {"RetentionInDays": 180}})


def test_a_batching_window_makes_larger_batches(stack: Stack) -> None:
    hook(stack, batching_window=Duration.seconds(20))
    Template.from_stack(stack).has_resource_properties(
        "AWS::Lambda::EventSourceMapping", {"BatchSize": 100, "MaximumBatchingWindowInSeconds": 20}
    )


def test_a_scheduled_hook_has_dead_letters_and_alarm_but_no_queue(stack: Stack) -> None:
    built = hook(stack, with_queue=False)
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::SQS::Queue", 1)
    template.resource_count_is("AWS::CloudWatch::Alarm", 1)
    template.resource_count_is("AWS::Lambda::EventSourceMapping", 0)
    assert built.queue is None
    with pytest.raises(AssertionError, match="without a queue"):
        built.on("Hint", events.EventPattern(source=["x"]))


def test_rules_of_another_bus(stack: Stack) -> None:
    bus = events.EventBus.from_event_bus_name(stack, "Bus", "own-bus")
    hook(stack).on("Hint", events.EventPattern(source=["x"]), bus=bus)
    template = Template.from_stack(stack)
    template.has_resource_properties("AWS::Events::Rule", {"EventBusName": "own-bus"})
    template.resource_count_is("AWS::Events::EventBus", 0)


def test_permissions_are_added_as_they_are_said(stack: Stack) -> None:
    hook(stack).allow(actions=["ec2:StartInstances"], resources=["arn:x"])
    Template.from_stack(stack).has_resource_properties(
        "AWS::IAM::Policy",
        {
            "PolicyDocument": {
                "Statement": Match.array_with(
                    [{"Action": "ec2:StartInstances", "Effect": "Allow", "Resource": "arn:x"}]
                )
            }
        },
    )


def test_two_hooks_fit_in_one_stack_and_share_one_asset(stack: Stack) -> None:
    for name in ("A", "B"):
        hook(stack, name)
    template = Template.from_stack(stack)
    code = [f["Properties"]["Code"]["S3Key"] for f in template.find_resources("AWS::Lambda::Function").values()]
    assert len(code) == 2
    assert len(set(code)) == 1
    template.all_resources_properties("AWS::Lambda::Function", {"FunctionName": Match.absent()})
    template.all_resources_properties("AWS::SQS::Queue", {"QueueName": Match.absent()})
