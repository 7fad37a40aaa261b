"""Two alarms: lanes that starve, and a sweeper that nobody calls. What alarms say leads to a page."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import App, Stack
from aws_cdk import aws_lambda as lambda_
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Template

from cdk_cryoem import SystemAlarms, SystemMetrics, default_lanes
from cdk_cryoem.runbooks import RUNBOOKS_CONTEXT, with_runbook

TOPIC = "arn:aws:sns:eu-west-1:111122223333:alarms"
FUNCTION = "arn:aws:lambda:eu-west-1:111122223333:function:sweeper"


def alarms(stack: Stack, *names: str) -> list[dict[str, Any]]:
    topic = sns.Topic.from_topic_arn(stack, "Topic", TOPIC)
    sweeper = lambda_.Function.from_function_arn(stack, "Sweeper", FUNCTION)
    metrics = SystemMetrics(cluster_name="cryo", lanes=default_lanes())
    for name in names:
        SystemAlarms(stack, name, metrics=metrics, sweeper=sweeper, alarm_topic=topic)
    return [each["Properties"] for each in Template.from_stack(stack).find_resources("AWS::CloudWatch::Alarm").values()]


def test_a_lane_starves_after_two_sweeps_of_three(stack: Stack) -> None:
    (found,) = [alarm for alarm in alarms(stack, "Alarms") if alarm["MetricName"] == "StarvedLanes"]
    assert (found["Namespace"], found["Threshold"], found["TreatMissingData"]) == ("CryoEm/cryo", 1, "notBreaching")
    assert (found["EvaluationPeriods"], found["DatapointsToAlarm"], found["Period"]) == (3, 2, 300)
    assert "Dimensions" not in found
    assert found["AlarmActions"] == [TOPIC]
    assert "waited for 30 minutes" in found["AlarmDescription"]


def test_a_sweeper_that_is_not_called_is_told_of_though_there_is_no_value_then(stack: Stack) -> None:
    (found,) = [alarm for alarm in alarms(stack, "Alarms") if alarm["MetricName"] == "Invocations"]
    assert (found["ComparisonOperator"], found["Threshold"]) == ("LessThanThreshold", 1)
    assert (found["Period"], found["TreatMissingData"]) == (1800, "breaching")
    assert found["Dimensions"] == [{"Name": "FunctionName", "Value": "sweeper"}]
    assert found["AlarmActions"] == [TOPIC]


def test_two_fit_in_one_stack(stack: Stack) -> None:
    assert len(alarms(stack, "A", "B")) == 4


@pytest.mark.parametrize(
    ("base", "link"),
    [
        (None, "docs/runbooks/failed-nodes.md"),
        ("https://wiki.example.org/cryoem", "https://wiki.example.org/cryoem/failed-nodes.md"),
        ("https://wiki.example.org/cryoem/", "https://wiki.example.org/cryoem/failed-nodes.md"),
    ],
)
def test_pages_are_where_the_facility_has_them(base: str | None, link: str) -> None:
    app = App(analytics_reporting=False, context={RUNBOOKS_CONTEXT: base} if base else None)
    assert with_runbook(Stack(app, "S"), "Bad", "failed-nodes") == f"Bad. What to do: {link}"
