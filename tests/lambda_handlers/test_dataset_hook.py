from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes import Aws, batch, failed, object_created

from cdk_cryoem_lambda import converge, dataset_hook
from cdk_cryoem_lambda.datasets import Seen, Verdict

TASK = "arn:aws:datasync:eu-central-1:111122223333:task/task-0a"


def hook(*events: object) -> list[str]:
    return failed(dataset_hook.handler(batch(*events), None))


def transfer(aws: Aws, *, began_ago: float, files: int, name: str = "exec-1") -> dict[str, Any]:
    arn = f"{TASK}/execution/{name}"
    aws.datasync.executions[arn] = {
        "StartTime": datetime.fromtimestamp(aws.clock.now - began_ago, UTC),
        "FilesTransferred": files,
    }
    return {"source": "aws.datasync", "resources": [TASK, arn], "detail": {"State": "SUCCESS"}}


def test_a_first_object_makes_a_record(aws: Aws) -> None:
    aws.s3.put("datasets/spike/a.mrc", size=5, at=aws.clock.now - 10)
    aws.s3.put("datasets/spike2/b.mrc", size=7, at=aws.clock.now)
    assert hook(object_created("datasets/spike/a.mrc")) == []
    assert aws.record("dataset", "spike") == {
        "pk": "dataset",
        "sk": "spike",
        "objects": 1.0,
        "movies": 1.0,
        "size_bytes": 5.0,
        "first_at": aws.clock.now - 10,
        "last_at": aws.clock.now - 10,
        "looked_at": aws.clock.now,
        "state": "arriving",
    }
    assert ("dataset", "spike2") not in aws.dynamodb.items
    assert aws.events.taken == []


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_and_another_order_give_the_same_record(aws: Aws, seed: int) -> None:
    keys = [f"datasets/d/{n}.eer" for n in range(5)] + ["datasets/d/DONE"]
    for n, key in enumerate(keys):
        aws.s3.put(key, at=aws.clock.now - 60 + n)
    hook(*[object_created(key) for key in keys])
    expected = aws.record("dataset", "d")
    aws.dynamodb.items.clear()
    aws.events.taken.clear()
    chance = random.Random(seed)
    for _ in range(4):
        hook(*[object_created(key) for key in chance.choices(keys, k=7)])
    assert aws.record("dataset", "d") == expected
    assert len(aws.events.taken) == 1


def test_sentinel_lands_and_is_announced_once(aws: Aws) -> None:
    aws.s3.put("datasets/d/a.mrc", size=5, at=aws.clock.now - 9)
    aws.s3.put("datasets/d/DONE", size=0, at=aws.clock.now)
    hook(object_created("datasets/d/DONE"))
    hook(object_created("datasets/d/a.mrc"), object_created("datasets/d/DONE"))
    (event,) = aws.events.taken
    assert event == {
        "EventBusName": "bus",
        "Source": "cryoem.platform",
        "DetailType": "Dataset Landed",
        "Detail": {
            "version": 1,
            "cluster": "cryo",
            "dataset": "d",
            "objects": 2,
            "movies": 1,
            "bytes": 5,
            "reason": "sentinel",
            "landed_at": aws.clock.now,
        },
    }


