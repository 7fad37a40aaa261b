from __future__ import annotations

from collections.abc import Sequence

import pytest
from fakes import Aws, batch, failed, job_event, object_created

from cdk_cryoem_lambda import dataset_hook, lane_hook, node_hook
from cdk_cryoem_lambda.hints import Event, retry_seconds, work_off


def number(event: Event) -> int:
    return int(event["n"])


def test_all_messages_are_acted_on_at_once(aws: Aws) -> None:
    acted: list[Sequence[int]] = []
    assert failed(work_off(batch({"n": 1}, {"n": 2}), parse=number, act=acted.append)) == []
    assert acted == [[1, 2]]
    assert aws.sqs.again == {}


@pytest.mark.parametrize(
    "poison", ["not json", "[]", "null", "7", "{}", '{"n": null}', '{"n": "x"}', '{"n": Infinity}']
)
def test_a_poison_message_fails_alone(aws: Aws, poison: str) -> None:
    acted: list[Sequence[int]] = []
    assert failed(work_off(batch({"n": 1}, poison, {"n": 3}), parse=number, act=acted.append)) == ["m1"]
    assert acted == [[1, 3]]
    assert aws.sqs.again == {"r1": 15}


def test_nothing_but_poison_is_not_acted_on(aws: Aws) -> None:
    acted: list[Sequence[int]] = []
    assert failed(work_off(batch("x"), parse=number, act=acted.append)) == ["m0"]
    assert acted == []


def test_when_acting_fails_every_message_comes_again(aws: Aws) -> None:
    def act(hints: Sequence[int]) -> None:
        raise OSError("head node is booting")

    assert sorted(failed(work_off(batch("x", {"n": 1}, {"n": 2}), parse=number, act=act))) == ["m0", "m1", "m2"]
    assert aws.sqs.again == {"r0": 15, "r1": 15, "r2": 15}


def test_what_fails_often_comes_later(aws: Aws) -> None:
    messages = batch("x")
    messages["Records"][0]["attributes"]["ApproximateReceiveCount"] = "4"
    work_off(messages, parse=number, act=lambda hints: None)
    assert aws.sqs.again == {"r0": 120}


def test_without_a_queue_nothing_is_postponed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QUEUE_URL")
    assert failed(work_off(batch("x"), parse=number, act=lambda hints: None)) == ["m0"]
    assert aws.sqs.again == {}


def test_retries_double_up_to_the_queues_own_timeout() -> None:
    assert [retry_seconds(n) for n in range(1, 9)] == [15, 30, 60, 120, 240, 480, 720, 720]


@pytest.mark.parametrize(
    "poison",
    [
        {"source": "aws.datasync", "resources": []},
        {"source": "aws.datasync", "resources": ["arn:aws:datasync:r:a:task/task-1"]},
        {"source": "aws.s3", "detail": {"object": {}}},
        {"source": "aws.s3", "detail": {"object": {"key": 7}}},
    ],
)
def test_poison_for_the_dataset_hook_fails_alone(aws: Aws, poison: dict[str, object]) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    assert failed(dataset_hook.handler(batch(poison, object_created("datasets/d/a.mrc")), None)) == ["m0"]
    assert aws.record("dataset", "d")["objects"] == 1


def test_poison_for_the_lane_hook_fails_alone(aws: Aws) -> None:
    aws.ec2.state = "stopped"
    assert failed(lane_hook.handler(batch({}, {"detail-type": "x"}), None)) == ["m0"]


@pytest.mark.parametrize("changes", [{"tres": "cpu="}, {"node_count": None}, {"end": "soon"}])
def test_poison_for_the_node_hook_fails_alone(aws: Aws, changes: dict[str, object]) -> None:
    aws.ec2.state = "stopped"
    poison = job_event()
    poison["detail"] |= changes
    assert failed(node_hook.handler(batch(poison, job_event(8)), None)) == ["m0"]
    assert ("job", "001799999000#8") in aws.dynamodb.items
