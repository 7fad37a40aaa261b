"""What costs money for nobody is told of once, and of nothing that nobody looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from fakes import Aws, CommandError
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda.head_node import CommandFailed
from cdk_cryoem_lambda.leaks import (
    INSTANCE_SECONDS,
    FileSystem,
    Instance,
    Leak,
    forgotten_file_systems,
    forgotten_instances,
    over,
)
from cdk_cryoem_lambda.nodes import Status
from cdk_cryoem_lambda.reconcile import leaks, node_life
from cdk_cryoem_lambda.world import world

NOW = 1_800_000_000.0
OLD, YOUNG = NOW - INSTANCE_SECONDS, NOW - INSTANCE_SECONDS + 1
pure = settings(max_examples=80, deadline=None, derandomize=True, database=None)
ips = st.sampled_from([f"10.0.0.{n}" for n in range(1, 6)])


def instance(name: str, ip: str = "10.0.0.1", *, launched: float = OLD) -> Instance:
    dns = f"ip-{ip.replace('.', '-')}.ec2.internal"
    return Instance(instance_id=name, private_ip=ip, private_dns=dns, launched_at=launched)


def names(found: list[Leak] | None) -> list[str] | None:
    return None if found is None else [leak.id for leak in found]


def forgotten(*found: Instance, addresses: list[str] | None = None, asleep: bool = False) -> list[str] | None:
    return names(forgotten_instances(found, head_node="i-head", addresses=addresses, asleep=asleep, now=NOW))


@pytest.mark.parametrize("called", ["10.0.0.1", "ip-10-0-0-1", "ip-10-0-0-1.ec2.internal"])
def test_an_instance_is_known_by_whatever_slurm_calls_it(called: str) -> None:
    assert forgotten(instance("i-1"), instance("i-2", "10.0.0.2"), addresses=[called]) == ["i-2"]


@pytest.mark.parametrize(("launched", "found"), [(OLD, ["i-2"]), (YOUNG, [])])
def test_one_that_may_still_boot_is_not_asked_after(launched: float, found: list[str]) -> None:
    assert forgotten(instance("i-1"), instance("i-2", "10.0.0.2", launched=launched), addresses=["10.0.0.1"]) == found


def test_when_slurm_has_no_node_at_all_every_instance_is_forgotten() -> None:
    assert forgotten(instance("i-1"), instance("i-head", "10.0.0.9"), addresses=[]) == ["i-1"]


def test_while_the_head_node_sleeps_nothing_may_run() -> None:
    (leak,) = forgotten_instances([instance("i-1")], head_node="i-head", addresses=None, asleep=True, now=NOW) or []
    assert leak.advice.startswith(
        "the head node sleeps: look at it, then aws ec2 terminate-instances --instance-ids i-1"
    )
    assert (leak.name, leak.since) == ("instance#i-1", OLD)


def test_when_slurm_did_not_answer_nothing_is_said() -> None:
    assert forgotten(instance("i-1"), addresses=None) is None


def test_when_slurms_nodes_cannot_be_found_among_the_instances_nothing_is_said() -> None:
    """An engine that names its nodes otherwise: what looks forgotten has jobs."""
    assert forgotten(instance("i-1"), addresses=["gpu4-dy-node-1"]) is None


@pure
@given(running=st.lists(ips, unique=True), slurm=st.none() | st.lists(ips, unique=True), asleep=st.booleans())
def test_nothing_that_slurm_knows_is_ever_called_forgotten(
    running: list[str], slurm: list[str] | None, asleep: bool
) -> None:
    found = [instance(f"i-{ip}", ip) for ip in running]
    told = forgotten(*found, addresses=slurm, asleep=asleep)
    if told is None:
        assert (slurm is None and not asleep) or (slurm and not set(slurm) & set(running))
    else:
        assert told == [f"i-{ip}" for ip in running if ip not in set(slurm or ())]


def file_system(name: str, system: str = "cryo", *, created_at: float = 5.0) -> FileSystem:
    return FileSystem(file_system_id=name, system=system, created_at=created_at)


@pytest.mark.parametrize(
    ("system", "gone", "found"),
    [
        ("cryo", False, ["fs-2"]),
        ("cryo", True, ["fs-2", "fs-1"]),
        ("other", False, []),
        ("other", True, ["fs-3"]),
        ("nobody's", True, []),
    ],
)
def test_only_file_systems_of_this_system_that_nothing_uses(system: str, gone: bool, found: list[str]) -> None:
    there = [
        file_system("fs-1", created_at=9.0),
        file_system("fs-2"),
        file_system("fs-3", "other"),
        file_system("fs-4", ""),
    ]
    assert names(forgotten_file_systems(there, system=system, cluster_is_gone=gone)) == found


def test_over_is_what_was_looked_for_and_not_found() -> None:
    known = [{"sk": "instance#i-1"}, {"sk": "instance#i-2"}, {"sk": "file-system#fs-1"}]
    there = [Leak(kind="instance", id="i-1", since=5.0, advice="")]
    assert over(known, {"instance": there, "file-system": []}) == ["file-system#fs-1", "instance#i-2"]
    assert over(known, {"instance": None, "file-system": []}) == ["file-system#fs-1"]
    assert over(known, {"instance": None, "file-system": None}) == []


# The convergence


def status(*addresses: str, powered_up: int | None = None) -> Status:
    count = len(addresses) if powered_up is None else powered_up
    return Status.parse({"now": 0, "nodes": [], "powered_up": count, "addresses": addresses, "logins": 0, "recipes": 0})


class Live:
    """What live-sessions does on a head node."""

    def __init__(self, aws: Aws) -> None:
        self.sessions: list[dict[str, Any]] = []
        self.paused: list[tuple[str, str]] = []
        self.broken: set[str] = set()
        aws.ssm.documents = {"live-sessions": self.show, "pause-live-session": self.pause}

    def add(self, name: str, since: float) -> None:
        self.sessions.append({"id": name, "since": since, "gpus": 4, "lane": "live", "idle_minutes": 90})

    def show(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        assert parameters == {"IdleMinutes": "60"}
        if "show" in self.broken:
            raise CommandError("cryoSPARC does not answer")
        return {"sessions": self.sessions}

    def pause(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        if parameters["Session"] in self.broken:
            raise CommandError("it does not pause")
        self.paused.append((parameters["Session"], parameters["Seen"]))
        self.sessions = [each for each in self.sessions if each["id"] != parameters["Session"]]
        return {"state": "paused"}


@pytest.fixture
def live(aws: Aws) -> Live:
    aws.ec2.add("i-1", ip="10.0.0.1", launched=aws.clock.now - 3600)
    aws.ec2.add("i-2", ip="10.0.0.2", launched=aws.clock.now - 3600)
    return Live(aws)


def look(aws: Aws, now: Status | None) -> list[tuple[str, str]]:
    """Kind and id of what was newly told."""
    told = len(aws.said("Cost Leak Found"))
    w = world()
    leaks.reconcile(w, now, instances=node_life.instances(w), now=aws.clock.now)
    w.outbox.flush()
    return sorted((each["kind"], each["id"]) for each in aws.said("Cost Leak Found")[told:])


def test_a_leak_is_told_of_once_and_again_after_it_was_over(aws: Aws, live: Live) -> None:
    assert look(aws, status("10.0.0.1")) == [("instance", "i-2")]
    assert look(aws, status("10.0.0.1")) == []
    assert aws.known("leak") == ["instance#i-2"]
    assert look(aws, status("10.0.0.1", "10.0.0.2")) == []
    assert aws.known("leak") == []
    assert look(aws, status("10.0.0.1")) == [("instance", "i-2")]


def test_what_is_told_has_the_advice(aws: Aws, live: Live) -> None:
    launched = aws.clock.now - 3600
    look(aws, status("10.0.0.1"))
    (told,) = aws.said("Cost Leak Found")
    assert told == {
        "version": 1,
        "cluster": "cryo",
        "kind": "instance",
        "id": "i-2",
        "since": launched,
        "advice": "Slurm has no node there: look at it, then aws ec2 terminate-instances --instance-ids i-2",
    }


@pytest.mark.parametrize("state", ["running", "pending", "stopping"])
def test_nothing_is_said_nor_forgotten_while_slurm_did_not_answer(aws: Aws, live: Live, state: str) -> None:
    look(aws, status("10.0.0.1"))
    aws.ec2.state = state
    assert look(aws, None) == []
    assert aws.known("leak") == ["instance#i-2"]


@pytest.mark.parametrize("state", ["stopped", "gone", "terminated"])
def test_an_instance_that_runs_while_the_head_node_sleeps_is_told_of(aws: Aws, live: Live, state: str) -> None:
    aws.ec2.state = state
    assert look(aws, None) == [("instance", "i-1"), ("instance", "i-2")]
    assert aws.ssm.sent == []


@pytest.mark.parametrize(
    "now", [status("gpu4-dy-node-1", "gpu4-dy-node-2"), status(powered_up=2), status("10.0.0.1", powered_up=2)]
)
def test_nothing_is_said_nor_forgotten_when_the_two_cannot_be_compared(aws: Aws, live: Live, now: Status) -> None:
    """Other names, a head node with older programs, or more nodes than it can print."""
    look(aws, status("10.0.0.1"))
    assert look(aws, now) == []
    assert aws.known("leak") == ["instance#i-2"]


def test_only_instances_of_the_cluster_that_are_paid_for(aws: Aws, live: Live) -> None:
    aws.ec2.add("i-3", ip="10.0.0.3", of="another")
    aws.ec2.add("i-4", ip="10.0.0.4", state="terminated")
    aws.ec2.add("i-5", launched=aws.clock.now - 3600, state="pending")
    assert look(aws, status("10.0.0.1", "10.0.0.2")) == [("instance", "i-5")]


def test_idle_live_sessions_are_told_of_and_paused(aws: Aws, live: Live) -> None:
    both = status("10.0.0.1", "10.0.0.2")
    live.add("P3S1", aws.clock.now - 5400)
    assert look(aws, both) == [("live-session", "P3S1")]
    assert live.paused == [("P3S1", f"{aws.clock.now - 5400:.0f}")]
    assert look(aws, both) == []
    assert aws.known("leak") == []


def test_a_session_that_cannot_be_paused_does_not_keep_the_others(aws: Aws, live: Live) -> None:
    live.add("P3S1", 5.0)
    live.add("P3S2", 6.0)
    live.broken = {"P3S1"}
    with pytest.raises(CommandFailed, match=r"^P3S1: pause-live-session: Failed: it does not pause$"):
        look(aws, status("10.0.0.1", "10.0.0.2"))
    assert live.paused == [("P3S2", "6")]
    assert "live-session#P3S1" in aws.known("leak")


def test_when_cryosparc_does_not_answer_the_rest_is_looked_at(aws: Aws, live: Live) -> None:
    live.add("P3S1", 5.0)
    live.broken = {"P3S1"}
    with pytest.raises(CommandFailed):
        look(aws, status("10.0.0.1", "10.0.0.2"))
    live.broken = {"show"}
    assert ("instance", "i-2") in look(aws, status("10.0.0.1"))
    assert aws.known("leak") == ["instance#i-2", "live-session#P3S1"]


def test_file_systems_are_looked_for_when_the_system_is_named(
    aws: Aws, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws.fsx.add("fs-1", system="cryo", created=9.0)
    aws.fsx.add("fs-0", system="cryo", created=5.0)
    aws.fsx.add("fs-x")
    both = status("10.0.0.1", "10.0.0.2")
    assert look(aws, both) == []
    monkeypatch.setenv("SYSTEM", "cryo")
    world.cache_clear()
    assert look(aws, both) == [("file-system", "fs-0")]
    aws.ec2.state, aws.ec2.others = "gone", []
    assert look(aws, None) == [("file-system", "fs-1")]
    aws.ec2.state = "running"
    look(aws, both)
    assert aws.known("leak") == ["file-system#fs-0"]
