from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fakes import Aws, CommandError, batch, object_created

from cdk_cryoem_lambda import converge, dataset_hook, sweeper

STATUS: dict[str, Any] = {"pending": {}, "running": {}, "nodes": [], "powered_up": 0, "logins": 0, "recipes": 0}


def fail(parameters: Mapping[str, str]) -> dict[str, Any]:
    raise CommandError("no")


@pytest.fixture
def status(aws: Aws) -> dict[str, Any]:
    """What slurm-status says: nothing is going on. May be changed."""
    said = dict(STATUS)
    lanes = {"registered": {"cpu": "1"}, "wanted": {"cpu": "1"}, "changes": {}}
    aws.ssm.documents = {
        "register-lanes": lambda parameters: lanes,
        "slurm-status": lambda parameters: {**said, "now": aws.clock.now},
        "power-down": lambda parameters: {"powered_down": [], "left_alone": {}},
        "start-processing": lambda parameters: {"state": "finished", "log": ""},
    }
    return said


def idle_node(aws: Aws) -> dict[str, Any]:
    return {"name": "n", "lane": "gpu4", "state": "idle", "epoch": "e", "idle_since": aws.clock.now - 9}


def arrived(aws: Aws, name: str, *, ago: float) -> None:
    aws.s3.put(f"datasets/{name}/a.mrc", at=aws.clock.now - ago)
    dataset_hook.handler(batch(object_created(f"datasets/{name}/a.mrc")), None)


def sweep() -> None:
    assert sweeper.handler({}, None) == {"swept": True}


def test_quiet_time_lands_without_any_event(aws: Aws, status: dict[str, Any]) -> None:
    arrived(aws, "d", ago=0)
    aws.clock.now += 3599
    sweep()
    assert aws.events.taken == []
    aws.clock.now += 1
    sweep()
    sweep()
    assert [event["Detail"]["dataset"] for event in aws.events.taken] == ["d"]
    assert aws.events.taken[0]["Detail"]["reason"] == "quiet for 60 minutes"


