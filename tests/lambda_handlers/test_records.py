"""Conditions that keep an older look from undoing a newer one; what is said is written with it, or neither is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fakes import Aws, refusal

from cdk_cryoem_lambda import transfers
from cdk_cryoem_lambda.datasets import Seen, State, Verdict
from cdk_cryoem_lambda.events_out import DatasetGone, DatasetLanded, NodeFailed, PlatformEvent, ProcessingEnded
from cdk_cryoem_lambda.records import Records
from cdk_cryoem_lambda.world import world

SEEN = Seen(objects=1, movies=1, bytes=5, first_at=1.0, last_at=2.0, sentinel=False)
MORE = Seen(objects=9, movies=9, bytes=9, first_at=1.0, last_at=1.5, sentinel=False)
LANDED = DatasetLanded(dataset="d", objects=1, movies=1, bytes=5, reason="quiet", landed_at=7.0)
GONE = DatasetGone(dataset="d", objects_before=1)
ENDED = ProcessingEnded(dataset="d", recipe="r", state="finished", reason="")
FAILED = NodeFailed(node="n", lane="gpu4", since=5.0, reason="it does not answer Slurm")


@pytest.fixture
def records(aws: Aws) -> Records:
    return world().records


SPENT = {"2026-11#month": {"jobs": 1, "usd_micro": 500_000}}
CONFLICT = ClientError(
    {
        "Error": {"Code": "TransactionCanceledException", "Message": "[None, TransactionConflict]"},
        "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],  # type: ignore[typeddict-unknown-key]
    },
    "TransactWriteItems",
)


def verdict(state: State, *, before: bool = False) -> Verdict:
    return Verdict(state=state, reason="quiet" if state == "landed" else "", landed_before=before)


@pytest.mark.parametrize("state", ["arriving", "landed"])
def test_an_older_look_changes_nothing_and_says_nothing(aws: Aws, records: Records, state: State) -> None:
    assert records.note_dataset("d", SEEN, verdict("arriving"), now=aws.clock.now)
    before = aws.record("dataset", "d")
    assert not records.note_dataset("d", MORE, verdict(state), now=aws.clock.now - 0.001, events=[LANDED])
    assert (aws.record("dataset", "d"), aws.waiting()) == (before, [])


def test_a_look_at_the_same_moment_is_as_good(aws: Aws, records: Records) -> None:
    assert records.note_dataset("d", SEEN, verdict("arriving"), now=aws.clock.now)
    assert records.note_dataset("d", MORE, verdict("landed"), now=aws.clock.now, events=[LANDED])
    assert (aws.record("dataset", "d")["objects"], aws.waiting()) == (9.0, ["Dataset Landed"])


@pytest.mark.parametrize("state", ["arriving", "landed"])
def test_who_did_not_know_that_it_has_landed_changes_nothing(aws: Aws, records: Records, state: State) -> None:
    """Two looks, one later: the second found it arriving when it read, and may neither unland it nor land it again."""
    assert records.note_dataset("d", SEEN, verdict("landed"), now=aws.clock.now, events=[LANDED])
    before = aws.record("dataset", "d")
    assert not records.note_dataset("d", MORE, verdict(state), now=aws.clock.now + 1, events=[GONE])
    assert (aws.record("dataset", "d"), aws.waiting()) == (before, ["Dataset Landed"])


def test_who_knew_it_counts_what_came_late(aws: Aws, records: Records) -> None:
    records.note_dataset("d", SEEN, verdict("landed"), now=aws.clock.now)
    assert records.note_dataset("d", MORE, verdict("landed", before=True), now=aws.clock.now + 1)
    now = aws.record("dataset", "d")
    assert (now["objects"], now["landed_at"], now["reason"]) == (9.0, aws.clock.now, "quiet")
    assert not records.note_dataset("d", SEEN, verdict("landed", before=True), now=aws.clock.now)


def test_what_a_person_wrote_is_kept(aws: Aws, records: Records) -> None:
    records.note_dataset("d", SEEN, verdict("arriving"), now=aws.clock.now)
    aws.dynamodb.items["dataset", "d"]["operator"] = {"S": "arriving"}
    records.note_dataset("d", MORE, verdict("arriving"), now=aws.clock.now)
    assert records.dataset("d")["operator"] == "arriving"


@pytest.mark.parametrize(("looked_ago", "state", "written"), [(0, "arriving", True), (-1, "arriving", False), (9, "landed", False), (9, "gone", False)])  # fmt: skip
def test_only_what_was_arriving_when_it_was_looked_at_is_gone(
    aws: Aws, records: Records, looked_ago: float, state: State, written: bool
) -> None:
    records.note_dataset("d", SEEN, verdict(state), now=aws.clock.now - looked_ago)
    before = aws.record("dataset", "d")
    assert records.note_gone("d", now=aws.clock.now, events=[GONE]) is written
    assert aws.waiting() == ["Dataset Gone"] * written
    assert (aws.record("dataset", "d") == before) is not written
    if written:
        assert aws.record("dataset", "d")["state"] == "gone"


def test_what_nobody_has_seen_is_not_gone(aws: Aws, records: Records) -> None:
    assert not records.note_gone("d", now=aws.clock.now, events=[GONE])
    assert aws.dynamodb.items == {}


def test_processing_ends_once(aws: Aws, records: Records) -> None:
    records.note_dataset("d", SEEN, verdict("landed"), now=aws.clock.now)
    assert records.note_processing("d", state="finished", events=[ENDED])
    ended_at = aws.clock.now
    aws.clock.now += 9
    assert not records.note_processing("d", state="failed", events=[GONE])
    record = aws.record("dataset", "d")
    assert (record["processing"], record["processing_at"], record["state"]) == ("finished", ended_at, "landed")
    assert aws.waiting() == ["Processing Ended"]


def test_a_job_is_written_once(aws: Aws, records: Records) -> None:
    assert records.note_job(job_id="7", ended_at=5, fields={"name": "a", "usd": 0.5}, spent=SPENT, events=[FAILED])
    assert not records.note_job(job_id="7", ended_at=5, fields={"name": "b"}, spent=SPENT, events=[GONE])
    assert records.note_job(job_id="7", ended_at=6, fields={}, spent=SPENT)
    assert records.spend("2026-11#month") == {
        "pk": "spend",
        "sk": "2026-11#month",
        "jobs": 2,
        "usd_micro": 1_000_000,
    }
    assert [(job["sk"], job.get("name")) for job in records.jobs()] == [
        ("000000000005#7", "a"),
        ("000000000006#7", None),
    ]
    assert (records.last_job_ended_at(), aws.waiting()) == (6.0, ["Node Failed"])


def test_lanes_of_an_older_look_change_nothing(aws: Aws, records: Records) -> None:
    def note(now: float, *lanes: str, events: list[PlatformEvent] | None = None) -> bool:
        return records.note_lanes(manifest="m", lanes=lanes, kept=(), closed=["a"], now=now, events=events or [])

    assert note(5.0, "a", "b")
    assert not note(4.9, "a", events=[GONE])
    assert (records.lanes()["lanes"], records.lanes()["closed"], aws.waiting()) == (["a", "b"], ["a"], [])
    assert note(5.0)
    assert records.lanes()["lanes"] == []


def test_a_trouble_is_noted_once_until_it_is_forgotten(aws: Aws, records: Records) -> None:
    def note() -> bool:
        return records.note_once("node", "n#5", fields={"node": "n", "since": 5.0}, events=[FAILED])

    assert (note(), note()) == (True, False)
    assert records.known("node") == [{"pk": "node", "sk": "n#5", "node": "n", "since": 5}]
    records.forget("node", "n#5")
    records.forget("node", "n#5")
    assert records.known("node") == []
    assert note()


@pytest.mark.parametrize(("item", "until"), [(None, 0.0), ({"until": {"N": "9.5"}}, 9.5), ({}, 0.0)])
def test_until_when_somebody_asked_for_the_head_node(
    aws: Aws, records: Records, item: dict[str, Any] | None, until: float
) -> None:
    if item is not None:
        aws.dynamodb.items["request", "wake"] = {"pk": {"S": "request"}, "sk": {"S": "wake"}, **item}
    assert records.wake_until() == until


def test_two_hooks_at_one_total_at_one_moment_both_count(
    aws: Aws, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    transact, refusals = aws.dynamodb.transact_write_items, [CONFLICT, CONFLICT]

    def contended(**given: Any) -> None:
        if refusals:
            raise refusals.pop()
        transact(**given)

    monkeypatch.setattr(aws.dynamodb, "transact_write_items", contended)
    assert records.note_job(job_id="7", ended_at=5, fields={}, spent=SPENT)
    assert records.spend("2026-11#month")["jobs"] == 1


WRITES: list[Callable[[Records], object]] = [
    lambda records: records.note_dataset("d", SEEN, verdict("landed"), now=9.0, events=[LANDED]),
    lambda records: records.note_gone("e", now=9.0, events=[GONE]),
    lambda records: records.note_processing("d", state="finished", events=[ENDED]),
    lambda records: records.note_job(job_id="7", ended_at=5, fields={}, spent={}, events=[FAILED]),
    lambda records: records.note_lanes(manifest="m", lanes=["a"], kept=(), closed=(), now=9.0, events=[FAILED]),
    lambda records: records.note_once("node", "n", fields={}, events=[FAILED]),
]


@pytest.mark.parametrize("write", WRITES)
def test_a_change_and_what_is_said_of_it_are_written_at_once(
    aws: Aws, records: Records, monkeypatch: pytest.MonkeyPatch, write: Callable[[Records], object]
) -> None:
    records.note_dataset("e", SEEN, verdict("arriving"), now=1.0)
    writes, calls = aws.dynamodb.writes, []
    transact = aws.dynamodb.transact_write_items

    def counted(**given: Any) -> None:
        calls.append(len(given["TransactItems"]))
        transact(**given)

    monkeypatch.setattr(aws.dynamodb, "transact_write_items", counted)
    monkeypatch.delattr(type(aws.dynamodb), "put_item")
    assert write(records) is True
    assert calls == [2]
    assert len(aws.waiting()) == 1
    assert aws.dynamodb.writes == writes + 2


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    "error",
    [
        refusal("ProvisionedThroughputExceededException", "TransactWriteItems"),
        CONFLICT,
    ],
)
def test_what_dynamodb_does_not_take_is_no_condition_that_fails(
    aws: Aws, records: Records, monkeypatch: pytest.MonkeyPatch, write: Callable[[Records], object], error: ClientError
) -> None:
    def refuse(**_: Any) -> None:
        raise error

    monkeypatch.setattr(aws.dynamodb, "transact_write_items", refuse)
    with pytest.raises(ClientError):
        write(records)


def test_the_latest_transfer_counts(aws: Aws, records: Records) -> None:
    records.note_transfer("a", began=10.0, files=0, well=True)
    records.note_transfer("a", began=9.0, files=4, well=True)
    records.note_transfer("b", began=11.0, files=2, well=True)
    assert began(records, "a", "b", "c") == [10.0, None, None]
    records.note_transfer("a", began=12.0, files=0, well=False)
    assert began(records, "a") == [None], "one that failed says nothing"
    assert began(records) == []


def began(records: Records, *tasks: str) -> list[float | None]:
    return [each.began for each in transfers.emptied(records.known("transfer"), tasks)]


def test_a_look_that_did_not_hear_an_operator_hold_a_dataset_open_does_not_land_it(aws: Aws) -> None:
    """The record was read before the word was written; the next look hears it."""
    records, now = world().records, aws.clock.now
    seen = Seen(objects=1, movies=1, bytes=5, first_at=1.0, last_at=2.0, sentinel=True)
    assert records.note_dataset("d", seen, Verdict(state="arriving", reason=""), now=now)
    aws.dynamodb.items["dataset", "d"]["operator"] = {"S": "arriving"}
    assert not records.note_dataset("d", seen, Verdict(state="landed", reason="sentinel"), now=now + 1)
    assert records.dataset("d")["state"] == "arriving"
    aws.dynamodb.items["dataset", "d"]["operator"] = {"S": "landed"}
    assert records.note_dataset("d", seen, Verdict(state="landed", reason="an operator said so"), now=now + 2)
    assert records.dataset("d")["state"] == "landed"
