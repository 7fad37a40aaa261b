"""The generated configuration, judged by ParallelCluster's own schema, validators and template synthesis.

ParallelCluster pins a jsii that excludes aws-cdk-lib, so it lives in an environment of its own, made once.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from cdk_cryoem import Capacity, ClusterInputs, HeadNode, Lane, cluster_configuration, default_lanes
from cdk_cryoem_stacks.parallel_cluster_check import Judge, prepare

pytestmark = pytest.mark.engine

_RESERVATION = "cr-0a1b2c3d4e5f60718"
_INPUTS = ClusterInputs(
    region="us-east-1",
    operating_system="ubuntu2204",
    subnet_id="subnet-0a1b2c3d4e5f60718",
    compute_subnet_id="subnet-0a1b2c3d4e5f60718",
    client_security_group_id="sg-0a1b2c3d4e5f60718",
    file_system_id="fs-0a1b2c3d4e5f60718",
    policy_arn="arn:aws:iam::111122223333:policy/parallelcluster-cryoem-head",
    session_manager_policy_arn="arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore",
    trampoline_url="s3://cryoem-assets-111122223333/trampoline.sh",
    setup_parameter="CFN-ClusterSetup-0a1b2c3d",
    node_policy_arn="arn:aws:iam::111122223333:policy/parallelcluster-cryoem-node",
    node_script_url="s3://cryoem-assets-111122223333/prepare-node.sh",
    tags={"cryoem:cluster": "cryoem"},
)


@pytest.fixture(scope="session")
def judge() -> Judge:
    """ParallelCluster in its own environment; `judge.judge({name: configuration})` takes many in one process."""
    return prepare()


def _configuration(*lanes: Lane, **inputs: str) -> dict[str, object]:
    return cluster_configuration(lanes=lanes, head_node=HeadNode(), inputs=replace(_INPUTS, **inputs))  # type: ignore[arg-type]


def _errors(verdict: dict[str, Any]) -> list[object]:
    return [*verdict["schema"], *(f for f in verdict["findings"] if f["level"] == "ERROR")]


def test_parallelcluster_accepts_what_we_generate_and_refuses_what_is_wrong(judge: Judge) -> None:
    spot = Lane(name="gpu1-spot", instance_types=("g5.4xlarge",), gpus=1, capacity=Capacity.SPOT, hold_minutes=20)
    reserved = Lane(name="odcr", instance_types=("g5.48xlarge",), gpus=8, capacity_reservation_id=_RESERVATION)
    block = Lane(
        name="block",
        instance_types=("p5.48xlarge",),
        gpus=8,
        max_nodes=2,
        capacity=Capacity.CAPACITY_BLOCK,
        capacity_reservation_id=_RESERVATION,
    )
    verdicts = judge.judge(
        {
            "default": _configuration(*default_lanes()),
            "spot_and_one_lane": _configuration(spot),
            "reserved": _configuration(reserved),
            "capacity_block": _configuration(block),
            "other_system": _configuration(*default_lanes()[:2], operating_system="ubuntu2404"),
            "dropped_system": _configuration(*default_lanes()[:2], operating_system="alinux2"),
        }
    )
    for name in ("default", "spot_and_one_lane", "reserved", "capacity_block", "other_system"):
        assert _errors(verdicts[name]) == [], name
        assert verdicts[name]["strings_ok"], f"{name}: refused with every value as text, as CloudFormation sends it"
        assert verdicts[name]["template_resources"] > 0, f"{name}: ParallelCluster made no template of it"
    assert "alinux2" in json.dumps(_errors(verdicts["dropped_system"]))
