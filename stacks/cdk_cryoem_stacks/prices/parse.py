"""Reads products of AWS's Price List: which of them is meant, and what one unit of it costs. Pure.

A product is JSON text: `product.attributes`, and `terms.OnDemand` with price dimensions (unit, range, pricePerUnit by currency), as the
Price List API's reference and the AWS CLI's example of `get-products` show it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any

from .offers import Offer

_PREFIX = re.compile(r"([A-Z0-9]+|[a-z]{2}(-[a-z]+)+-\d)-")


class Surprise(Exception):
    """An answer that is not what was expected: nothing is made of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Quote:
    """What one unit costs, and the product's usage type and the day its price list was published."""

    usd: Decimal
    usage: str
    published: str


def quote(offer: Offer, products: Iterable[str]) -> Quote | None:
    """The price of an offer among products, None when it is not sold there. Errors: Surprise.

    Of a price in steps it is the first that costs something. Products that agree are one; a product that costs nothing (as
    reservations do, paid otherwise) is none.
    """
    found: dict[Decimal, Quote] = {}
    for text in products:
        try:
            product = json.loads(text)
            if not _is_meant(offer, product["product"]["attributes"]):
                continue
            usd = _first_step(offer, product)
            if usd:
                made = Quote(
                    usd=usd * offer.times,
                    usage=str(product["product"]["attributes"].get("usagetype", "")),
                    published=str(product.get("publicationDate", ""))[:10],
                )
                found.setdefault(made.usd, made)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Surprise(f"an answer that is not understood ({type(error).__name__}: {error})") from error
    if len(found) > 1:
        listed = ", ".join(f"{usd:f} ({found[usd].usage})" for usd in sorted(found))
        raise Surprise(f"{len(found)} prices where there is one: {listed}")
    return next(iter(found.values()), None)


def without_prefix(usage: str) -> str:
    """A usage type without what names its region: EU-, USW2-, us-east-1-."""
    return _PREFIX.sub("", usage, count=1) if _PREFIX.match(usage) else usage


def _is_meant(offer: Offer, attributes: Mapping[str, Any]) -> bool:
    if offer.usage and without_prefix(str(attributes["usagetype"])) not in offer.usage:
        return False
    # Capacity Blocks and Local Zones are products of their own.
    if attributes.get("marketoption", "OnDemand") != "OnDemand":
        return False
    if attributes.get("locationType", "AWS Region") != "AWS Region":
        return False
    return all(attributes.get(name) == value for name, value in offer.equal.items())


def _first_step(offer: Offer, product: Mapping[str, Any]) -> Decimal | None:
    steps = sorted(_steps(offer, product))
    return next((usd for _, usd in steps if usd > 0), None)


def _steps(offer: Offer, product: Mapping[str, Any]) -> Iterator[tuple[Decimal, Decimal]]:
    for term in product["terms"].get("OnDemand", {}).values():
        for step in term["priceDimensions"].values():
            if offer.units and step["unit"] not in offer.units:
                raise Surprise(f"a price for each {step['unit']}, not {' or '.join(sorted(offer.units))}")
            if "USD" not in step["pricePerUnit"]:
                raise Surprise(f"a price in {' and '.join(step['pricePerUnit']) or 'no currency'}, not in USD")
            yield _number(step.get("beginRange", "0")), _number(step["pricePerUnit"]["USD"])


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise Surprise(f"{text!r} where a number is") from error
    if not number.is_finite() or number < 0:
        raise Surprise(f"{text!r} where a price is")
    return number
