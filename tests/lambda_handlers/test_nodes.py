from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda.jobs import Lane
from cdk_cryoem_lambda.nodes import BLOCKED_SECONDS, Node, Status, failed, to_power_down

NOW = 1_800_000_000.0
pure = settings(max_examples=80, deadline=None, derandomize=True, database=None)
lane_names = st.sampled_from(["cpu", "gpu4", "live", "not-ours", ""])
nodes = st.builds(
    Node,
    name=st.uuids().map(str),
    lane=lane_names,
    state=st.sampled_from(["idle", "booting", "down", "busy", "changing"]),
    epoch=st.just("e"),
    idle_since=st.none() | st.floats(NOW - 7200, NOW),
)
statuses = st.builds(
    Status,
    now=st.just(NOW),
    pending=st.dictionaries(lane_names, st.integers(0, 3), max_size=2),
    blocked=st.dictionaries(lane_names, st.integers(0, 3)),
    running=st.dictionaries(lane_names, st.integers(0, 3)),
    nodes=st.lists(nodes, max_size=6).map(tuple),
    powered_up=st.integers(0, 3),
    addresses=st.just(()),
    logins=st.integers(0, 2),
    recipes=st.integers(0, 1),
    spool=st.integers(0, 1),
    backup=st.just({}),
)


def lane(name: str, hold_minutes: int = 0, *, always_on: bool = False) -> Lane:
    return Lane(
        name=name, gpus=4, vcpus=48, memory_mib=1024, hold_minutes=hold_minutes, usd_per_hour=4.0, always_on=always_on
    )


def node(name: str = "n1", *, lane: str = "gpu4", state: str = "idle", idle_minutes: float | None = 1) -> Node:
    since = None if idle_minutes is None else NOW - idle_minutes * 60
    return Node(name=name, lane=lane, state=state, epoch="e", idle_since=since)


def status(*found: Node, **changes: Any) -> Status:
    nothing: dict[str, Any] = {name: {} for name in ("pending", "blocked", "running", "backup")}
    nothing |= {"addresses": (), "powered_up": len(found), "logins": 0, "recipes": 0, "spool": 0}
    return Status(**(nothing | {"now": NOW, "nodes": found} | changes))


PRINTED = {
    "now": 5,
    "pending": {"gpu4": "2"},
    "blocked": {"cpu": 1},
    "running": {},
    "closed": ["live"],
    "nodes": [{"name": "n1", "lane": "gpu4", "state": "idle", "epoch": "a_b", "idle_since": 4.0}],
    "powered_up": 1,
    "addresses": ["10.0.0.7"],
    "logins": 1,
    "recipes": 1,
    "spool": 2,
    "backup": {"made_at": 3},
}


def test_parse_takes_what_slurm_status_prints() -> None:
    assert Status.parse(PRINTED) == Status(
        now=5.0,
        pending={"gpu4": 2},
        blocked={"cpu": 1},
        running={},
        nodes=(Node(name="n1", lane="gpu4", state="idle", epoch="a_b", idle_since=4.0),),
        powered_up=1,
        addresses=("10.0.0.7",),
        logins=1,
        recipes=1,
        spool=2,
        backup={"made_at": 3},
    )


@pytest.mark.parametrize("name", ["blocked", "closed", "addresses", "spool", "backup"])
def test_what_a_head_node_with_older_programs_does_not_print_is_none(name: str) -> None:
    found = Status.parse({key: value for key, value in PRINTED.items() if key != name})
    assert not getattr(found, name, None)


def test_what_newer_programs_say_more_of_a_node_is_left_alone() -> None:
    (node,) = PRINTED["nodes"]
    assert Status.parse({**PRINTED, "nodes": [{**node, "reason": "none"}]}) == Status.parse(PRINTED)


def test_idle_nodes_go_at_once() -> None:
    assert [n.name for n in to_power_down(status(node(idle_minutes=0)), [lane("gpu4")])] == ["n1"]


@pytest.mark.parametrize("state", ["busy", "changing"])
def test_no_other_node_goes(state: str) -> None:
    assert to_power_down(status(node(state=state)), [lane("gpu4")]) == []


def test_a_pending_job_keeps_the_nodes_of_its_lane_only() -> None:
    found = status(node("n1"), node("n2", lane="cpu"), pending={"gpu4": 1, "cpu": 0})
    assert [n.name for n in to_power_down(found, [lane("gpu4"), lane("cpu")])] == ["n2"]


def test_a_running_job_of_the_lane_does_not_keep_another_node() -> None:
    assert to_power_down(status(node(), running={"gpu4": 1}), [lane("gpu4")])


@pytest.mark.parametrize(("minutes", "goes"), [(29.9, False), (30, True)])
def test_hold_time_to_the_second(minutes: float, goes: bool) -> None:
    assert bool(to_power_down(status(node(idle_minutes=minutes)), [lane("gpu4", hold_minutes=30)])) is goes


def test_a_node_that_was_never_idle_stays() -> None:
    assert to_power_down(status(node(idle_minutes=None)), [lane("gpu4")]) == []


@pytest.mark.parametrize("minutes", [None, 0, 600])
def test_a_node_that_boots_for_nobody_goes_at_once_whatever_its_lane_holds(minutes: float | None) -> None:
    booting = node(state="booting", idle_minutes=minutes)
    assert to_power_down(status(booting), [lane("gpu4", hold_minutes=30)]) == [booting]
    assert to_power_down(status(booting, blocked={"gpu4": 1}), [lane("gpu4")]) == [], "a job may be started again there"
    assert to_power_down(status(booting, pending={"gpu4": 1}), [lane("gpu4")]) == []


