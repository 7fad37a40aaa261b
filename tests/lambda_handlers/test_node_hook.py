from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fakes import Aws, CommandError, batch, failed, job_event

from cdk_cryoem_lambda import converge, node_hook
from cdk_cryoem_lambda.head_node import CommandFailed

JOB = ("job", "001799999000#7")


class Head:
    """What slurm-status and power-down do on a head node."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.nodes: list[dict[str, Any]] = []
        self.pending: dict[str, int] = {}
        self.powered_down: list[str] = []
        aws.ssm.documents = {"slurm-status": self.slurm_status, "power-down": self.power_down}

    def node(self, name: str, *, lane: str = "gpu4", state: str = "idle", idle_for: float | None = 60) -> None:
        since = None if idle_for is None else self.aws.clock.now - idle_for
        self.nodes.append({"name": name, "lane": lane, "state": state, "epoch": f"e-{name}", "idle_since": since})

    def slurm_status(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        return {
            "now": self.aws.clock.now,
            "pending": self.pending,
            "running": {},
            "nodes": self.nodes,
            "powered_up": len(self.nodes),
            "logins": 0,
            "recipes": 0,
        }

    def power_down(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        names = dict(part.split("=") for part in parameters["Nodes"].split(","))
        assert names == {name: f"e-{name}" for name in names}
        self.powered_down += names
        self.nodes = [node for node in self.nodes if node["name"] not in names]
        return {"powered_down": list(names), "left_alone": {}}


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
    assert sorted(sk for _, sk in before) == ["001799999000#7", "001799999000#8"]


def test_a_job_that_was_requeued_ends_twice(aws: Aws, head: Head) -> None:
    hook(job_event(end=1_000_000), job_event(end=1_000_900))
    assert [item["ended_at"] for item in converge.world().records.jobs()] == [1_000_000, 1_000_900]
    assert converge.world().records.last_job_ended_at() == 1_000_900.0


def test_a_job_of_a_lane_that_is_no_more_has_no_price(aws: Aws, head: Head) -> None:
    hook(job_event(partition="old"))
    assert "usd" not in aws.record(*JOB)


def test_a_job_that_never_started_is_free(aws: Aws, head: Head) -> None:
    hook(job_event(start=0, state="CANCELLED", node_count=0, nodes="", tres=""))
    assert (aws.record(*JOB)["usd"], aws.record(*JOB)["seconds"]) == (0.0, 0.0)


def test_only_idle_nodes_go_and_only_once(aws: Aws, head: Head) -> None:
    head.node("free")
    head.node("busy", state="busy")
    head.node("booting", state="changing", idle_for=None)
    head.node("wanted", lane="cpu")
    head.node("held", lane="live", idle_for=1799)
    head.pending = {"cpu": 1}
    hook(job_event())
    hook(job_event())
    assert head.powered_down == ["free"]
    assert aws.ssm.verbs() == ["slurm-status", "power-down", "slurm-status"]


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
    assert (aws.ssm.sent, list(aws.dynamodb.items)) == ([], [JOB])


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
    assert len(aws.dynamodb.items) == 2


def test_a_failed_command_says_what_the_head_node_said(aws: Aws) -> None:
    def broken(parameters: Mapping[str, str]) -> dict[str, Any]:
        raise CommandError("x" * 900 + " slurmctld does not answer")

    aws.ssm.documents["slurm-status"] = broken
    with pytest.raises(CommandFailed, match=r"^slurm-status: Failed: x+ slurmctld does not answer$"):
        converge.world().head_node.run("slurm-status")


def test_a_document_that_prints_no_json_has_failed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    aws.ssm.documents["slurm-status"] = lambda parameters: {}
    monkeypatch.setattr(
        aws.ssm, "get_command_invocation", lambda **_: {"Status": "Success", "StandardOutputContent": "oops"}
    )
    with pytest.raises(CommandFailed, match="slurm-status printed no JSON: 'oops'"):
        converge.world().head_node.run("slurm-status")
