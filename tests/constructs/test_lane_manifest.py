"""The lane manifest is one SSM parameter that says what the lanes say."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template

from cdk_cryoem import Capacity, CryoEmError, Lane, LaneManifest, default_lanes
from cdk_cryoem.lane_manifest import MANIFEST_VERSION, manifest_text


def text(cluster_name: str = "c") -> str:
    return manifest_text(cluster_name=cluster_name, lanes=default_lanes(), stage_lanes={})


def lanes(count: int) -> list[Lane]:
    return [Lane(name=f"lane-{number}", instance_types=["m6i.8xlarge"]) for number in range(count)]


def test_the_manifest_is_the_lanes_as_json() -> None:
    document = json.loads(text("cryoem"))
    assert list(document) == ["version", "cluster", "lanes", "stages"]
    assert (document["version"], document["cluster"]) == (MANIFEST_VERSION, "cryoem")
    assert document["lanes"] == [lane.manifest() for lane in default_lanes()]
    assert document["lanes"][1] == {
        "name": "gpu1", "partition": "gpu1", "gpus": 1, "vcpus": 16, "memory_mib": 62259, "max_nodes": 8,
        "nodes_per_job": 1, "cache_gb": 600, "memory_multiplier": 2.0, "time_limit_minutes": 2880, "hold_minutes": 0,
        "always_on": False, "usd_per_hour": 1.624,
    }  # fmt: skip


def test_a_capacity_blocks_nodes_are_always_on_and_a_job_may_spread() -> None:
    block = Lane(
        name="block", instance_types=["p5.48xlarge"], gpus=8, capacity=Capacity.CAPACITY_BLOCK, nodes_per_job=4,
        capacity_reservation_id="cr-0a1b2c3d4e5f60718",
    )  # fmt: skip
    spot = Lane(name="spot", instance_types=["g5.4xlarge"], gpus=1, capacity=Capacity.SPOT)
    document = json.loads(manifest_text(cluster_name="c", lanes=[block, spot], stage_lanes={}))
    assert [(lane["always_on"], lane["nodes_per_job"]) for lane in document["lanes"]] == [(True, 4), (False, 1)]
    assert "cr-0a1b2c3d4e5f60718" not in str(document), "nobody who reads a manifest buys nodes"


def test_stages_are_in_the_manifest_as_they_are_given(stack: Stack) -> None:
    given = {"motion": "gpu1", "refine": "gpu4"}
    LaneManifest(stack, "With", cluster_name="c", lanes=default_lanes(), stage_lanes=given)
    LaneManifest(stack, "Without", cluster_name="c", lanes=default_lanes())
    written = [
        json.loads(found["Properties"]["Value"])["stages"]
        for found in Template.from_stack(stack).find_resources("AWS::SSM::Parameter").values()
    ]
    assert written == [given, {}]


def test_the_same_lanes_give_the_same_text() -> None:
    assert text() == text()


def test_few_lanes_are_a_free_parameter_and_two_manifests_fit_in_a_stack(stack: Stack) -> None:
    for name in ("A", "B"):
        LaneManifest(stack, name, cluster_name="c", lanes=default_lanes())
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::SSM::Parameter", 2)
    template.all_resources_properties(
        "AWS::SSM::Parameter",
        {"Type": "String", "Tier": "Standard", "Value": text()},
    )


def test_many_lanes_need_the_advanced_tier(stack: Stack) -> None:
    LaneManifest(stack, "Manifest", cluster_name="c", lanes=lanes(25))
    Template.from_stack(stack).has_resource_properties("AWS::SSM::Parameter", {"Tier": "Advanced"})


def test_the_tier_changes_where_ssm_says(new_stack: Callable[[str], Stack]) -> None:
    room = 4096 - len(text(""))
    for length, tier in ((room, "Standard"), (room + 1, "Advanced")):
        stack = new_stack("Test")
        LaneManifest(stack, "Manifest", cluster_name="c" * length, lanes=default_lanes())
        Template.from_stack(stack).has_resource_properties("AWS::SSM::Parameter", {"Tier": tier})


def test_more_than_a_parameter_holds_is_refused(stack: Stack) -> None:
    with pytest.raises(CryoEmError, match=r"lanes: got '\d+ bytes', allowed: 8192 bytes of manifest"):
        LaneManifest(stack, "Manifest", cluster_name="c", lanes=lanes(60))


def test_lanes_of_one_name_and_no_lanes_are_refused(stack: Stack) -> None:
    with pytest.raises(CryoEmError, match="every lane has a name of its own"):
        LaneManifest(stack, "Twice", cluster_name="c", lanes=lanes(1) * 2)
    with pytest.raises(CryoEmError, match="at least one lane"):
        LaneManifest(stack, "None", cluster_name="c", lanes=[])


def test_a_reader_may_read_this_one_parameter(stack: Stack) -> None:
    manifest = LaneManifest(stack, "Manifest", cluster_name="c", lanes=default_lanes())
    manifest.grant_read(iam.Role(stack, "Reader", assumed_by=iam.AccountRootPrincipal()))
    (policy,) = Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "ssm:GetParameter"
    assert statement["Resource"] == stack.resolve(manifest.parameter.parameter_arn)
