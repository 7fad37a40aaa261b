"""Cheap lanes are held while people work, expensive ones never, and no lane shorter than it says itself."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem_lambda.holding import SECONDS_PER_NODE_HOUR, WORTH_HOLDING, Waiting, hold_seconds
from cdk_cryoem_lambda.jobs import Lane

VIENNA = ZoneInfo("Europe/Vienna")
DOCUMENT: dict[str, Any] = {
    "usd_per_hour": 5.5,
    "longest_minutes": 10,
    "days": ["mon", "tue", "wed", "thu", "fri"],
    "from": "09:00",
    "to": "19:00",
    "time_zone": "Europe/Vienna",
}


def waiting(**changes: Any) -> Waiting:
    return Waiting.parse(DOCUMENT | changes)


def lane(usd_per_hour: float, hold_minutes: int = 0) -> Lane:
    return Lane(
        name="lane", gpus=1, vcpus=16, memory_mib=1024, hold_minutes=hold_minutes, usd_per_hour=usd_per_hour
    )  # fmt: skip


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=VIENNA).timestamp()


TUESDAY_NOON = at("2026-07-07T12:00:00")
GPU1, GPU4, GPU8 = lane(1.624), lane(5.672), lane(16.288)


def test_a_price_of_waiting_holds_the_cheap_lane_and_no_other() -> None:
    held = [hold_seconds(each, now=TUESDAY_NOON, waiting=waiting()) for each in (GPU1, GPU4, GPU8)]
    assert held == [pytest.approx(5.5 / 1.624 * 150), 0, 0]


@pytest.mark.parametrize(("minutes", "seconds"), [(10, 600), (3, 180)])
def test_no_node_is_held_longer_than_the_longest(minutes: int, seconds: float) -> None:
    assert hold_seconds(GPU1, now=TUESDAY_NOON, waiting=waiting(usd_per_hour=60, longest_minutes=minutes)) == seconds


@pytest.mark.parametrize(("usd", "held"), [(2.99, 0.0), (3.0, WORTH_HOLDING * SECONDS_PER_NODE_HOUR)])
def test_an_hour_of_waiting_must_be_worth_three_hours_of_the_node(usd: float, held: float) -> None:
    assert hold_seconds(lane(1.0), now=TUESDAY_NOON, waiting=waiting(usd_per_hour=usd)) == held


@pytest.mark.parametrize(
    ("when", "held"),
    [
        ("2026-07-06T08:59:59", False),
        ("2026-07-06T09:00:00", True),
        ("2026-07-10T18:59:59", True),
        ("2026-07-10T19:00:00", False),
        ("2026-07-11T12:00:00", False),  # a Saturday
        ("2026-01-05T09:00:00", True),  # in winter, when the same hour is another one in UTC
        ("2026-01-05T08:59:59", False),
    ],
)
def test_only_while_people_work_in_their_own_time_zone(when: str, held: bool) -> None:
    assert bool(hold_seconds(GPU1, now=at(when), waiting=waiting())) is held


def test_without_a_price_the_lane_decides() -> None:
    assert hold_seconds(lane(1.0, hold_minutes=7), now=TUESDAY_NOON, waiting=None) == 420


def test_the_lanes_own_hold_counts_when_it_is_longer() -> None:
    assert hold_seconds(lane(1.624, hold_minutes=30), now=TUESDAY_NOON, waiting=waiting()) == 1800


def test_a_lane_without_a_price_is_held_for_the_longest() -> None:
    assert hold_seconds(lane(0.0), now=TUESDAY_NOON, waiting=waiting()) == 600


@pytest.mark.parametrize("missing", DOCUMENT)
def test_a_document_that_lacks_something_is_an_error_that_names_it(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        Waiting.parse({key: value for key, value in DOCUMENT.items() if key != missing})


def test_a_time_zone_that_is_none_is_an_error_that_names_it() -> None:
    with pytest.raises(KeyError, match="Mars/Olympus"):
        waiting(time_zone="Mars/Olympus")


prices = st.floats(0.01, 100, allow_nan=False)
moments = st.floats(TUESDAY_NOON - 366 * 86_400, TUESDAY_NOON + 366 * 86_400, allow_nan=False)
holds = st.integers(0, 1440)


@given(prices, prices, holds, moments, st.integers(1, 15))
def test_never_less_than_the_lane_says_nor_more_than_the_longer_of_both(
    worth: float, price: float, hold: int, now: float, longest: int
) -> None:
    held = hold_seconds(lane(price, hold), now=now, waiting=waiting(usd_per_hour=worth, longest_minutes=longest))
    assert hold * 60 <= held <= max(hold, longest) * 60


@given(prices, prices, prices, holds, moments)
def test_dearer_waiting_never_shortens_a_hold(one: float, other: float, price: float, hold: int, now: float) -> None:
    less, more = (
        hold_seconds(lane(price, hold), now=now, waiting=waiting(usd_per_hour=worth)) for worth in sorted((one, other))
    )
    assert less <= more


@given(prices, prices, prices, holds, moments)
def test_a_dearer_lane_is_never_held_longer(one: float, other: float, worth: float, hold: int, now: float) -> None:
    cheap, dear = (
        hold_seconds(lane(price, hold), now=now, waiting=waiting(usd_per_hour=worth)) for price in sorted((one, other))
    )
    assert dear <= cheap


@given(prices, prices, holds, moments)
def test_when_nobody_works_the_lane_decides(worth: float, price: float, hold: int, now: float) -> None:
    priced = waiting(usd_per_hour=worth)
    asleep = dataclasses.replace(priced, hours=dataclasses.replace(priced.hours, days=frozenset()))
    assert hold_seconds(lane(price, hold), now=now, waiting=asleep) == hold * 60
