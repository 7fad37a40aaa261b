from __future__ import annotations

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda.awake import may_stop, wanted
from cdk_cryoem_lambda.hours import DAYS, WorkingHours
from cdk_cryoem_lambda.nodes import Status

NOW = 1_800_000_000.0
ALWAYS = WorkingHours(days=frozenset(DAYS), start=0, end=1440, zone=UTC)
NEVER = WorkingHours(days=frozenset(), start=0, end=1440, zone=UTC)
pure = settings(max_examples=80, deadline=None, derandomize=True, database=None)
known = st.lists(
    st.fixed_dictionaries(
        {"sk": st.sampled_from("abc"), "state": st.sampled_from(["arriving", "landed", "gone"])},
        optional={"processing_at": st.just(5)},
    ),
    max_size=4,
)


def item(name: str, state: str, **more: Any) -> dict[str, Any]:
    return {"sk": name, "state": state, **more}


def reason(
    *items: dict[str, Any], recipe: str = "", asked_until: float = 0.0, hours: WorkingHours | None = None
) -> str:
    return wanted(items, recipe=recipe, asked_until=asked_until, hours=hours, now=NOW)


def status(**changes: Any) -> Status:
    return Status.parse({"now": NOW, "nodes": [], "powered_up": 0, "logins": 0, "recipes": 0} | changes)


def test_nothing_known_wants_nothing() -> None:
    assert reason() == reason(recipe="r", hours=NEVER, asked_until=NOW) == ""


def test_what_arrives_wants_it_and_the_first_is_named() -> None:
    assert reason(item("b", "arriving"), item("a", "arriving"), item("0", "landed")) == "dataset a is arriving"


@pytest.mark.parametrize(
    ("what", "recipe", "expected"),
    [
        (item("a", "landed"), "r", "dataset a waits for the recipe r"),
        (item("a", "landed"), "", ""),
        (item("a", "landed", processing_at=5), "r", ""),
        (item("a", "gone"), "r", ""),
    ],
)
def test_what_has_landed_wants_it_until_the_recipe_has_ended(what: dict[str, Any], recipe: str, expected: str) -> None:
    assert reason(what, recipe=recipe) == expected


def test_a_request_holds_until_its_end() -> None:
    assert reason(asked_until=NOW + 0.1) == "somebody asked for it"
    assert reason(asked_until=NOW) == ""


def test_working_hours() -> None:
    assert (reason(hours=ALWAYS), reason(hours=NEVER)) == ("it is working hours", "")


@pure
@given(items=known, recipe=st.sampled_from(["", "r"]), asked=st.floats(NOW - 9, NOW + 9), hours=st.sampled_from([None, ALWAYS, NEVER]))  # fmt: skip
def test_it_is_wanted_exactly_when_one_of_four_reasons_holds(
    items: list[dict[str, Any]], recipe: str, asked: float, hours: WorkingHours | None
) -> None:
    arriving = any(each["state"] == "arriving" for each in items)
    waiting = bool(recipe) and any(each["state"] == "landed" and "processing_at" not in each for each in items)
    found = reason(*items, recipe=recipe, asked_until=asked, hours=hours)
    assert bool(found) is (arriving or waiting or asked > NOW or hours is ALWAYS)


def test_it_may_stop_after_its_time_to_the_second() -> None:
    assert may_stop(status(), after_minutes=30, last_activity=NOW - 1800, now=NOW)
    assert not may_stop(status(), after_minutes=30, last_activity=NOW - 1799, now=NOW)


@pytest.mark.parametrize("after", [0, -1])
def test_it_never_stops_unless_told_so(after: int) -> None:
    assert not may_stop(status(), after_minutes=after, last_activity=0.0, now=NOW)


@pure
@given(
    counts=st.dictionaries(st.sampled_from(["pending", "blocked", "running"]), st.integers(0, 2)),
    numbers=st.dictionaries(st.sampled_from(["powered_up", "logins", "recipes", "spool"]), st.integers(0, 2)),
    quiet=st.integers(0, 7200),
)
def test_it_may_stop_exactly_when_nobody_would_miss_it(
    counts: dict[str, int], numbers: dict[str, int], quiet: int
) -> None:
    found = status(**{name: {"gpu4": n} for name, n in counts.items()}, **numbers)
    in_use = any(counts.values()) or any(numbers.values())
    may = may_stop(found, after_minutes=30, last_activity=NOW - quiet, now=NOW)
    assert may is (not in_use and quiet >= 1800)
