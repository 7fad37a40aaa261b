"""What `cryoem diff` says of a changed cluster, compared with what ParallelCluster's own code says of it."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdk_cryoem import Capacity, ClusterInputs, HeadNode, Lane, cluster_configuration, default_lanes
from cdk_cryoem_stacks.changes import Change, Effect, changes
from cdk_cryoem_stacks.changes.policies import parallel_cluster_table
from cdk_cryoem_stacks.parallel_cluster_check import PARALLEL_CLUSTER_VERSION, prepare

pytestmark = pytest.mark.engine

Configuration = dict[str, Any]
Case = tuple[str, Configuration, Configuration]
HERE = Path(__file__).parent
TABLE = Path(__file__).parents[2] / "stacks/cdk_cryoem_stacks/data/parallel_cluster_update_policies.csv"
STRATEGIES = ("DRAIN", "TERMINATE", None)
# Of what ParallelCluster's own code cannot answer: it fails with AttributeError, so the update does not happen.
FAILS = {"SharedStorage[].MountDir"}


@pytest.fixture(scope="module")
def python() -> Path:
    """The Python that has ParallelCluster."""
    return prepare().python


def run(python: Path, script: str, text: str = "") -> str:
    env = {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}
    done = subprocess.run(
        [str(python), str(HERE / script)], input=text, capture_output=True, text=True, check=False, env=env
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def ask(python: Path, cases: list[Case]) -> list[dict[str, Any]]:
    """ParallelCluster's answers. Login nodes run if the old configuration asks for some."""
    updates = [(old, new, has_login_nodes(old)) for _, old, new in cases]
    answers: list[dict[str, Any]] = json.loads(run(python, "pcluster_config_patch.py", json.dumps(updates)))
    return answers


def has_login_nodes(configuration: Configuration) -> bool:
    pools = (configuration.get("LoginNodes") or {}).get("Pools") or []
    return any(str(pool.get("Count")) != "0" for pool in pools)


