"""One page with the whole system: each widget's metrics are those that somebody sends, with any engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Template

from cdk_cryoem import (
    CryoEmDashboard,
    CryoEmError,
    HookFunction,
    Lane,
    LustreStore,
    MicroscopeIngest,
    NfsShare,
    SystemMetrics,
    default_lanes,
)

AGENT = "arn:aws:datasync:eu-west-1:111122223333:agent/agent-0123456789abcdef0"
LANES = default_lanes()


@dataclass(frozen=True)
class SomeEngine:
    """As much of an engine as is needed. lost: whether it can lose records of jobs, as PCS can."""

    lanes: Sequence[Lane] = LANES
    lost: bool = False
    cluster_name: str = "cryoem"

    def metric_failed_nodes(self) -> cloudwatch.IMetric:
        return cloudwatch.Metric(namespace="Fake", metric_name="FailedNodes")

    def metric_lost_job_records(self) -> cloudwatch.IMetric | None:
        return cloudwatch.Metric(namespace="Fake", metric_name="Lost") if self.lost else None


def hook(stack: Stack) -> HookFunction:
    topic = sns.Topic.from_topic_arn(stack, "Topic", "arn:aws:sns:eu-west-1:111122223333:alarms")
    return HookFunction(stack, "Sweeper", handler="sweeper", environment={}, alarm_topic=topic, with_queue=False)


def all_set(stack: Stack) -> dict[str, Any]:
    vpc = ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["a"], private_subnet_ids=["subnet-1"]
    )
    landing = s3.Bucket.from_bucket_name(stack, "Landing", "movies")
    made = hook(stack)
    return {
        "engine": SomeEngine(lost=True),
        "hooks": {"sweeper": made},
        "file_system": LustreStore(
            stack, "Store", vpc=vpc, subnet=vpc.private_subnets[0], landing_bucket=landing,
            results_bucket=s3.Bucket.from_bucket_name(stack, "Results", "results"),
        ),
        "microscopes": {
            "krios": MicroscopeIngest(
                stack, "Krios", share=NfsShare(host="10.0.0.5", path="/krios"), landing_bucket=landing, agent_arn=AGENT
            )
        },
        "limits_usd": {"budget": 2500.0},
        "alarms": [made.dead_letter_alarm],
    }  # fmt: skip


def body(stack: Stack, name: str = "") -> dict[str, Any]:
    """The dashboard's document, with what only the deployment knows written as {Name}."""
    template = Template.from_stack(stack)
    (found,) = [v for k, v in template.find_resources("AWS::CloudWatch::Dashboard").items() if k.startswith(name)]
    text = found["Properties"]["DashboardBody"]
    if isinstance(text, dict):
        text = "".join(
            part if isinstance(part, str) else next(iter(part.values())) if "Ref" in part else "?"
            for part in text["Fn::Join"][1]
        )
    document: dict[str, Any] = json.loads(text)
    return document


