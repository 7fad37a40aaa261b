"""What a job may cost, what counts in a cap, and who may start."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem_lambda import jobs, meter
from cryoem_head.caps import Cap, Reserve, Wish, most_micro_usd, parse_all, refusal, spent_micro_usd, usd

LANE = {"name": "gpu4", "partition": "gpu4", "gpus": 4, "vcpus": 48, "memory_mib": 186_777, "usd_per_hour": 5.672}
MONTH = Cap(name="month", limit=100_000_000, projects=(), each=False, period="month", hard=True)
GRANT = Cap(name="grant", limit=50_000_000, projects=("spike", "2026-*"), each=False, period="always", hard=True)
EACH = Cap(name="one", limit=20_000_000, projects=("*",), each=True, period="always", hard=True)
TOTALS = {
    "2026-11#month": 90_000_000,
    "2026-10#month": 5,
    "2026-11#project#spike": 8_000_000,
    "always#project#spike": 12_000_000,
    "always#project#2026-11-krios": 30_000_000,
    "always#project#other": 7_000_000,
    "always#project#": 1_000_000,
}


def wish(**changes: Any) -> Wish:
    return dataclasses.replace(Wish(job_id="7", project="spike", lane="gpu4", hours=2.0, most=10_000_000), **changes)


def refused(cap: Cap, asked: Wish, *, reserves: tuple[Reserve, ...] = (), raised: dict[str, int] | None = None) -> str:
    return refusal(asked, [cap], totals=TOTALS, reserves=reserves, raised=raised or {}, month="2026-11")


@pytest.mark.parametrize(
    ("cap", "project", "spent"),
    [
        (MONTH, "spike", 90_000_000),
        (dataclasses.replace(MONTH, period="always"), "spike", 50_000_000),
        (GRANT, "spike", 42_000_000),
        (dataclasses.replace(GRANT, period="month"), "spike", 8_000_000),
        (EACH, "spike", 12_000_000),
        (EACH, "2026-11-krios", 30_000_000),
        (EACH, "never-seen", 0),
        (EACH, "", 1_000_000),
    ],
)
def test_what_was_spent_of_a_cap(cap: Cap, project: str, spent: int) -> None:
    assert spent_micro_usd(cap, project, TOTALS, month="2026-11") == spent


def test_a_job_that_just_fits_starts_and_one_that_costs_a_millionth_more_does_not() -> None:
    assert refused(MONTH, wish()) == ""
    assert refused(MONTH, wish(most=10_000_001)) == (
        "cap month: 90.00 of 100.00 USD spent, jobs that run may cost 0.00; this one may cost 10.01 (2 h on gpu4),"
        " more than is left"
    )


def test_what_runs_is_reserved_for_those_of_its_scope_alone() -> None:
    other = Reserve(job_id="8", project="other", most=1)
    assert refused(MONTH, wish(), reserves=(other,)).startswith(
        "cap month: 90.00 of 100.00 USD spent, jobs that run may"
    )
    assert refused(GRANT, wish(most=8_000_000), reserves=(other,)) == ""
    assert refused(EACH, wish(most=8_000_000), reserves=(other,)) == ""
    assert refused(EACH, wish(most=8_000_000), reserves=(dataclasses.replace(other, project="spike"),))


def test_a_jobs_own_reserve_does_not_count_against_it() -> None:
    assert refused(MONTH, wish(), reserves=(Reserve(job_id="7", project="spike", most=10_000_000),)) == ""


def test_a_raised_cap_and_one_that_was_lowered_by_mistake() -> None:
    asked = wish(most=11_000_000)
    assert refused(MONTH, asked, raised={"month": 101_000_000}) == ""
    assert refused(MONTH, asked, raised={"month": 1}).startswith("cap month: 90.00 of 100.00")
    assert refused(EACH, asked, raised={"one#other": 10**9})
    assert refused(EACH, asked, raised={"one#spike": 10**9}) == ""


def test_soft_caps_and_other_projects_hold_nobody() -> None:
    assert refused(dataclasses.replace(MONTH, hard=False), wish(most=10**12)) == ""
    assert refused(GRANT, wish(project="other", most=10**12)) == ""


def test_without_a_time_limit_nobody_knows() -> None:
    assert "submit it with --time" in refused(MONTH, wish(most=None))


def test_the_cap_of_one_dataset_names_it() -> None:
    assert refused(EACH, wish(project="2026-11-krios", most=1)).startswith(
        "cap one of 2026-11-krios: 30.00 of 20.00 USD"
    )


@pytest.mark.parametrize(
    ("micro", "text"), [(0, "0.00"), (1, "0.01"), (1_234_560_000, "1,234.56"), (9_990_001, "10.00")]
)
def test_money_is_rounded_up(micro: int, text: str) -> None:
    assert usd(micro) == text


def test_a_manifest_of_an_earlier_version_has_no_caps() -> None:
    assert parse_all({"lanes": [LANE]}) == ([], {"gpu4": LANE})


@given(
    gpus=st.integers(0, 8),
    cpus=st.integers(1, 96),
    gib=st.integers(1, 400),
    nodes=st.integers(1, 3),
    minutes=st.integers(1, 5000),
    late=st.integers(0, 170),
)
def test_no_job_costs_more_than_was_reserved(
    gpus: int, cpus: int, gib: int, nodes: int, minutes: int, late: int
) -> None:
    """By the meter's own law, also one that Slurm ends a little after its time limit."""
    reserved = most_micro_usd(LANE, minutes=minutes, nodes=nodes, cpus=cpus, memory_mib=gib * 1024, gpus=gpus)
    ran = jobs.Job(
        job_id="7",
        name="",
        user="",
        project="",
        lane="gpu4",
        state="TIMEOUT",
        submitted_at=0,
        started_at=1000,
        ended_at=1000 + minutes * 60 + late,
        nodes="",
        node_count=nodes,
        tres={"gres/gpu": float(gpus), "cpu": float(cpus), "mem": gib * 1024.0},
    )
    lane = jobs.Lane(name="gpu4", gpus=4, vcpus=48, memory_mib=186_777, hold_minutes=0, usd_per_hour=5.672)
    assert reserved is not None
    assert meter.price_micro_usd(ran, lane) <= reserved


def test_no_limit_no_number() -> None:
    assert most_micro_usd(LANE, minutes=None, nodes=1, cpus=1, memory_mib=1, gpus=0) is None
