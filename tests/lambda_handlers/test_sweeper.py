"""Every few minutes, without any event: the same convergence; one concern that fails does not stop the others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from fakes import Aws, CommandError, batch, job_event, object_created

from cdk_cryoem_lambda import dataset_hook, node_hook, sweeper
from cdk_cryoem_lambda.world import world

STATUS: dict[str, Any] = {"pending": {}, "running": {}, "nodes": [], "powered_up": 0, "logins": 0, "recipes": 0}
EACH_TIME = ["slurm-status", "register-lanes"]


def fail(parameters: Mapping[str, str]) -> dict[str, Any]:
    raise CommandError("no")


@pytest.fixture
def status(aws: Aws) -> dict[str, Any]:
    """What slurm-status says: nothing is going on. May be changed."""
    said = dict(STATUS)
    lanes = {"registered": {"cpu": "1"}, "wanted": {"cpu": "1"}, "changes": {}}

    def stop(parameters: Mapping[str, str]) -> dict[str, str]:
        aws.ec2.state = "stopping"
        return {"verdict": "stop", "reason": ""}

    aws.ssm.documents = {
        "register-lanes": lambda parameters: lanes,
        "slurm-status": lambda parameters: {**said, "now": aws.clock.now},
        "power-down": lambda parameters: {"powered_down": ["n"], "left_alone": {}},
        "start-processing": lambda parameters: {"state": "finished", "log": ""},
        "live-sessions": lambda parameters: {"sessions": []},
        "stop-head-node": stop,
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
    aws.clock.now += 3590
    sweep()
    assert aws.said("Dataset Landed") == []
    aws.clock.now += 10
    sweep()
    sweep()
    assert [(told["dataset"], told["reason"]) for told in aws.said("Dataset Landed")] == [("d", "quiet for 60 minutes")]


def test_everything_is_looked_at(aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPE", "relion")
    arrived(aws, "d", ago=4000)
    status |= {"nodes": [idle_node(aws)], "powered_up": 1, "addresses": ["10.0.0.7"]}
    sweep()
    assert aws.ssm.verbs() == ["slurm-status", "power-down", "register-lanes", "start-processing", "live-sessions"]
    assert sorted(aws.kinds_said()) == [
        "Dataset Arriving", "Dataset Landed", "Lanes Changed", "Nodes Powered Down", "Processing Ended",
    ]  # fmt: skip
    aws.ssm.sent.clear()
    status |= {"nodes": [], "powered_up": 0, "addresses": []}
    sweep()
    assert (aws.ssm.verbs(), len(aws.events.taken)) == (EACH_TIME, 5)


@pytest.mark.parametrize(
    ("broken", "named"),
    [
        ("register-lanes", "lanes"),
        ("start-processing", "processing"),
        ("slurm-status", "nodes"),
        ("power-down", "nodes"),
    ],
)
def test_one_failing_concern_does_not_stop_the_others(
    aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch, broken: str, named: str
) -> None:
    monkeypatch.setenv("RECIPE", "relion")
    arrived(aws, "d", ago=0)
    aws.clock.now += 3600
    status |= {"nodes": [idle_node(aws)], "powered_up": 1}
    aws.ssm.documents[broken] = fail
    with pytest.raises(RuntimeError, match=rf"^the sweep failed for {named}; see the log above$"):
        sweeper.handler({}, None)
    # Of what Slurm did not say, nothing is decided.
    missing = {"slurm-status": {"power-down", "live-sessions"}, "power-down": {"live-sessions"}}.get(broken, set())
    wanted = ["slurm-status", "power-down", "register-lanes", "start-processing", "live-sessions"]
    assert aws.ssm.verbs() == [verb for verb in wanted if verb not in missing]
    assert len(aws.said("Dataset Landed")) == 1


def test_every_failing_concern_is_named(aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: Any) -> Any:
        raise OSError("no route")

    monkeypatch.setenv("RECIPE", "relion")
    monkeypatch.setenv("QUEUES", '[{"name": "node", "queue": "queue", "dead": "dead"}]')
    monkeypatch.setattr(aws.dynamodb, "paginate", broken)
    monkeypatch.setattr(aws.ec2, "describe_instances", broken)
    monkeypatch.setattr(aws.sqs, "receive_message", broken)
    every = "dead letters, datasets, nodes, what is paid for, lanes, processing, leaks, metrics, head node, events"
    with pytest.raises(RuntimeError, match=rf"^the sweep failed for {every}; see the log above$"):
        sweeper.handler({}, None)


def test_a_bus_that_takes_nothing_stops_nothing_else(aws: Aws, status: dict[str, Any]) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    aws.events.refusing = True
    with pytest.raises(RuntimeError, match=r"^the sweep failed for events; see the log above$"):
        sweeper.handler({}, None)
    assert aws.ssm.verbs() == EACH_TIME
    aws.events.refusing = False
    sweep()
    assert sorted(aws.kinds_said()) == ["Dataset Arriving", "Dataset Landed", "Lanes Changed"]


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


def test_a_request_and_a_dataset_whose_hint_was_lost_wake_the_head_node(aws: Aws, status: dict[str, Any]) -> None:
    until = {"N": str(aws.clock.now + 60)}
    aws.dynamodb.items["request", "wake"] = {"pk": {"S": "request"}, "sk": {"S": "wake"}, "until": until}
    aws.ec2.state = "stopped"
    sweep()
    aws.clock.now += 60
    aws.ec2.state = "stopped"
    sweep()
    assert aws.ec2.calls == ["start"]
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now)
    sweep()
    assert aws.ec2.calls == ["start", "start"]


@pytest.fixture
def sleepy(aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A head node that may sleep after 30 minutes and was started two hours ago."""
    monkeypatch.setenv("STOP_HEAD_NODE_AFTER_MINUTES", "30")
    aws.ec2.launched = aws.clock.now - 7200
    return status


