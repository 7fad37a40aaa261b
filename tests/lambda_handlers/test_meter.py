"""What a job costs, to the millionth of a dollar, and what it counts in."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest
from fakes import job_event
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda.jobs import Job, Lane, parse
from cdk_cryoem_lambda.meter import amounts, month_of, node_share, price_micro_usd, totals_of

pure = settings(max_examples=80, deadline=None, derandomize=True, database=None)
GPU4 = Lane(name="gpu4", gpus=4, vcpus=48, memory_mib=196_608, hold_minutes=0, usd_per_hour=4.0)
CPU = Lane(name="cpu", gpus=0, vcpus=16, memory_mib=32_768, hold_minutes=0, usd_per_hour=1.0)
lanes = st.builds(
    Lane,
    name=st.just("lane"),
    gpus=st.integers(0, 16),
    vcpus=st.integers(1, 200),
    memory_mib=st.integers(1024, 2_000_000),
    hold_minutes=st.just(0),
    usd_per_hour=st.floats(0, 100),
)
tres = st.dictionaries(st.sampled_from(["cpu", "mem", "gres/gpu", "node", "billing"]), st.floats(0, 10**7))
seconds = st.integers(0, 2_000_000_000)


def job(text: str = "", *, hours: float = 1.0, node_count: int = 1, **changes: Any) -> Job:
    made = parse(job_event(tres=text, start=1_000_000, end=1_000_000 + int(3600 * hours))["detail"])
    return dataclasses.replace(made, node_count=node_count, **changes)


@pytest.mark.parametrize(
    ("lane", "text", "share"),
    [
        (GPU4, "gres/gpu=1,cpu=12,mem=48G", 0.25),
        (GPU4, "gres/gpu=1,cpu=36,mem=1G", 0.75),  # the CPUs keep others out
        (GPU4, "gres/gpu=1,cpu=1,mem=96G", 0.5),
        (GPU4, "gres/gpu=4,cpu=1,mem=1G", 1.0),
        (GPU4, "gres/gpu=8,cpu=96", 1.0),
        (CPU, "cpu=4,mem=1G", 0.25),
        (CPU, "cpu=4,gres/gpu=1", 0.25),
        (GPU4, "", 1.0),
        (GPU4, "node=1,billing=1", 1.0),
    ],
)
def test_share_is_the_largest_of_its_shares(lane: Lane, text: str, share: float) -> None:
    assert node_share(job(text), lane) == share


def test_price_of_two_whole_nodes_for_an_hour_and_a_half() -> None:
    assert price_micro_usd(job("gres/gpu=8,cpu=96", hours=1.5, node_count=2), GPU4) == 12_000_000


def test_price_of_a_quarter_of_two_nodes() -> None:
    assert price_micro_usd(job("gres/gpu=2,cpu=24", node_count=2), GPU4) == 2_000_000


@pytest.mark.parametrize("start", [0, 1_000_000 + 3601])
def test_what_never_ran_costs_nothing(start: int) -> None:
    assert price_micro_usd(job(started_at=start), GPU4) == 0


@pure
@given(lane=lanes, tres=tres, start=seconds, end=seconds, nodes=st.integers(0, 64))
def test_price_is_never_negative_nor_above_that_of_the_nodes(
    lane: Lane, tres: dict[str, float], start: int, end: int, nodes: int
) -> None:
    finished = job(started_at=start, ended_at=end, node_count=nodes, tres=tres)
    whole = Decimal(finished.seconds) / 3600 * max(1, nodes) * Decimal(repr(lane.usd_per_hour)) * 1_000_000
    assert 0 <= price_micro_usd(finished, lane) <= whole + 1


@pure
@given(lane=lanes, tres=tres, name=st.sampled_from(["cpu", "mem", "gres/gpu"]), more=st.floats(0, 10**6))
def test_who_takes_more_never_pays_less(lane: Lane, tres: dict[str, float], name: str, more: float) -> None:
    small = node_share(job(tres={"cpu": 1.0, **tres, name: tres.get(name, 0.0) + 1.0}), lane)
    large = node_share(job(tres={"cpu": 1.0, **tres, name: tres.get(name, 0.0) + 1.0 + more}), lane)
    assert 0 < small <= large <= 1


@pure
@given(lane=lanes, nodes=st.integers(0, 9))
def test_whole_node_when_slurm_did_not_say(lane: Lane, nodes: int) -> None:
    assert node_share(job("", node_count=nodes), lane) == 1


def test_a_third_of_a_node_is_a_third_to_the_millionth() -> None:
    lane = dataclasses.replace(GPU4, gpus=3, vcpus=300, usd_per_hour=1.006)
    assert price_micro_usd(job("gres/gpu=1", started_at=1_000_000, ended_at=1_003_600), lane) == 335_333
    assert price_micro_usd(job("gres/gpu=2", started_at=1_000_000, ended_at=1_003_600), lane) == 670_667


def test_a_month_is_utc_and_that_of_the_end() -> None:
    assert month_of(1_795_996_799) == "2026-11"
    assert month_of(1_796_083_200) == "2026-12"


def test_what_a_job_counts_in() -> None:
    assert totals_of(job(started_at=0, ended_at=1_795_996_799, lane="gpu4", user="ada", project="spike")) == (
        "2026-11#month",
        "2026-11#lane#gpu4",
        "2026-11#user#ada",
        "2026-11#project#spike",
        "always#project#spike",
    )


def test_what_a_job_adds() -> None:
    assert amounts(job("gres/gpu=2,cpu=24"), 2_000_000) == {
        "jobs": 1,
        "usd_micro": 2_000_000,
        "unpriced": 0,
        "seconds": 3600,
        "gpu_seconds": 7200,
    }
    assert amounts(job(""), None)["unpriced"] == 1
    assert amounts(job(""), None)["usd_micro"] == 0
