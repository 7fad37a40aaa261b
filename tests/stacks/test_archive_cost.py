"""What archiving costs, when it happens, which rule is meant, in which state a dataset is: pure decisions."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem.landing_zone import FINISHED, STATE_TAG
from cdk_cryoem_lambda.receipt_hook import verdict
from cdk_cryoem_lambda.receipts import Receipt
from cdk_cryoem_stacks.archive import bucket, contents, cost, decide, parallel, prices, report
from cdk_cryoem_stacks.archive.contents import DAY, Contents, Held, Rule, Sum
from cdk_cryoem_stacks.archive.prices import GB
from cdk_cryoem_stacks.operate.ask import Failed

ROOT = Path(__file__).parents[2]
RULE = Rule(days=30)
NOW = 100 * DAY
NOTHING = Sum()


def held(size: int = GB, storage_class: str = "STANDARD", *, at: float = NOW, **more: Any) -> Held:
    return Held(key="k", size=size, storage_class=storage_class, at=at, **more)


def summed(*objects: Held, rule: Rule | None = RULE) -> Contents:
    return contents.sum_up(objects, rule, now=NOW)


# --- prices -----------------------------------------------------------------------------------------------------------


def test_every_price_has_a_unit_a_region_a_date_and_a_source() -> None:
    table = prices.prices()
    assert len(table) == 14
    for name, price in table.items():
        assert price.usd > 0, name
        assert price.region == prices.REGION
        assert re.fullmatch(r"20\d\d-[01]\d", price.date)
        assert price.unit
        assert price.source
    assert prices.of_region("us-east-1") == "list prices of us-east-1, 2026-11"
    assert prices.of_region("eu-west-1").endswith("this system is in eu-west-1, where they differ")


def test_a_terabyte_in_ten_thousand_movies() -> None:
    """By hand: 1,000 GB in 10,000 objects of standard storage."""
    objects = [held(GB // 10) for _ in range(10_000)]
    made = cost.archiving(objects, RULE, now=NOW)
    size = GB // 10 * 10_000 / GB
    assert made.now.least == made.now.most == pytest.approx(0.023 * size)
    overhead = 10_000 * (0.00099 * 32 + 0.023 * 8) / 1024**2
    assert made.after == pytest.approx(0.00099 * size + overhead + 0.01, rel=1e-9)
    assert made.moves == pytest.approx(0.5)
    assert made.tags == pytest.approx(0.054)
    assert made.minimum == pytest.approx((0.00099 * size + overhead) * 180 / (365 / 12))
    standard, bulk = made.restores
    assert standard.once_usd == pytest.approx(0.02 * size + 1.0)
    assert bulk.once_usd == pytest.approx(0.0025 * size + 0.25)
    assert standard.copy_usd_per_day == bulk.copy_usd_per_day == pytest.approx(0.023 * size * 12 / 365)
    assert (standard.hours, bulk.hours) == (12, 48)


@pytest.mark.parametrize(
    ("days", "least"), [(0, 0.023), (29.9, 0.023), (30, 0.0125), (89.9, 0.0125), (90, 0.004), (900, 0.004)]
)
def test_what_intelligent_tiering_costs_depends_on_what_is_read(days: float, least: float) -> None:
    price = cost.monthly([held(storage_class="INTELLIGENT_TIERING", at=NOW - days * DAY)], now=NOW)
    assert price.most == pytest.approx(0.023 + 0.0025 / 1000)
    assert price.least == pytest.approx(least + 0.0025 / 1000)


def test_small_objects_are_not_watched_and_never_sink() -> None:
    size = 128 * 1024 - 1
    price = cost.monthly([held(size, "INTELLIGENT_TIERING", at=0)], now=NOW)
    assert price.least == price.most == pytest.approx(0.023 * size / GB)


def test_a_restored_copy_is_paid_beside_the_archived_object() -> None:
    (alone,) = {cost.monthly([held(storage_class="DEEP_ARCHIVE")], now=NOW).most}
    both = cost.monthly([held(storage_class="DEEP_ARCHIVE", restored_until=NOW + 1)], now=NOW).most
    over = cost.monthly([held(storage_class="DEEP_ARCHIVE", restored_until=NOW)], now=NOW).most
    assert both - alone == pytest.approx(0.023)
    assert over == alone


@given(sizes=st.lists(st.integers(0, 10**12), max_size=20), days=st.integers(1, 400))
def test_what_moves_and_what_stays_is_all_of_it_and_never_dearer_for_movies(sizes: list[int], days: int) -> None:
    objects = [held(size) for size in sizes]
    seen = summed(*objects, rule=Rule(days=days))
    assert seen.moves.files + seen.stays.files == len(sizes)
    assert seen.moves.bytes + seen.stays.bytes == sum(sizes)
    made = cost.archiving(objects, Rule(days=days), now=NOW)
    if all(size >= 10**6 for size in sizes):
        tags = 0.001 * len(sizes) / 1000
        assert made.after - tags <= made.now.least + 1e-12


def test_sums_are_shown_with_digits_that_say_something() -> None:
    shown = [report.dollars(usd) for usd in (0, 0.1, 0.0001234, 1234.5, 66.7)]
    assert shown == ["0.00", "0.10", "0.00012", "1,234.50", "66.70"]


# --- the bucket's rule ------------------------------------------------------------------------------------------------

MOVE = [{"Days": 30, "StorageClass": "DEEP_ARCHIVE"}]
TAG = {"Key": "cryoem-state", "Value": "finished"}


def lifecycle(
    filter_: dict[str, Any], *, status: str = "Enabled", transitions: Any = MOVE, **more: Any
) -> dict[str, Any]:
    return {"Rules": [{"Status": status, "Filter": filter_, "Transitions": transitions}], **more}


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (lifecycle({"Tag": TAG}), Rule(days=30)),
        (lifecycle({"And": {"Prefix": "datasets/", "Tags": [TAG]}}), Rule(days=30)),
        (lifecycle({"And": {"Tags": [TAG], "ObjectSizeGreaterThan": 999}}), Rule(days=30, smallest=1000)),
        (lifecycle({"And": {"Prefix": "", "Tags": [TAG], "ObjectSizeGreaterThan": 0}}), Rule(days=30)),
        (
            lifecycle({"Tag": TAG}, TransitionDefaultMinimumObjectSize="varies_by_storage_class"),
            Rule(days=30, smallest=0),
        ),
        (lifecycle({"Tag": TAG}, TransitionDefaultMinimumObjectSize="all_storage_classes_128K"), Rule(days=30)),
        (lifecycle({"Tag": TAG}, status="Disabled"), None),
        (lifecycle({"Tag": {**TAG, "Value": "other"}}), None),
        (lifecycle({"And": {"Tags": [TAG, {"Key": "a", "Value": "b"}]}}), None),
        (lifecycle({"And": {"Prefix": "results/", "Tags": [TAG]}}), None),
        (lifecycle({"Prefix": "datasets/"}), None),
        (lifecycle({}), None),
        (lifecycle({"Tag": TAG}, transitions=[{"Days": 1, "StorageClass": "GLACIER_IR"}]), None),
        (lifecycle({"Tag": TAG}, transitions=[{"Date": "2026-01-01", "StorageClass": "DEEP_ARCHIVE"}]), None),
        ({}, None),
    ],
)
def test_only_a_rule_that_moves_what_is_tagged_as_finished_is_meant(
    given_: dict[str, Any], expected: Rule | None
) -> None:
    assert contents.rule_of(given_, "datasets/d/", tag=STATE_TAG, value=FINISHED) == expected


def test_the_soonest_of_several_rules_counts() -> None:
    rules = [*lifecycle({"Tag": TAG})["Rules"], *lifecycle({"Tag": TAG}, transitions=[{**MOVE[0], "Days": 7}])["Rules"]]
    assert contents.rule_of({"Rules": rules}, "datasets/d/", tag=STATE_TAG, value=FINISHED) == Rule(days=7)


def test_the_tag_is_the_landing_zones() -> None:
    assert (decide.STATE_TAG, decide.FINISHED) == (STATE_TAG, FINISHED)


def test_the_landing_zones_own_rule_is_meant(synthesise: Any, default_config: Any) -> None:
    """The rule of the template, as S3 would answer it."""
    landing = default_config.landing.model_copy(update={"archive_after_days": 45})
    template = synthesise(default_config.model_copy(update={"landing": landing}))["storage"]
    rules = [
        rule
        for resource in template["Resources"].values()
        if resource["Type"] == "AWS::S3::Bucket"
        for rule in resource["Properties"].get("LifecycleConfiguration", {}).get("Rules", ())
        if rule.get("TagFilters")
    ]
    assert len(rules) == 1
    (rule,) = rules
    answered = {
        "Status": rule["Status"],
        "Filter": {"And": {"Prefix": rule.get("Prefix", ""), "Tags": rule["TagFilters"]}},
        "Transitions": [
            {"Days": t["TransitionInDays"], "StorageClass": t["StorageClass"]} for t in rule["Transitions"]
        ],
    }
    found = contents.rule_of({"Rules": [answered]}, "datasets/d/", tag=STATE_TAG, value=FINISHED)
    assert found == Rule(days=45)


@pytest.mark.parametrize(
    ("came", "due"),
    [("2026-01-01T00:00", "2026-01-31"), ("2026-01-01T00:01", "2026-02-01"), ("2026-01-01T23:59", "2026-02-01")],
)
def test_s3_rounds_up_to_midnight(came: str, due: str) -> None:
    at = datetime.fromisoformat(came).replace(tzinfo=UTC).timestamp()
    assert report.day(RULE.due(held(at=at))) == due


# --- states -----------------------------------------------------------------------------------------------------------

DEEP, BIG = held(storage_class="DEEP_ARCHIVE"), held()
BACK = held(storage_class="DEEP_ARCHIVE", restored_until=NOW + 1)
OVER = held(storage_class="DEEP_ARCHIVE", restored_until=NOW)
ON_ITS_WAY = held(storage_class="DEEP_ARCHIVE", restoring=True)


@pytest.mark.parametrize(
    ("item", "objects", "state"),
    [
        ({}, [BIG], "active"),
        ({}, [], "active"),
        ({"archive": "active"}, [BIG], "active"),
        ({"archive": "finished"}, [BIG], "finished"),
        ({"archive": "finished"}, [BIG, DEEP], "finished"),
        ({"archive": "finished"}, [DEEP, held(100)], "archived"),
        ({"archive": "active"}, [BIG, DEEP], "archived"),
        ({"archive": "restoring", "archive_pending": 1}, [DEEP], "restoring"),
        ({"archive": "restoring"}, [ON_ITS_WAY, BACK], "restoring"),
        ({"archive": "restoring"}, [DEEP, BACK], "restoring"),
        ({"archive": "restoring"}, [BACK, BIG], "restored"),
        ({"archive": "restoring"}, [OVER], "archived"),
        ({"archive": "restoring"}, [DEEP], "archived"),
    ],
)
def test_the_state_is_what_s3_has(item: dict[str, Any], objects: list[Held], state: str) -> None:
    assert decide.state_of(item, summed(*objects)) == state


def test_a_listing_tells_of_restores() -> None:
    listed = {"Key": "k", "Size": 5, "StorageClass": "DEEP_ARCHIVE", "LastModified": datetime.fromtimestamp(7, UTC)}
    assert contents.held(listed) == held(5, "DEEP_ARCHIVE", at=7)
    assert contents.held({**listed, "RestoreStatus": {"IsRestoreInProgress": True}}).restoring
    done = {"IsRestoreInProgress": False, "RestoreExpiryDate": datetime.fromtimestamp(NOW, UTC)}
    assert contents.held({**listed, "RestoreStatus": done}) == held(5, "DEEP_ARCHIVE", at=7, restored_until=NOW)


@pytest.mark.parametrize(
    ("header", "restoring", "until"),
    [
        ("", False, None),
        ('ongoing-request="true"', True, None),
        ('ongoing-request="false", expiry-date="Fri, 21 Dec 2012 00:00:00 GMT"', False, 1356048000.0),
    ],
)
def test_a_header_tells_of_one_restore(header: str, restoring: bool, until: float | None) -> None:
    told = bucket.told(DEEP, header)
    assert (told.restoring, told.restored_until) == (restoring, until)


def test_the_receipt_that_the_hooks_call_safe_is_the_one_that_is_wanted() -> None:
    made = Receipt(dataset="d", counts={}, movies=1, bytes=1, last_at=1, looked_at=2, reasons=(), examples=())
    state = verdict(made, {"landed_at": 0}, None, not_safe_after=1, now=2)
    item = {"sk": "d", "state": "landed", "last_at": 1.0}
    receipt = {"state": state, "dataset_last_at": 1.0}
    allowed = decide.may_archive(item, receipt, RULE, summed(BIG), recipe="", without_receipt=False)
    assert allowed.allowed
    assert not allowed.warnings


def test_everything_that_speaks_against_it_is_said_at_once() -> None:
    said = decide.may_archive({"sk": "d"}, None, None, summed(BIG), recipe="spa", without_receipt=False)
    assert len(said.refusals) == 4
    nothing = decide.may_archive(
        {"sk": "d", "state": "landed"}, None, RULE, summed(held(5)), recipe="", without_receipt=True
    )
    assert nothing.refusals == ["nothing of d would move: it has no file large enough"]
    there = decide.may_archive(
        {"sk": "d", "state": "landed", "archive": "restoring"},
        None,
        RULE,
        summed(DEEP),
        recipe="",
        without_receipt=True,
    )
    assert there.refusals == ["nothing of d would move: all that is large enough is in the archive"]
    assert any("nobody can tell here whether they are in use" in warning for warning in there.warnings)


# --- tags -------------------------------------------------------------------------------------------------------------

_TAGS = st.dictionaries(st.sampled_from(["a", "b", "c", "cryoem-state", "group"]), st.sampled_from(["x", "finished"]))


@given(tags=_TAGS, value=st.sampled_from(["finished", None]))
def test_tags_of_others_stay_and_ours_is_as_wanted(tags: dict[str, str], value: str | None) -> None:
    before = [{"Key": key, "Value": text} for key, text in tags.items()]
    after = decide.tags_with(before, value)
    assert (after is None) == (tags.get("cryoem-state") == value)
    now = {each["Key"]: each["Value"] for each in (before if after is None else after)}
    assert now.pop("cryoem-state", None) == value
    assert now == {key: text for key, text in tags.items() if key != "cryoem-state"}


def test_an_eleventh_tag_is_refused_and_a_tenth_is_not() -> None:
    tags = [{"Key": str(number), "Value": "v"} for number in range(9)]
    assert len(decide.tags_with(tags, "finished") or ()) == 10
    with pytest.raises(ValueError, match="10 tags of others"):
        decide.tags_with([*tags, {"Key": "9", "Value": "v"}], "finished")


# --- many at once -----------------------------------------------------------------------------------------------------


def test_all_are_tried_and_those_that_failed_are_told() -> None:
    done, told = [], []

    def act(number: int) -> int:
        if number in (5, 7):
            raise Failed(f"no {number}")
        done.append(number)
        return number

    with pytest.raises(Failed, match=r"^2 files of 50 failed: '[57]' \(no [57]\), '[57]' \(no [57]\)\. Run it again"):
        parallel.each(range(50), act, name=str, progress=lambda *given: told.append(given))
    assert sorted(done) == sorted(set(range(50)) - {5, 7})
    assert told == [(number, 50) for number in range(1, 51)]
    assert parallel.each([], act, name=str, progress=lambda *given: told.append(given)) == []


def test_what_is_wrong_with_the_first_is_said_once_and_ends_it() -> None:
    tried = []

    def act(number: int) -> None:
        tried.append(number)
        raise Failed("these credentials may not")

    with pytest.raises(Failed, match=r"^these credentials may not$"):
        parallel.each(range(50), act, name=str, progress=lambda *given: None)
    assert tried == [0]