def theirs(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """Path and verdict of each change that ParallelCluster finds."""
    return sorted(
        (
            ".".join([*runs["path"], runs["key"]]),
            "live" if runs["check"] == "SUCCEEDED" else "stop" if stopped["check"] == "SUCCEEDED" else "refused",
        )
        for runs, stopped in zip(answer["running"]["changes"], answer["stopped"]["changes"], strict=True)
    )


def ours(found: list[Change]) -> list[tuple[str, str]]:
    """The same of ours. A list's order is no change to ParallelCluster, and an item's key is not in its path."""
    verdicts = {
        Effect.NOTHING: "live",
        Effect.LIVE: "live",
        Effect.DRAINS: "live",
        Effect.STOPS_FLEET: "stop",
        Effect.REPLACES_CLUSTER: "refused",
    }
    return sorted(
        (re.sub(r"\[[^][]*\]$", "", change.path), verdicts[change.effect])
        for change in found
        if not (isinstance(change.old, list) and change.path.rpartition(".")[2] in ORDERED)
    )


KEYS = ("Name", "Key", "Policy", "InstanceType")
ORDERED = {"SlurmQueues", "ComputeResources", "Instances", "AdditionalIamPolicies", "SharedStorage", "Tags"}


# ---- every property of the schema ----------------------------------------------------------------------------------


def with_value(path: str, value: object, strategy: str | None, login_nodes: bool) -> Configuration:
    """A configuration with nothing but one property; None leaves it out."""
    table = parallel_cluster_table()
    configuration: Configuration = {"Region": "us-east-1", "Scheduling": {"SlurmSettings": {}}}
    if strategy:
        configuration["Scheduling"]["SlurmSettings"]["QueueUpdateStrategy"] = strategy
    node: Configuration = configuration
    parts = path.split(".")
    for index, part in enumerate(parts[:-1]):
        if part.endswith("[]"):
            key = table.entries[".".join(parts[: index + 1])].key
            login = {"Count": "1"} if login_nodes and part == "Pools[]" else {}
            items = node.setdefault(part.removesuffix("[]"), [{key: "name", **login}])
            node = items[0]
        else:
            node = node.setdefault(part, {})
    if login_nodes and not path.startswith("LoginNodes"):
        configuration["LoginNodes"] = {"Pools": [{"Name": "login", "Count": "1"}]}
    last = parts[-1]
    if last.endswith("[]"):
        key = table.entries[path].key
        node[last.removesuffix("[]")] = [{key: value}] if value else []
    elif value is not None:
        node[last] = value
    return configuration


def values_of(path: str) -> list[tuple[object, object]]:
    table = parallel_cluster_table()
    if path.endswith("[]"):
        return [(None, "one"), ("one", None), ("one", "other")]
    if path in table.sections:
        if table.entries[path].policy == "IGNORED":
            return []  # looked into, whether it comes or goes: its properties are cases of their own
        return [(None, filled(path)), (filled(path), None)]
    if path.endswith("Count"):
        return [("1", "2"), ("2", "1"), ("9", None), ("11", None), (None, "9"), (None, "11")]
    if path.endswith("ExtraChefAttributes"):
        live, other = '{"cluster":{"slurm":{"reconfigure_timeout":%d}}}', '{"cluster":{"x":%d}}'
        return [(live % 1, live % 2), (None, live % 1), (other % 1, other % 2), (live % 1, other % 1)]
    return [("1", "2"), (None, "1"), ("1", None), (["1"], ["1", "2"]), (["1", "2"], ["1"])]


def filled(path: str) -> object:
    """A section with one property, or a property with a value."""
    table = parallel_cluster_table()
    if path.endswith("[]") or path not in table.sections:
        return [] if path.endswith("[]") else "1"
    inner = next(known for known in table.entries if known.startswith(f"{path}."))
    return {inner.rpartition(".")[2].removesuffix("[]"): filled(inner)}


def every_property() -> Iterator[Case]:
    table = parallel_cluster_table()
    keys = {entry.key for entry in table.entries.values()} - {""}
    for path in table.entries:
        for old, new in values_of(path):
            if path.rpartition(".")[2] in keys and isinstance(old, list | None | str) and isinstance(new, list):
                continue  # an item's key is text
            for strategy, login in (*((strategy, False) for strategy in STRATEGIES), ("DRAIN", True)):
                yield path, with_value(path, old, strategy, login), with_value(path, new, strategy, login)


def test_the_committed_table_is_that_of_the_schema(python: Path) -> None:
    assert run(python, "pcluster_update_policies.py") == TABLE.read_text(), "make it again: see the script's head"
    assert parallel_cluster_table().version == PARALLEL_CLUSTER_VERSION


def test_of_every_property_we_say_what_parallelcluster_says(python: Path) -> None:
    cases = list(every_property())
    assert len(cases) > 4000
    wrong, failed = [], set()
    for (path, old, new), answer in zip(cases, ask(python, cases), strict=True):
        found = changes(old, new)
        if "error" in answer["running"]:
            failed.add(path)
            assert path in FAILS, (path, answer["running"]["error"])
            assert all(change.effect.rank >= Effect.STOPS_FLEET.rank for change in found), path
        elif ours(found) != theirs(answer):
            wrong.append((path, old, new, ours(found), theirs(answer)))
    assert wrong == []
    assert failed == FAILS


# ---- what we generate ----------------------------------------------------------------------------------------------


def generated() -> Configuration:
    """Every property that we generate, in one configuration, as CloudFormation hands it on."""
    fields = {name: f"{name}-value" for name in ClusterInputs.__dataclass_fields__}
    inputs = ClusterInputs(**fields | {"tags": {"a": "b", "c": "d"}, "log_retention_days": 180})  # type: ignore[arg-type]
    reservation = "cr-0a1b2c3d4e5f60718"
    lanes = [
        *default_lanes(),
        Lane(name="spot", instance_types=("g5.4xlarge",), gpus=1, capacity=Capacity.SPOT),
        Lane(name="spread", instance_types=("g5.48xlarge",), gpus=8, nodes_per_job=2),
        Lane(name="reserved", instance_types=("g5.48xlarge",), gpus=8, capacity_reservation_id=reservation),
    ]
    made = cluster_configuration(
        lanes=lanes, head_node=HeadNode(remote_desktop_from="10.0.0.0/8"), inputs=inputs, idle_backstop_minutes=10
    )
    found: Configuration = as_text(made)
    return found


def as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: as_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_text(inner) for inner in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def mutations(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str, tuple[str | int, ...], Any]]:
    """Every leaf changed and taken away, every item taken away, doubled under another name, every list turned round."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"without {key}", (*path, key), ...
            yield from mutations(value, (*path, key))
    elif isinstance(node, list):
        yield "another order", path, node[::-1]
        for index, value in enumerate(node):
            yield "one less", path, node[:index] + node[index + 1 :]
            yield from mutations(value, (*path, index))
        if node and isinstance(node[0], dict):
            key = next(name for name in (*KEYS, *node[0]) if name in node[0])
            yield "one more", path, [*node, node[0] | {key: "another"}]
    elif node.isdigit():
        yield "more", path, str(int(node) + 1)
        yield "less", path, str(int(node) - 1)
    else:
        yield "other", path, f"{node}-other"


def mutated(configuration: Configuration, path: tuple[str | int, ...], value: Any) -> Configuration:
    made = copy.deepcopy(configuration)
    node: Any = made
    for part in path[:-1]:
        node = node[part]
    if value is ...:
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return made


def test_of_every_mutation_of_what_we_generate_we_say_what_parallelcluster_says(python: Path) -> None:
    base = generated()
    cases = [
        (f"{what} of {path}", old, new)
        for what, path, value in mutations(base)
        for old, new in [(base, mutated(base, path, value)), (mutated(base, path, value), base)]
        # ParallelCluster refuses a configuration without them before it compares any.
        if not (what.startswith("without ") and path[-1] in {*KEYS, "Scheduling"})
    ]
    assert len(cases) > 500
    wrong, seen = [], set()
    for (what, old, new), answer in zip(cases, ask(python, cases), strict=True):
        found = changes(old, new)
        seen |= {change.effect for change in found}
        if "error" in answer["running"]:
            assert "MountDir" in what or "FsxLustreSettings" in what, (what, answer["running"]["error"])
            assert all(change.effect.rank >= Effect.STOPS_FLEET.rank for change in found), what
        elif ours(found) != theirs(answer):
            wrong.append((what, ours(found), theirs(answer)))
    assert wrong == []
    assert seen == {Effect.NOTHING, Effect.LIVE, Effect.DRAINS, Effect.STOPS_FLEET, Effect.REPLACES_CLUSTER}
