"""AWS Budgets as the slow limit: it tells people, hours after the money was spent, and can end launches then."""

from __future__ import annotations

import math
from collections.abc import Sequence

from aws_cdk import aws_budgets as budgets
from constructs import Construct

from .budget_action import BudgetAction, DenyLaunches, deny_problems
from .problems import Problem, known, require


class MonthlyBudget(Construct):
    """A monthly cost budget that writes to people at 50, 80 and 100 %, and when the forecast passes it.

    limit_usd: above 0. emails: 1 to 10 addresses. at_limit: launches that are denied at 100 %. Default: it only tells.
    It counts the whole account: tags only become usable for costs a day after somebody has activated them there.
    Costs nothing (the first two budgets of an account; then 0.02 USD a day), its action as BudgetAction says.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        limit_usd: float,
        emails: Sequence[str],
        at_limit: DenyLaunches | None = None,
    ) -> None:
        super().__init__(scope, id)
        require(
            f"MonthlyBudget {id!r}",
            [
                *budget_problems(limit_usd=limit_usd, emails=emails),
                *(problem.under("at_limit") for problem in (deny_problems(at_limit) if at_limit is not None else ())),
            ],
        )
        subscribers = [
            budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=address) for address in emails
        ]
        self.budget: budgets.CfnBudget = budgets.CfnBudget(
            self,
            "Resource",
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=limit_usd, unit="USD"),
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        comparison_operator="GREATER_THAN", notification_type=kind, threshold=percent
                    ),
                    subscribers=subscribers,
                )
                for kind, percent in (("ACTUAL", 50), ("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100))
            ],
        )
        self.action: BudgetAction | None = None
        if at_limit is not None:
            self.action = BudgetAction(self, "Action", budget_name=self.budget.ref, deny=at_limit, emails=emails)


def budget_problems(*, limit_usd: float, emails: Sequence[str]) -> list[Problem]:
    """Everything wrong with a budget."""
    found = []
    if known(limit_usd) and not 0 < limit_usd < math.inf:
        found.append(Problem(property="limit_usd", value=limit_usd, allowed="above 0"))
    if not 1 <= len(emails) <= 10:
        found.append(Problem(property="emails", value=list(emails), allowed="1 to 10 addresses"))
    found += [
        Problem(property="emails", value=address, allowed="an e-mail address")
        for address in emails
        if known(address) and "@" not in address
    ]
    return found
