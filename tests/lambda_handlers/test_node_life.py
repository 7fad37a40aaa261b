"""What every node was paid for is written down once, exactly, whatever order looks come in."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fakes import Aws
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda import node_life as life
from cdk_cryoem_lambda.node_life import LEAST_SECONDS, Look, Sighting, joined, look_at, reason_time
from cdk_cryoem_lambda.reconcile import node_life
from cdk_cryoem_lambda.world import world

NOW = 1_800_000_000
pure = settings(max_examples=150, deadline=None, derandomize=True, database=None)


def shown(
    name: str = "i-1", *, launched: int = NOW, state: str = "running", lane: str = "gpu4", ended: int | None = None
) -> dict[str, Any]:
    """An entry of DescribeInstances. ended: what EC2 says of its end."""
    said = ""
    if ended is not None:
        said = f"User initiated ({datetime.fromtimestamp(ended, UTC):%Y-%m-%d %H:%M:%S} GMT)"
    return {
        "InstanceId": name,
        "InstanceType": "g5.12xlarge",
        "State": {"Name": state},
        "LaunchTime": datetime.fromtimestamp(launched, UTC),
        "StateTransitionReason": said,
        "Tags": [{"Key": "parallelcluster:queue-name", "Value": lane}],
    }


def sweep(*found: dict[str, Any], now: float) -> None:
    node_life.reconcile(world(), found, now=now)


def record(aws: Aws, name: str = "i-1", launched: int = NOW) -> dict[str, Any]:
    return aws.record("node-life", f"{launched:012d}#{name}")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("User initiated (2027-01-15 08:00:10 GMT)", NOW + 10),
        ("User initiated (2027-01-15 08:00:10 UTC)", NOW + 10),
        ("User initiated shutdown", None),
        ("Server.SpotInstanceTermination", None),
        ("", None),
    ],
)
def test_the_end_of_an_instance_as_ec2_says_it(text: str, at: int | None) -> None:
    assert reason_time(text) == at


@pytest.mark.parametrize(
    ("tags", "lane"),
    [
        ({"parallelcluster:queue-name": "gpu4"}, "gpu4"),
        ({"cryoem:lane": "gpu1", "cryoem:cluster": "cryo"}, "gpu1"),
        ({"cryoem:cluster": "cryo"}, ""),
    ],
)
def test_the_lane_is_a_tag_of_either_engine(tags: dict[str, str], lane: str) -> None:
    entry = shown() | {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]}
    assert Sighting.parse(entry).lane == lane
    assert Sighting.parse(entry | {"InstanceLifecycle": "spot"}).market == "spot"
    assert Sighting.parse(entry).market == "on-demand"


def test_a_node_is_paid_for_until_it_was_last_seen_and_then_until_its_end(aws: Aws) -> None:
    sweep(shown(), now=NOW + 100.5)
    assert record(aws) == {
        "pk": "node-life", "sk": f"{NOW:012d}#i-1", "instance_id": "i-1", "instance_type": "g5.12xlarge", "kind": "node",
        "lane": "gpu4", "market": "on-demand", "gpus": 4, "usd_per_hour": 4.0, "from": NOW, "until": NOW + 100, "over": 0,
        "looked_at": NOW + 100.5,
    }  # fmt: skip
    sweep(shown(), now=NOW + 400)
    assert (record(aws)["until"], record(aws)["over"]) == (NOW + 400, 0)
    sweep(shown(state="shutting-down", ended=NOW + 512), now=NOW + 700)
    assert (record(aws)["until"], record(aws)["over"]) == (NOW + 512, 1)
    writes = aws.dynamodb.writes
    for later in (1000, 1300):
        sweep(shown(state="terminated", ended=NOW + 512), now=NOW + later)
    sweep(now=NOW + 9000)
    assert (record(aws)["until"], aws.dynamodb.writes) == (NOW + 512, writes)


def test_one_that_is_gone_without_a_word_was_paid_for_until_it_was_last_seen(aws: Aws) -> None:
    sweep(shown(), now=NOW + 300)
    sweep(now=NOW + 600)
    assert (record(aws)["until"], record(aws)["over"]) == (NOW + 300, 1)


@pytest.mark.parametrize(
    ("ended", "until"), [(None, NOW + LEAST_SECONDS), (NOW + 30, NOW + LEAST_SECONDS), (NOW + 90, NOW + 90)]
)
def test_one_that_no_sweep_saw_alive_is_written_down_all_the_same(aws: Aws, ended: int | None, until: int) -> None:
    sweep(shown(state="terminated", ended=ended), now=NOW + 250)
    assert (record(aws)["until"], record(aws)["over"]) == (until, 1)


def test_one_that_was_stopped_and_started_has_two_lives(aws: Aws) -> None:
    sweep(shown("i-head", lane=""), now=NOW + 300)
    sweep(shown("i-head", lane="", state="stopped", ended=NOW + 310), now=NOW + 600)
    sweep(shown("i-head", lane="", launched=NOW + 1000), now=NOW + 1200)
    assert [record(aws, "i-head", at)["until"] for at in (NOW, NOW + 1000)] == [NOW + 310, NOW + 1200]
    first = record(aws, "i-head")
    assert (first["kind"], first["lane"], "usd_per_hour" in first) == ("head-node", "", False)


def test_a_price_that_changes_is_that_of_nodes_launched_later(aws: Aws) -> None:
    sweep(shown(), now=NOW + 100)
    aws.ssm.parameters["/cryo/lanes"] = aws.ssm.parameters["/cryo/lanes"].replace(
        '"usd_per_hour": 4.0', '"usd_per_hour": 5.0'
    )
    sweep(shown(), shown("i-2", launched=NOW + 50), now=NOW + 200)
    assert (record(aws)["usd_per_hour"], record(aws, "i-2", NOW + 50)["usd_per_hour"]) == (4.0, 5.0)


def test_one_that_was_launched_long_ago_is_still_joined(aws: Aws) -> None:
    month = 30 * 24 * 3600
    sweep(shown(), now=NOW + 100)
    sweep(shown(), now=NOW + month)
    assert record(aws)["until"] == NOW + month
    sweep(shown(state="terminated", ended=NOW + month + 7), now=NOW + month + 60)
    assert (record(aws)["until"], record(aws)["over"]) == (NOW + month + 7, 1)


def test_two_sweeps_at_once_lose_nothing(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one has read and not written yet, another writes what it saw later."""
    sweep(shown(), now=NOW + 100)
    write, later = type(world().records).note_since, [NOW + 400.0]

    def note_since(records: Any, *args: Any, **fields: Any) -> bool:
        if later:
            sweep(shown(), now=later.pop())
        return write(records, *args, **fields)

    monkeypatch.setattr(type(world().records), "note_since", note_since)
    sweep(shown(), now=NOW + 300)
    assert (record(aws)["until"], record(aws)["looked_at"]) == (NOW + 400, NOW + 400)