def stops(aws: Aws) -> int:
    """How often the head node was asked to power itself off; nobody does it in its stead."""
    assert "stop" not in aws.ec2.calls
    return aws.ssm.verbs().count("stop-head-node")


def test_an_idle_head_node_is_stopped_last_of_all(aws: Aws, sleepy: dict[str, Any]) -> None:
    sweep()
    assert aws.ssm.verbs() == [*EACH_TIME, "stop-head-node"]
    assert (aws.ec2.state, len(aws.said("Head Node Stopped"))) == ("stopping", 1)
    aws.ec2.state = "stopped"
    sweep()
    assert (stops(aws), len(aws.said("Head Node Stopped"))) == (1, 1)


def test_a_head_node_that_backs_up_first_is_stopped_by_the_next_sweep(aws: Aws, sleepy: dict[str, Any]) -> None:
    stop = aws.ssm.documents["stop-head-node"]
    aws.ssm.documents["stop-head-node"] = lambda parameters: {"verdict": "back-up", "reason": "first"}
    sweep()
    assert (aws.ec2.state, aws.said("Head Node Stopped")) == ("running", [])
    aws.ssm.documents["stop-head-node"] = stop
    sweep()
    assert len(aws.said("Head Node Stopped")) == 1


def test_an_idle_head_node_is_not_stopped_unless_configured(aws: Aws, status: dict[str, Any]) -> None:
    sweep()
    assert stops(aws) == 0


@pytest.mark.parametrize(
    "busy",
    [
        {"pending": {"gpu4": 1}}, {"blocked": {"gpu4": 1}}, {"running": {"cpu": 1}}, {"logins": 1}, {"recipes": 1},
        {"spool": 1}, {"powered_up": 1},
    ],
)  # fmt: skip
def test_a_head_node_in_use_is_not_stopped(aws: Aws, sleepy: dict[str, Any], busy: dict[str, Any]) -> None:
    sleepy |= busy
    sweep()
    assert stops(aws) == 0


def test_a_head_node_with_a_node_that_has_just_been_told_to_go_is_not_stopped(aws: Aws, sleepy: dict[str, Any]) -> None:
    sleepy |= {"nodes": [idle_node(aws)], "powered_up": 1}
    sweep()
    assert stops(aws) == 0


def test_a_head_node_that_has_just_been_started_is_not_stopped(aws: Aws, sleepy: dict[str, Any]) -> None:
    aws.ec2.launched = aws.clock.now - 1790
    sweep()
    assert stops(aws) == 0


def test_a_dataset_that_is_arriving_keeps_the_head_node(aws: Aws, sleepy: dict[str, Any]) -> None:
    arrived(aws, "d", ago=3000)
    sweep()
    assert stops(aws) == 0


def test_a_dataset_that_has_just_come_keeps_the_head_node(aws: Aws, sleepy: dict[str, Any]) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now - 1790)
    dataset_hook.handler(batch(object_created("datasets/d/DONE")), None)
    sweep()
    assert stops(aws) == 0
    aws.clock.now += 10
    sweep()
    assert stops(aws) == 1


def test_a_job_that_has_just_ended_keeps_the_head_node(aws: Aws, sleepy: dict[str, Any]) -> None:
    world().records.note_job(job_id="7", ended_at=int(aws.clock.now) - 1790, fields={}, spent={})
    sweep()
    assert stops(aws) == 0


def test_when_slurm_does_not_answer_the_head_node_is_not_stopped(aws: Aws, sleepy: dict[str, Any]) -> None:
    aws.ssm.documents["slurm-status"] = fail
    with pytest.raises(RuntimeError, match="for nodes;"):
        sweeper.handler({}, None)
    assert stops(aws) == 0


def test_a_dataset_whose_every_event_was_lost_is_found_in_s3(aws: Aws, status: dict[str, Any]) -> None:
    aws.s3.put("datasets/forgotten/a.mrc", at=aws.clock.now - 4000)
    sweep()
    assert [told["dataset"] for told in aws.said("Dataset Landed")] == ["forgotten"]


