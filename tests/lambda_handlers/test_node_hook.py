from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from fakes import LANES, Aws, CommandError, batch, failed, job_event

from cdk_cryoem_lambda import node_hook
from cdk_cryoem_lambda.world import world

JOB = ("job", "001799999000#7")


class Head:
    """What slurm-status and power-down do on a head node."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.nodes: list[dict[str, Any]] = []
        self.pending: dict[str, int] = {}
        self.blocked: dict[str, int] = {}
        self.refuses: set[str] = set()
        self.powered_down: list[str] = []
        aws.ssm.documents = {"slurm-status": self.slurm_status, "power-down": self.power_down}

    def node(self, name: str, *, lane: str = "gpu4", state: str = "idle", idle_for: float | None = 60) -> None:
        since = None if idle_for is None else self.aws.clock.now - idle_for
        self.nodes.append({"name": name, "lane": lane, "state": state, "epoch": f"e-{name}", "idle_since": since})

    def slurm_status(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        return {
            "now": self.aws.clock.now,
            "pending": self.pending,
            "blocked": self.blocked,
            "running": {},
            "nodes": self.nodes,
            "powered_up": len(self.nodes),
            "logins": 0,
            "recipes": 0,
        }

    def power_down(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        names = dict(part.split("=") for part in parameters["Nodes"].split(","))
        assert names == {name: f"e-{name}" for name in names}
        down = [name for name in names if name not in self.refuses]
        self.powered_down += down
        self.nodes = [node for node in self.nodes if node["name"] not in down]
        return {"powered_down": down, "left_alone": dict.fromkeys(self.refuses & names.keys(), "another epoch")}


@pytest.fixture
def head(aws: Aws) -> Head:
    return Head(aws)


def hook(*events: object) -> list[str]:
    return failed(node_hook.handler(batch(*events), None))


def test_a_job_is_written_down_with_its_price(aws: Aws, head: Head) -> None:
    assert hook(job_event()) == []
    assert aws.record(*JOB) == {
        "pk": "job",
        "sk": "001799999000#7",
        "name": "class2d",
        "user": "ada",
        "project": "spike",
        "lane": "gpu4",
        "state": "COMPLETED",
        "submitted_at": 1_799_995_000.0,
        "started_at": 1_799_995_400.0,
        "ended_at": 1_799_999_000.0,
        "nodes": "gpu4-dy-node-1",
        "gpus": 1.0,
        "cpus": 12.0,
        "seconds": 3600.0,
        "usd": 1.052635,  # 48 GiB of 186 777 MiB, for an hour of 4 USD
    }


def test_a_job_is_written_once_under_duplicates(aws: Aws, head: Head) -> None:
    assert hook(job_event(), job_event(), job_event(8)) == []
    before, writes = dict(aws.dynamodb.items), aws.dynamodb.writes
    assert hook(job_event()) == []
    assert (aws.dynamodb.items, aws.dynamodb.writes) == (before, writes)
    assert sorted(sk for pk, sk in before if pk == "job") == ["001799999000#7", "001799999000#8"]
    assert sorted(told["job_id"] for told in aws.said("Job Finished")) == ["7", "8"]


def test_a_finished_job_is_said_with_its_price(aws: Aws, head: Head) -> None:
    hook(job_event())
    (told,) = aws.said("Job Finished")
    record = aws.record(*JOB)
    assert {name: told[name] for name in record.keys() & told.keys()} == {
        name: value for name, value in record.items() if name in told
    }
    assert record.keys() - told.keys() == {"pk", "sk"}
    assert (told["job_id"], told["usd"]) == ("7", 1.052635)


def test_a_job_whose_event_was_not_taken_is_said_later_and_once(aws: Aws, head: Head) -> None:
    aws.events.refusing = True
    assert hook(job_event()) == ["m0"]
    aws.events.refusing = False
    assert hook(job_event()) == []
    assert len(aws.said("Job Finished")) == 1


def test_a_job_that_was_requeued_ends_twice(aws: Aws, head: Head) -> None:
    hook(job_event(end=1_000_000), job_event(end=1_000_900))
    assert [item["ended_at"] for item in world().records.jobs()] == [1_000_000, 1_000_900]
    assert world().records.last_job_ended_at() == 1_000_900.0


def test_a_job_of_a_lane_that_is_no_more_has_no_price(aws: Aws, head: Head) -> None:
    hook(job_event(partition="old"))
    assert "usd" not in aws.record(*JOB)
    assert "usd" not in aws.said("Job Finished")[0]


def test_a_job_that_never_started_is_free(aws: Aws, head: Head) -> None:
    hook(job_event(start=0, state="CANCELLED", node_count=0, nodes="", tres=""))
    assert (aws.record(*JOB)["usd"], aws.record(*JOB)["seconds"]) == (0.0, 0.0)


def test_only_idle_nodes_go_and_only_once(aws: Aws, head: Head) -> None:
    head.node("free")
    head.node("busy", state="busy")
    head.node("changing", state="changing", idle_for=None)
    head.node("wanted", lane="cpu")
    head.node("held", lane="live", idle_for=1799)
    head.pending = {"cpu": 1}
    hook(job_event())
    hook(job_event())
    assert head.powered_down == ["free"]
    assert aws.ssm.verbs() == ["slurm-status", "power-down", "slurm-status"]
    assert aws.said("Nodes Powered Down") == [
        {"version": 1, "cluster": "cryo", "nodes": [{"name": "free", "lane": "gpu4", "idle_seconds": 60}]}
    ]


def test_a_node_that_boots_for_nobody_goes(aws: Aws, head: Head) -> None:
    head.node("booting", state="booting", idle_for=None)
    hook(job_event())
    assert head.powered_down == ["booting"]
    assert aws.said("Nodes Powered Down")[0]["nodes"] == [{"name": "booting", "lane": "gpu4", "idle_seconds": 0}]


def test_only_nodes_that_the_head_node_powered_down_are_said_to_be(aws: Aws, head: Head) -> None:
    head.node("free")
    head.node("taken")
    head.refuses = {"taken"}
    hook(job_event())
    assert [[node["name"] for node in told["nodes"]] for told in aws.said("Nodes Powered Down")] == [["free"]]
    head.refuses = {"taken", "other"}
    hook(job_event())
    assert len(aws.said("Nodes Powered Down")) == 1, "nothing is said when nothing was done"


def test_jobs_that_wait_for_something_else_keep_a_node_for_two_minutes_only(aws: Aws, head: Head) -> None:
    head.blocked = {"gpu4": 1}
    head.node("young", idle_for=110)
    head.node("old", idle_for=121)
    hook(job_event())
    assert head.powered_down == ["old"]
    assert reminders(aws) == [122]


def test_a_node_that_is_down_is_said_once_and_powered_down_after_its_time(aws: Aws, head: Head) -> None:
    since = aws.clock.now - 590
    head.node("lost", state="down", idle_for=590)
    hook(job_event())
    assert (head.powered_down, aws.said("Node Failed")) == ([], [])
    aws.clock.now += 10
    head.refuses = {"lost"}
    hook(job_event())
    hook(job_event())
    assert aws.said("Node Failed") == [
        {
            "version": 1,
            "cluster": "cryo",
            "node": "lost",
            "lane": "gpu4",
            "since": since,
            "reason": "it does not answer Slurm",
        }
    ]
    assert aws.known("node") == [f"lost#{since:.0f}"]
    assert aws.ssm.verbs()[-1] == "power-down"


def test_a_node_that_is_back_is_forgotten_and_said_again_when_it_fails_again(aws: Aws, head: Head) -> None:
    head.node("lost", state="down", idle_for=601)
    head.refuses = {"lost"}
    hook(job_event())
    head.nodes[0]["state"] = "idle"
    hook(job_event())
    assert aws.known("node") == []
    head.nodes[0]["state"] = "down"
    hook(job_event())
    assert len(aws.said("Node Failed")) == 2


def test_a_node_that_slurm_no_longer_has_is_forgotten(aws: Aws, head: Head) -> None:
    head.node("lost", state="down", idle_for=601)
    hook(job_event())
    assert (head.powered_down, len(aws.known("node"))) == (["lost"], 1)
    hook(job_event())
    assert aws.known("node") == []


def reminders(aws: Aws) -> list[float]:
    """In how many seconds each reminder comes."""
    return sorted(message.visible_at - aws.clock.now for message in aws.sqs.queues.get("queue", {}).values())


def lanes(aws: Aws, **hold_minutes: int) -> None:
    """A manifest of lanes that are held for so long."""
    entries = [LANES[0] | {"name": name, "hold_minutes": minutes} for name, minutes in hold_minutes.items()]
    aws.ssm.parameters["/cryo/lanes"] = json.dumps({"version": 1, "cluster": "cryo", "lanes": entries})


def test_when_a_hold_ends_the_hook_looks_again(aws: Aws, head: Head) -> None:
    lanes(aws, gpu4=5)
    head.node("n", idle_for=0)
    hook(job_event())
    assert (head.powered_down, reminders(aws)) == ([], [302])
    aws.clock.now += 302
    assert hook(*aws.sqs.bodies("queue")) == []
    assert head.powered_down == ["n"]


def test_a_reminder_brings_no_other(aws: Aws, head: Head) -> None:
    lanes(aws, gpu4=5)
    head.node("n", idle_for=0)
    hook(job_event())
    (reminder,) = aws.sqs.bodies("queue")
    assert hook(reminder) == []
    assert hook(reminder, reminder) == []
    assert len(reminders(aws)) == 1
    assert len(aws.known("job")) == 1, "it tells of no job"


def test_there_is_one_reminder_for_each_hold_of_lanes_that_had_a_job(aws: Aws, head: Head) -> None:
    lanes(aws, a=5, b=5, c=7, d=9, e=0, f=15, g=60)
    jobs = [job_event(n, partition=name) for n, name in enumerate("abcefg")]
    hook(*jobs, *jobs)
    assert reminders(aws) == [302, 422, 900], "one that lasts longer than a message waits ends with a sweep"


def test_a_hold_just_below_the_longest_delay_is_reminded_of(
    aws: Aws, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_hook, "held_seconds", lambda lane, status, *, waiting: 899.5)
    hook(job_event())
    assert reminders(aws) == [900]


def test_while_the_head_node_sleeps_there_is_nothing_to_remind_of(aws: Aws, head: Head) -> None:
    lanes(aws, gpu4=5)
    aws.ec2.state = "stopped"
    hook(job_event())
    assert reminders(aws) == []


def test_no_more_nodes_at_once_than_the_document_takes(aws: Aws, head: Head) -> None:
    for n in range(130):
        head.node(f"n{n}")
    hook(job_event())
    assert len(head.powered_down) == 100
    hook(job_event())
    assert len(head.powered_down) == 130


def test_the_truth_counts_not_the_event(aws: Aws, head: Head) -> None:
    head.node("gpu4-dy-node-1", state="busy")
    hook(job_event(nodes="gpu4-dy-node-1"))
    assert head.powered_down == []


def test_a_head_node_that_sleeps_is_asked_nothing_but_the_job_is_written(aws: Aws, head: Head) -> None:
    aws.ec2.state = "stopped"
    assert hook(job_event()) == []
    assert aws.ssm.sent == []
    assert JOB in aws.dynamodb.items


def test_a_command_that_fails_brings_the_batch_again_and_the_job_once(aws: Aws, head: Head) -> None:
    working = aws.ssm.documents["slurm-status"]

    def broken(parameters: Mapping[str, str]) -> dict[str, Any]:
        raise CommandError("slurmctld does not answer")

    aws.ssm.documents["slurm-status"] = broken
    head.node("free")
    assert hook(job_event(), job_event(8)) == ["m0", "m1"]
    aws.ssm.documents["slurm-status"] = working
    assert hook(job_event(), job_event(8)) == []
    assert head.powered_down == ["free"]
    assert (len(aws.known("job")), len(aws.said("Job Finished"))) == (2, 2)
