"""Random systems, as `cryoem.yaml` could describe them. Whatever comes from here must be accepted by the configuration model.

Every rule of the model is one of these strategies too, written from the side of what is allowed: a value that the model
refuses is a mistake here, one that ParallelCluster refuses is a rule that the model lacks.
"""

from __future__ import annotations

import dataclasses
import string
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cluster_inputs import BOUNDARY, INPUTS, LICENSE
from hypothesis import strategies as st

from cdk_cryoem import InstanceShape, cluster_configuration, instance_shapes, pcs_rules
from cdk_cryoem.parallel_cluster import LOG_RETENTION_DAYS, OPERATING_SYSTEMS
from cdk_cryoem.stages import stages
from cdk_cryoem_stacks.config import Config

# Where EC2 has every type of the table (DescribeInstanceTypeOfferings, as moto ships it).
REGIONS = ("us-east-1", "us-west-2", "ap-northeast-1")
# Of the table, and three that are not in it and are taken as they are.
HEAD_NODES = [
    *(s.instance_type for s in instance_shapes().values() if s.vcpus >= 4 and s.memory_gib >= 16),
    "c7i.2xlarge", "r6i.xlarge", "t3.xlarge",
]  # fmt: skip
AGENT = "arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0"
_NAME = string.ascii_lowercase + string.digits + "-"
_TAG = string.ascii_letters + string.digits + " _.:/=+-@äßéñ中ж"


def _by_size() -> Mapping[tuple[int, int], Sequence[InstanceShape]]:
    found: dict[tuple[int, int], list[InstanceShape]] = defaultdict(list)
    for shape in instance_shapes().values():
        found[shape.gpus, shape.vcpus].append(shape)
    return found


SIZES = [sizes for _, sizes in sorted(_by_size().items())]


def names(longest: int, shortest: int = 1) -> st.SearchStrategy[str]:
    """Names of lanes and systems, at the limits of their length as often as between them."""
    first = st.sampled_from(string.ascii_lowercase)
    return st.one_of(
        st.sampled_from(["a" * longest, "z" + "9" * (longest - 1), "q" + "-" * (shortest - 1) or "q"]),
        st.builds("".join, st.tuples(first, st.text(_NAME, min_size=shortest - 1, max_size=longest - 1))),
    )


def numbers(low: float, high: float) -> st.SearchStrategy[Any]:
    """Floats, their bounds among them."""
    return st.sampled_from([low, high]) | st.floats(low, high, allow_nan=False).map(lambda value: round(value, 2))


def integers(low: int, high: int) -> st.SearchStrategy[int]:
    """Integers, their bounds among them."""
    return st.sampled_from([low, high]) | st.integers(low, high)


def tags() -> st.SearchStrategy[dict[str, str]]:
    """Legal tags with characters that are awkward, at the limits of their length too."""
    keys = st.text(_TAG, min_size=1, max_size=20).filter(
        lambda key: not key.lower().startswith(("aws:", "parallelcluster:", "cryoem:"))
    )
    values = st.text(_TAG, min_size=1, max_size=40)
    return st.dictionaries(keys | st.just("k" * 128), values | st.just("v" * 256), max_size=4) | st.just(
        {f"key {number}": str(number) for number in range(37)}
    )


