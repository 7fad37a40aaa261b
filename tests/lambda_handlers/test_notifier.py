"""People are told once, whatever comes twice, at one moment, or dies half way; rather twice than never."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from fakes import Aws, Clock, batch, failed
from hypothesis import given, settings
from hypothesis import strategies as st
from test_events_out import EXAMPLES, envelope

from cdk_cryoem_lambda import notifier
from cdk_cryoem_lambda.notices import TOLD

JOB = EXAMPLES["Job Finished"].detail(cluster="cryo")
RETRIES = list(itertools.accumulate([15, 30, 60, 120, 240, 480, 720]))


class Died(BaseException):
    """The function ends at this point, without another word."""


class SNS:
    """One topic, which can fail before or after it took a message."""

    def __init__(self) -> None:
        self.published: list[dict[str, Any]] = []
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None

    def publish(self, **given: Any) -> dict[str, str]:
        self.before()
        self.published.append(given)
        self.after()
        return {"MessageId": "m"}

    def subjects(self) -> list[str]:
        return [message["Subject"] for message in self.published]


@pytest.fixture
def sns(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> SNS:
    topic = SNS()
    world = {"dynamodb": aws.dynamodb, "sns": topic, "sqs": aws.sqs}
    monkeypatch.setattr(boto3, "client", lambda service, **_: world[service])
    monkeypatch.setattr(notifier, "time", aws.clock)
    monkeypatch.setenv("TOPIC", "arn:topic")
    monkeypatch.setenv("JOB_MINUTES", "30")
    notifier.told.cache_clear()
    return topic


def fail(error: BaseException) -> Callable[[], None]:
    def failing() -> None:
        raise error

    return failing


def throttled() -> ClientError:
    return ClientError({"Error": {"Code": "Throttling", "Message": "slow down"}}, "Publish")


def event(kind: str = "Job Finished", /, **changes: Any) -> dict[str, Any]:
    return envelope(kind, {**EXAMPLES[kind].detail(cluster="cryo"), **changes})


def deliver(*events: Any) -> list[str]:
    return failed(notifier.handler(batch(*events), None))


def test_a_finished_job_is_told(aws: Aws, sns: SNS) -> None:
    assert deliver(event()) == []
    (message,) = sns.published
    assert message["TopicArn"] == "arn:topic"
    assert message["Subject"] == "Your job P3 J12 (cryoSPARC) finished: 3 h 07 min, $9.32 (gpu1)"
    assert message["MessageStructure"] == "json"
    assert set(json.loads(message["Message"])) == {"default", "https", "email"}
    assert message["MessageAttributes"] == {
        "event": {"DataType": "String", "StringValue": "Job Finished"},
        "user": {"DataType": "String", "StringValue": "ada"},
        "project": {"DataType": "String", "StringValue": "spike"},
    }


def test_what_is_told_is_written_down_for_thirty_days(aws: Aws, sns: SNS) -> None:
    deliver(event())
    ((pk, sk),) = aws.dynamodb.items
    assert pk == "told"
    assert sk.startswith("Job Finished#")
    record = aws.record(pk, sk)
    assert set(record) == {"pk", "sk", "told_at", "expires_at"}
    assert record["told_at"] == aws.clock.now
    assert record["expires_at"] == aws.clock.now + 30 * 86_400


def test_an_empty_user_and_project_are_no_attributes(aws: Aws, sns: SNS) -> None:
    deliver(event(user="", project=" "), event("Backup Failed"))
    assert [set(message["MessageAttributes"]) for message in sns.published] == [{"event"}, {"event"}]


def test_every_kind_that_is_told_is_told_and_no_other(aws: Aws, sns: SNS) -> None:
    assert deliver(*(event(kind) for kind in EXAMPLES)) == []
    told = [message["MessageAttributes"]["event"]["StringValue"] for message in sns.published]
    assert sorted(told) == sorted(TOLD)


def test_a_short_job_is_neither_told_nor_written_down(aws: Aws, sns: SNS) -> None:
    assert deliver(event(seconds=1799)) == []
    assert (sns.published, aws.dynamodb.items) == ([], {})


def test_the_shortest_job_that_is_told_can_be_chosen(aws: Aws, sns: SNS, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOB_MINUTES", "0")
    deliver(event(seconds=1))
    assert len(sns.published) == 1


def test_copies_are_told_once_in_one_batch_and_later_with_other_ids(aws: Aws, sns: SNS) -> None:
    assert deliver(event(), event(), {**event(), "id": "another"}) == []
    aws.clock.now += 29 * 86_400
    assert deliver({**event(), "id": "a third", "time": "2027-02-13T00:00:00Z"}) == []
    assert len(sns.published) == 1


def test_what_has_no_time_of_its_own_is_told_again_the_next_day(aws: Aws, sns: SNS) -> None:
    leak = event("Cost Leak Found")
    deliver(leak, {**leak, "time": "2027-01-15T23:59:59Z"})
    assert len(sns.published) == 1
    deliver({**leak, "time": "2027-01-16T00:00:00Z"})
    assert len(sns.published) == 2


@pytest.mark.parametrize(
    "poison",
    [
        "no json",
        {},
        {"detail-type": "Job Finished", "detail": JOB},
        envelope("Job Finished", {name: told for name, told in JOB.items() if name != "ended_at"}),
        envelope("Job Finished", {**JOB, "version": 2}),
        envelope("Job Finished", {**JOB, "seconds": "long"}),
        envelope("Cost Leak Found", {**EXAMPLES["Cost Leak Found"].detail(cluster="c"), "kind": "volume"}),
    ],
)
def test_poison_fails_alone(aws: Aws, sns: SNS, poison: object) -> None:
    assert deliver(poison, event()) == ["m0"]
    assert len(sns.published) == 1


def test_what_sns_does_not_take_comes_again_and_is_told_then(aws: Aws, sns: SNS) -> None:
    sns.before = fail(throttled())
    assert deliver(event()) == ["m0"]
    sns.before = lambda: None
    aws.clock.now += 15
    assert deliver(event()) == [], "its lease was given back"
    assert len(sns.published) == 1


def test_one_that_sns_refuses_keeps_no_other_from_being_told(aws: Aws, sns: SNS) -> None:
    errors = iter([throttled(), None, None])

    def before() -> None:
        if error := next(errors):
            raise error

    sns.before = before
    assert deliver(event(job_id="1"), event(job_id="2")) == ["m0", "m1"]
    assert deliver(event(job_id="1"), event(job_id="2")) == []
    assert len(sns.published) == 2, "the second was told the first time, and no more"


def test_a_function_that_dies_before_sns_took_it_has_told_nobody_and_the_next_one_does(aws: Aws, sns: SNS) -> None:
    sns.before = fail(Died())
    with pytest.raises(Died):
        deliver(event())
    sns.before = lambda: None
    aws.clock.now += 60
    assert deliver(event()) == ["m0"], "it may still be at it"
    aws.clock.now += 60
    assert deliver(event()) == []
    assert len(sns.published) == 1


def test_a_function_that_dies_before_it_is_written_down_tells_twice_rather_than_never(aws: Aws, sns: SNS) -> None:
    sns.after = fail(Died())
    with pytest.raises(Died):
        deliver(event())
    sns.after = lambda: None
    aws.clock.now += 3600
    assert deliver(event()) == []
    assert deliver(event()) == []
    assert len(sns.published) == 2


def test_a_copy_that_comes_while_the_first_is_told_waits_and_finds_it_told(aws: Aws, sns: SNS) -> None:
    during: list[list[str]] = []

    def again() -> None:
        sns.before = lambda: None
        during.append(deliver(event()))

    sns.before = again
    assert deliver(event()) == []
    assert during == [["m0"]], "it comes again: were the first one to die, it would be the only copy left"
    assert deliver(event()) == []
    assert len(sns.published) == 1


def test_when_the_records_cannot_be_read_nobody_is_told_yet(
    aws: Aws, sns: SNS, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(aws.dynamodb, "put_item", lambda **_: fail(throttled())())
        assert deliver(event()) == ["m0"]
    assert sns.published == []
    assert deliver(event()) == []
    assert len(sns.published) == 1


@settings(max_examples=200, deadline=None)
@given(
    faults=st.lists(st.sampled_from(["fine", "refused", "dies before", "dies after"]), max_size=6),
    copies=st.integers(1, 3),
)
def test_under_any_faults_it_is_told_and_only_a_death_after_publishing_tells_it_twice(
    faults: list[str], copies: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        aws, topic = Aws(clock=Clock(1_800_000_000.0)), SNS()
        world = {"dynamodb": aws.dynamodb, "sns": topic, "sqs": aws.sqs}
        patch.setattr(boto3, "client", lambda service, **_: world[service])
        patch.setattr(notifier, "time", aws.clock)
        for name, value in {"RECORDS_TABLE": "t", "TOPIC": "a", "JOB_MINUTES": "30", "QUEUE_URL": "q"}.items():
            patch.setenv(name, value)
        notifier.told.cache_clear()
        steps = iter(faults)
        published_and_died = 0

        def before() -> None:
            step = next(steps, "fine")
            topic.after = fail(Died()) if step == "dies after" else lambda: None
            if step == "refused":
                raise throttled()
            if step == "dies before":
                raise Died

        topic.before = before
        waiting = list(range(copies))
        for _ in range(len(faults) + 2):
            for copy in list(waiting):
                count = len(topic.published)
                try:
                    if not deliver({**event(), "id": str(copy)}):
                        waiting.remove(copy)
                except Died:
                    published_and_died += len(topic.published) - count
                aws.clock.now += 3600
        notifier.told.cache_clear()
        assert waiting == []
        assert len(topic.published) == 1 + published_and_died


def test_the_lease_ends_before_the_tries_do_and_after_sns_gave_up() -> None:
    assert RETRIES[3] > notifier._LEASE_SECONDS
    # Three tries of 15 seconds, and the pauses between them (botocore's standard mode: 20 seconds each at most).
    assert notifier._LEASE_SECONDS > 3 * (5 + 10) + 2 * 20


def test_the_function_has_what_it_needs_of_botocore(aws: Aws, sns: SNS, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = {}
    monkeypatch.setattr(boto3, "client", lambda service, *, config: configured.setdefault(service, config))
    notifier.told.cache_clear()
    notifier.told()
    notifier.told.cache_clear()
    assert set(configured) == {"dynamodb", "sns"}
    assert {(c.connect_timeout, c.read_timeout, c.retries["total_max_attempts"]) for c in configured.values()} == {
        (5, 10, 3)
    }