def test_when_others_always_come_between_it_is_left_to_the_next_sweep(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sweep(shown(), now=NOW + 100)
    monkeypatch.setattr(type(world().records), "note_since", lambda *_, **__: False)
    sweep(shown(), now=NOW + 300)
    assert "the next sweep looks again" in caplog.text
    assert record(aws)["until"] == NOW + 100


looks = st.builds(Look, until=st.integers(0, 50), over=st.integers(0, 1), looked_at=st.integers(0, 20).map(float))


def as_record(look: Look) -> dict[str, Any]:
    return {"until": look.until, "over": look.over, "looked_at": look.looked_at}


@pure
@given(looks, looks, looks)
def test_joining_knows_no_order_and_no_number(a: Look, b: Look, c: Look) -> None:
    assert joined(as_record(a), a) == a
    assert joined(as_record(a), b) == joined(as_record(b), a)
    assert joined(as_record(joined(as_record(a), b)), c) == joined(as_record(a), joined(as_record(b), c))
    assert joined(as_record(a), b).until >= a.until


@pure
@given(
    lasts=st.integers(LEAST_SECONDS, 2000),
    told=st.booleans(),
    moments=st.lists(st.integers(0, 4000), min_size=1, max_size=8, unique=True),
    data=st.data(),
)
def test_any_looks_in_any_order_give_the_same_exact_life(
    lasts: int, told: bool, moments: list[int], data: st.DataObject
) -> None:
    """Each look says what was true at its moment; it may be written down late, and twice."""
    end = NOW + lasts

    def truth(at: int) -> Look:
        entry = shown() if at < end else shown(state="terminated", ended=end if told else None)
        return look_at(Sighting.parse(entry), now=float(at))

    delivered = data.draw(st.permutations([NOW + each for each in moments] * 2))
    after: Look | None = None
    for at in delivered:
        after = joined(None if after is None else as_record(after), truth(at))
    assert after is not None
    alive = [NOW + each for each in moments if NOW + each < end]
    seen_end = len(alive) < len(moments)
    expected = max([*alive, *([end if told else NOW + LEAST_SECONDS] if seen_end else [])])
    assert (after.until, after.over) == (expected, int(seen_end))


@pytest.mark.parametrize("state", ["pending", "running", "stopping", "stopped", "shutting-down", "terminated"])
def test_paid_nodes_are_those_that_run_or_will(state: str) -> None:
    found = [shown("i-1", state=state), shown("i-2"), shown("i-3", lane="cpu"), shown("i-head", lane="")]
    paid = life.paid_nodes(map(Sighting.parse, found), head_node="i-head")
    assert paid == {"gpu4": 2 if state in ("pending", "running") else 1, "cpu": 1}