@st.composite
def lanes(draw: st.DrawFn, longest_hold: int, index: int) -> dict[str, Any]:
    """One lane: its nodes, how they are bought, and everything else with it or left out."""
    shapes = draw(st.sampled_from(SIZES))
    found: dict[str, Any] = {"gpus": shapes[0].gpus}
    bought = draw(st.sampled_from(["on-demand", "spot", "twin", "reserved", "block"]))
    if bought == "block":
        sold = [shape for each in SIZES for shape in each if shape.capacity_block]
        shapes = [draw(st.sampled_from(sold))]
        found |= {"gpus": shapes[0].gpus, "capacity": "capacity-block"}
    if bought in ("block", "reserved"):
        found["capacity_reservation_id"] = f"cr-{index:017x}"
        types = [draw(st.sampled_from(shapes)).instance_type]
    else:
        most = draw(st.integers(1, len(shapes)))
        chosen = draw(st.permutations(shapes))[:most]
        types = [shape.instance_type for shape in chosen]
    if bought == "spot":
        found["capacity"] = "spot"
    if bought == "twin":
        found["spot_twin"] = True
    max_nodes = draw(st.one_of(st.just(1), st.integers(1, 20), st.just(1000)))
    optional: dict[str, st.SearchStrategy[Any]] = {
        "nodes_per_job": st.integers(1, min(max_nodes, 16)),
        "particle_cache": st.booleans(),
        "memory_multiplier": numbers(0.1, 10),
        "time_limit_hours": numbers(0.1, 720),
        "hold_minutes": integers(0, longest_hold),
    }
    said = draw(st.fixed_dictionaries({}, optional=optional))
    name = draw(names(20 if bought == "twin" else 25))
    return {"name": name, "instance_types": types, "max_nodes": max_nodes, **found, **said}


def _nodes_of(lane: Mapping[str, Any]) -> list[str]:
    return [lane["name"], *([f"{lane['name']}-spot"] if lane.get("spot_twin") else [])]


