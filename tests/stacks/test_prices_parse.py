"""What is made of AWS's answers: products of the Price List, histories of spot prices. Shapes as AWS documents them; none is of AWS."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem_stacks import prices
from cdk_cryoem_stacks.prices import file, spot
from cdk_cryoem_stacks.prices.aws import Found
from cdk_cryoem_stacks.prices.compare import Outcome, compare
from cdk_cryoem_stacks.prices.offers import NOT_ASKED, OFFERS, Offer, Question, instance_offer
from cdk_cryoem_stacks.prices.parse import Surprise, quote, without_prefix
from cdk_cryoem_stacks.prices.report import outcome_text
from cdk_cryoem_stacks.prices.table import Price, PriceTable

# --- products -----------------------------------------------------------------------------------------------------------


def product(
    usage: str,
    *steps: tuple[str, str],
    unit: str = "Hrs",
    currency: str = "USD",
    terms: str = "OnDemand",
    **attributes: str,
) -> str:
    """One entry of PriceList, as the AWS CLI's example of `get-products` shows it."""
    dimensions = {
        f"SKU.JRTCKXETXF.{number}": {
            "unit": unit,
            "beginRange": begin,
            "endRange": "Inf",
            "description": f"{usd} per {unit}",
            "appliesTo": [],
            "rateCode": f"SKU.JRTCKXETXF.{number}",
            "pricePerUnit": {currency: usd},
        }
        for number, (begin, usd) in enumerate(steps)
    }
    return json.dumps({
        "product": {
            "productFamily": "Compute Instance",
            "attributes": {"usagetype": usage, "locationType": "AWS Region", "servicecode": "AmazonEC2"} | attributes,
            "sku": "SKU",
        },
        "serviceCode": "AmazonEC2",
        "terms": {terms: {"SKU.JRTCKXETXF": {"priceDimensions": dimensions, "sku": "SKU", "offerTermCode": "JRTCKXETXF",
                                             "effectiveDate": "2026-11-01T00:00:00Z", "termAttributes": {}}}},
        "version": "20261119000000",
        "publicationDate": "2026-11-19T21:07:47Z",
    })  # fmt: skip


G5 = instance_offer("g5.4xlarge")
GB = Offer(
    item="nat:gb",
    questions=(Question(service="AmazonEC2"),),
    usage=frozenset({"NatGateway-Bytes"}),
    units=frozenset({"GB"}),
)


def offer(item: str) -> Offer:
    (found,) = [each for each in OFFERS if each.item == item]
    return found


def test_the_product_that_is_meant_is_found_among_others() -> None:
    found = quote(G5, [
        product("EU-UnusedBox:g5.4xlarge", ("0", "1.9")),
        product("EU-BoxUsage:g5.48xlarge", ("0", "18.2")),
        product("EU-BoxUsage:g5.4xlarge", ("0", "1.8130000000")),
        product("EU-BoxUsage:g5.4xlarge", ("0", "0.9"), marketoption="CapacityBlock"),
        product("EU-BoxUsage:g5.4xlarge", ("0", "2.1"), locationType="AWS Local Zone"),
        product("EU-BoxUsage:g5.4xlarge", ("0", "1.1"), terms="Reserved"),
        product("EU-BoxUsage:g5.4xlarge", ("0", "0.0000000000"), operation="RunInstances:FREE"),
    ])  # fmt: skip
    assert found is not None
    assert (found.usd, found.usage, found.published) == (Decimal("1.813"), "EU-BoxUsage:g5.4xlarge", "2026-11-19")


def test_what_is_not_sold_there_has_no_price() -> None:
    assert quote(G5, []) is None
    assert quote(G5, [product("BoxUsage:p5.48xlarge", ("0", "55.04"))]) is None


def test_of_steps_it_is_the_first_that_costs_something() -> None:
    steps = (("51200", "0.07"), ("0", "0.0000000000"), ("100", "0.09"), ("10240", "0.085"))
    found = quote(GB, [product("NatGateway-Bytes", *steps, unit="GB")])
    assert found is not None
    assert found.usd == Decimal("0.09")