@pytest.mark.parametrize(("minutes", "goes"), [(None, False), (9.9, False), (10, True)])
@pytest.mark.parametrize("pending", [{}, {"gpu4": 1}])
def test_a_node_that_is_down_is_left_to_slurm_and_the_engine_at_first(
    minutes: float | None, goes: bool, pending: dict[str, int]
) -> None:
    found = status(node(state="down", idle_minutes=minutes), pending=pending)
    assert bool(to_power_down(found, [lane("gpu4")])) is goes, "no job starts on it, the one that waits may wait for it"
    assert bool(to_power_down(found, [lane("gpu4", hold_minutes=60)])) is goes, "nobody can use what is held"
    assert [n.name for n in failed(found)] == ["n1"] * goes


def test_only_what_is_down_has_failed() -> None:
    assert failed(status(*(node(state=state, idle_minutes=600) for state in ("idle", "busy", "booting")))) == []


@pytest.mark.parametrize(("minutes", "goes"), [(0, False), (1.9, False), (2, True)])
def test_jobs_that_wait_for_something_else_keep_a_node_for_two_minutes_only(minutes: float, goes: bool) -> None:
    found = status(node(idle_minutes=minutes), blocked={"gpu4": 3, "cpu": 0})
    assert bool(to_power_down(found, [lane("gpu4")])) is goes
    assert BLOCKED_SECONDS == 120


def test_a_longer_hold_goes_before_ten_minutes() -> None:
    assert to_power_down(status(node(idle_minutes=20), blocked={"gpu4": 1}), [lane("gpu4", hold_minutes=30)]) == []


def test_jobs_that_wait_for_something_else_keep_nodes_of_their_lane_only() -> None:
    found = status(node("n1"), node("n2", lane="cpu"), blocked={"gpu4": 1})
    assert [n.name for n in to_power_down(found, [lane("gpu4"), lane("cpu")])] == ["n2"]


def test_a_node_of_a_removed_lane_goes() -> None:
    assert to_power_down(status(node(lane="old")), [lane("gpu4", hold_minutes=30)])


@pytest.mark.parametrize("hold", [0, 30])
def test_nodes_of_a_lane_that_is_always_on_stay_however_idle(hold: int) -> None:
    """They are paid for whether they run or not, and the engine would start them again."""
    found = status(node("n1", idle_minutes=600), node("n2", lane="cpu"))
    lanes = [lane("gpu4", hold, always_on=True), lane("cpu")]
    assert [n.name for n in to_power_down(found, lanes)] == ["n2"]


@pure
@given(found=statuses, hold=st.integers(0, 60))
def test_of_a_lane_that_is_always_on_no_node_ever_goes(found: Status, hold: int) -> None:
    lanes = [lane(name, hold, always_on=True) for name in ("cpu", "gpu4", "live", "not-ours", "")]
    assert to_power_down(found, lanes) == []


def kept_seconds(node: Node, found: Status, hold_minutes: int) -> float:
    """The same rules in other words."""
    if node.state == "down":
        return 600
    held = hold_minutes * 60 if node.lane == "live" else 0
    waits = node.lane in {"cpu", "gpu4", "live"} and bool(found.blocked.get(node.lane))
    return max(held, 600 * waits) if node.state == "idle" else 0


@pure
@given(found=statuses, hold=st.integers(0, 60))
def test_exactly_unused_nodes_that_nobody_waits_for_or_holds(found: Status, hold: int) -> None:
    chosen = to_power_down(found, [lane("cpu"), lane("gpu4"), lane("live", hold_minutes=hold)])
    for each in found.nodes:
        waited_for = each.state != "down" and found.pending.get(each.lane)
        unused = each.state in {"idle", "booting", "down"} and not waited_for
        if each.state == "booting" and found.blocked.get(each.lane):
            goes = False
        elif each.idle_since is None:
            goes = unused and each.state == "booting"
        else:
            goes = unused and NOW - each.idle_since >= kept_seconds(each, found, hold)
        assert (each in chosen) is goes


@pure
@given(found=statuses, hold=st.integers(0, 60), later=st.floats(0, 7200))
def test_what_goes_now_would_go_later_too(found: Status, hold: int, later: float) -> None:
    lanes = [lane("cpu"), lane("gpu4"), lane("live", hold_minutes=hold)]
    then = dataclasses.replace(found, now=NOW + later)
    assert set(to_power_down(found, lanes)) <= set(to_power_down(then, lanes))


@pure
@given(found=statuses)
def test_the_head_node_is_needed_while_anything_is_going_on(found: Status) -> None:
    jobs = [*found.pending.values(), *found.blocked.values(), *found.running.values()]
    assert found.needed is bool(sum(jobs) + found.powered_up + found.logins + found.recipes + found.spool)


@pytest.mark.parametrize(
    "why",
    [
        {"pending": {"a": 1}}, {"blocked": {"a": 1}}, {"running": {"a": 1}}, {"powered_up": 1}, {"logins": 1},
        {"recipes": 1}, {"spool": 1},
    ],
)  # fmt: skip
def test_each_thing_alone_is_reason_enough(why: dict[str, Any]) -> None:
    assert status(**why).needed
    assert not status(pending={"a": 0}, blocked={"a": 0}, running={"a": 0}).needed