def _with_names_of_their_own(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    taken: set[str] = set()
    for index, lane in enumerate(found):
        if taken & set(_nodes_of(lane)):
            lane["name"] = f"{lane['name'][:17]}-{index}"
        taken |= set(_nodes_of(lane))
    return list(found)


def _with_hours(head_node: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Perhaps with hours in which it is on, which only one that stops has."""
    if not head_node.get("stop_after_minutes"):
        return st.just(head_node)
    hours = st.fixed_dictionaries(
        {},
        optional={
            "days": st.lists(st.sampled_from(["mon", "tue", "sat", "sun"]), min_size=1, max_size=4, unique=True),
            "start": st.sampled_from(["00:00", "08:30"]),
            "end": st.sampled_from(["17:00", "24:00"]),
            "time_zone": st.sampled_from(["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires"]),
        },
    )
    return st.just(head_node) | hours.map(lambda awake: {**head_node, "awake": awake})


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """What a configuration file says, for ParallelCluster."""
    backstop = draw(st.one_of(st.just(10), integers(1, 1440)))
    count = draw(st.integers(1, 10))
    chosen = _with_names_of_their_own([draw(lanes(min(backstop, 1440), index)) for index in range(count)])
    head_node = st.fixed_dictionaries(
        {},
        optional={
            "instance_type": st.sampled_from(HEAD_NODES),
            "operating_system": st.sampled_from(OPERATING_SYSTEMS),
            "root_volume_gib": integers(50, 16384),
            "cryosparc_volume_gib": integers(50, 16384),
            "remote_desktop_from": st.sampled_from(["10.0.0.0/8", "192.168.7.0/24", "203.0.113.7/32", "128.0.0.0/9"]),
            "stop_after_minutes": st.just(0) | integers(15, 10080),
        },
    ).flatmap(_with_hours)
    cryosparc = st.fixed_dictionaries(
        {"license_secret_arn": st.just(LICENSE)},
        optional={
            "version": st.sampled_from(["5.0.6", "5.1.0", "4.7.1"]),
            "license_tokens": st.integers(1, 500),
        },
    )
    more = st.fixed_dictionaries(
        {},
        optional={
            "region": st.sampled_from(REGIONS),
            "head_node": head_node,
            "cryosparc": cryosparc,
            "permissions_boundary_arn": st.just(BOUNDARY),
            "log_retention_days": st.sampled_from(LOG_RETENTION_DAYS),
            "waiting": st.fixed_dictionaries(
                {"usd_per_hour": numbers(0.01, 1000), "longest_minutes": integers(1, min(backstop, 15))},
                optional={"hours": st.just({"days": ["sat"], "time_zone": "Europe/Vienna"})},
            ),
            "tags": tags(),
            "stages": st.dictionaries(
                st.sampled_from([stage.name for stage in stages().values() if not stage.gpus]),
                st.sampled_from([name for lane in chosen for name in _nodes_of(lane)]),
                max_size=3,
            ),
        },
    )
    return {"name": draw(names(20, 2)), "idle_backstop_minutes": backstop, "lanes": chosen, **draw(more)}


def _microscopes() -> st.SearchStrategy[list[dict[str, Any]]]:
    share = {"host": "epu.lab.example.org", "path": "/movies"}
    schedules = st.sampled_from(
        ["rate(1 hour)", "rate(7 days)", "cron(0 2 * * ? *)", "rate(5 minutes)", "cron(3/20 8-18 ? * MON-FRI *)"]
    )
    window = st.fixed_dictionaries(
        {"start": st.sampled_from(["00:00", "08:30"]), "end": st.sampled_from(["17:00", "24:00"])},
        optional={
            "days": st.lists(st.sampled_from(["mon", "sat", "sun"]), min_size=1, unique=True),
            "limit_mibps": integers(1, 10_000),
        },
    )
    each = st.fixed_dictionaries(
        {"name": names(20)},
        optional={
            "schedule": schedules,
            "bandwidth_limit_mibps": integers(1, 10_000),
            "bandwidth_windows": st.lists(window, max_size=3),
            "time_zone": st.sampled_from(["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires"]),
            "task_mode": st.sampled_from(["basic", "enhanced"]),
            "software": st.sampled_from(["epu", "tomo5", "serialem"]),
            "include_patterns": st.lists(st.sampled_from(["/2026*", "/a b", "/"]), max_size=2),
            "exclude_patterns": st.lists(st.sampled_from(["*/atlas", "*.bak", "/old*"]), max_size=2),
        },
    )
    ways = st.sampled_from(
        [
            {"nfs": share, "agent_arn": AGENT},
            {"nfs": share, "activation_key": "ABCDE-12345-FGHIJ-67890-KLMNO"},
            {"nfs": share, "agent_arns": [f"{AGENT[:-1]}{number}" for number in range(8)]},
            {"smb": {**share, "user": "reader", "password_secret_arn": LICENSE, "domain": "LAB"}, "agent_arn": AGENT},
        ]
    )
    return st.lists(
        st.tuples(each, ways).map(lambda pair: pair[0] | pair[1]),
        max_size=3,
        unique_by=lambda microscope: microscope["name"].replace("-", ""),
    )


_SECOND_COPY = {
    "bucket_arn": "arn:aws:s3:::second-copy",
    "key_arn": "arn:aws:kms:eu-west-1:444455556666:key/11111111-2222-3333-4444-555555555555",
}


def _with_datasets_of_their_own(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [group | {"datasets": [f"{n}_*", f"of-{n}"]} for n, group in enumerate(groups)]


def _beside_the_cluster() -> st.SearchStrategy[dict[str, Any]]:
    """Sections that have nothing to do with the engine."""
    return st.fixed_dictionaries(
        {},
        optional={
            "account": st.just("111122223333"),
            "microscopes": _microscopes(),
            "network": st.sampled_from(
                [
                    {"cidr": "10.0.0.0/16"},
                    {"cidr": "192.168.0.0/24"},
                    {"vpc_id": "vpc-0a1b2c3d", "subnet_id": "subnet-0a1b2c3d", "availability_zone": "us-east-1b"},
                ]
            ),
            "landing": st.fixed_dictionaries(
                {},
                optional={
                    "quiet_minutes": integers(1, 10_080),
                    "sentinel": st.sampled_from(["done.txt", "EpuSession.dm", "ünd"]),
                    "noncurrent_days": integers(1, 3650),
                    "object_lock_days": st.just(1),
                    "archive_after_days": integers(1, 3650),
                    "replicate_to": st.sampled_from([_SECOND_COPY, _SECOND_COPY | {"storage_class": "DEEP_ARCHIVE"}]),
                },
            ),
            "groups": st.lists(
                st.fixed_dictionaries(
                    {
                        "name": names(20),
                        "reader_role_arns": st.just([f"arn:aws:iam::111122223333:role/lab/r{n}" for n in range(3)]),
                    },
                    optional={"vpc_only": st.booleans()},
                ),
                max_size=4,
                unique_by=lambda group: group["name"],
            ).map(_with_datasets_of_their_own),
            "deletion": st.fixed_dictionaries(
                {"allowed": st.lists(st.sampled_from(["file_system", "results", "landing"]), unique=True)}
            ),
            "file_system": st.fixed_dictionaries(
                {
                    "capacity_gib": st.sampled_from([1200, 2400, 4800, 998_400]),
                    "throughput_mibps_per_tib": st.sampled_from([125, 250, 500, 1000]),
                },
                optional={"release_after_days": integers(1, 3650), "generation": integers(1, 1000)},
            )
            | st.just({"deployment_type": "SCRATCH_2", "throughput_mibps_per_tib": None}),
            "budget": st.fixed_dictionaries(
                {"monthly_usd": numbers(0.01, 1e6), "emails": st.just([f"em{n}@example.org" for n in range(10)])}
            ),
            "notifications": st.fixed_dictionaries(
                {},
                optional={
                    "emails": st.sampled_from([[], ["em@example.org"], [f"em{n}@example.org" for n in range(10)]]),
                    "job_minutes": integers(0, 10_080),
                },
            ),
        },
    )


def _on_pcs(document: dict[str, Any]) -> dict[str, Any]:
    """The same on Parallel Computing Service if that takes its lanes, else as it is."""
    made = [name for lane in document["lanes"] for name in _nodes_of(lane)]
    nodes = sum(lane["max_nodes"] * len(_nodes_of(lane)) for lane in document["lanes"])
    size = next((size for size, most in pcs_rules.SIZES.items() if nodes <= most), None)
    if size is None or len(made) > pcs_rules.MOST_LANES or any(len(name) < 3 for name in made):
        return document
    head_node = {key: value for key, value in document.get("head_node", {}).items() if key != "remote_desktop_from"}
    root = max(head_node.get("root_volume_gib", 100), pcs_rules.LEAST_ROOT_VOLUME_GIB)
    return document | {
        "engine": "pcs",
        "pcs": {"ami_id": "ami-0a1b2c3d4e5f60718", "size": size},
        "head_node": head_node | {"root_volume_gib": root},
    }


def whole_systems(engine: str) -> st.SearchStrategy[Config]:
    """Systems with every section; on PCS those that it takes, the others stay on ParallelCluster."""
    whole = st.tuples(documents(), _beside_the_cluster()).map(lambda pair: pair[0] | pair[1])
    return (whole.map(_on_pcs) if engine == "pcs" else whole).map(Config.model_validate)


def systems() -> st.SearchStrategy[Config]:
    """Systems on ParallelCluster. The model accepts each, or hypothesis shows the one that it does not."""
    return documents().map(Config.model_validate)


def configuration_of(system: Config) -> dict[str, object]:
    """The ClusterConfiguration that the cluster stack generates, with ids where that has references."""
    return cluster_configuration(
        lanes=system.all_lanes(),
        head_node=system.head_node.head_node(),
        idle_backstop_minutes=system.idle_backstop_minutes,
        inputs=dataclasses.replace(
            INPUTS,
            region=system.region,
            operating_system=system.head_node.operating_system,
            compute_subnet_id=INPUTS.subnet_id,
            tags={"cryoem:cluster": system.name, "cryoem:system": system.name, **system.tags},
            log_retention_days=system.log_retention_days,
            permissions_boundary_arn=system.permissions_boundary_arn,
        ),
    )
