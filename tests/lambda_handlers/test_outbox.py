"""An event waits until EventBridge has it, whoever dies in between, and of two that say the same one waits."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from fakes import Aws
from hypothesis import given, settings
from hypothesis import strategies as st
from test_events_out import EXAMPLES

from cdk_cryoem_lambda.events_out import DatasetArriving, NodeFailed
from cdk_cryoem_lambda.outbox import Outbox, item_of
from cdk_cryoem_lambda.world import world


@pytest.fixture
def outbox(aws: Aws) -> Outbox:
    return world().outbox


def arriving(n: int) -> DatasetArriving:
    return DatasetArriving(dataset=f"d{n}", first_at=5.0)


def test_what_waits_is_said_and_removed(aws: Aws, outbox: Outbox) -> None:
    outbox.put(arriving(1))
    assert aws.events.taken == []
    assert outbox.flush() == 1
    assert aws.events.taken == [
        {
            "EventBusName": "bus",
            "Source": "cryoem.platform",
            "DetailType": "Dataset Arriving",
            "Detail": {"version": 1, "cluster": "cryo", "dataset": "d1", "first_at": 5.0},
        }
    ]
    assert (outbox.flush(), aws.dynamodb.items, len(aws.events.taken)) == (0, {}, 1)


def test_the_same_event_waits_once(aws: Aws, outbox: Outbox) -> None:
    event = NodeFailed(node="n", lane="gpu4", since=5.0, reason="")
    outbox.put(event)
    outbox.put(dataclasses.replace(event, reason="told differently"))
    outbox.put(dataclasses.replace(event, since=6.0))
    assert outbox.flush() == 2


@pytest.mark.parametrize("kind", sorted(EXAMPLES))
def test_every_kind_arrives_as_it_was_written(aws: Aws, outbox: Outbox, kind: str) -> None:
    outbox.put(EXAMPLES[kind])
    assert outbox.flush() == 1
    assert aws.said(kind) == [json.loads(json.dumps(EXAMPLES[kind].detail(cluster="cryo")))]


def test_the_oldest_goes_first_ten_at_a_time(aws: Aws, outbox: Outbox) -> None:
    for n in range(23):
        aws.clock.now += 1
        outbox.put(arriving(n))
    assert outbox.flush() == 23
    assert [told["dataset"] for told in aws.said("Dataset Arriving")] == [f"d{n}" for n in range(23)]


def test_what_is_refused_stays_and_the_rest_goes(aws: Aws, outbox: Outbox) -> None:
    for n in range(12):
        outbox.put(arriving(n))
    outbox.put(EXAMPLES["Backup Failed"])
    aws.events.refused_kinds = {"Backup Failed"}
    with pytest.raises(RuntimeError, match=r"^EventBridge did not take 1 events: Backup Failed: ThrottlingException"):
        outbox.flush()
    assert (len(aws.said("Dataset Arriving")), aws.waiting()) == (12, ["Backup Failed"])
    aws.events.refused_kinds = set()
    assert outbox.flush() == 1


def test_what_eventbridge_gave_no_id_it_does_not_have(
    aws: Aws, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    outbox.put(arriving(1))
    monkeypatch.setattr(aws.events, "put_events", lambda **_: {"FailedEntryCount": 0, "Entries": [{}]})
    with pytest.raises(RuntimeError, match="EventBridge did not take 1 events: Dataset Arriving"):
        outbox.flush()
    assert aws.waiting() == ["Dataset Arriving"]


def test_who_dies_before_it_is_said_leaves_it(aws: Aws, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    put = aws.events.put_events

    def died(**_: Any) -> Any:
        raise KeyboardInterrupt

    outbox.put(arriving(1))
    monkeypatch.setattr(aws.events, "put_events", died)
    with pytest.raises(KeyboardInterrupt):
        outbox.flush()
    assert aws.waiting() == ["Dataset Arriving"]
    monkeypatch.setattr(aws.events, "put_events", put)
    assert outbox.flush() == 1


def test_who_dies_before_it_is_removed_says_it_again(aws: Aws, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """At least once: who must not act twice has the event's own fields to tell by."""
    delete = aws.dynamodb.delete_item

    def died(**_: Any) -> Any:
        raise KeyboardInterrupt

    outbox.put(arriving(1))
    monkeypatch.setattr(aws.dynamodb, "delete_item", died)
    with pytest.raises(KeyboardInterrupt):
        outbox.flush()
    monkeypatch.setattr(aws.dynamodb, "delete_item", delete)
    assert outbox.flush() == 1
    assert aws.kinds_said() == ["Dataset Arriving"] * 2
    assert aws.events.taken[0] == aws.events.taken[1]


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(first=st.floats(0, 2e9), second=st.floats(0, 2e9), name=st.text(min_size=1, max_size=20))
def test_two_events_have_one_key_exactly_when_what_identifies_them_is_the_same(
    first: float, second: float, name: str
) -> None:
    keys = [item_of(DatasetArriving(dataset=name, first_at=at), cluster="cryo")["sk"]["S"] for at in (first, second)]
    assert (keys[0] == keys[1]) is (first == second)
    assert item_of(DatasetArriving(dataset=name + "x", first_at=first), cluster="cryo")["sk"]["S"] != keys[0]