def test_a_second_call_changes_nothing(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.ec2.state = "stopped"
    hook(object_created("datasets/d/DONE"))
    before = dict(aws.dynamodb.items)
    hook(object_created("datasets/d/DONE"))
    assert aws.dynamodb.items == before
    assert (aws.ec2.calls, len(aws.events.taken)) == (["start"], 1)


def test_what_was_not_announced_is_announced_next_time(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.events.refusing = True
    assert hook(object_created("datasets/d/DONE")) == ["m0"]
    assert "announced_at" not in aws.record("dataset", "d")
    aws.events.refusing = False
    assert hook(object_created("datasets/d/DONE")) == []
    assert len(aws.events.taken) == 1


def test_an_object_that_comes_later_is_counted_but_not_announced(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    hook(object_created("datasets/d/DONE"))
    landed = aws.record("dataset", "d")
    aws.clock.now += 100
    aws.s3.put("datasets/d/late.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/late.mrc"))
    now = aws.record("dataset", "d")
    assert (now["objects"], now["movies"], now["state"]) == (2.0, 1.0, "landed")
    assert (now["landed_at"], now["reason"]) == (landed["landed_at"], "sentinel")
    assert len(aws.events.taken) == 1


@pytest.mark.parametrize(("state", "calls"), [("stopped", ["start"]), ("running", []), ("pending", []), ("gone", [])])
def test_the_head_node_is_woken_only_when_it_is_stopped(aws: Aws, state: str, calls: list[str]) -> None:
    aws.ec2.state = state
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    assert hook(object_created("datasets/d/a.mrc")) == []
    assert aws.ec2.calls == calls


def test_nothing_new_wakes_nobody(aws: Aws) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/a.mrc"))
    aws.ec2.state = "stopped"
    hook(object_created("datasets/d/a.mrc"))
    assert aws.ec2.calls == []


def test_while_the_head_node_is_stopping_the_hint_comes_again_and_then_wakes_it(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.ec2.state = "stopping"
    assert hook(object_created("datasets/d/DONE")) == ["m0"]
    aws.ec2.state = "stopped"
    assert hook(object_created("datasets/d/DONE")) == []
    assert aws.ec2.calls == ["start"]


def test_a_hook_that_dies_before_it_has_woken_the_head_node_wakes_it_next_time(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.ec2.state = "stopped"
    start = aws.ec2.start_instances

    def throttled(**_: Any) -> None:
        raise OSError("RequestLimitExceeded")

    monkeypatch.setattr(aws.ec2, "start_instances", throttled)
    assert hook(object_created("datasets/d/DONE")) == ["m0"]
    monkeypatch.setattr(aws.ec2, "start_instances", start)
    assert hook(object_created("datasets/d/DONE")) == []
    assert aws.ec2.calls == ["start"]


def test_objects_of_no_dataset_are_nobodys_business(aws: Aws) -> None:
    aws.s3.put("reports/r.json", at=aws.clock.now)
    assert hook(object_created("reports/r.json"), object_created("datasets/d/gone.mrc")) == []
    assert aws.dynamodb.items == {}


def test_a_transfer_that_found_nothing_new_lands_what_was_arriving(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TASKS", f'["{TASK}"]')
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now - 300)
    hook(object_created("datasets/d/a.mrc"))
    assert hook(transfer(aws, began_ago=400, files=0)) == []
    assert aws.record("dataset", "d")["state"] == "arriving"
    assert hook(transfer(aws, began_ago=200, files=3, name="exec-2")) == []
    assert aws.record("dataset", "d")["state"] == "arriving"
    assert hook(transfer(aws, began_ago=100, files=0, name="exec-3")) == []
    assert aws.record("dataset", "d")["reason"] == "nothing left to transfer"


def test_a_transfer_that_is_told_of_late_changes_nothing(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TASKS", f'["{TASK}"]')
    hook(transfer(aws, began_ago=100, files=4, name="exec-2"))
    hook(transfer(aws, began_ago=200, files=0, name="exec-1"))
    assert aws.record("transfer", TASK)["files"] == 4.0


def test_one_microscope_of_two_is_not_enough(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TASKS", f'["{TASK}", "{TASK}-b"]')
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now - 300)
    hook(object_created("datasets/d/a.mrc"))
    hook(transfer(aws, began_ago=100, files=0))
    assert aws.record("dataset", "d")["state"] == "arriving"


def test_an_object_that_was_taken_away_does_not_keep_a_dataset_from_landing(aws: Aws) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    aws.s3.put("datasets/d/stray.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/a.mrc"))
    del aws.s3.objects["datasets/d/stray.mrc"]
    aws.clock.now += 3600
    hook(object_created("datasets/d/a.mrc"))
    now = aws.record("dataset", "d")
    assert (now["objects"], now["state"]) == (1.0, "landed")


@pytest.mark.parametrize("state", ["arriving", "landed"])
def test_an_older_look_changes_nothing(aws: Aws, state: Any) -> None:
    records, now = converge.world().records, aws.clock.now
    newer = Seen(objects=1, movies=1, bytes=5, first_at=1.0, last_at=2.0, sentinel=False)
    older = Seen(objects=9, movies=9, bytes=9, first_at=1.0, last_at=1.5, sentinel=False)
    records.note_dataset("d", newer, Verdict(state="arriving", reason="", grown=True), now=now)
    before = aws.record("dataset", "d")
    records.note_dataset("d", older, Verdict(state=state, reason="quiet", grown=True), now=now - 0.001)
    assert aws.record("dataset", "d") == before


def test_nothing_unlands_what_has_landed(aws: Aws) -> None:
    records, now = converge.world().records, aws.clock.now
    what = Seen(objects=1, movies=1, bytes=5, first_at=1.0, last_at=2.0, sentinel=False)
    records.note_dataset("d", what, Verdict(state="landed", reason="quiet", grown=True), now=now)
    records.note_dataset("d", what, Verdict(state="arriving", reason="", grown=False), now=now + 1)
    assert aws.record("dataset", "d")["state"] == "landed"


def test_what_was_done_first_is_what_is_remembered(aws: Aws) -> None:
    records, now = converge.world().records, aws.clock.now
    records.mark_dataset("d", "announced_at")
    records.mark_dataset("d", "announced_at", now=now + 9)
    assert aws.record("dataset", "d")["announced_at"] == now
