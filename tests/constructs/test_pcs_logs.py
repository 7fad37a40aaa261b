"""What PCS writes goes into three log groups; finished jobs go on as events, nodes that fail are counted."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk.assertions import Template
from pcs_parts import one, parts, properties, statements

from cdk_cryoem import Pcs, _assets

KINDS = {"Jobs": "PCS_JOBCOMP_LOGS", "Scaling": "PCS_SCALING_LOGS", "Scheduler": "PCS_SCHEDULER_LOGS"}


@pytest.fixture(scope="module")
def template(new_stack: Callable[[str], Stack]) -> Template:
    stack = new_stack("Logs")
    Pcs(stack, "Cluster", **parts(stack), cluster_name="mine")
    return Template.from_stack(stack)


def named(template: Template, kind: str, beginning: str) -> tuple[str, dict[str, Any]]:
    ((name, found),) = [
        (name, found) for name, found in template.find_resources(kind).items() if name.startswith(beginning)
    ]
    return name, found


@pytest.mark.parametrize(("what", "log_type"), KINDS.items())
def test_a_delivery_goes_from_the_cluster_to_a_log_group(template: Template, what: str, log_type: str) -> None:
    (cluster,) = template.find_resources("AWS::PCS::Cluster")
    source_id, source = named(template, "AWS::Logs::DeliverySource", f"ClusterLogs{what}Source")
    destination_id, destination = named(template, "AWS::Logs::DeliveryDestination", f"ClusterLogs{what}Destination")
    _, delivery = named(template, "AWS::Logs::Delivery", f"ClusterLogs{what}Delivery")
    group_id, group = named(template, "AWS::Logs::LogGroup", f"ClusterLogs{what}Log")
    assert source["Properties"]["LogType"] == log_type
    assert source["Properties"]["ResourceArn"] == {"Fn::GetAtt": [cluster, "Arn"]}
    assert destination["Properties"]["DestinationResourceArn"] == {"Fn::GetAtt": [group_id, "Arn"]}
    assert destination["Properties"]["OutputFormat"] == "json"
    assert delivery["Properties"] == {
        "DeliverySourceName": source["Properties"]["Name"],
        "DeliveryDestinationArn": {"Fn::GetAtt": [destination_id, "Arn"]},
    }
    assert delivery["DependsOn"] == [source_id], "it names the source, and CloudFormation does not see it"
    assert group["Properties"]["RetentionInDays"] == 180
    assert (group["DeletionPolicy"], group["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_there_are_just_these_deliveries(template: Template) -> None:
    for kind in ("DeliverySource", "DeliveryDestination", "Delivery"):
        template.resource_count_is(f"AWS::Logs::{kind}", len(KINDS))


def test_a_log_group_has_the_name_that_needs_no_policy_and_none_that_an_earlier_stack_left(template: Template) -> None:
    for found in properties(template, "AWS::Logs::LogGroup").values():
        if "LogGroupName" not in found:
            continue
        first, of_the_stack = found["LogGroupName"]["Fn::Join"][1]
        assert first.startswith("/aws/vendedlogs/pcs/logs-cluster-logs-")
        assert of_the_stack == {
            "Fn::Select": [
                0, {"Fn::Split": ["-", {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}]}
            ]
        }  # fmt: skip


def test_what_the_name_takes_of_the_stacks_id_is_its_own() -> None:
    arn = "arn:aws:cloudformation:eu-west-1:111122223333:stack/cryoem-cluster/0b4c5f3e-1111-2222-3333-444455556666"
    assert arn.split("/")[2].split("-")[0] == "0b4c5f3e"


def test_nodes_that_fail_are_counted_and_missing_capacity_is_not(template: Template) -> None:
    found = one(template, "AWS::Logs::MetricFilter")
    assert found["LogGroupName"] == {"Ref": named(template, "AWS::Logs::LogGroup", "ClusterLogsScaling")[0]}
    assert found["FilterPattern"] == (
        '{ ($.status_code = "LAUNCH_FAILED" && $.reason_code != "INSUFFICIENT_CAPACITY")'
        ' || ($.status_code = "TERMINATED" && ($.reason_code = "BOOTSTRAP_FAILED" || $.reason_code = "UNHEALTHY_NODE")) }'
    )
    assert found["MetricTransformations"] == [
        {"MetricNamespace": "CryoEm/mine", "MetricName": "FailedNodes", "MetricValue": "1"}
    ]


RECORDS = [
    ({"status_code": "LAUNCH_FAILED", "reason_code": "INVALID_AMI"}, True),
    ({"status_code": "LAUNCH_FAILED", "reason_code": "INSUFFICIENT_CAPACITY"}, False),
    ({"status_code": "TERMINATED", "reason_code": "BOOTSTRAP_FAILED"}, True),
    ({"status_code": "TERMINATED", "reason_code": "UNHEALTHY_NODE"}, True),
    ({"status_code": "TERMINATED", "reason_code": "IDLE"}, False),
    ({"status_code": "LAUNCHED", "reason_code": "BOOTSTRAP_FAILED"}, False),
]


@pytest.mark.parametrize(("record", "counts"), RECORDS)
def test_the_pattern_means_what_it_says(template: Template, record: dict[str, str], counts: bool) -> None:
    """CloudWatch's signs are Python's here: = is ==, && is and, || is or, $. is the record."""
    pattern = one(template, "AWS::Logs::MetricFilter")["FilterPattern"].strip("{} ")
    signs = {" = ": " == ", "&&": "and", "||": "or", "$.status_code": "status", "$.reason_code": "reason"}
    for sign, meaning in signs.items():
        pattern = pattern.replace(sign, meaning)
    assert eval(pattern, {"status": record["status_code"], "reason": record["reason_code"]}) is counts


def test_both_metrics_can_be_watched(stack: Stack) -> None:
    cluster = Pcs(stack, "Cluster", **parts(stack), cluster_name="mine")
    for name, metric in (
        ("Failed", cluster.metric_failed_nodes()),
        ("Lost", cluster.logs.metric_lost_job_records()),
    ):
        cloudwatch.Alarm(stack, name, metric=metric, threshold=1, evaluation_periods=1)
    template = Template.from_stack(stack)
    found = {}
    for name in ("Failed", "Lost"):
        (query,) = one(template, "AWS::CloudWatch::Alarm", name)["Metrics"]
        metric, statistic = query["MetricStat"]["Metric"], query["MetricStat"]["Stat"]
        found[name] = (metric["Namespace"], metric["MetricName"], statistic, query["MetricStat"]["Period"])
    assert found == {
        "Failed": ("CryoEm/mine", "FailedNodes", "Sum", 300),
        "Lost": ("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum", 300),
    }


def test_every_finished_job_goes_to_the_function(template: Template) -> None:
    found = one(template, "AWS::Logs::SubscriptionFilter")
    group, _ = named(template, "AWS::Logs::LogGroup", "ClusterLogsJobs")
    (function,) = template.find_resources("AWS::Lambda::Function")
    assert (found["LogGroupName"], found["FilterPattern"]) == ({"Ref": group}, "")
    assert found["DestinationArn"] == {"Fn::GetAtt": [function, "Arn"]}
    permission = one(template, "AWS::Lambda::Permission")
    assert permission["Principal"] == "logs.amazonaws.com"
    assert permission["SourceArn"] == {"Fn::GetAtt": [group, "Arn"]}


def test_the_function_knows_bus_and_cluster_and_keeps_what_it_could_not_do(template: Template) -> None:
    found = one(template, "AWS::Lambda::Function")
    (bus,) = template.find_resources("AWS::Events::EventBus")
    assert found["Handler"] == "cdk_cryoem_lambda.pcs_jobs.handler"
    assert found["Environment"]["Variables"] == {"EVENT_BUS": {"Ref": bus}, "CLUSTER": "mine"}
    queue, made = named(template, "AWS::SQS::Queue", "ClusterLogsDeadLetters")
    assert found["DeadLetterConfig"] == {"TargetArn": {"Fn::GetAtt": [queue, "Arn"]}}
    assert made["Properties"] == {"MessageRetentionPeriod": 14 * 24 * 3600, "SqsManagedSseEnabled": True}
    (denied,) = one(template, "AWS::SQS::QueuePolicy")["PolicyDocument"]["Statement"]
    assert (denied["Effect"], denied["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    logged = found["LoggingConfig"]["LogGroup"]["Ref"]
    assert properties(template, "AWS::Logs::LogGroup")[logged] == {"RetentionInDays": 180}


def test_the_function_may_write_its_log_send_events_and_keep_letters(template: Template) -> None:
    found = {json.dumps(s["Action"]): s["Resource"] for s in statements(template, "ClusterLogsRole")}
    assert list(found) == ['["logs:CreateLogStream", "logs:PutLogEvents"]', '"events:PutEvents"', '"sqs:SendMessage"']
    assert "*" not in found.values()
    assert "ManagedPolicyArns" not in one(template, "AWS::IAM::Role", "ClusterLogsRole")


def test_the_handler_is_there_and_reads_just_these_variables() -> None:
    text = (_assets.lambda_root() / "cdk_cryoem_lambda" / "pcs_jobs.py").read_text()
    assert "\ndef handler(event" in text
    assert set(re.findall(r'environ\["(\w+)"\]', text)) == {"EVENT_BUS", "CLUSTER"}
