from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest
from fakes import Aws, batch, failed, object_created

from cdk_cryoem_lambda import dataset_hook
from cdk_cryoem_lambda.reconcile import datasets
from cdk_cryoem_lambda.world import world

TASK = "arn:aws:datasync:eu-central-1:111122223333:task/task-0a"


def hook(*events: object) -> list[str]:
    return failed(dataset_hook.handler(batch(*events), None))


def transfer(
    aws: Aws, *, began_ago: float, files: int, name: str = "exec-1", state: str = "SUCCESS", **more: object
) -> dict[str, Any]:
    arn = f"{TASK}/execution/{name}"
    aws.datasync.executions[arn] = {
        "Status": state,
        "StartTime": datetime.fromtimestamp(aws.clock.now - began_ago, UTC),
        "FilesTransferred": files,
        **more,
    }
    return {"source": "aws.datasync", "resources": [TASK, arn], "detail": {"State": state}}


def sizes(aws: Aws, name: str) -> tuple[float, float, str]:
    record = aws.record("dataset", name)
    return record["objects"], record["movies"], record["state"]


def test_a_first_object_makes_a_record_and_is_said(aws: Aws) -> None:
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
    assert list(aws.dynamodb.items) == [("dataset", "spike")]
    assert [(event["Source"], event["EventBusName"]) for event in aws.events.taken] == [("cryoem.platform", "bus")]
    assert aws.said("Dataset Arriving") == [
        {"version": 1, "cluster": "cryo", "dataset": "spike", "first_at": aws.clock.now - 10}
    ]


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_and_another_order_give_the_same_record_and_events(aws: Aws, seed: int) -> None:
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
    assert sorted(aws.kinds_said()) == ["Dataset Arriving", "Dataset Landed"]


def test_sentinel_lands_and_is_announced_once(aws: Aws) -> None:
    aws.s3.put("datasets/d/a.mrc", size=5, at=aws.clock.now - 9)
    aws.s3.put("datasets/d/DONE", size=0, at=aws.clock.now)
    hook(object_created("datasets/d/DONE"))
    hook(object_created("datasets/d/a.mrc"), object_created("datasets/d/DONE"))
    assert aws.said("Dataset Landed") == [
        {
            "version": 1,
            "cluster": "cryo",
            "dataset": "d",
            "objects": 2,
            "movies": 1,
            "bytes": 5,
            "reason": "sentinel",
            "landed_at": aws.clock.now,
        }
    ]


