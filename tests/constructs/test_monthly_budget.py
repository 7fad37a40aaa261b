"""A budget tells people; wrong limits and addresses are refused."""

from __future__ import annotations

import math

import pytest
from aws_cdk import Stack
from aws_cdk.assertions import Template

from cdk_cryoem import CryoEmError, MonthlyBudget
from cdk_cryoem.monthly_budget import budget_problems


def test_people_are_told_at_50_80_and_100_percent_and_by_the_forecast(stack: Stack) -> None:
    MonthlyBudget(stack, "Budget", limit_usd=2500, emails=["a@example.org", "b@example.org"])
    template = Template.from_stack(stack)
    template.has_resource_properties(
        "AWS::Budgets::Budget",
        {"Budget": {"BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": 2500, "Unit": "USD"}}},
    )
    (budget,) = template.find_resources("AWS::Budgets::Budget").values()
    told = budget["Properties"]["NotificationsWithSubscribers"]
    assert [(n["Notification"]["NotificationType"], n["Notification"]["Threshold"]) for n in told] == [
        ("ACTUAL", 50), ("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100),
    ]  # fmt: skip
    assert all([s["Address"] for s in n["Subscribers"]] == ["a@example.org", "b@example.org"] for n in told)


def test_two_budgets_fit_in_one_stack(stack: Stack) -> None:
    for name in ("A", "B"):
        MonthlyBudget(stack, name, limit_usd=0.01, emails=["a@example.org"])
    Template.from_stack(stack).resource_count_is("AWS::Budgets::Budget", 2)


@pytest.mark.parametrize("limit", [0, -1, -0.01, math.nan, math.inf])
def test_a_limit_is_above_zero_and_finite(limit: float) -> None:
    assert [problem.property for problem in budget_problems(limit_usd=limit, emails=["a@b"])] == ["limit_usd"]


@pytest.mark.parametrize(("count", "wrong"), [(0, True), (1, False), (10, False), (11, True)])
def test_one_to_ten_people_are_told(count: int, wrong: bool) -> None:
    assert bool(budget_problems(limit_usd=1, emails=["a@b"] * count)) is wrong


def test_everything_wrong_is_reported_at_once(stack: Stack) -> None:
    with pytest.raises(CryoEmError) as caught:
        MonthlyBudget(stack, "Budget", limit_usd=-1, emails=["nobody", "a@b", "noone"])
    assert [problem.value for problem in caught.value.problems] == [-1, "nobody", "noone"]