def test_a_price_of_one_request_is_told_for_a_thousand() -> None:
    found = quote(offer("s3:put:1000-requests"), [product("Requests-Tier1", ("0", "0.0000050000"), unit="Requests")])
    assert found is not None
    assert found.usd == Decimal("0.005")


def test_file_systems_are_told_apart_by_their_throughput() -> None:
    answers = [
        product("Lustre-A", ("0", usd), unit="GB-Mo", throughputCapacity=tier)
        for tier, usd in (("N/A", "0.14"), ("125", "0.145"), ("250", "0.21"), ("50", "0.14"))
    ]
    for item, usd in (("scratch2", "0.14"), ("persistent2-125", "0.145"), ("persistent2-250", "0.21")):
        found = quote(offer(f"fsx:{item}:gb-month"), answers)
        assert found is not None
        assert found.usd == Decimal(usd)
    assert quote(offer("fsx:persistent2-500:gb-month"), answers) is None


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([product("BoxUsage:g5.4xlarge", ("0", "1.6")), product("BoxUsage:g5.4xlarge", ("0", "1.7"))], "2 prices where there is one"),
        ([product("BoxUsage:g5.4xlarge", ("0", "1.6"), unit="GB-Mo")], "for each GB-Mo, not Hrs"),
        ([product("BoxUsage:g5.4xlarge", ("0", "11.6"), currency="CNY")], "in CNY, not in USD"),
        ([product("BoxUsage:g5.4xlarge", ("0", "-1"))], "'-1' where a price is"),
        ([product("BoxUsage:g5.4xlarge", ("0", "NaN"))], "'NaN' where a price is"),
        ([product("BoxUsage:g5.4xlarge", ("0", "cheap"))], "'cheap' where a number is"),
        (["{"], "not understood"),
        (["[]"], "not understood"),
        (['{"product": {"attributes": {}}}'], "not understood"),
        (['{"product": {"attributes": {"usagetype": "BoxUsage:g5.4xlarge"}}}'], "not understood"),
    ],
)  # fmt: skip
def test_a_surprise_is_no_price(answers: list[str], said: str) -> None:
    with pytest.raises(Surprise, match=said):
        quote(G5, answers)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)
       | st.dictionaries(st.sampled_from(["product", "attributes", "usagetype", "terms", "OnDemand", "priceDimensions", "unit",
                                          "pricePerUnit", "USD", "x"]), inner, max_size=4), max_leaves=12))  # fmt: skip
def test_whatever_is_answered_ends_in_a_quote_nothing_or_a_surprise(answer: Any) -> None:
    try:
        found = quote(G5, [json.dumps(answer)])
    except Surprise as surprise:
        assert str(surprise)
    else:
        assert found is None or found.usd > 0


@pytest.mark.parametrize(
    ("usage", "plain"),
    [
        ("EU-BoxUsage:g5.4xlarge", "BoxUsage:g5.4xlarge"), ("BoxUsage:g5.4xlarge", "BoxUsage:g5.4xlarge"),
        ("USW2-TimedStorage-INT-FA-ByteHrs", "TimedStorage-INT-FA-ByteHrs"), ("us-east-1-KMS-Keys", "KMS-Keys"),
        ("eu-west-1-KMS-Keys", "KMS-Keys"), ("NatGateway-Hours", "NatGateway-Hours"), ("UGW1-Transferred-Bytes-Enhanced",
        "Transferred-Bytes-Enhanced"), ("AWSSecretsManager-Secrets", "AWSSecretsManager-Secrets"), ("CW:AlarmMonitorUsage",
        "CW:AlarmMonitorUsage"),
    ],
)  # fmt: skip
def test_a_usage_type_without_its_region(usage: str, plain: str) -> None:
    assert without_prefix(usage) == plain


def test_every_item_is_asked_for_in_one_place_or_said_not_to_be() -> None:
    others = {price.item for price in prices.load() if not price.item.startswith("ec2:")}
    asked = [each.item for each in OFFERS]
    assert len(asked) == len(set(asked))
    assert set(asked) | set(NOT_ASKED) == others
    assert not set(asked) & set(NOT_ASKED)


