"""How many microscopes there may be: what rules, environments and policies have room for."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, CfnParameter, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_events as events
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Template

from cdk_cryoem import CryoEmError, LaneHooks, LaneManifest, default_lanes
from cdk_cryoem.ingest_tasks import MOST_TASKS, task_ids, transfers_that_ended

# The longest ARNs that there are.
ARNS = [f"arn:aws-us-gov:datasync:us-gov-west-1:111122223333:task/task-{n:017x}" for n in range(MOST_TASKS)]
# A queue's URL, of the longest kind that CloudFormation makes.
LONGEST_NAME = 120


class SomeEngine:
    """As much of an engine as is needed."""

    cluster_name, head_node_instance_id, generation = "cryoem", "i-0123456789abcdef0", "first"
    instance_tag = ("parallelcluster:cluster-name", "cryoem")

    def __init__(self, stack: Stack) -> None:
        self.lanes = default_lanes()
        self.event_bus = events.EventBus.from_event_bus_name(stack, "Bus", "jobs")
        self.lane_manifest = LaneManifest(stack, "Manifest", cluster_name="cryoem", lanes=self.lanes)

    def metric_lost_job_records(self) -> None:
        """None."""

    def metric_failed_nodes(self) -> cloudwatch.IMetric:
        """A metric of its own."""
        return cloudwatch.Metric(namespace="Fake", metric_name="FailedNodes", statistic="Sum")


def hooks(stack: Stack, arns: list[str]) -> Template:
    engine: Any = SomeEngine(stack)
    landing = s3.Bucket.from_bucket_name(stack, "Landing", "movies")
    LaneHooks(stack, "Hooks", engine=engine, landing_bucket=landing, ingest_task_arns=arns)
    return Template.from_stack(stack)


def deployed(value: Any) -> str:
    """A value as long as it can get when all that only the deployment knows is there."""
    if isinstance(value, dict) and "Fn::Join" in value:
        return "".join(map(deployed, value["Fn::Join"][1]))
    return value if isinstance(value, str) else "x" * LONGEST_NAME


@pytest.mark.parametrize(("microscopes", "rules"), [(0, 0), (1, 1), (20, 1), (21, 2), (24, 2), (MOST_TASKS, 2)])
def test_each_rule_has_room_for_its_pattern(microscopes: int, rules: int) -> None:
    """2,048 characters: EventBridge user guide, "Amazon EventBridge quotas"."""
    stack = Stack(App(), "S")
    found = transfers_that_ended(ARNS[:microscopes])
    assert len(found) == rules
    assert list(found)[:1] == ["TransferFinished"][:rules], "the first keeps its name"
    heard: list[str] = []
    for pattern in found.values():
        given = {
            "source": pattern.source, "detail-type": pattern.detail_type, "detail": pattern.detail,
            "resources": pattern.resources,
        }  # fmt: skip
        text = stack.to_json_string(given)
        resolved = json.loads(stack.resolve(text))
        assert len(json.dumps(resolved, separators=(",", ":"))) <= 2048
        heard += [each["prefix"] for each in resolved["resources"]]
    assert heard == ARNS[:microscopes]


def test_so_many_fit_into_every_environment_and_policy(stack: Stack) -> None:
    """4 KB and 10,240 characters: Lambda developer guide, "Lambda quotas"; IAM user guide, "IAM and AWS STS quotas"."""
    template = hooks(stack, ARNS)
    for function in template.find_resources("AWS::Lambda::Function").values():
        variables = function["Properties"]["Environment"]["Variables"]
        assert sum(len(name) + len(deployed(value)) for name, value in variables.items()) < 4096
    for policy in template.find_resources("AWS::IAM::Policy").values():
        assert len(json.dumps(policy["Properties"]["PolicyDocument"], separators=(",", ":"))) < 10_240


def test_more_are_refused(stack: Stack) -> None:
    with pytest.raises(CryoEmError, match=f"ingest_task_arns: got {MOST_TASKS + 1}, allowed: {MOST_TASKS} at most"):
        hooks(stack, [*ARNS, ARNS[0]])


def test_the_id_of_a_task_that_only_the_deployment_knows(stack: Stack) -> None:
    arn = CfnParameter(stack, "Task").value_as_string
    known, later = task_ids([ARNS[3], arn])
    assert known == "task-00000000000000003"
    assert stack.resolve(later) == {"Fn::Select": [1, {"Fn::Split": ["/", {"Ref": "Task"}]}]}
