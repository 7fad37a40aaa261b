"""The lane manifest is one SSM parameter that says what the lanes say."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Annotations, Match, Template

from cdk_cryoem import Capacity, CryoEmError, Lane, LaneManifest, default_lanes
from cdk_cryoem.lane_manifest import MANIFEST_VERSION, manifest_text
from cdk_cryoem.stages import stage_lanes, stages


def text(cluster_name: str = "c") -> str:
    lanes = default_lanes()
    return manifest_text(cluster_name=cluster_name, lanes=lanes, stage_lanes=stage_lanes(lanes, {}))


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


def test_every_stage_has_a_lane_and_a_stage_can_be_put_on_another(stack: Stack) -> None:
    chosen = LaneManifest(stack, "Chosen", cluster_name="c", lanes=default_lanes())
    moved = LaneManifest(stack, "Moved", cluster_name="c", lanes=default_lanes(), stages={"motion": "gpu4"})
    assert set(chosen.stage_lanes) == set(stages())
    assert chosen.stage_lanes["motion"] != "gpu4"
    assert moved.stage_lanes == {**chosen.stage_lanes, "motion": "gpu4"}
    assert written(stack) == [dict(manifest.stage_lanes) for manifest in (chosen, moved)]


def written(stack: Stack) -> list[object]:
    """Stages of all manifests in a stack."""
    parameters = Template.from_stack(stack).find_resources("AWS::SSM::Parameter").values()
    return [json.loads(found["Properties"]["Value"])["stages"] for found in parameters]


@pytest.mark.parametrize(
    ("moved", "property", "allowed"),
    [
        ({"nonsense": "gpu1"}, "stages.nonsense", "one of the stages "),
        ({"motion": "gpu9"}, "stages.motion", "one of the lanes cpu, gpu1, gpu4, gpu8, live"),
        ({"motion": "cpu"}, "stages.motion", "a lane with GPUs"),
    ],
)
def test_a_stage_on_a_lane_that_cannot_be_is_refused(
    stack: Stack, moved: dict[str, str], property: str, allowed: str
) -> None:
    with pytest.raises(CryoEmError) as caught:
        LaneManifest(stack, "Manifest", cluster_name="c", lanes=default_lanes(), stages=moved)
    (problem,) = caught.value.problems
    assert problem.property == property
    assert problem.allowed.startswith(allowed)


def test_more_gpus_than_the_licence_allows_is_a_warning_and_no_error(stack: Stack) -> None:
    LaneManifest(stack, "Enough", cluster_name="c", lanes=default_lanes(), license_tokens=44)
    LaneManifest(stack, "Few", cluster_name="c", lanes=default_lanes(), license_tokens=43)
    (warning,) = Annotations.from_stack(stack).find_warning("*", Match.any_value())
    assert "/Few" in warning.id
    assert "cryosparc.license_tokens is 43" in str(warning.entry.data)


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
