"""What waiting is worth reaches the hooks as they read it, and PCS leaves held nodes to them."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import Lane, default_lanes
from cdk_cryoem.pcs_rules import BACKSTOP_SECONDS, idle_seconds
from cdk_cryoem.waiting import LONGEST_MINUTES, Waiting, environment_text, waiting_problems
from cdk_cryoem.working_hours import WorkingHours
from cdk_cryoem_lambda import holding, jobs

GPU1 = next(lane for lane in default_lanes() if lane.name == "gpu1")


def wrong(**values: object) -> list[tuple[str, object]]:
    found = waiting_problems(Waiting(**({"usd_per_hour": 5.5} | values)))  # type: ignore[arg-type]
    return [(problem.property, problem.value) for problem in found]


@pytest.mark.parametrize("usd", [0.01, 5.5, 1000])
def test_any_price_above_nothing(usd: float) -> None:
    assert wrong(usd_per_hour=usd) == []


@pytest.mark.parametrize("usd", [0, -1, math.nan, math.inf])
def test_a_price_that_is_none(usd: float) -> None:
    ((prop, _),) = wrong(usd_per_hour=usd)
    assert prop == "usd_per_hour"


@pytest.mark.parametrize(("minutes", "right"), [(0, False), (1, True), (LONGEST_MINUTES, True), (16, False)])
def test_how_long_at_most(minutes: int, right: bool) -> None:
    assert wrong(longest_minutes=minutes) == ([] if right else [("longest_minutes", minutes)])


def test_everything_wrong_at_once_in_the_names_of_the_properties() -> None:
    hours = WorkingHours(days=("monday",), time_zone="Vienna")
    found = wrong(usd_per_hour=0, longest_minutes=99, hours=hours)
    assert [prop for prop, _ in found] == ["usd_per_hour", "longest_minutes", "hours.days", "hours.time_zone"]


def test_without_a_price_the_hooks_are_told_nothing() -> None:
    assert environment_text(None) == ""


def test_what_the_hooks_are_told() -> None:
    assert json.loads(environment_text(Waiting(usd_per_hour=5.5))) == {
        "usd_per_hour": 5.5, "longest_minutes": 10, "days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00",
        "to": "19:00", "time_zone": "UTC",
    }  # fmt: skip


@given(
    st.floats(0.01, 1e6),
    st.integers(1, LONGEST_MINUTES),
    st.sampled_from(["UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires"]),
)
def test_the_hooks_read_what_they_are_told(usd: float, longest: int, time_zone: str) -> None:
    said = Waiting(usd_per_hour=usd, longest_minutes=longest, hours=WorkingHours(time_zone=time_zone))
    read = holding.Waiting.parse(json.loads(environment_text(said)))
    assert (read.usd_per_hour, read.longest_seconds) == (usd, longest * 60)
    assert (read.hours.start, read.hours.end, str(read.hours.zone)) == (9 * 60, 19 * 60, time_zone)


@pytest.mark.parametrize(
    ("name", "minutes"), [("cpu", 8.95), ("gpu1", 8.47), ("gpu4", 0), ("gpu8", 0), ("live", 0)]
)  # fmt: skip
def test_the_default_lanes_at_the_price_of_the_page(name: str, minutes: float) -> None:
    waiting = holding.Waiting.parse(json.loads(environment_text(Waiting(usd_per_hour=5.5))))
    lane = jobs.Lane.parse(next(lane for lane in default_lanes() if lane.name == name).manifest())
    monday_noon = 1_783_339_200.0
    held = holding.hold_seconds(lane, now=monday_noon, waiting=waiting)
    assert held / 60 == pytest.approx(minutes, abs=0.01)


@pytest.mark.parametrize(("own", "longest", "minutes"), [(0, 0, 0), (0, 10, 10), (30, 10, 30), (7, 12, 12)])
def test_pcs_leaves_a_held_node_to_the_hooks(own: int, longest: int, minutes: int) -> None:
    lane: Lane = dataclasses.replace(GPU1, hold_minutes=own)
    assert idle_seconds(lane, longest) == minutes * 60 + BACKSTOP_SECONDS