def test_a_dataset_that_vanished_without_any_event_is_said_and_arrives_again(aws: Aws, status: dict[str, Any]) -> None:
    arrived(aws, "d", ago=0)
    aws.s3.objects.clear()
    sweep()
    sweep()
    assert [told["objects_before"] for told in aws.said("Dataset Gone")] == [1]
    aws.s3.put("datasets/d/b.mrc", at=aws.clock.now)
    sweep()
    assert aws.record("dataset", "d")["state"] == "arriving"
    assert len(aws.said("Dataset Arriving")) == 2


def test_a_late_object_whose_event_was_lost_is_counted_for_a_day(aws: Aws, status: dict[str, Any]) -> None:
    aws.s3.put("datasets/d/DONE", at=aws.clock.now)
    sweep()
    aws.clock.now += 3600
    aws.s3.put("datasets/d/late.mrc", at=aws.clock.now)
    sweep()
    assert aws.record("dataset", "d")["objects"] == 2.0
    aws.clock.now += 86_400
    aws.s3.put("datasets/d/much-too-late.mrc", at=aws.clock.now)
    sweep()
    assert aws.record("dataset", "d")["objects"] == 2.0
    dataset_hook.handler(batch(object_created("datasets/d/much-too-late.mrc")), None)
    assert aws.record("dataset", "d")["objects"] == 3.0
    assert len(aws.said("Dataset Landed")) == 1


def test_what_an_operator_said_holds_at_the_next_sweep(aws: Aws, status: dict[str, Any]) -> None:
    arrived(aws, "d", ago=0)
    arrived(aws, "e", ago=0)
    aws.dynamodb.items["dataset", "d"]["operator"] = {"S": "landed"}
    aws.dynamodb.items["dataset", "e"]["operator"] = {"S": "arriving"}
    aws.clock.now += 7200
    sweep()
    assert [(told["dataset"], told["reason"]) for told in aws.said("Dataset Landed")] == [("d", "an operator said so")]


def test_what_a_hook_that_died_left_is_said(aws: Aws, status: dict[str, Any]) -> None:
    aws.ec2.state = "stopped"
    aws.events.refusing = True
    node_hook.handler(batch(job_event()), None)
    aws.events.refusing = False
    sweep()
    sweep()
    assert len(aws.said("Job Finished")) == 1


def test_dead_letters_go_back_and_poison_stays(
    aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = [{"name": name, "queue": f"q-{name}", "dead": f"d-{name}"} for name in ("dataset", "lane", "node")]
    monkeypatch.setenv("QUEUES", json.dumps(hooks))
    good = {
        "dataset": object_created("datasets/d/a.mrc"),
        "lane": {"detail-type": "Dataset Landed"},
        "node": job_event(),
    }
    for name, event in good.items():
        aws.sqs.put(f"d-{name}", event, {"of": "nobody"})
    sweep()
    sweep()
    for name, event in good.items():
        assert [json.loads(body) for body in aws.sqs.bodies(f"q-{name}")] == [event]
        assert aws.sqs.bodies(f"d-{name}") == ['{"of": "nobody"}']


def test_a_backup_that_failed_is_said_once(aws: Aws, status: dict[str, Any]) -> None:
    status["backup"] = {"failed_at": 5.0, "reason": "disk full"}
    sweep()
    sweep()
    assert [told["reason"] for told in aws.said("Backup Failed")] == ["disk full"]


def test_an_instance_that_slurm_does_not_know_is_told_of_once_and_never_when_slurm_did_not_answer(
    aws: Aws, status: dict[str, Any]
) -> None:
    aws.ec2.add("i-1", ip="10.0.0.1", launched=aws.clock.now - 3600)
    works = aws.ssm.documents["slurm-status"]
    aws.ssm.documents["slurm-status"] = fail
    with pytest.raises(RuntimeError, match="for nodes;"):
        sweeper.handler({}, None)
    assert aws.said("Cost Leak Found") == []
    aws.ssm.documents["slurm-status"] = works
    sweep()
    sweep()
    assert [told["id"] for told in aws.said("Cost Leak Found")] == ["i-1"]


def test_a_good_sweep_ends_the_alarm_of_those_that_failed(
    aws: Aws, status: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUES", '[{"name": "sweeper", "queue": "", "dead": "dead"}]')
    trouble = {"source": "cryoem.platform", "detail-type": "Node Failed", "detail": {}}
    aws.sqs.put("dead", {}, {"source": "aws.scheduler", "detail-type": "Scheduled Event"}, trouble, "no event")
    aws.ssm.documents["register-lanes"] = fail
    with pytest.raises(RuntimeError, match="the sweep failed for lanes"):
        sweeper.handler({}, None)
    assert len(aws.sqs.bodies("dead")) == 4
    aws.ssm.documents["register-lanes"] = lambda parameters: {"registered": {}, "wanted": {}, "changes": {}}
    sweep()
    assert aws.sqs.bodies("dead") == [json.dumps(trouble), "no event"], "of these nobody was told"
    assert aws.sqs.visible("dead") == 2


def test_somebody_who_has_just_logged_out_keeps_the_head_node(aws: Aws, sleepy: dict[str, Any]) -> None:
    sleepy["seen_at"] = aws.clock.now - 1790
    sweep()
    assert stops(aws) == 0
    aws.clock.now += 10
    sweep()
    assert stops(aws) == 1