def test_a_second_call_changes_nothing(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    hook(object_created("datasets/d/DONE"))
    before, said = dict(aws.dynamodb.items), list(aws.events.taken)
    hook(object_created("datasets/d/DONE"))
    assert (aws.dynamodb.items, aws.events.taken) == (before, said)


def test_what_was_not_said_is_said_next_time_whoever_comes(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.events.refusing = True
    assert hook(object_created("datasets/d/DONE")) == ["m0"]
    assert (aws.record("dataset", "d")["state"], aws.events.taken) == ("landed", [])
    assert aws.waiting() == ["Dataset Arriving", "Dataset Landed"]
    aws.events.refusing = False
    assert hook(object_created("reports/another.json")) == []
    assert sorted(aws.kinds_said()) == ["Dataset Arriving", "Dataset Landed"]
    hook(object_created("datasets/d/DONE"))
    assert (aws.waiting(), len(aws.events.taken)) == ([], 2)


def test_of_a_write_that_fails_nothing_remains_and_nothing_is_said(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    write = aws.dynamodb.transact_write_items

    def throttled(**_: Any) -> None:
        raise OSError("ThrottlingException")

    monkeypatch.setattr(aws.dynamodb, "transact_write_items", throttled)
    assert hook(object_created("datasets/d/DONE")) == ["m0"]
    assert (aws.dynamodb.items, aws.events.taken) == ({}, [])
    monkeypatch.setattr(aws.dynamodb, "transact_write_items", write)
    assert hook(object_created("datasets/d/DONE")) == []
    assert len(aws.said("Dataset Landed")) == 1


def test_a_hook_that_dies_after_it_wrote_leaves_what_is_to_be_said(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    put = aws.events.put_events

    def died(**_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(aws.events, "put_events", died)
    with pytest.raises(KeyboardInterrupt):
        hook(object_created("datasets/d/DONE"))
    monkeypatch.setattr(aws.events, "put_events", put)
    assert hook(object_created("datasets/d/DONE")) == []
    assert sorted(aws.kinds_said()) == ["Dataset Arriving", "Dataset Landed"]


def test_of_two_looks_at_one_moment_one_lands_the_dataset(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/a.mrc"))
    aws.clock.now += 1
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    w = world()
    read = w.records.dataset

    def another_is_quicker(name: str) -> dict[str, Any]:
        found = read(name)
        monkeypatch.setattr(w.records, "dataset", read)
        aws.clock.now -= 0.5
        datasets.reconcile(w, ["d"])
        w.outbox.flush()
        aws.clock.now += 0.5
        return found

    monkeypatch.setattr(w.records, "dataset", another_is_quicker)
    assert hook(object_created("datasets/d/DONE")) == []
    assert len(aws.said("Dataset Landed")) == 1
    assert aws.record("dataset", "d")["landed_at"] == aws.clock.now - 0.5


def test_an_object_that_comes_later_is_counted_but_not_announced(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    hook(object_created("datasets/d/DONE"))
    landed = aws.record("dataset", "d")
    aws.clock.now += 100
    aws.s3.put("datasets/d/late.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/late.mrc"))
    now = aws.record("dataset", "d")
    assert sizes(aws, "d") == (2.0, 1.0, "landed")
    assert (now["landed_at"], now["reason"]) == (landed["landed_at"], "sentinel")
    assert len(aws.said("Dataset Landed")) == 1


@pytest.mark.parametrize(("state", "calls"), [("stopped", ["start"]), ("running", []), ("pending", []), ("gone", [])])
def test_the_head_node_is_started_only_when_it_is_stopped(aws: Aws, state: str, calls: list[str]) -> None:
    aws.ec2.state = state
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    assert hook(object_created("datasets/d/a.mrc")) == []
    assert aws.ec2.calls == calls
    assert [told["reason"] for told in aws.said("Head Node Started")] == ["dataset d is arriving"] * len(calls)


def test_a_head_node_that_stopped_while_a_dataset_arrives_is_started_by_any_hint(aws: Aws) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/a.mrc"))
    aws.ec2.state = "stopped"
    hook(object_created("datasets/d/a.mrc"))
    assert aws.ec2.calls == ["start"]


def test_what_has_landed_wakes_nobody_without_a_recipe(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.ec2.state = "stopped"
    assert hook(object_created("datasets/d/DONE")) == []
    assert aws.ec2.calls == []


def test_while_the_head_node_is_stopping_the_hint_comes_again_and_then_starts_it(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECIPE", "relion")
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.ec2.state = "stopping"
    assert hook(object_created("datasets/d/DONE")) == ["m0"]
    assert len(aws.said("Dataset Landed")) == 1, "what is known is said at once"
    aws.ec2.state = "stopped"
    assert hook(object_created("datasets/d/DONE")) == []
    assert aws.ec2.calls == ["start"]
    assert [told["reason"] for told in aws.said("Head Node Started")] == ["dataset d waits for the recipe relion"]
    assert len(aws.said("Dataset Landed")) == 1


def test_a_hook_that_dies_before_it_has_started_the_head_node_starts_it_next_time(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    aws.ec2.state = "stopped"
    start = aws.ec2.start_instances

    def throttled(**_: Any) -> None:
        raise OSError("RequestLimitExceeded")

    monkeypatch.setattr(aws.ec2, "start_instances", throttled)
    assert hook(object_created("datasets/d/a.mrc")) == ["m0"]
    assert aws.said("Head Node Started") == []
    monkeypatch.setattr(aws.ec2, "start_instances", start)
    assert hook(object_created("datasets/d/a.mrc")) == []
    assert (aws.ec2.calls, len(aws.said("Head Node Started"))) == (["start"], 1)


def test_objects_of_no_dataset_are_nobodys_business(aws: Aws) -> None:
    aws.s3.put("reports/r.json", at=aws.clock.now)
    assert hook(object_created("reports/r.json"), object_created("datasets/d/gone.mrc")) == []
    assert (aws.dynamodb.items, aws.events.taken) == ({}, [])


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


@pytest.mark.parametrize(
    "ended",
    [
        {"state": "ERROR"},
        {"state": "TRANSFERRING"},
        {"FilesFailed": {"Prepare": 1, "Transfer": 0, "Verify": 0, "Delete": 0}},
        {"FilesFailed": {"Prepare": 0, "Transfer": 0, "Verify": 1, "Delete": 0}},
        {"FoldersFailed": {"List": 1, "Prepare": 0}},
        {"ManifestConfig": {"Action": "TRANSFER", "Format": "CSV"}},
    ],
    ids=["error", "not over", "prepare", "verify", "folder", "listed files alone"],
)
def test_no_dataset_lands_by_a_transfer_in_which_something_failed(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, ended: dict[str, Any]
) -> None:
    monkeypatch.setenv("INGEST_TASKS", f'["{TASK}"]')
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now - 300)
    hook(object_created("datasets/d/a.mrc"))
    assert hook(transfer(aws, began_ago=200, files=0, **ended)) == []
    assert aws.record("dataset", "d")["state"] == "arriving"
    well = {"FilesFailed": {"Prepare": 0, "Transfer": 0, "Verify": 0, "Delete": 0}}
    hook(transfer(aws, began_ago=100, files=0, name="exec-2", **well))
    assert aws.record("dataset", "d")["reason"] == "nothing left to transfer"


def test_what_a_transfer_was_held_to_is_written_down(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TASKS", f'["{TASK}"]')
    hook(transfer(aws, began_ago=200, files=0))
    assert "includes" not in aws.record("transfer", TASK)
    rules = [{"FilterType": "SIMPLE_PATTERN", "Value": "/em-1*|/em-2*"}]
    hook(transfer(aws, began_ago=100, files=0, name="exec-2", Includes=rules))
    assert aws.record("transfer", TASK)["includes"] == "/em-1*|/em-2*"


def test_a_run_that_waited_for_its_turn_has_looked_since_it_was_launched(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_TASKS", f'["{TASK}"]')
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now - 300)
    hook(object_created("datasets/d/a.mrc"))
    launched = datetime.fromtimestamp(aws.clock.now - 100, UTC)
    hook(transfer(aws, began_ago=4000, files=0, LaunchTime=launched))
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
    assert sizes(aws, "d") == (1.0, 1.0, "landed")


def test_a_dataset_that_vanished_is_said_once_and_arrives_again(aws: Aws) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    aws.s3.put("datasets/d/b.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/a.mrc"))
    aws.s3.objects.clear()
    aws.clock.now += 10
    hook(object_created("datasets/d/a.mrc"))
    hook(object_created("datasets/d/b.mrc"))
    assert aws.said("Dataset Gone") == [{"version": 1, "cluster": "cryo", "dataset": "d", "objects_before": 2}]
    assert sizes(aws, "d") == (0.0, 0.0, "gone")
    aws.clock.now += 10
    aws.s3.put("datasets/d/c.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/c.mrc"))
    assert sizes(aws, "d") == (1.0, 1.0, "arriving")
    assert [told["first_at"] for told in aws.said("Dataset Arriving")] == [aws.clock.now - 20, aws.clock.now]


def test_a_landed_dataset_that_vanished_stays_what_it_was(aws: Aws) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    hook(object_created("datasets/d/DONE"))
    aws.s3.objects.clear()
    hook(object_created("datasets/d/DONE"))
    assert sizes(aws, "d") == (1.0, 0.0, "landed")
    assert aws.said("Dataset Gone") == []


def say(aws: Aws, name: str, word: str) -> None:
    """What an operator writes down."""
    aws.dynamodb.items["dataset", name]["operator"] = {"S": word}


def test_an_operator_lands_a_dataset(aws: Aws) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/a.mrc"))
    say(aws, "d", "landed")
    hook(object_created("datasets/d/a.mrc"))
    assert [told["reason"] for told in aws.said("Dataset Landed")] == ["an operator said so"]
    assert aws.record("dataset", "d")["operator"] == "landed", "a look does not remove what a person said"


def test_an_operator_holds_a_dataset_open_whatever_else_says_that_it_is_complete(aws: Aws) -> None:
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/a.mrc"))
    say(aws, "d", "arriving")
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.clock.now += 7200
    hook(object_created("datasets/d/DONE"))
    assert sizes(aws, "d") == (2.0, 1.0, "arriving")
    say(aws, "d", "landed")
    hook(object_created("datasets/d/DONE"))
    assert len(aws.said("Dataset Landed")) == 1


def looks(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Prefixes that are listed from now on."""
    listed: list[str] = []
    paginate = aws.s3.paginate

    def counted(**given: Any) -> Any:
        listed.append(given["Prefix"])
        return paginate(**given)

    monkeypatch.setattr(aws.s3, "paginate", counted)
    return listed


def test_a_large_dataset_that_arrives_is_not_listed_at_each_of_its_objects(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(1000):
        aws.s3.put(f"datasets/d/{n}.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/0.mrc"))
    listed = looks(aws, monkeypatch)
    aws.clock.now += 2.9
    hook(object_created("datasets/d/1.mrc"))
    assert listed == []
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    hook(object_created("datasets/d/DONE"))
    assert listed == ["datasets/d/"], "the sentinel is worth a look at any time"
    assert aws.record("dataset", "d")["state"] == "landed"


def test_a_large_dataset_is_listed_again_after_its_time(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(1000):
        aws.s3.put(f"datasets/d/{n}.mrc", at=aws.clock.now)
    hook(object_created("datasets/d/0.mrc"))
    listed = looks(aws, monkeypatch)
    aws.clock.now += 60
    hook(object_created("datasets/d/1.mrc"), object_created("datasets/d/2.mrc"))
    assert listed == ["datasets/d/"]
