from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda.jobs import Lane
from cdk_cryoem_lambda.nodes import Node, Status, head_node_may_stop, to_power_down

NOW = 1_800_000_000.0
pure = settings(max_examples=80, deadline=None, derandomize=True, database=None)
lane_names = st.sampled_from(["cpu", "gpu4", "live", "not-ours", ""])
nodes = st.builds(
    Node,
    name=st.uuids().map(str),
    lane=lane_names,
    state=st.sampled_from(["idle", "busy", "changing"]),
    epoch=st.just("e"),
    idle_since=st.none() | st.floats(NOW - 7200, NOW),
)
statuses = st.builds(
    Status,
    now=st.just(NOW),
    pending=st.dictionaries(lane_names, st.integers(0, 3)),
    running=st.dictionaries(lane_names, st.integers(0, 3)),
    nodes=st.lists(nodes, max_size=6).map(tuple),
    powered_up=st.integers(0, 3),
    logins=st.integers(0, 2),
    recipes=st.integers(0, 1),
)


def lane(name: str, hold_minutes: int = 0, *, always_on: bool = False) -> Lane:
    return Lane(
        name=name, gpus=4, vcpus=48, memory_mib=1024, hold_minutes=hold_minutes, usd_per_hour=4.0, always_on=always_on
    )


def node(name: str = "n1", *, lane: str = "gpu4", state: str = "idle", idle_minutes: float | None = 1) -> Node:
    since = None if idle_minutes is None else NOW - idle_minutes * 60
    return Node(name=name, lane=lane, state=state, epoch="e", idle_since=since)


def status(*found: Node, pending: dict[str, int] | None = None, running: dict[str, int] | None = None) -> Status:
    return Status(
        now=NOW, pending=pending or {}, running=running or {}, nodes=found, powered_up=len(found), logins=0, recipes=0
    )


def test_parse_takes_what_slurm_status_prints() -> None:
    printed = {
        "now": 5,
        "pending": {"gpu4": "2"},
        "running": {},
        "nodes": [{"name": "n1", "lane": "gpu4", "state": "idle", "epoch": "a_b", "idle_since": 4.0}],
        "powered_up": 1,
        "logins": 1,
        "recipes": 1,
    }
    assert Status.parse(printed) == Status(
        now=5.0,
        pending={"gpu4": 2},
        running={},
        nodes=(Node(name="n1", lane="gpu4", state="idle", epoch="a_b", idle_since=4.0),),
        powered_up=1,
        logins=1,
        recipes=1,
    )


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


@pure
@given(found=statuses, hold=st.integers(0, 60))
def test_exactly_idle_nodes_that_nobody_waits_for_or_holds(found: Status, hold: int) -> None:
    chosen = to_power_down(found, [lane("cpu"), lane("gpu4"), lane("live", hold_minutes=hold)])
    for each in found.nodes:
        held = each.lane == "live" and each.idle_since is not None and NOW - each.idle_since < hold * 60
        free = each.state == "idle" and each.idle_since is not None and not found.pending.get(each.lane) and not held
        assert (each in chosen) is free


_MAY = {"after_minutes": 30, "datasets_arriving": 0, "last_activity": NOW - 1800, "now": NOW}


def test_head_node_may_stop_after_the_time_to_the_second() -> None:
    assert head_node_may_stop(status(pending={"gpu4": 0}, running={"gpu4": 0}), **_MAY)  # type: ignore[arg-type]
    assert not head_node_may_stop(status(), **(_MAY | {"last_activity": NOW - 1799}))  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0, -1])
def test_head_node_never_stops_unless_told_so(after: int) -> None:
    assert not head_node_may_stop(status(), **(_MAY | {"after_minutes": after}))  # type: ignore[arg-type]


@pure
@given(found=statuses, arriving=st.integers(0, 2), quiet=st.floats(0, 7200))
def test_head_node_stops_only_when_nobody_would_miss_it(found: Status, arriving: int, quiet: float) -> None:
    may = head_node_may_stop(found, after_minutes=30, datasets_arriving=arriving, last_activity=NOW - quiet, now=NOW)
    in_use = any(
        itertools.chain(
            found.pending.values(), found.running.values(), [found.logins, found.recipes, arriving, found.powered_up]
        )
    )
    assert may is (not in_use and NOW - (NOW - quiet) >= 1800)
