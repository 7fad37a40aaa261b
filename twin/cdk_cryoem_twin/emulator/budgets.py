"""AWS::Budgets::Budget, through the emulator's own budgets API."""

from __future__ import annotations

import os

from .extension import Json, account, client, register_type


class _BudgetType:
    replacing = ()

    @staticmethod
    def _arguments(name: str, props: Json) -> Json:
        budget = dict(props["Budget"])
        limit = budget["BudgetLimit"]
        return {
            "AccountId": account(),
            "Budget": budget
            | {"BudgetName": name, "BudgetLimit": {"Amount": str(limit["Amount"]), "Unit": limit["Unit"]}},
            "NotificationsWithSubscribers": [
                {
                    "Notification": n["Notification"] | {"Threshold": float(n["Notification"]["Threshold"])},
                    "Subscribers": n["Subscribers"],
                }
                for n in props.get("NotificationsWithSubscribers", [])
            ],
        }

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        name = props["Budget"].get("BudgetName") or f"{stack}-{logical_id}-{os.urandom(4).hex()}"
        client("budgets").create_budget(**self._arguments(name, props))
        return name, {"Id": name}

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        self.delete(physical_id, before)
        client("budgets").create_budget(**self._arguments(physical_id, after))
        return physical_id, {"Id": physical_id}

    def delete(self, physical_id: str, props: Json) -> None:
        client("budgets").delete_budget(AccountId=account(), BudgetName=physical_id)


def register() -> None:
    """Make budgets known."""
    register_type("AWS::Budgets::Budget", _BudgetType())
