"""The frontier is exact: what it holds is what looking at every plan finds."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem_stacks.plan.search import Option, Plan, cheapest, fastest, frontier

_numbers = st.one_of(st.integers(0, 6).map(float), st.floats(0, 1000, allow_subnormal=False))
_options = st.builds(Option, hours=_numbers, usd=_numbers, what=st.integers(0, 99))
_parts = st.lists(st.lists(_options, min_size=1, max_size=5), max_size=5)


def every(parts: list[list[Option[int]]]) -> list[Plan[int]]:
    """All plans, one by one."""
    found = []
    for chosen in itertools.product(*parts):
        hours = usd = 0.0
        for option in chosen:
            hours, usd = hours + option.hours, usd + option.usd
        found.append(Plan(hours=hours, usd=usd, choices=tuple(option.what for option in chosen)))
    return found


@given(_parts)
def test_the_frontier_is_every_plan_that_no_other_beats(parts: list[list[Option[int]]]) -> None:
    plans = every(parts)
    points = {(plan.hours, plan.usd) for plan in plans}
    unbeaten = {
        point
        for point in points
        if not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)
    }
    found = frontier(parts)
    assert {(plan.hours, plan.usd) for plan in found} == unbeaten
    assert len(found) == len(unbeaten)
    assert [plan.hours for plan in found] == sorted(plan.hours for plan in found)
    assert all(plan in plans for plan in found)


@given(_parts, _numbers)
def test_the_cheapest_under_a_deadline_is_the_cheapest_of_all_that_meet_it(
    parts: list[list[Option[int]]], hours: float
) -> None:
    within = [plan.usd for plan in every(parts) if plan.hours <= hours]
    found = cheapest(frontier(parts), hours=hours)
    assert (found.usd if found else None) == (min(within) if within else None)
    assert found is None or found.hours <= hours


@given(_parts, _numbers)
def test_the_fastest_under_a_budget_is_the_fastest_of_all_that_keep_it(
    parts: list[list[Option[int]]], usd: float
) -> None:
    within = [plan.hours for plan in every(parts) if plan.usd <= usd]
    found = fastest(frontier(parts), usd=usd)
    assert (found.hours if found else None) == (min(within) if within else None)
    assert found is None or found.usd <= usd


def test_without_a_limit_the_ends_of_the_frontier_are_the_best() -> None:
    slow, quick = Option(hours=2.0, usd=1.0, what="slow"), Option(hours=1.0, usd=3.0, what="quick")
    plans = frontier([[slow, quick], [quick, slow]])
    assert cheapest(plans) == Plan(hours=4.0, usd=2.0, choices=("slow", "slow"))
    assert fastest(plans) == Plan(hours=2.0, usd=6.0, choices=("quick", "quick"))


def test_a_part_without_options_has_no_plan() -> None:
    assert frontier([[Option(hours=1.0, usd=1.0, what="a")], []]) == []
    assert cheapest([]) is None
    assert fastest([]) is None


def test_many_types_for_many_steps_are_searched() -> None:
    options = [Option(hours=1.0 + i * 0.37, usd=60.0 / (1 + i), what=i) for i in range(8)]
    plans = frontier([options] * 6)
    assert (plans[0].hours, plans[-1].usd) == (6.0, 45.0)
    assert 40 < len(plans) < 8**6
