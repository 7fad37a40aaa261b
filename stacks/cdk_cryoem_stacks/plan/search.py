"""The best plans among all: no other is both as fast and as cheap. Exact. Pure.

Steps follow each other, so hours and prices add up. A plan that can be improved in one of its parts is never one of the best,
so it is enough to combine the best of each part with the best of the parts before.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Option(Generic[T]):
    """One way to do a part: how long it takes, what it costs, and what it is."""

    hours: float
    usd: float
    what: T


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan(Generic[T]):
    """One option for each part, in the order of the parts."""

    hours: float
    usd: float
    choices: tuple[T, ...]


def frontier(parts: Sequence[Sequence[Option[T]]]) -> Sequence[Plan[T]]:
    """Every plan that no other beats in both hours and price, the fastest first; of equal ones the first. None if a part has no option."""
    found: list[Plan[T]] = [Plan(hours=0.0, usd=0.0, choices=())]
    for options in parts:
        kept = best(Plan(hours=option.hours, usd=option.usd, choices=(option.what,)) for option in options)
        found = best(
            Plan(hours=plan.hours + more.hours, usd=plan.usd + more.usd, choices=(*plan.choices, *more.choices))
            for plan in found
            for more in kept
        )
    return found


def best(plans: Iterable[Plan[T]]) -> list[Plan[T]]:
    """The plans that no other beats in both hours and price, the fastest first; of equal ones the first."""
    kept: list[Plan[T]] = []
    for plan in sorted(plans, key=lambda plan: (plan.hours, plan.usd)):
        if not kept or plan.usd < kept[-1].usd:
            kept.append(plan)
    return kept


def cheapest(plans: Sequence[Plan[T]], *, hours: float | None = None) -> Plan[T] | None:
    """The cheapest of a frontier that takes no longer than so many hours, None when there is none."""
    within = [plan for plan in plans if hours is None or plan.hours <= hours]
    return within[-1] if within else None


def fastest(plans: Sequence[Plan[T]], *, usd: float | None = None) -> Plan[T] | None:
    """The fastest of a frontier that costs no more than so much, None when there is none."""
    return next((plan for plan in plans if usd is None or plan.usd <= usd), None)