def widgets(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {widget["properties"].get("title", ""): widget for widget in document["widgets"]}


def metrics(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Namespace and name of all metrics that are shown."""
    for widget in document["widgets"]:
        for entry in widget["properties"].get("metrics", []):
            if isinstance(entry[0], str):
                yield entry[0], entry[1]


@pytest.fixture(scope="module")
def everything(new_stack: Callable[[str], Stack]) -> dict[str, Any]:
    stack = new_stack("Everything")
    CryoEmDashboard(stack, "Dashboard", **all_set(stack))
    return body(stack, "Dashboard")


def test_by_default_lanes_waits_spend_and_datasets_are_shown(stack: Stack) -> None:
    CryoEmDashboard(stack, "Dashboard", engine=SomeEngine(), hooks={})
    found = body(stack)
    assert list(widgets(found)) == [
        "Spent this month, USD",
        "PBR of the last day",
        "Longest wait now, s",
        "Datasets arriving",
        "Landed in a day",
        "Nodes that are paid for",
        "GPUs paid for and in use; PBR of a day",
        "Longest wait for a node, s; lanes without any",
        "Nodes that did not come up",
        "Spent this month by finished jobs, USD",
        "Datasets",
    ]
    assert set(metrics(found)) == {
        ("CryoEm/cryoem", name)
        for name in (
            "PaidNodes",
            "UsedGpus",
            "SpendThisMonth",
            "LongestWait",
            "StarvedLanes",
            "DatasetsArriving",
            "DatasetsLanded",
        )
    } | {("Fake", "FailedNodes")}


def test_everything_that_is_given_is_shown(everything: dict[str, Any]) -> None:
    found = widgets(everything)
    assert found["Alarms"]["type"] == "alarm"
    assert len(found["Alarms"]["properties"]["alarms"]) == 1
    assert {
        "File system: free space, %",
        "File system: bytes per second",
        "File system: oldest uncopied change, s",
        "Hooks: dead letters",
        "Hooks: errors",
        "Hooks: longest run, ms",
        "Nodes that did not come up; jobs without a price",
        "Datasets; bytes of microscopes",
    } <= set(found)
    assert set(metrics(everything)) >= {
        ("AWS/FSx", "FreeDataStorageCapacity"),
        ("AWS/FSx", "DataReadBytes"),
        ("AWS/FSx", "DataWriteBytes"),
        ("AWS/FSx", "AgeOfOldestQueuedMessage"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Duration"),
        ("AWS/DataSync", "BytesTransferred"),
        ("Fake", "Lost"),
    }
    spend = found["Spent this month by finished jobs, USD"]["properties"]
    assert spend["annotations"]["horizontal"] == [{"value": 2500, "label": "budget", "yAxis": "left"}]


def test_no_row_is_wider_than_the_page_and_nothing_lies_on_something_else(everything: dict[str, Any]) -> None:
    taken: set[tuple[int, int]] = set()
    for widget in everything["widgets"]:
        cells = {(widget["x"] + i, widget["y"] + j) for i in range(widget["width"]) for j in range(widget["height"])}
        assert widget["x"] + widget["width"] <= 24
        assert not cells & taken
        taken |= cells


def test_pbr_is_paid_over_used_gpus_of_lanes_with_gpus_by_sums_of_a_day(everything: dict[str, Any]) -> None:
    entries = widgets(everything)["PBR of the last day"]["properties"]["metrics"]
    (formula,) = [entry[0] for entry in entries if isinstance(entry[0], dict)]
    paid = "1 * FILL(sn1, 0) + 4 * FILL(sn2, 0) + 8 * FILL(sn3, 0) + 4 * FILL(sn4, 0)"
    used = "FILL(su1, 0) + FILL(su2, 0) + FILL(su3, 0) + FILL(su4, 0)"
    assert formula["expression"] == f"IF(({used}) > 0, ({paid}) / ({used}))"
    assert formula["period"] == 86_400
    samples = [entry for entry in entries if isinstance(entry[0], str)]
    assert {(entry[1], entry[3]) for entry in samples} == {
        (name, lane.name) for name in ("PaidNodes", "UsedGpus") for lane in LANES if lane.gpus
    }
    assert {(entry[4]["stat"], entry[4]["period"]) for entry in samples} == {("Sum", 86_400)}


def test_without_gpus_there_is_no_pbr(stack: Stack) -> None:
    CryoEmDashboard(stack, "Dashboard", engine=SomeEngine(lanes=[LANES[0]]), hooks={})
    assert not [title for title in widgets(body(stack)) if "PBR" in title]
    metrics = SystemMetrics(cluster_name="c", lanes=[LANES[0]])
    assert metrics.pbr() is metrics.paid_gpus() is metrics.used_gpus() is None


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("eu-west-1", "console.aws.amazon.com"),
        ("cn-north-1", "console.amazonaws.cn"),
        ("us-gov-west-1", "console.amazonaws-us-gov.com"),
    ],
)
def test_the_address_is_that_of_the_regions_console(region: str, host: str) -> None:
    stack = Stack(App(analytics_reporting=False), "Here", env=Environment(account="111122223333", region=region))
    made = CryoEmDashboard(stack, "Dashboard", engine=SomeEngine(), hooks={})
    name = stack.resolve(made.dashboard_name)
    assert stack.resolve(made.url) == {
        "Fn::Join": ["", [f"https://{host}/cloudwatch/home?region={region}#dashboards/dashboard/", name]]
    }


@pytest.mark.parametrize("usd", [0, -1.0])
def test_a_line_is_above_zero(stack: Stack, usd: float) -> None:
    with pytest.raises(CryoEmError, match=rf"limits_usd\['cap'\]: got {usd}, allowed: above 0"):
        CryoEmDashboard(stack, "Dashboard", engine=SomeEngine(), hooks={}, limits_usd={"cap": usd})


def test_alarms_are_shown_once_and_so_many_as_cloudwatch_takes(stack: Stack) -> None:
    alarm = hook(stack).dead_letter_alarm
    with pytest.raises(CryoEmError, match="alarms: got 'one alarm twice', allowed: each alarm once"):
        CryoEmDashboard(stack, "Dashboard", engine=SomeEngine(), hooks={}, alarms=[alarm, alarm])
    many = [
        cloudwatch.Alarm.from_alarm_arn(stack, f"A{n}", f"arn:aws:cloudwatch:eu-west-1:111122223333:alarm:a{n}")
        for n in range(101)
    ]
    with pytest.raises(CryoEmError, match="101 alarms"):
        CryoEmDashboard(stack, "Other", engine=SomeEngine(), hooks={}, alarms=many)
    CryoEmDashboard(stack, "Third", engine=SomeEngine(), hooks={}, alarms=many[:100])


def test_two_fit_in_one_stack(stack: Stack) -> None:
    for name in ("A", "B"):
        CryoEmDashboard(stack, name, engine=SomeEngine(), hooks={})
    Template.from_stack(stack).resource_count_is("AWS::CloudWatch::Dashboard", 2)