# --- spot ---------------------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def entry(days_ago: float, usd: str, zone: str = "a", instance_type: str = "g5.4xlarge", **more: str) -> dict[str, Any]:
    return {
        "AvailabilityZone": f"us-east-1{zone}", "InstanceType": instance_type, "ProductDescription": "Linux/UNIX",
        "SpotPrice": usd, "Timestamp": NOW - timedelta(days=days_ago),
    } | more  # fmt: skip


def median(*history: dict[str, Any]) -> Decimal | None:
    return spot.medians(history, until=NOW).get("g5.4xlarge", {}).get("us-east-1a")


def test_the_median_is_over_time_and_not_over_changes() -> None:
    # 0.9 for a day and a half in five changes, 0.5 for the rest.
    peaks = [entry(2 - 0.3 * number, usd) for number, usd in enumerate(("0.9", "0.91", "0.92", "0.93", "0.94"))]
    assert median(entry(7, "0.5"), *peaks, entry(0.5, "0.5")) == Decimal("0.5")


def test_what_held_when_the_days_began_counts_from_then_on() -> None:
    assert median(entry(40, "0.4"), entry(3, "0.6")) == Decimal("0.4")
    assert median(entry(40, "0.4"), entry(4, "0.6")) == Decimal("0.6")


def test_the_order_of_the_history_does_not_matter() -> None:
    history = [entry(6, "0.4"), entry(5, "0.7"), entry(1, "0.5")]
    assert {median(*order) for order in (history, history[::-1])} == {Decimal("0.7")}


def test_windows_is_no_linux_and_nothing_is_nothing() -> None:
    assert median(entry(3, "2.0", ProductDescription="Windows")) is None
    assert median() is None
    assert median(entry(0, "0.5")) is None


def test_the_middle_zone_is_taken_unless_one_is_named() -> None:
    by_zone = {"us-east-1a": Decimal("0.5"), "us-east-1b": Decimal("0.7"), "us-east-1c": Decimal("0.6")}
    chosen = spot.choose(by_zone, None)
    assert chosen is not None
    assert (chosen.zone, chosen.usd, chosen.zones, chosen.lowest, chosen.highest) == (
        "us-east-1c", Decimal("0.6"), 3, Decimal("0.5"), Decimal("0.7"),
    )  # fmt: skip
    two = spot.choose({"a": Decimal(1), "b": Decimal(2)}, None)
    assert two is not None
    assert two.zone == "b"
    named = spot.choose(by_zone, "us-east-1a")
    assert named is not None
    assert named.usd == Decimal("0.5")
    assert spot.choose(by_zone, "us-east-1f") is None
    assert spot.choose({}, None) is None


@given(st.lists(st.tuples(st.floats(0.01, 20), st.integers(1, 50)), min_size=1, max_size=12))
def test_a_median_is_a_price_that_was_there_and_half_the_time_it_was_not_dearer(
    history: list[tuple[float, int]],
) -> None:
    entries = [entry(days, str(usd)) for days, usd in history]
    found = median(*entries)
    steps = sorted((each["Timestamp"], Decimal(each["SpotPrice"])) for each in entries)
    moments = [NOW - timedelta(days=7) + timedelta(minutes=number) for number in range(7 * 24 * 60)][::30]
    held = [
        price for moment in moments for price in [next((u for at, u in reversed(steps) if at <= moment), None)] if price
    ]
    assert found in {usd for _, usd in steps}
    assert found is not None
    if len(held) > 20:
        assert sum(price <= found for price in held) >= len(held) / 2 - 12
        assert sum(price < found for price in held) <= len(held) / 2 + 12


# --- what becomes of a file ---------------------------------------------------------------------------------------------

PACKAGE = prices.load()


def priced(item: str, usd: str, region: str = "us-east-1", date: str = "2026-11-21") -> Price:
    return Price(item=item, usd=Decimal(usd), unit=prices.table.units()[item], region=region, date=date, source="x")


