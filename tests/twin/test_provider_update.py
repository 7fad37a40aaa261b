"""The twin's provider refuses what ParallelCluster refuses, and updates nothing where that finds nothing."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from cdk_cryoem import ClusterInputs, HeadNode, cluster_configuration, default_lanes
from cdk_cryoem_twin.cluster import PARALLEL_CLUSTER, Cluster
from cdk_cryoem_twin.pcluster import provider
from cdk_cryoem_twin.places import Places


@pytest.fixture
def configuration() -> dict[str, Any]:
    fields: dict[str, Any] = {name: f"{name}-value" for name in ClusterInputs.__dataclass_fields__}
    inputs = ClusterInputs(**fields | {"tags": {"a": "b"}, "permissions_boundary_arn": None})
    made = cluster_configuration(lanes=default_lanes(), head_node=HeadNode(), inputs=inputs)
    found: dict[str, Any] = as_text(made)
    return found


def as_text(value: Any) -> Any:
    """As CloudFormation hands it to a custom resource."""
    if isinstance(value, dict):
        return {key: as_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_text(inner) for inner in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture
def acted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the provider does to Slurm, instead of doing it."""
    done: list[str] = []
    monkeypatch.setattr(provider, "_configure", lambda places, configuration: done.append("configure"))
    monkeypatch.setattr(provider.controller, "stop", lambda places: done.append("stop"))
    monkeypatch.setattr(provider.controller, "start", lambda places: done.append("start"))
    monkeypatch.setattr(Cluster, "save", lambda self, places: done.append("save"))
    return done


def update(configuration: dict[str, Any], new: dict[str, Any], tmp_path: Path) -> Cluster:
    before = Cluster(
        engine=PARALLEL_CLUSTER,
        name="cryoem",
        instance_id="i-1",
        role_arn="arn:aws:iam::111122223333:role/r",
        file_system_id="fs-1",
        configuration=configuration,
    )
    return provider._update(Places(root=tmp_path), before, new)


def test_a_larger_lane_is_taken(configuration: dict[str, Any], acted: list[str], tmp_path: Path) -> None:
    new = copy.deepcopy(configuration)
    new["Scheduling"]["SlurmQueues"][0]["ComputeResources"][0]["MaxCount"] = "99"
    assert update(configuration, new, tmp_path).configuration == new
    assert acted == ["save", "configure", "stop", "start"]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("Scheduling.SlurmQueues.0.ComputeResources.0.MaxCount", "1", "stops the fleet"),
        ("Scheduling.SlurmSettings.ScaledownIdletime", "99", "stops the fleet"),
        ("HeadNode.InstanceType", "m7i.4xlarge", "replaces the cluster"),
        ("SharedStorage.1.EbsSettings.Size", "999", "modify-volume"),
        ("Image.Os", "ubuntu2404", "replaces the cluster"),
    ],
)
def test_what_parallelcluster_refuses_is_refused(
    configuration: dict[str, Any], acted: list[str], tmp_path: Path, path: str, value: str, says: str
) -> None:
    new: Any = copy.deepcopy(configuration)
    node = new
    *above, last = path.split(".")
    for step in above:
        node = node[int(step)] if isinstance(node, list) else node[step]
    node[last] = value
    with pytest.raises(ValueError, match=says):
        update(configuration, new, tmp_path)
    assert acted == []


def test_a_policy_of_the_head_node_is_live(configuration: dict[str, Any], acted: list[str], tmp_path: Path) -> None:
    new = copy.deepcopy(configuration)
    new["HeadNode"]["Iam"]["AdditionalIamPolicies"][0]["Policy"] = "arn:aws:iam::aws:policy/other"
    update(configuration, new, tmp_path)
    assert acted


def test_another_order_alone_updates_nothing(configuration: dict[str, Any], acted: list[str], tmp_path: Path) -> None:
    new = copy.deepcopy(configuration)
    new["Scheduling"]["SlurmQueues"][1]["ComputeResources"][0]["Instances"].reverse()
    assert update(configuration, new, tmp_path).configuration == configuration
    assert acted == []
