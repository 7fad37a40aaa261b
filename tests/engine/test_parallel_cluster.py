"""The generated configuration, judged by ParallelCluster's own schema, validators and template synthesis.

ParallelCluster pins a jsii that excludes aws-cdk-lib, so it lives in an environment of its own, made once.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import systems
from cluster_inputs import INPUTS, RESERVATION
from strategies import configuration_of

from cdk_cryoem import Capacity, HeadNode, Lane, cluster_configuration, default_lanes
from cdk_cryoem_stacks.parallel_cluster_check import Judge

pytestmark = pytest.mark.engine


def _configuration(*lanes: Lane, **inputs: str) -> dict[str, object]:
    return cluster_configuration(lanes=lanes, head_node=HeadNode(), inputs=replace(INPUTS, **inputs))  # type: ignore[arg-type]


def _errors(verdict: dict[str, Any]) -> list[object]:
    return [*verdict["schema"], *(f for f in verdict["findings"] if f["level"] == "ERROR")]


def test_parallelcluster_accepts_what_we_generate_and_refuses_what_is_wrong(judge: Judge) -> None:
    spot = Lane(name="gpu1-spot", instance_types=("g5.4xlarge",), gpus=1, capacity=Capacity.SPOT, hold_minutes=20)
    reserved = Lane(name="odcr", instance_types=("g5.48xlarge",), gpus=8, capacity_reservation_id=RESERVATION)
    block = Lane(
        name="block",
        instance_types=("p5.48xlarge",),
        gpus=8,
        max_nodes=2,
        capacity=Capacity.CAPACITY_BLOCK,
        capacity_reservation_id=RESERVATION,
    )
    verdicts = judge.judge(
        {
            "default": _configuration(*default_lanes()),
            "spot_and_one_lane": _configuration(spot),
            "reserved": _configuration(reserved),
            "capacity_block": _configuration(block),
            "everything": configuration_of(systems.everything()),
            "other_system": _configuration(*default_lanes()[:2], operating_system="ubuntu2404"),
            "dropped_system": _configuration(*default_lanes()[:2], operating_system="alinux2"),
        }
    )
    for name in ("default", "spot_and_one_lane", "reserved", "capacity_block", "everything", "other_system"):
        assert _errors(verdicts[name]) == [], name
        assert verdicts[name]["strings_ok"], f"{name}: refused with every value as text, as CloudFormation sends it"
        assert verdicts[name]["template_resources"] > 0, f"{name}: ParallelCluster made no template of it"
    assert "alinux2" in json.dumps(_errors(verdicts["dropped_system"]))
