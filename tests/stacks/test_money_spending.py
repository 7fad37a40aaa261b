"""What was spent in a month, from records alone."""

from __future__ import annotations

from typing import Any

import pytest

from cdk_cryoem_stacks.money import limits, spending
from cdk_cryoem_stacks.money.spending import Total, bounds, differences, month_of

NOV = 1_793_491_200  # 2026-11-01 00:00 UTC
NOW = NOV + 10 * 86_400.0


def total(name: str, usd_micro: int, **more: int) -> dict[str, Any]:
    return {"pk": "spend", "sk": name, "jobs": 1, "usd_micro": usd_micro, "unpriced": 0, "seconds": 3600, **more}


def job(end: int, number: int, **more: Any) -> dict[str, Any]:
    made = {"name": "J1", "user": "ada", "project": "spike", "lane": "gpu1", "seconds": 3600, "gpus": 1.0, "usd": 1.624}
    return {"pk": "job", "sk": f"{end:012d}#{number}", "started_at": end - 3600, "ended_at": end, **made, **more}


TOTALS = [
    total("2026-11#month", 3_000_000, jobs=2, gpu_seconds=3600),
    total("2026-11#lane#gpu1", 2_000_000),
    total("2026-11#lane#cpu", 1_000_000),
    total("2026-11#project#spike", 2_500_000),
    total("2026-11#project#", 500_000),
    total("2026-11#project#a#b", 0),
    total("2026-11#user#ada", 3_000_000),
    total("2026-10#month", 9_000_000),
    total("always#project#spike", 7_000_000),
    total("always#project#old", 2_000_000),
]


def seen(month: str = "2026-11", **changes: Any) -> spending.Spending:
    given: dict[str, Any] = {"lives": [], "jobs": [], "datasets": ["spike", "other"], "now": NOW, **changes}
    return spending.spending(TOTALS, month=month, **given)


def test_a_month_by_lane_project_and_user_the_dearest_first() -> None:
    november = seen()
    assert (november.total.usd, november.total.jobs) == (3.0, 2)
    assert {kind: list(names) for kind, names in november.by.items()} == {
        "lane": ["gpu1", "cpu"],
        "project": ["spike", "", "a#b"],
        "user": ["ada"],
    }
    assert november.datasets == ["spike"]
    assert november.nodes is None


def test_always_is_the_sum_of_projects() -> None:
    ever = seen("always")
    assert (ever.total.usd, list(ever.by["project"])) == (9.0, ["spike", "old"])


def test_a_month_without_jobs() -> None:
    assert (seen("2026-09").total, seen("2026-09").by) == (Total(), {})


def test_boot_and_idle_are_a_line_of_their_own() -> None:
    life = {"lane": "gpu1", "from": NOV - 3600, "until": NOV + 7200, "usd_per_hour": 1.624, "gpus": 1, "kind": "node"}
    head = {"lane": "", "from": NOV, "until": NOV + 1800, "kind": "head-node"}
    nodes = seen(lives=[life, head], jobs=[job(NOV + 3600, 1)]).nodes
    assert nodes is not None
    assert (nodes.paid_usd, nodes.idle_usd, nodes.pbr, nodes.head_node_hours) == (3.248, 1.624, 2.0, 0.5)
    assert nodes.idle_by_lane == {"gpu1": 1.624}


@pytest.mark.parametrize(
    ("month", "first", "following"),
    [("2026-11", NOV, NOV + 30 * 86_400), ("2026-12", NOV + 30 * 86_400, NOV + 61 * 86_400)],
)
def test_bounds(month: str, first: int, following: int) -> None:
    assert bounds(month) == (first, following)
    assert month_of(first) == month
    assert month_of(following) != month


@pytest.mark.parametrize("wrong", ["2026", "2026-13", "november"])
def test_what_is_no_month(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"time data|unconverted"):
        bounds(wrong)


def test_totals_that_are_the_sums_of_their_jobs_and_such_that_are_not() -> None:
    jobs = [job(NOV + 10, 1), job(NOV + 20, 2, usd=2.0), job(NOV - 1, 3)]
    right = [
        total(f"2026-11#{name}", 3_624_000, jobs=2, seconds=7200, gpu_seconds=7200)
        for name in ("month", "lane#gpu1", "user#ada", "project#spike")
    ]
    assert differences(right, jobs, month="2026-11") == []
    wrong = [*right[1:], {**right[0], "usd_micro": 3_624_001}]
    assert differences(wrong, jobs, month="2026-11") == [
        "month: 2 jobs and 3.624001 USD are written down, its jobs sum up to 2 jobs and 3.624000 USD"
    ]
    assert len(differences([], jobs, month="2026-11")) == 4
    assert len(differences(right, [], month="2026-11")) == 4


CAPS = [
    {"name": "month", "usd_micro": 4_000_000, "projects": [], "each": False, "period": "month", "hard": True},
    {"name": "grant", "usd_micro": 9_000_000, "projects": ["sp*"], "each": False, "period": "always", "hard": False},
    {"name": "one", "usd_micro": 5_000_000, "projects": ["*"], "each": True, "period": "always", "hard": True},
]


def found(*raised: dict[str, Any]) -> dict[str, tuple[float, float]]:
    rows = limits.limits(CAPS, TOTALS, raised, month="2026-11", now=NOW)
    return {each.scope: (each.spent_usd, each.limit_usd) for each in rows}


def test_what_is_left_of_each_cap() -> None:
    assert found() == {"month": (3.0, 4.0), "grant": (7.0, 9.0), "one#old": (2.0, 5.0), "one#spike": (7.0, 5.0)}


def test_a_raised_cap_while_it_lasts() -> None:
    assert found({"sk": "one#spike", "usd_micro": 8_000_000, "until": NOW + 1})["one#spike"] == (7.0, 8.0)
    assert found({"sk": "one#spike", "usd_micro": 8_000_000, "until": NOW})["one#spike"] == (7.0, 5.0)
    assert found({"sk": "month", "usd_micro": 1, "until": NOW + 1})["month"] == (3.0, 4.0)


@pytest.mark.parametrize(
    ("name", "project", "says"),
    [
        ("nope", None, "there is no cap 'nope'; caps are grant, month, one"),
        ("one", None, "say which with --project"),
        ("month", "spike", "leave out --project"),
        ("grant", None, ""),
        ("one", "anything", ""),
    ],
)
def test_words_that_name_no_limit(name: str, project: str | None, says: str) -> None:
    answer = limits.wrong_scope(CAPS, name, project)
    assert says in answer if says else answer == ""


def test_the_hooks_the_head_node_and_the_command_count_alike() -> None:
    """Three programs that import nothing of each other."""
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[2] / "constructs" / "cdk_cryoem" / "head_node" / "lib"))
    from cdk_cryoem_lambda import caps as of_hooks
    from cryoem_head import caps as of_head_node

    totals = {str(item["sk"]): int(item["usd_micro"]) for item in TOTALS}
    hooks = {
        each.scope: each.micro_usd
        for each in of_hooks.spent(map(of_hooks.Cap.parse, CAPS), totals, raised={}, month="2026-11")
    }
    parsed = [of_head_node.Cap.parse(entry) for entry in CAPS]
    head_node = {
        cap.scope(project): of_head_node.spent_micro_usd(cap, project, totals, month="2026-11")
        for cap in parsed
        for project in ("spike", "old")
        if cap.counts(project)
    }
    ours = {scope: round(spent * 1e6) for scope, (spent, _) in found().items()}
    # By projects the month has what no project's folder has, too.
    assert hooks == head_node == ours
