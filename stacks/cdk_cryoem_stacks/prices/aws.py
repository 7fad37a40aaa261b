"""Asks AWS for the prices of a region: the Price List for what is sold, EC2 for spot prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import boto3
from botocore.config import Config as BotoConfig

from ..operate import ask as asking
from .offers import OFFERS, Offer, Question, instance_offer
from .parse import Surprise, quote
from .spot import DAYS, SpotPrice, choose, medians
from .table import HOME_REGION, Price, on_demand_item, spot_item, units

_BOTO = BotoConfig(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "max_attempts": 5})
_PAGE = 100
POLICY = "docs/iam.md, 'Prices'"
"""Where the policy is that a refresh needs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """What AWS answered: prices, what is not sold there, and what was not understood."""

    prices: Sequence[Price]
    absent: Sequence[str]
    surprises: Mapping[str, str]


def connect(region: str) -> tuple[Any, Any]:
    """Clients of the Price List, which answers in three regions, and of EC2."""
    near = {"eu": "eu-central-1", "af": "eu-central-1", "me": "eu-central-1", "il": "eu-central-1", "ap": "ap-south-1"}
    at = near.get(region.partition("-")[0], HOME_REGION)
    return boto3.client("pricing", region_name=at, config=_BOTO), boto3.client("ec2", region_name=region, config=_BOTO)


def find(
    clients: tuple[Any, Any],
    *,
    region: str,
    instance_types: Sequence[str],
    zone: str | None,
    now: datetime,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Found:
    """All prices of a region. Errors: operate.ask.Failed. IAM: pricing:GetProducts, ec2:DescribeSpotPriceHistory; both are free."""
    pricing, ec2 = clients
    offers = [*(instance_offer(instance_type) for instance_type in instance_types), *OFFERS]
    answers: dict[Question, Sequence[str]] = {}
    prices: list[Price] = []
    absent: list[str] = []
    surprises: dict[str, str] = {}
    for number, offer in enumerate(offers, 1):
        for question in offer.questions:
            if question not in answers:
                answers[question] = _products(pricing, question, region)
        try:
            price = _price(offer, [text for question in offer.questions for text in answers[question]], region, now)
        except Surprise as surprise:
            surprises[offer.item] = str(surprise)
        else:
            prices += [price] if price else []
            absent += [] if price else [offer.item]
        progress(number, len(offers))
    sold = [name for name in instance_types if on_demand_item(name) not in absent]
    by_type = medians(_history(ec2, sold, now), until=now) if sold else {}
    for name in sold:
        chosen = choose(by_type.get(name, {}), zone)
        if chosen is None:
            absent.append(spot_item(name))
        else:
            prices.append(_spot(name, chosen, region, now))
    return Found(prices=prices, absent=absent, surprises=surprises)


def _price(offer: Offer, products: Sequence[str], region: str, now: datetime) -> Price | None:
    found = quote(offer, products)
    if found is None:
        return None
    published = f" of {found.published}" if found.published else ""
    return Price(
        item=offer.item,
        usd=found.usd,
        unit=units()[offer.item],
        region=region,
        date=f"{now:%Y-%m-%d}",
        source=f"AWS Price List{published}: {found.usage}",
    )


def _spot(instance_type: str, chosen: SpotPrice, region: str, now: datetime) -> Price:
    least, most = f"{chosen.lowest:f}", f"{chosen.highest:f}"
    return Price(
        item=spot_item(instance_type),
        usd=chosen.usd,
        unit="hour",
        region=region,
        date=f"{now:%Y-%m-%d}",
        source=f"median of {DAYS} days in {chosen.zone}; {chosen.zones} zones: {least} to {most}",
    )


def _products(pricing: Any, question: Question, region: str) -> Sequence[str]:
    found: list[str] = []
    more: dict[str, str] = {}
    while True:
        answer = _ask(
            "pricing:GetProducts",
            partial(
                pricing.get_products,
                ServiceCode=question.service,
                Filters=question.of_region(region),
                FormatVersion="aws_v1",
                MaxResults=_PAGE,
                **more,
            ),
        )
        found += answer["PriceList"]
        if not answer.get("NextToken"):
            return found
        more = {"NextToken": answer["NextToken"]}


def _history(ec2: Any, instance_types: Sequence[str], now: datetime) -> Sequence[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        answer = _ask(
            "ec2:DescribeSpotPriceHistory",
            partial(
                ec2.describe_spot_price_history,
                InstanceTypes=list(instance_types),
                ProductDescriptions=["Linux/UNIX"],
                StartTime=now - timedelta(days=DAYS),
                EndTime=now,
                **more,
            ),
        )
        found += answer["SpotPriceHistory"]
        if not answer.get("NextToken"):
            return found
        more = {"NextToken": answer["NextToken"]}


def _ask(action: str, call: Callable[[], Any]) -> Any:
    try:
        return asking.ask(action, call)
    except asking.Failed as problem:
        raise asking.Failed(str(problem).replace(asking.POLICY, POLICY)) from problem
