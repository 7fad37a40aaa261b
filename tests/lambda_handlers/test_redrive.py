"""Dead letters that are events of ours go back to their queue; poison stays, and keeps the alarm."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fakes import Aws, job_event, object_created
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda import dataset_hook, lane_hook, node_hook
from cdk_cryoem_lambda.hints import Event
from cdk_cryoem_lambda.redrive import redrive


def number(event: Event) -> int:
    return int(event["n"])


def drive(aws: Aws) -> int:
    return redrive(aws.sqs, dead="dead", queue="queue", parse=number)  # type: ignore[arg-type]


def test_nothing_to_redrive(aws: Aws) -> None:
    assert drive(aws) == 0
    assert aws.sqs.bodies("queue") == []


def test_events_of_ours_go_back_as_they_were(aws: Aws) -> None:
    aws.sqs.put("dead", {"n": 1}, '{"n":  "2"}')
    assert drive(aws) == 2
    assert (aws.sqs.bodies("dead"), aws.sqs.bodies("queue")) == ([], ['{"n": 1}', '{"n":  "2"}'])
    assert drive(aws) == 0


@pytest.mark.parametrize("poison", ["not json", "[]", "null", "7", "{}", '{"n": null}', '{"n": "x"}'])
def test_poison_stays_and_the_rest_goes(aws: Aws, poison: str) -> None:
    aws.sqs.put("dead", {"n": 1}, poison, {"n": 3})
    assert drive(aws) == 2
    assert (aws.sqs.bodies("dead"), aws.sqs.bodies("queue")) == ([poison], ['{"n": 1}', '{"n": 3}'])


def test_poison_can_be_seen_by_the_alarm_at_once_and_at_the_next_sweep(aws: Aws) -> None:
    aws.sqs.put("dead", *["x"] * 25, {"n": 1})
    for _ in range(2):
        drive(aws)
        assert aws.sqs.visible("dead") == 25
        aws.clock.now += 300
    assert len(aws.sqs.bodies("queue")) == 1


def test_no_more_at_once_than_a_sweep_has_time_for(aws: Aws) -> None:
    aws.sqs.put("dead", *({"n": n} for n in range(430)))
    assert [drive(aws) for _ in range(4)] == [200, 200, 30, 0]
    assert len(aws.sqs.bodies("queue")) == 430


def test_who_dies_between_sending_and_deleting_leaves_a_duplicate(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    delete = aws.sqs.delete_message

    def died(**_: Any) -> None:
        raise KeyboardInterrupt

    aws.sqs.put("dead", {"n": 1})
    monkeypatch.setattr(aws.sqs, "delete_message", died)
    with pytest.raises(KeyboardInterrupt):
        drive(aws)
    monkeypatch.setattr(aws.sqs, "delete_message", delete)
    assert drive(aws) == 0, "for some minutes it is nobody's"
    aws.clock.now += 300
    assert drive(aws) == 1
    assert (aws.sqs.bodies("dead"), aws.sqs.bodies("queue")) == ([], ['{"n": 1}'] * 2)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(letters=st.lists(st.sampled_from(['{"n": 1}', '{"n": 2}', "poison", "{}"]), max_size=45))
def test_every_letter_is_in_exactly_one_queue(letters: list[str]) -> None:
    aws = Aws()
    aws.sqs.put("dead", *letters)
    good = [letter for letter in letters if "n" in letter and letter != "poison"]
    assert drive(aws) == len(good)
    assert aws.sqs.bodies("queue") == good
    assert sorted(aws.sqs.bodies("dead")) == sorted(letter for letter in letters if letter not in good)


@pytest.mark.parametrize(
    ("hook", "event"),
    [
        (dataset_hook, object_created("datasets/d/a.mrc")),
        (lane_hook, {"detail-type": "Dataset Landed"}),
        (node_hook, job_event()),
        (node_hook, {"source": "cryoem.hooks", "detail-type": node_hook.LOOK_AGAIN, "detail": {}}),
    ],
)
def test_each_hooks_own_events_are_none_of_poison(aws: Aws, hook: Any, event: dict[str, Any]) -> None:
    aws.sqs.put("dead", event)
    assert redrive(aws.sqs, dead="dead", queue="queue", parse=hook.parse) == 1  # type: ignore[arg-type]
    assert [json.loads(body) for body in aws.sqs.bodies("queue")] == [event]
