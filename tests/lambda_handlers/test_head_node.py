"""The head node behind Run Command, whose answers take their time; on while it is wanted, off when nobody would miss it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError
from fakes import Aws, CommandError, refusal

from cdk_cryoem_lambda.head_node import CommandFailed, HeadNode
from cdk_cryoem_lambda.nodes import Status
from cdk_cryoem_lambda.reconcile import head_node
from cdk_cryoem_lambda.world import world


@pytest.fixture
def head(aws: Aws) -> HeadNode:
    aws.ssm.documents["slurm-status"] = lambda parameters: {"now": 5}
    return world().head_node


def broken(parameters: Mapping[str, str]) -> dict[str, Any]:
    raise CommandError("x" * 900 + " slurmctld does not answer")


@pytest.mark.parametrize("before", [(), ("InvocationDoesNotExist",), ("Pending", "InProgress", "Delayed") * 5])
def test_a_command_is_asked_after_until_it_has_ended(aws: Aws, head: HeadNode, before: tuple[str, ...]) -> None:
    aws.ssm.polls = before
    assert head.run("slurm-status") == {"now": 5}


def test_who_waits_for_a_node_waits_for_no_poll(aws: Aws, head: HeadNode) -> None:
    began = aws.clock.now
    head.run("slurm-status")
    assert aws.clock.now - began < 0.3
    aws.ssm.polls = ("InProgress",) * 20
    began = aws.clock.now
    head.run("slurm-status")
    assert 20 < aws.clock.now - began < 40, "one that takes long is not asked after ten times a second"


def test_parameters_and_document_arrive(aws: Aws, head: HeadNode) -> None:
    aws.ssm.documents["power-down"] = dict
    assert head.run("power-down", {"Nodes": "n=e"}) == {"Nodes": "n=e"}
    assert aws.ssm.sent == [("power-down", {"Nodes": "n=e"})]


def test_a_failed_command_says_what_the_head_node_said(aws: Aws, head: HeadNode) -> None:
    aws.ssm.documents["slurm-status"] = broken
    with pytest.raises(CommandFailed, match=r"^slurm-status: Failed: x+ slurmctld does not answer$"):
        head.run("slurm-status")


@pytest.mark.parametrize("status", ["TimedOut", "Cancelled", "Failed", "Undeliverable"])
def test_a_command_that_ended_otherwise_has_failed(
    aws: Aws, head: HeadNode, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    monkeypatch.setattr(aws.ssm, "get_command_invocation", lambda **_: {"Status": status})
    with pytest.raises(CommandFailed, match=f"^slurm-status: {status}: $"):
        head.run("slurm-status")


def test_a_document_that_prints_no_json_has_failed(aws: Aws, head: HeadNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        aws.ssm, "get_command_invocation", lambda **_: {"Status": "Success", "StandardOutputContent": "oops"}
    )
    with pytest.raises(CommandFailed, match="slurm-status printed no JSON: 'oops'"):
        head.run("slurm-status")


@pytest.mark.parametrize(("polls", "last"), [((), "InProgress"), (("InvocationDoesNotExist",) * 99, "Pending")])
def test_an_answer_that_does_not_come_is_not_waited_for_for_ever(
    aws: Aws, head: HeadNode, polls: tuple[str, ...], last: str
) -> None:
    aws.ssm.polls = polls
    aws.ssm.mute = {"slurm-status"}
    began = aws.clock.now
    with pytest.raises(CommandFailed, match=rf"^slurm-status: no end after 40 seconds \({last}\): $"):
        head.run("slurm-status", seconds=40)
    assert 40 <= aws.clock.now - began < 43


def test_what_ssm_says_otherwise_is_not_swallowed(aws: Aws, head: HeadNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(**_: Any) -> Any:
        raise refusal("AccessDeniedException", "GetCommandInvocation")

    monkeypatch.setattr(aws.ssm, "get_command_invocation", denied)
    with pytest.raises(ClientError, match="AccessDenied"):
        head.run("slurm-status")
    monkeypatch.setattr(aws.ssm, "send_command", denied)
    with pytest.raises(ClientError, match="AccessDenied"):
        head.run("slurm-status")


def test_one_whose_agent_does_not_answer_yet_takes_no_commands(aws: Aws, head: HeadNode) -> None:
    aws.ec2.state = "stopping"
    with pytest.raises(CommandFailed, match=r"^slurm-status: i-head takes no commands now$"):
        head.run("slurm-status")


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped", "terminated"])
def test_look(aws: Aws, head: HeadNode, state: str) -> None:
    aws.ec2.state, aws.ec2.launched = state, 1_700_000_000.0
    assert head.look() == (state, 1_700_000_000.0)
    assert head.running is (state == "running")


def test_one_that_is_gone(aws: Aws, head: HeadNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """For an hour EC2 knows of it, after that it does not."""
    aws.ec2.state = "gone"
    assert head.look() == ("gone", 0.0)

    def unknown(**_: Any) -> Any:
        raise refusal("InvalidInstanceID.NotFound", "DescribeInstances")

    monkeypatch.setattr(aws.ec2, "describe_instances", unknown)
    assert head.look() == ("gone", 0.0)

    def throttled(**_: Any) -> Any:
        raise refusal("RequestLimitExceeded", "DescribeInstances")

    monkeypatch.setattr(aws.ec2, "describe_instances", throttled)
    with pytest.raises(ClientError, match="RequestLimitExceeded"):
        head.look()


# The convergence


def status(**changes: Any) -> Status:
    quiet = {"now": 0, "nodes": [], "powered_up": 0, "logins": 0, "recipes": 0}
    return Status.parse(quiet | changes)


def dataset(aws: Aws, name: str, state: str, **more: Any) -> None:
    last_at = {"N": str(aws.clock.now - 90_000)}
    aws.dynamodb.items["dataset", name] = {
        "pk": {"S": "dataset"}, "sk": {"S": name}, "state": {"S": state}, "last_at": last_at, **more,
    }  # fmt: skip


def ask_for_it(aws: Aws, *, until: float) -> None:
    """What `cryoem wake` writes."""
    aws.dynamodb.items["request", "wake"] = {"pk": {"S": "request"}, "sk": {"S": "wake"}, "until": {"N": str(until)}}


def converge(now: Status | None = None) -> None:
    w = world()
    head_node.reconcile(w, now)
    w.outbox.flush()


@pytest.fixture
def sleepy(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """A head node that may sleep after 30 minutes, was started two hours ago, and powers itself off when asked."""
    monkeypatch.setenv("STOP_HEAD_NODE_AFTER_MINUTES", "30")
    aws.ec2.launched = aws.clock.now - 7200

    def stop(parameters: Mapping[str, str]) -> dict[str, str]:
        aws.ec2.state = "stopping"
        return {"verdict": "stop", "reason": ""}

    aws.ssm.documents["stop-head-node"] = stop
    return aws


@pytest.mark.parametrize(
    "reason",
    ["dataset d is arriving", "dataset d waits for the recipe relion", "somebody asked for it", "it is working hours"],
)
def test_it_is_started_for_each_reason_once_and_not_stopped(
    sleepy: Aws, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    if "arriving" in reason:
        dataset(sleepy, "d", "arriving")
    elif "recipe" in reason:
        monkeypatch.setenv("RECIPE", "relion")
        dataset(sleepy, "d", "landed")
    elif "asked" in reason:
        ask_for_it(sleepy, until=sleepy.clock.now + 3600)
    else:
        # 15 January 2027, a Friday, 08:00 UTC.
        hours = '{"days": ["fri"], "from": "08:00", "to": "09:00", "time_zone": "UTC"}'
        monkeypatch.setenv("AWAKE", hours)
    sleepy.ec2.state = "stopped"
    converge()
    converge(status())
    assert (sleepy.ec2.calls, sleepy.ec2.state, sleepy.ssm.sent) == (["start"], "running", [])
    assert sleepy.said("Head Node Started") == [
        {"version": 1, "cluster": "cryo", "instance_id": "i-head", "reason": reason}
    ]


def test_what_is_over_wakes_nobody(sleepy: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECIPE", "relion")
    dataset(sleepy, "gone", "gone")
    dataset(sleepy, "processed", "landed", processing_at={"N": "5"})
    ask_for_it(sleepy, until=sleepy.clock.now)
    sleepy.ec2.state = "stopped"
    converge()
    assert sleepy.ec2.calls == []


@pytest.mark.parametrize("state", ["pending", "running", "gone", "terminated"])
def test_only_one_that_is_stopped_is_started(sleepy: Aws, state: str) -> None:
    dataset(sleepy, "d", "arriving")
    sleepy.ec2.state = state
    converge()
    assert (sleepy.ec2.calls, sleepy.events.taken) == ([], [])


def test_one_that_is_stopping_and_wanted_is_looked_at_again(sleepy: Aws) -> None:
    dataset(sleepy, "d", "arriving")
    sleepy.ec2.state = "stopping"
    with pytest.raises(CommandFailed, match=r"^i-head is stopping, and dataset d is arriving$"):
        converge()


def test_an_idle_one_is_asked_to_power_itself_off(sleepy: Aws) -> None:
    converge(status())
    launched = f"{sleepy.ec2.launched:.0f}"
    decided = f"{sleepy.clock.now:.0f}"
    assert sleepy.ssm.sent == [("stop-head-node", {"UsedUntil": launched, "DecidedAt": decided})]
    assert sleepy.ec2.calls == [], "nobody but itself, after a last look, switches it off"
    assert sleepy.said("Head Node Stopped") == [
        {"version": 1, "cluster": "cryo", "instance_id": "i-head", "reason": "nobody needed it"}
    ]


def test_it_is_told_until_when_it_was_used(sleepy: Aws) -> None:
    world().records.note_job(job_id="7", ended_at=int(sleepy.clock.now) - 3600, fields={}, spent={})
    converge(status())
    assert sleepy.ssm.sent[0][1]["UsedUntil"] == f"{sleepy.clock.now - 3600:.0f}"


@pytest.mark.parametrize("verdict", ["stay", "back-up"])
def test_one_that_found_a_reason_to_stay_is_not_said_to_have_stopped(sleepy: Aws, verdict: str) -> None:
    sleepy.ssm.documents["stop-head-node"] = lambda parameters: {"verdict": verdict, "reason": "jobs run"}
    converge(status())
    assert sleepy.events.taken == []


@pytest.mark.parametrize("state", ["stopping", "stopped"])
def test_an_answer_that_never_comes_because_it_is_off_counts_as_stopped(sleepy: Aws, state: str) -> None:
    def off(parameters: Mapping[str, str]) -> dict[str, str]:
        sleepy.ec2.state = state
        return {}

    sleepy.ssm.documents["stop-head-node"] = off
    sleepy.ssm.mute = {"stop-head-node"}
    converge(status())
    assert len(sleepy.said("Head Node Stopped")) == 1


def test_an_answer_that_never_comes_while_it_runs_does_not(sleepy: Aws) -> None:
    sleepy.ssm.documents["stop-head-node"] = lambda parameters: {}
    sleepy.ssm.mute = {"stop-head-node"}
    with pytest.raises(CommandFailed, match="no end after 90 seconds"):
        converge(status())
    assert sleepy.waiting() == []


def test_without_what_it_says_of_itself_it_is_not_stopped(sleepy: Aws) -> None:
    """Hooks have not asked it."""
    converge()
    assert sleepy.ssm.sent == []


@pytest.mark.parametrize(
    "busy", [{"logins": 1}, {"recipes": 1}, {"spool": 1}, {"powered_up": 1}, {"blocked": {"a": 1}}]
)
def test_one_that_somebody_would_miss_is_not_asked(sleepy: Aws, busy: dict[str, Any]) -> None:
    converge(status(**busy))
    assert sleepy.ssm.sent == []


@pytest.mark.parametrize(("ended", "asked"), [(1790, 0), (1800, 1)])
def test_a_request_that_has_just_ended_keeps_it_for_its_time(sleepy: Aws, ended: float, asked: int) -> None:
    ask_for_it(sleepy, until=sleepy.clock.now - ended)
    converge(status())
    assert len(sleepy.ssm.sent) == asked


def test_a_backup_that_failed_is_said_once_a_day(aws: Aws) -> None:
    w = world()
    for failed_at in (5, 5, 3605, 90_000, 5):
        head_node.tell_of_backup(w, status(backup={"made_at": 1, "failed_at": failed_at, "reason": "disk full"}))
    head_node.tell_of_backup(w, status(backup={"made_at": 10}))
    head_node.tell_of_backup(w, status())
    w.outbox.flush()
    assert [(told["at"], told["reason"]) for told in aws.said("Backup Failed")] == [
        (5.0, "disk full"), (90_000.0, "disk full"),
    ]  # fmt: skip
