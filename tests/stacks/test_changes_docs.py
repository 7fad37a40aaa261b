"""The table of docs/changes.md says what `cryoem diff` says: each row is done to both engines."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cdk_cryoem_stacks.changes.templates import stack_changes, worst
from cdk_cryoem_stacks.config import Config

Templates = dict[str, dict[str, Any]]
Values = dict[str, Any]
ENGINES = ("parallelcluster", "pcs")
LANES = [
    {"name": "cpu", "instance_types": ["m6i.8xlarge", "m7i.8xlarge"], "max_nodes": 4},
    {"name": "gpu8", "instance_types": ["g5.48xlarge", "g6e.48xlarge"], "gpus": 8, "max_nodes": 2},
]


def base(engine: str) -> Values:
    return {
        "name": "system",
        "engine": engine,
        "lanes": copy.deepcopy(LANES),
        "head_node": {"remote_desktop_from": "10.0.0.0/8"} if engine == "parallelcluster" else {},
        **({"pcs": {"ami_id": "ami-0a1b2c3d4e5f60718"}} if engine == "pcs" else {}),
    }


def put(path: str, value: Any) -> Callable[[Values], None]:
    def change(values: Values) -> None:
        node: Any = values
        *above, last = path.split(".")
        for step in above:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        node[last] = value

    return change


def lanes(*chosen: Values) -> Callable[[Values], None]:
    return put("lanes", list(chosen))


CPU, GPU8 = LANES
SPREAD = [GPU8 | {"nodes_per_job": 2}]
CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/01234567-89ab-cdef-0123-456789abcdef"
READER = "arn:aws:iam::111122223333:role/smith"
SECOND_COPY = {
    "bucket_arn": "arn:aws:s3:::second-copy",
    "key_arn": "arn:aws:kms:eu-west-1:111122223333:key/11111111-2222-3333-4444-555555555555",
}
# As they are called in the table: what is done, and to what, where that is not the base.
ROWS: dict[str, tuple[Callable[[Values], None], Callable[[Values], None] | None]] = {
    "`max_nodes` of a lane, more": (put("lanes.1.max_nodes", 3), None),
    "`max_nodes` of a lane, fewer": (put("lanes.1.max_nodes", 1), None),
    "a lane comes": (lanes(CPU, GPU8, GPU8 | {"name": "live"}), None),
    "a lane goes": (lanes(CPU), None),
    "`instance_types`, one more": (
        lanes(CPU, GPU8 | {"instance_types": [*GPU8["instance_types"], "g6.48xlarge"]}),
        None,
    ),
    "`instance_types`, one less": (lanes(CPU, GPU8 | {"instance_types": ["g5.48xlarge"]}), None),
    "`instance_types`, another order": (lanes(CPU, GPU8 | {"instance_types": GPU8["instance_types"][::-1]}), None),
    "`capacity`: on-demand to spot": (put("lanes.1.capacity", "spot"), None),
    "`nodes_per_job`: 1 to 2": (lanes(CPU, *SPREAD), None),
    "`nodes_per_job`: 2 to 1": (lanes(CPU, GPU8), lanes(CPU, *SPREAD)),
    "`time_limit_hours`": (put("lanes.1.time_limit_hours", 24.0), None),
    "`hold_minutes`, `memory_multiplier`": (lanes(CPU, GPU8 | {"hold_minutes": 5, "memory_multiplier": 3.0}), None),
    "`waiting`": (put("waiting", {"usd_per_hour": 5.5}), None),
    "`caps`": (put("caps", [{"name": "month", "usd": 100000.0}]), None),
    "`idle_backstop_minutes`": (put("idle_backstop_minutes", 20), None),
    "`head_node.instance_type`": (put("head_node.instance_type", "m7i.2xlarge"), None),
    "`head_node.root_volume_gib`": (put("head_node.root_volume_gib", 150), None),
    "`head_node.cryosparc_volume_gib`, larger": (put("head_node.cryosparc_volume_gib", 300), None),
    "`head_node.operating_system`": (put("head_node.operating_system", "ubuntu2404"), None),
    "`head_node.remote_desktop_from`, from nobody": (
        put("head_node.remote_desktop_from", "10.0.0.0/8"),
        put("head_node", {}),
    ),
    "`head_node.remote_desktop_from`, another range": (put("head_node.remote_desktop_from", "10.1.0.0/16"), None),
    "`pcs.ami_id`": (put("pcs.ami_id", "ami-0a1b2c3d4e5f60719"), None),
    "`file_system.capacity_gib`, more": (put("file_system.capacity_gib", 4800), None),
    "`file_system.capacity_gib`, less": (put("file_system.capacity_gib", 1200), None),
    "`file_system.throughput_mibps_per_tib`": (put("file_system.throughput_mibps_per_tib", 500), None),
    "`file_system.generation`, the next": (put("file_system.generation", 2), None),
    "`file_system.release_after_days`": (put("file_system.release_after_days", 30), None),
    "`file_system.deployment_type`": (
        put("file_system", {"deployment_type": "SCRATCH_2", "throughput_mibps_per_tib": None}),
        None,
    ),
    "`network.cidr`": (put("network.cidr", "10.99.0.0/16"), None),
    "`network.endpoints`": (put("network.endpoints", ["standard"]), None),
    "`web`, from none": (put("web", {"certificate_arn": CERTIFICATE, "allowed_from": ["10.0.0.0/8"]}), None),
    "`web`, taken out": (
        put("tags", {}),
        put("web", {"certificate_arn": CERTIFICATE, "allowed_from": ["10.0.0.0/8"]}),
    ),
    "`network.nat`, to false": (
        put("network", {"nat": False, "endpoints": ["all"]}),
        put("network.endpoints", ["all"]),
    ),
    "`landing`, `budget`, `microscopes`": (
        lambda values: values.update(
            landing={"quiet_minutes": 60}, budget={"monthly_usd": 100.0, "emails": ["a@example.org"]}
        ),
        None,
    ),
    "`landing.object_lock_days`, from none": (put("landing.object_lock_days", 30), None),
    "`landing.archive_after_days`, `landing.replicate_to`, `groups`": (
        lambda values: values.update(
            landing={"archive_after_days": 60, "replicate_to": SECOND_COPY},
            groups=[{"name": "smith", "datasets": ["smith_*"], "reader_role_arns": [READER]}],
        ),
        None,
    ),
    "`landing.noncurrent_days`, fewer": (put("landing.noncurrent_days", 30), None),
    "`landing.noncurrent_days`, more": (put("landing.noncurrent_days", 365), None),
    "`landing.object_lock_days`, fewer": (put("landing.object_lock_days", 10), put("landing.object_lock_days", 30)),
    "`landing.replicate_to`, another bucket": (
        put("landing.replicate_to", SECOND_COPY | {"bucket_arn": "arn:aws:s3:::third-copy"}),
        put("landing.replicate_to", SECOND_COPY),
    ),
    "`landing.replicate_to`, taken out": (put("landing", {}), put("landing.replicate_to", SECOND_COPY)),
    "`groups`, one goes": (
        put("groups", []),
        put("groups", [{"name": "a", "datasets": ["a*"], "reader_role_arns": [READER]}]),
    ),
    "`deletion`": (put("deletion.allowed", ["file_system"]), None),
    "`notifications`, from none": (put("notifications.emails", ["a@example.org"]), None),
    "`notifications`, another address or time": (
        put("notifications", {"emails": ["b@example.org"], "job_minutes": 5}),
        put("notifications.emails", ["a@example.org"]),
    ),
    "`tags`, `log_retention_days`": (
        lambda values: values.update(tags={"group": "em"}, log_retention_days=365),
        None,
    ),
}
ONLY = {
    "`pcs.ami_id`": "pcs",
    "`network.nat`, to false": "pcs",
    "`head_node.operating_system`": "parallelcluster",
    "`head_node.remote_desktop_from`, from nobody": "parallelcluster",
    "`head_node.remote_desktop_from`, another range": "parallelcluster",
}


def table(root: Path) -> dict[str, list[str]]:
    """The rows of the page: what is changed, and a cell for each engine, without its footnotes."""
    rows = {}
    for line in (root / "docs/changes.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3:
            rows[cells[0]] = [cell.partition(";")[0].strip() for cell in cells[1:]]
    return rows


@pytest.fixture(scope="module")
def templates_of(synthesise: Callable[..., Templates]) -> Callable[[Values], Templates]:
    made: dict[str, Templates] = {}

    def of(values: Values) -> Templates:
        key = repr(values)
        if key not in made:
            made[key] = synthesise(Config.model_validate(values))
        return made[key]

    return of


def cases() -> Iterator[tuple[str, str]]:
    for row in ROWS:
        for engine in ENGINES:
            if ONLY.get(row, engine) == engine:
                yield row, engine


def test_the_page_has_exactly_these_rows(root: Path) -> None:
    assert set(ROWS) <= set(table(root))
    for row, engine in ONLY.items():
        assert table(root)[row][1 - ENGINES.index(engine)] == "-", row


@pytest.mark.parametrize(("row", "engine"), list(cases()))
def test_a_row_of_the_page(root: Path, templates_of: Callable[[Values], Templates], row: str, engine: str) -> None:
    change, before = ROWS[row]
    old, new = base(engine), base(engine)
    if before is not None:
        before(old)
    change(new)
    short = stack_changes(templates_of(old), templates_of(new))
    assert table(root)[row][ENGINES.index(engine)] == (worst(short) or "no change")