def compared(*found: Price, own: tuple[Price, ...] = (), accept: bool = False, table: PriceTable = PACKAGE) -> Outcome:
    region = found[0].region
    return compare(Found(prices=found, absent=[], surprises={}), region=region, table=table, own=own, accept=accept)


@pytest.mark.parametrize(("usd", "taken"), [("0.135", True), ("0.136", False), ("0.015", True), ("0.0149", False)])
def test_a_price_that_moved_by_more_than_a_factor_three_is_refused_unless_it_is_accepted(usd: str, taken: bool) -> None:
    new = priced("nat:hour", usd)
    outcome = compared(new)
    assert (new in outcome.rows, outcome.is_whole) == (taken, taken)
    if not taken:
        assert "more than a factor 3 from 0.045 (us-east-1, 2026-11); --accept takes it" in outcome_text(outcome)
    assert new in compared(new, accept=True).rows


def test_a_refused_price_leaves_the_files_own_where_it_was() -> None:
    own = priced("nat:hour", "0.05", date="2026-10-01")
    outcome = compared(priced("nat:hour", "5"), own=(own,))
    assert list(outcome.rows) == [own]


def test_in_a_new_region_a_price_is_compared_with_that_of_us_east_1() -> None:
    assert compared(priced("nat:hour", "0.048", "eu-west-1")).is_whole
    assert not compared(priced("nat:hour", "0.48", "eu-west-1")).is_whole


def test_other_rows_of_the_file_stay() -> None:
    own = (priced("nat:hour", "0.06", "eu-west-2"), priced("pcs:small:hour", "0.7"))
    assert set(compared(priced("nat:hour", "0.045"), own=own).rows) == {*own, priced("nat:hour", "0.045")}


def test_spot_may_move_from_what_the_package_says_but_not_from_the_files_own_and_not_above_on_demand() -> None:
    demand, item = priced("ec2:g6.xlarge:on-demand", "0.8048"), "ec2:g6.xlarge:spot"
    package = PACKAGE.usd(item).usd
    assert package * 3 < Decimal("0.6")
    assert compared(demand, priced(item, "0.6")).is_whole
    before = priced(item, "0.19", date="2026-10-01")
    assert "more than a factor 3" in outcome_text(compared(demand, priced(item, "0.6"), own=(before,)))
    assert "more than on demand, 0.8048" in outcome_text(compared(demand, priced(item, "0.81")))


def test_what_changed_is_told_in_percent_with_the_date_of_what_was() -> None:
    own = (priced("nat:gb", "0.045", "eu-west-1", "2026-10-01"), priced("nat:hour", "0.05", "eu-west-1", "2026-10-01"))
    found = Found(
        prices=[priced("nat:gb", "0.045", "eu-west-1"), priced("nat:hour", "0.048", "eu-west-1"), priced("endpoint:hour", "0.011", "eu-west-1")],
        absent=["ec2:p5.48xlarge:on-demand"],
        surprises={"alb:hour": "2 prices where there is one: 1, 2"},
    )  # fmt: skip
    said = outcome_text(compare(found, region="eu-west-1", table=PACKAGE, own=own, accept=False)).splitlines()
    assert said[0] == "prices of eu-west-1: 3 taken, 1 of them as they were"
    assert [line.split() for line in said[1:3]] == [
        ["endpoint:hour", "new", "0.011"],
        ["nat:hour", "0.05", "(2026-10-01)", "to", "0.048", "-4.0", "%"],
    ]
    assert said[3:] == [
        "not understood, left as it was:",
        "  alb:hour: 2 prices where there is one: 1, 2",
        "not sold in eu-west-1, or without spot prices:",
        "  ec2:p5.48xlarge:on-demand",
    ]


@pytest.mark.parametrize(
    ("usd", "text"), [("0.0500", "0.05"), ("1E-7", "0.0000001"), ("16", "16"), ("10", "10"), ("1E+1", "10")]
)
def test_numbers_have_no_exponent_and_no_zeros_at_their_end(usd: str, text: str) -> None:
    assert file.plain(Decimal(usd)) == text
