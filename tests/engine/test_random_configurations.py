"""Hundreds of random systems through ParallelCluster's own schema and validators: it refuses none that we accept.

Of some it also synthesises the CloudFormation template, which takes ten times as long as everything else.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import strategies
from pydantic import ValidationError
from random_systems import random_systems

from cdk_cryoem import Capacity
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.parallel_cluster_check import Judge

pytestmark = pytest.mark.engine

WANTED = 220
TEMPLATES = 20
Configuration = dict[str, Any]
Verdicts = dict[str, dict[str, Any]]

# What ParallelCluster warns of, and why we leave it at that. INFO is not in here: it asks for nothing.
WARNINGS = {
    ("KeyPairValidator", "If you do not specify a key pair"): "Session Manager is the way in; there is no SSH",
    ("EfaValidator", "supports enhanced networking capabilities"): "an adapter is for jobs that spread, nodes_per_job",
    ("InstancesEFAValidator", "support enhanced networking capabilities"): "an adapter is for jobs that spread, nodes_per_job",
    ("InstancesNetworkingValidator", "varying numbers of network cards"): "the fewest are enough, jobs that spread are rare",
    ("InstancesNetworkingValidator", "varying numbers of maximum EFA interfaces"): "the fewest are enough",
    ("InstancesNetworkingValidator", "mixes instance types where NCI-0 supports EFA"): "the fewest are enough",
    ("InstancesNetworkingValidator", "may result in Insufficient Capacity Errors"): (
        "who wants spread jobs and several types wants both; docs/configuration.md says what is given up"
    ),
    ("InstancesMemorySchedulingWarningValidator", "the minimum available memory"): (
        "a lane's memory is that of its smallest type, which is what its manifest says too"
    ),
    ("EfaPlacementGroupValidator", "Placement group is disabled"): "a reservation has its place already",
    ("SharedEbsPerformanceBottleNeckValidator", "network bandwidth"): (
        "nodes read cryoSPARC's settings from the head node's volume and nothing large; data are on Lustre"
    ),
    ("DcvValidator", "does not have a GPU"): "a desktop for RELION's windows needs none",
}  # fmt: skip


@pytest.fixture(scope="module")
def chosen() -> dict[str, Config]:
    """Systems by cluster name and number, always the same ones, each once."""
    found = {system.model_dump_json(): system for system in random_systems("systems", many=400)}
    return {f"{system.name}/{number}": system for number, system in enumerate([*found.values()][:WANTED])}


@pytest.fixture(scope="module")
def configurations(chosen: dict[str, Config]) -> dict[str, Configuration]:
    """Their ClusterConfigurations; every reservation with an id of its own."""
    made = {}
    for number, (name, system) in enumerate(chosen.items()):
        text = json.dumps(strategies.configuration_of(system))
        made[name] = json.loads(re.sub(r"cr-0{16}(?=[0-9a-f]\")", f"cr-{number:04x}000000000000", text))
    return made


@pytest.fixture(scope="module")
def verdicts(configurations: dict[str, Configuration], judge_many: Callable[..., Verdicts]) -> Verdicts:
    return judge_many(configurations, templates=list(configurations)[:: WANTED // TEMPLATES])


def test_they_are_many_and_of_every_kind(chosen: dict[str, Config]) -> None:
    assert len(chosen) == WANTED
    lanes = [lane for system in chosen.values() for lane in system.all_lanes()]
    counts = Counter(
        {
            "lanes": len(lanes),
            "six lanes or more": sum(len(system.lanes) >= 6 for system in chosen.values()),
            "one lane": sum(len(system.lanes) == 1 for system in chosen.values()),
            "spot": sum(lane.capacity is Capacity.SPOT for lane in lanes),
            "spot twins": sum(lane.spot_twin for system in chosen.values() for lane in system.lanes),
            "reservations": sum(
                lane.capacity is Capacity.ON_DEMAND and lane.capacity_reservation_id is not None for lane in lanes
            ),
            "capacity blocks": sum(lane.capacity is Capacity.CAPACITY_BLOCK for lane in lanes),
            "adapters": sum(lane.has_efa for lane in lanes),
            "spread without adapters": sum(lane.has_spread_jobs and not lane.has_efa for lane in lanes),
            "several types": sum(len(lane.instance_types) > 1 for lane in lanes),
            "several GPU models": sum(
                len({lane.shapes[name].gpu_model for name in lane.instance_types}) > 1 for lane in lanes
            ),
            "no GPU": sum(not lane.gpus for lane in lanes),
            "longest lane names": sum(len(lane.name) == 25 for lane in lanes),
            "longest names": sum(len(system.name) == 20 for system in chosen.values()),
            "desktops": sum(system.head_node.remote_desktop_from is not None for system in chosen.values()),
            "boundaries": sum(system.permissions_boundary_arn is not None for system in chosen.values()),
            "most tags": sum(len(system.tags) == 37 for system in chosen.values()),
            "cryosparc": sum(system.cryosparc is not None for system in chosen.values()),
            "ubuntu2404": sum(system.head_node.operating_system == "ubuntu2404" for system in chosen.values()),
        }
    )
    few = {name: count for name, count in counts.items() if count < 1}
    assert few == {}
    assert {lane.shapes[name].instance_type for lane in lanes for name in lane.instance_types} == set(lanes[0].shapes)
    assert {system.region for system in chosen.values()} == set(strategies.REGIONS)


def test_parallelcluster_refuses_none_of_them(verdicts: Verdicts) -> None:
    refused = {
        name: [*verdict["schema"], *(found for found in verdict["findings"] if found["level"] == "ERROR")]
        for name, verdict in verdicts.items()
    }
    assert {name: why for name, why in refused.items() if why} == {}
    assert len(refused) == WANTED


def test_one_account_for_many_is_no_gentler_than_one_for_each(
    verdicts: Verdicts, configurations: dict[str, Configuration], judge: Judge
) -> None:
    """The check that `cryoem preflight` runs, which makes an account for every configuration, says the same."""
    most_lanes = max(configurations, key=lambda name: len(configurations[name]["Scheduling"]["SlurmQueues"]))
    (alone,) = judge.judge({most_lanes: configurations[most_lanes]}).values()
    together = verdicts[most_lanes]
    assert (together["schema"], together["strings_ok"]) == (alone["schema"], alone["strings_ok"]) == ([], True)
    assert together["findings"] == alone["findings"]


def test_none_of_them_is_refused_as_text_which_is_how_cloudformation_sends_it(verdicts: Verdicts) -> None:
    assert [name for name, verdict in verdicts.items() if not verdict["strings_ok"]] == []


def test_it_makes_templates_of_some_of_them(verdicts: Verdicts) -> None:
    counts = [verdict["template_resources"] for verdict in verdicts.values()]
    made = [count for count in counts if count is not None]
    assert len(made) == TEMPLATES
    assert all(count > 50 for count in made)


def test_it_warns_of_what_we_know_and_of_nothing_else(verdicts: Verdicts) -> None:
    seen = set()
    unknown = set()
    for verdict in verdicts.values():
        for found in verdict["findings"]:
            if found["level"] == "WARNING":
                kinds = {kind for kind in WARNINGS if kind[0] == found["type"] and kind[1] in found["message"]}
                seen |= kinds
                if not kinds:
                    unknown.add((found["type"], found["message"]))
    assert unknown == set()
    assert set(WARNINGS) - seen == set(), "a reason that nothing needs any more"


# ---- what ParallelCluster does not see -----------------------------------------------------------------------------


def mounts(configuration: Configuration) -> list[str]:
    """Every place where something is mounted on a node."""
    local = {
        queue["ComputeSettings"]["LocalStorage"].get("EphemeralVolume", {}).get("MountDir")
        for queue in configuration["Scheduling"]["SlurmQueues"]
    }
    return [storage["MountDir"] for storage in configuration["SharedStorage"]] + sorted(local - {None})


def test_what_parallelcluster_does_not_see_is_in_none_of_them(configurations: dict[str, Configuration]) -> None:
    for name, found in configurations.items():
        assert found["Scheduling"]["SlurmSettings"]["ScaledownIdletime"] >= 1, name
        assert isinstance(found["Scheduling"]["SlurmSettings"]["ScaledownIdletime"], int), name
        assert found["DevSettings"]["Timeouts"]["HeadNodeBootstrapTimeout"] <= 3600, name
        for one, other in itertools.permutations(mounts(found), 2):
            assert not f"{other}/".startswith(f"{one}/"), name
        for storage in found["SharedStorage"]:
            assert set(storage.get("FsxLustreSettings", {})) <= {"FileSystemId"}, name


UNSEEN: Mapping[str, tuple[tuple[str | int, ...], object]] = {
    "no idle time": (("Scheduling", "SlurmSettings", "ScaledownIdletime"), 0),
    "a bootstrap longer than CloudFormation waits": (("DevSettings", "Timeouts", "HeadNodeBootstrapTimeout"), 5400),
    "a mount within another": (("SharedStorage", 1, "MountDir"), "/fsx/cryosparc"),
    "a file system that imports and has PERSISTENT_2": (
        ("SharedStorage", 0, "FsxLustreSettings"),
        {
            "DeploymentType": "PERSISTENT_2",
            "StorageCapacity": 2400,
            "PerUnitStorageThroughput": 250,
            "ImportPath": "s3://cryoem-assets-111122223333",
            "AutoImportPolicy": "NEW",
        },
    ),
}
"""Mistakes that ParallelCluster lets through. Each has a rule of ours, or is never generated."""


@pytest.mark.parametrize("minutes", [0, -1, 1441])
def test_we_see_an_idle_time_that_is_none(minutes: int) -> None:
    with pytest.raises(ValidationError, match=rf"got {minutes}, allowed: 1 to 1440"):
        Config(name="em", idle_backstop_minutes=minutes)


def test_half_a_minute_is_no_idle_time_either() -> None:
    with pytest.raises(ValidationError, match="valid integer"):
        Config.model_validate({"name": "em", "idle_backstop_minutes": 0.5})


def test_parallelcluster_still_does_not_see_them(judge_many: Callable[..., Verdicts]) -> None:
    """If it does, a rule of ours may go."""
    wrong = {}
    for number, (path, value) in enumerate(UNSEEN.values()):
        made: Any = json.loads(json.dumps(strategies.configuration_of(Config(name="unseen"))))
        node = made
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value
        wrong[f"unseen/{number}"] = made
    seen = {
        what: [*verdict["schema"], *(found for found in verdict["findings"] if found["level"] == "ERROR")]
        for what, verdict in zip(UNSEEN, judge_many(wrong).values(), strict=True)
    }
    assert {what: why for what, why in seen.items() if why} == {}
