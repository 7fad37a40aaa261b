"""What AWS itself says of a month: Cost Explorer, by the system's tag. A request costs 0.01 USD, and its data is a day late."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from ..operate.ask import ask

if TYPE_CHECKING:
    from mypy_boto3_ce import CostExplorerClient

_TAG = "cryoem:system"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bill:
    """Unblended cost in USD by service. estimated: AWS has not closed the month."""

    by_service: dict[str, float]
    estimated: bool

    @property
    def usd(self) -> float:
        """Of all services."""
        return sum(self.by_service.values())

    @property
    def compute_usd(self) -> float:
        """Instances alone, the head node's too."""
        return sum(
            usd for service, usd in self.by_service.items() if service.startswith("Amazon Elastic Compute Cloud")
        )


def bill(client: CostExplorerClient, *, system: str, month: str, today: date) -> Bill | None:
    """What was billed; None on the first day of a month, of which Cost Explorer knows nothing. Errors: Failed.

    The tag has to be activated for costs in the billing console; before, everything is zero.
    """
    first = date.fromisoformat(f"{month}-01")
    following = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    end = min(following, today)
    if end <= first:
        return None
    found: dict[str, float] = {}
    estimated = False
    token: str | None = ""
    while token is not None:
        page = _page(client, system=system, start=first, end=end, token=token)
        for part in page["ResultsByTime"]:
            estimated |= part["Estimated"]
            for group in part["Groups"]:
                (service,) = group["Keys"]
                found[service] = found.get(service, 0.0) + float(group["Metrics"]["UnblendedCost"]["Amount"])
        token = page.get("NextPageToken")
    return Bill(by_service=dict(sorted(found.items(), key=lambda each: -each[1])), estimated=estimated)


def _page(client: CostExplorerClient, *, system: str, start: date, end: date, token: str) -> Any:
    more: dict[str, Any] = {"NextPageToken": token} if token else {}
    return ask(
        "ce:GetCostAndUsage",
        lambda: client.get_cost_and_usage(
            TimePeriod={"Start": start.isoformat(), "End": end.isoformat()},
            Granularity="MONTHLY",
            Metrics=["UnblendedCost"],
            GroupBy=[{"Type": "DIMENSION", "Key": "SERVICE"}],
            Filter={"Tags": {"Key": _TAG, "Values": [system]}},
            **more,
        ),
    )
