"""Paid and used time between two moments: exact, whole where it is cut, and what lies between them."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_stacks.paid import Amount, head_node_seconds, idle, paid, pbr, total, used

T = 1_000_000
pure = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def life(lane: str = "gpu4", *, begin: int = 0, until: int = 3600, **more: Any) -> dict[str, Any]:
    return {
        "kind": "node",
        "lane": lane,
        "from": T + begin,
        "until": T + until,
        "gpus": 4,
        "usd_per_hour": 4.056,
        **more,
    }


def job(lane: str = "gpu4", *, begin: int = 0, until: int = 1800, gpus: float = 4.0, **more: Any) -> dict[str, Any]:
    return {"lane": lane, "started_at": T + begin, "ended_at": T + until, "gpus": gpus, "usd": 2.028, **more}


def test_an_hour_of_a_node_half_of_which_was_used() -> None:
    nodes, jobs = paid([life()], start=T + 0, end=T + 9999), used([job()], start=T + 0, end=T + 9999)
    assert nodes == {"gpu4": Amount(seconds=3600, gpu_seconds=14_400, usd_micro=4_056_000)}
    assert jobs == {"gpu4": Amount(seconds=1800, gpu_seconds=7200, usd_micro=2_028_000)}
    assert idle(nodes, jobs) == {"gpu4": 2_028_000}
    assert pbr(total(nodes), total(jobs)) == 2.0


def test_a_month_has_the_part_that_is_in_it() -> None:
    assert paid([life()], start=T + 1800, end=T + 2700)["gpu4"].seconds == 900
    assert used([job()], start=T + 900, end=T + 9999)["gpu4"] == Amount(
        seconds=900, gpu_seconds=3600, usd_micro=1_014_000
    )
    assert paid([life()], start=T + 3600, end=T + 9999) == {}
    assert used([job()], start=T + 1800, end=T + 9999) == {}


def test_the_head_node_is_apart_and_lanes_too() -> None:
    lives = [life(), life("cpu", gpus=0), life("", kind="head-node", usd_per_hour=None)]
    assert set(paid(lives, start=T + 0, end=T + 9999)) == {"gpu4", "cpu"}
    assert head_node_seconds(lives, start=T + 600, end=T + 9999) == 3000


def test_what_has_no_price_is_counted() -> None:
    unknown = {key: value for key, value in life("gone").items() if key not in ("gpus", "usd_per_hour")}
    assert paid([unknown], start=T + 0, end=T + 9999)["gone"] == Amount(seconds=3600, unpriced=1)
    assert used([{**job(), "usd": None}], start=T + 0, end=T + 9999)["gpu4"].unpriced == 1


@pytest.mark.parametrize("begin", [0, T + 1800, T + 2000])
def test_a_job_that_never_ran_used_nothing(begin: int) -> None:
    never = {**job(), "started_at": begin}
    assert used([never], start=T + 0, end=T + 9999) == {}
    assert pbr(Amount(gpu_seconds=5), Amount()) is None


def test_a_lane_of_which_nodes_are_missing_says_so() -> None:
    assert idle({}, used([job()], start=T + 0, end=T + 9999)) == {"gpu4": -2_028_000}


@pure
@given(
    lives=st.lists(
        st.builds(
            lambda a, d, g: life(begin=a, until=a + d, gpus=g),
            st.integers(0, 5000),
            st.integers(0, 5000),
            st.integers(0, 8),
        ),
        max_size=6,
    ),
    cuts=st.lists(st.integers(0, 10_000), max_size=5),
)
def test_however_time_is_cut_nothing_is_counted_twice_or_lost(lives: list[dict[str, Any]], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 10_001]
    parts = [total(paid(lives, start=T + a, end=T + b)) for a, b in itertools.pairwise(edges)]
    whole = total(paid(lives, start=T + 0, end=T + 10_001))
    assert sum(part.seconds for part in parts) == whole.seconds == sum(each["until"] - each["from"] for each in lives)
    assert sum(part.gpu_seconds for part in parts) == whole.gpu_seconds
    # Each piece is rounded to a millionth of a dollar.
    assert abs(sum(part.usd_micro for part in parts) - whole.usd_micro) <= len(lives) * len(parts)