def test_everything_is_looked_at(aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPE", "relion")
    arrived(aws, "d", ago=4000)
    status["nodes"] = [idle_node(aws)]
    sweep()
    assert aws.ssm.verbs() == ["register-lanes", "start-processing", "slurm-status", "power-down"]
    aws.ssm.sent.clear()
    status["nodes"] = []
    sweep()
    assert aws.ssm.verbs() == ["register-lanes", "slurm-status"]


@pytest.mark.parametrize(
    ("broken", "named"),
    [("register-lanes", "lanes"), ("start-processing", "processing"), ("slurm-status", "nodes and head node")],
)
def test_one_failing_concern_does_not_stop_the_others(
    aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch, broken: str, named: str
) -> None:
    monkeypatch.setenv("RECIPE", "relion")
    arrived(aws, "d", ago=0)
    aws.clock.now += 3600
    status["nodes"] = [idle_node(aws)]
    aws.ssm.documents[broken] = fail
    with pytest.raises(RuntimeError, match=f"^the sweep failed for {named}; see the log above$"):
        sweeper.handler({}, None)
    wanted = ["register-lanes", "start-processing", "slurm-status", "power-down"]
    assert aws.ssm.verbs() == [verb for verb in wanted if (broken, verb) != ("slurm-status", "power-down")]
    assert len(aws.events.taken) == 1


def test_every_failing_concern_is_named(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise OSError("no route")

    monkeypatch.setattr(aws.dynamodb, "paginate", broken)
    monkeypatch.setattr(aws.ec2, "describe_instances", broken)
    monkeypatch.setenv("RECIPE", "relion")
    with pytest.raises(
        RuntimeError,
        match="for datasets, announcements, waking, lanes, processing, nodes and head node;",
    ):
        sweeper.handler({}, None)


def test_a_head_node_that_sleeps_is_left_asleep(aws: Aws, status: dict[str, Any]) -> None:
    aws.ec2.state = "stopped"
    sweep()
    assert (aws.ssm.sent, aws.ec2.calls) == ([], [])


def test_a_landed_dataset_that_waits_for_its_recipe_wakes_the_head_node(
    aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head node that somebody stopped just when the dataset landed; no event comes again for the dataset."""
    monkeypatch.setenv("RECIPE", "relion")
    arrived(aws, "d", ago=4000)
    aws.ec2.state = "stopped"
    sweep()
    assert aws.ec2.calls == ["start"]
    sweep()
    assert aws.ssm.verbs().count("start-processing") == 1
    aws.ec2.state = "stopped"
    sweep()
    assert aws.ec2.calls == ["start"]


def test_without_a_recipe_a_landed_dataset_wakes_nobody(aws: Aws, status: dict[str, Any]) -> None:
    arrived(aws, "d", ago=4000)
    aws.ec2.state = "stopped"
    sweep()
    assert aws.ec2.calls == []


@pytest.fixture
def sleepy(aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A head node that may sleep after 30 minutes and was started two hours ago."""
    monkeypatch.setenv("STOP_HEAD_NODE_AFTER_MINUTES", "30")
    aws.ec2.launched = aws.clock.now - 7200
    return status


def test_an_idle_head_node_is_stopped(aws: Aws, sleepy: dict[str, Any]) -> None:
    sweep()
    assert (aws.ec2.calls, aws.ec2.state) == (["stop"], "stopped")


def test_an_idle_head_node_is_not_stopped_unless_configured(aws: Aws, status: dict[str, Any]) -> None:
    sweep()
    assert aws.ec2.calls == []


@pytest.mark.parametrize(
    "busy",
    [{"pending": {"gpu4": 1}}, {"running": {"cpu": 1}}, {"logins": 1}, {"recipes": 1}],
)
def test_a_head_node_in_use_is_not_stopped(aws: Aws, sleepy: dict[str, Any], busy: dict[str, Any]) -> None:
    sleepy |= busy
    sweep()
    assert aws.ec2.calls == []


@pytest.mark.parametrize("state", ["idle", "busy", "changing"])
def test_a_head_node_with_a_node_that_is_paid_for_is_not_stopped(aws: Aws, sleepy: dict[str, Any], state: str) -> None:
    sleepy["nodes"] = [idle_node(aws)] if state == "idle" else []
    sleepy["powered_up"] = 1
    sweep()
    assert aws.ec2.calls == []


def test_a_head_node_that_has_just_been_started_is_not_stopped(aws: Aws, sleepy: dict[str, Any]) -> None:
    aws.ec2.launched = aws.clock.now - 1799
    sweep()
    assert aws.ec2.calls == []


def test_a_dataset_that_is_arriving_keeps_the_head_node(aws: Aws, sleepy: dict[str, Any]) -> None:
    arrived(aws, "d", ago=3000)
    sweep()
    assert aws.ec2.calls == []


def test_a_dataset_that_has_just_come_keeps_the_head_node(aws: Aws, sleepy: dict[str, Any]) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now - 1799)
    dataset_hook.handler(batch(object_created("datasets/d/DONE")), None)
    sweep()
    assert aws.ec2.calls == []
    aws.clock.now += 1
    sweep()
    assert aws.ec2.calls == ["stop"]


def test_a_job_that_has_just_ended_keeps_the_head_node(aws: Aws, sleepy: dict[str, Any]) -> None:
    converge.world().records.note_job(job_id="7", ended_at=int(aws.clock.now) - 1799, fields={})
    sweep()
    assert aws.ec2.calls == []


def test_when_slurm_does_not_answer_the_head_node_is_not_stopped(aws: Aws, sleepy: dict[str, Any]) -> None:
    aws.ssm.documents["slurm-status"] = fail
    with pytest.raises(RuntimeError, match="nodes and head node"):
        sweeper.handler({}, None)
    assert aws.ec2.calls == []


def test_a_dataset_whose_every_event_was_lost_is_found_in_s3(aws: Aws, status: dict[str, Any]) -> None:
    aws.s3.put("datasets/forgotten/a.mrc", at=aws.clock.now - 4000)
    sweep()
    assert [event["Detail"]["dataset"] for event in aws.events.taken] == ["forgotten"]
