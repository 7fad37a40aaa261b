"""When shares are looked at, and who keeps that time."""

from __future__ import annotations

import pytest
from aws_cdk import Aws, Stack
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Template

from cdk_cryoem.ingest_schedule import (
    IngestSchedule,
    by_datasync,
    least_gap_minutes,
    schedule_problems,
    starts_in_a_day,
)


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [("rate(1 hour)", 60), ("rate(12 hours)", 720), ("rate(1 day)", 1440), ("rate(7 days)", 10080), ("rate(15 minutes)", 15),
     ("rate(1 minute)", 1), ("cron(0 * * * ? *)", 60), ("cron(0/20 8-18 ? * MON-FRI *)", 20), ("cron(*/7 * * * ? *)", 4),
     ("cron(5,50 * * * ? *)", 15), ("cron(0-10/5 * * * ? *)", 5), ("cron(* * * * ? *)", 1), ("cron(0 3 ? * SUN *)", 60)],
)  # fmt: skip
def test_the_least_gap(expression: str, minutes: int) -> None:
    assert least_gap_minutes(expression) == minutes


@pytest.mark.parametrize(
    "expression",
    ["", "hourly", "cron()", "rate(0 hours)", "rate(1 hours)", "rate(2 hour)", "rate(1.5 hours)", "cron(0 3 * * *)",
     "cron(60 * * * ? *)", "cron(x * * * ? *)", "cron(5-1 * * * ? *)", "cron(*/0 * * * ? *)", "cron(*-5 * * * ? *)",
     "cron(0 3 * * * *)", "cron(0 3 ? * ? *)", "rate(5 minutes) "],
)  # fmt: skip
def test_what_is_no_schedule(expression: str) -> None:
    assert least_gap_minutes(expression) is None
    (problem,) = schedule_problems(expression, None)
    assert (problem.property, problem.fix) == ("schedule_expression", "")


@pytest.mark.parametrize(("expression", "right"), [("rate(5 minutes)", True), ("rate(4 minutes)", False),
                                                   ("cron(*/5 * * * ? *)", True), ("cron(*/4 * * * ? *)", False)])  # fmt: skip
def test_five_minutes_are_the_least(expression: str, right: bool) -> None:
    found = list(schedule_problems(expression, None))
    assert [problem.fix for problem in found] == (
        [] if right else ["Each run lists share and bucket, which takes minutes"]
    )


@pytest.mark.parametrize(
    ("zone", "right"), [(None, True), ("UTC", True), ("Europe/Vienna", True), ("Vienna", False), ("", False)]
)
def test_time_zones(zone: str | None, right: bool) -> None:
    assert [problem.property for problem in schedule_problems("rate(1 hour)", zone)] == ([] if right else ["time_zone"])


@pytest.mark.parametrize(
    ("expression", "zone", "itself"),
    [("rate(1 hour)", None, True), ("rate(1 hour)", "UTC", True), ("cron(0 3 * * ? *)", None, True),
     ("cron(0 3 * * ? *)", "Europe/Vienna", False), ("rate(15 minutes)", None, False), ("rate(90 minutes)", None, False),
     ("cron(0,30 * * * ? *)", None, False)],
)  # fmt: skip
def test_who_keeps_the_time(expression: str, zone: str | None, itself: bool) -> None:
    assert by_datasync(expression, zone) == itself


def test_what_is_known_only_at_deployment_is_datasyncs() -> None:
    assert by_datasync(Aws.STACK_NAME, None)
    assert not list(schedule_problems(Aws.STACK_NAME, Aws.STACK_NAME))


@pytest.mark.parametrize(
    ("expression", "starts"),
    [("rate(15 minutes)", 96), ("rate(7 minutes)", 205), ("rate(1 hour)", 24), ("rate(1 day)", 1), ("rate(2 days)", 1),
     ("rate(2880 minutes)", 1), ("cron(0/15 8-18 * * ? *)", 44), ("cron(0 2 * * ? *)", 1), ("cron(0,30 */6 * * ? *)", 8),
     ("cron(0/5 * * * ? *)", 288), ("cron(0 8,20 ? * MON *)", 2), ("cron(0/20 22-2 * * ? *)", 3)],
)  # fmt: skip
def test_how_many_starts_a_day_has(expression: str, starts: int) -> None:
    assert starts_in_a_day(expression) == starts


@pytest.mark.parametrize(
    ("expression", "refused"),
    [("rate(15 minutes)", 93), ("cron(0/15 8-18 * * ? *)", 42), ("cron(0 2 * * ? *)", 1), ("rate(2 days)", 1),
     ("cron(0 2,14 * * ? *)", 1), (Aws.STACK_NAME, 279)],
)  # fmt: skip
def test_the_alarm_can_be_reached_by_the_starts_of_one_day(stack: Stack, expression: str, refused: int) -> None:
    schedule = IngestSchedule(
        stack, "Schedule", task_arn="arn:aws:datasync:eu-west-1:1:task/t", schedule_expression=expression
    )
    schedule.alarm(sns.Topic(stack, "Topic"), scope=stack, id="Alarm")
    template = Template.from_stack(stack)
    template.has_resource_properties("AWS::CloudWatch::Alarm", {"Threshold": refused, "EvaluationPeriods": 1})
    template.has_resource_properties("AWS::SQS::Queue", {"MessageRetentionPeriod": 86400})
