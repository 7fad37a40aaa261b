from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda import hours
from cdk_cryoem_lambda.hours import DAYS, WorkingHours

pure = settings(max_examples=80, deadline=None, derandomize=True, database=None)
WEEK = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "19:30", "time_zone": "Europe/Vienna"}


def at(text: str) -> float:
    """Epoch seconds of a moment in Vienna."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Vienna")).timestamp()


@pytest.mark.parametrize(
    ("moment", "contained"),
    [
        ("2026-11-20T08:59:59", False),
        ("2026-11-20T09:00", True),
        ("2026-11-20T19:29:59", True),
        ("2026-11-20T19:30", False),
        ("2026-11-21T12:00", False),  # a Saturday
        ("2026-11-23T12:00", True),
        ("2026-07-20T09:00", True),  # in summer time, which is another hour of UTC
        ("2026-07-20T08:59", False),
    ],
)
def test_from_begins_and_to_ends(moment: str, contained: bool) -> None:
    assert WorkingHours.parse(WEEK).contain(at(moment)) is contained


def test_a_whole_day() -> None:
    day = WorkingHours.parse({"days": ["sun"], "from": "00:00", "to": "24:00", "time_zone": "UTC"})
    moments = [datetime(2026, 11, d, h, m, tzinfo=UTC).timestamp() for d, h, m in ((21, 23, 59), (22, 0, 0), (22, 23, 59), (23, 0, 0))]  # fmt: skip
    assert [day.contain(moment) for moment in moments] == [False, True, True, False]


def test_without_the_systems_time_zones_those_of_dateutil_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(hours, "ZoneInfo", none)
    found = WorkingHours.parse(WEEK)
    assert [found.contain(at(f"2026-{month}-20T09:00")) for month in ("07", "11")] == [True, True]
    assert [found.contain(at(f"2026-{month}-20T08:59")) for month in ("07", "11")] == [False, False]
    with pytest.raises(ZoneInfoNotFoundError, match="Mars/Olympus"):
        WorkingHours.parse(WEEK | {"time_zone": "Mars/Olympus"})


def test_the_default_zone_needs_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> ZoneInfo:
        raise AssertionError(name)

    monkeypatch.setattr(hours, "ZoneInfo", none)
    found = WorkingHours.parse(WEEK | {"time_zone": "UTC"})
    moments = [datetime(2026, 11, 20, h, 0, tzinfo=UTC).timestamp() for h in (8, 9)]
    assert [found.contain(moment) for moment in moments] == [False, True]


@pytest.mark.parametrize("missing", sorted(WEEK))
def test_no_part_may_be_missing(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        WorkingHours.parse({name: value for name, value in WEEK.items() if name != missing})


@pure
@given(
    days=st.sets(st.sampled_from(DAYS)),
    start=st.integers(0, 1439),
    length=st.integers(0, 1440),
    now=st.integers(1_600_000_000, 2_000_000_000),
)
def test_in_utc_the_day_and_the_minute_decide(days: set[str], start: int, length: int, now: int) -> None:
    end = min(1440, start + length)
    found = WorkingHours(days=frozenset(days), start=start, end=end, zone=UTC)
    minute, weekday = now % 86400 // 60, DAYS[(now // 86400 + 3) % 7]
    assert found.contain(now) is (weekday in days and start <= minute < end)
