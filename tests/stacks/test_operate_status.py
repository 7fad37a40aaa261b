"""`cryoem status`: one page, and the same as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import Deployed, at_hand, run

from cdk_cryoem_stacks.operate.records import plain, typed
from cdk_cryoem_stacks.operate.report import as_text
from cdk_cryoem_stacks.operate.status import Instance, Jobs, Status, count_datasets, sum_jobs
from cdk_cryoem_stacks.operate.words import listed, moment, several, size, span


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployed]:
    """A system that is deployed, credentials for it, and its file."""
    with at_hand(monkeypatch, tmp_path) as system:
        yield system


def job(now: float, ago: float, lane: str, project: str, usd: float | None, state: str = "COMPLETED") -> dict[str, Any]:
    priced = {} if usd is None else {"usd": usd}
    ended = int(now - ago)
    return {"sk": f"{ended:012d}#{ended}", "lane": lane, "project": project, "seconds": 3600, "state": state, **priced}


def busy(system: Deployed) -> float:
    """A system with something of everything; the time of its records."""
    now = time.time()
    system.instance("g5.4xlarge")
    system.instance("g5.4xlarge")
    system.put("request", "wake", until=int(now) + 3600, by="user/anna", at=int(now))
    system.put("lanes", "registered", lanes=["cpu", "gpu1"], manifest="ab", looked_at=now, closed=["gpu8"])
    system.put("dataset", "new", state="arriving", movies=100, objects=101, size_bytes=2 * 10**12, last_at=now - 60)
    for day in range(7):
        landed = {"landed_at": now - day * 86400, "reason": "sentinel", "last_at": now - day * 86400 - 60}
        system.put("dataset", f"old-{day}", state="landed", movies=10, objects=11, size_bytes=10**12, **landed)
    for number, (ago, lane, project, usd, state) in enumerate(
        [
            (60, "gpu1", "P12", 1.54, "COMPLETED"),
            (120, "gpu1", "P13", 2.0, "FAILED"),
            (180, "cpu", "P12", None, "COMPLETED"),
            (25 * 3600, "gpu8", "P1", 99.0, "COMPLETED"),
        ]
    ):
        made = job(now + number, ago + number, lane, project, usd, state)
        system.put("job", made.pop("sk"), **made)
    system.put("leak", "i-0abc", kind="instance", id="i-0abc", since=now - 7200, advice="terminate it: aws ec2 ...")
    return now


def test_json(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    busy(system)
    assert run("status", "--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (document["name"], document["region"], document["account"]) == ("cryoem", "us-east-1", "123456789012")
    assert document["head_node"]["id"] == system.head_node
    assert document["head_node"]["state"] == "running"
    assert [node["type"] for node in document["nodes"]] == ["g5.4xlarge", "g5.4xlarge"]
    assert document["requests"][0]["by"] == "user/anna"
    assert document["lanes"]["lanes"] == ["cpu", "gpu1"]
    assert document["dataset_counts"] == {
        "arriving": {"datasets": 1, "movies": 100, "bytes": 2 * 10**12},
        "landed": {"datasets": 7, "movies": 70, "bytes": 7 * 10**12},
    }
    assert [item["name"] for item in document["datasets"]] == ["new", *(f"old-{day}" for day in range(7))]
    assert document["jobs"] == {"jobs": 3, "hours": 3.0, "usd": 3.54, "unpriced": 1, "failed": 1}
    assert {lane: sums["usd"] for lane, sums in document["jobs_by_lane"].items()} == {"cpu": 0.0, "gpu1": 3.54}
    assert {name: sums["usd"] for name, sums in document["jobs_by_project"].items()} == {"P12": 1.54, "P13": 2.0}
    assert document["leaks"][0]["advice"].startswith("terminate it")


def test_text(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    busy(system)
    assert run("status") == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith("cryoem in us-east-1, account 123456789012, ")
    assert f"head node  {system.head_node} (m7i.xlarge): running since " in out
    assert "requests   wake until " in out
    assert "nodes      2 on: 2 x g5.4xlarge; the oldest for " in out
    assert "lanes      cpu, gpu1; so since " in out
    assert "           closed: gpu8" in out
    assert "datasets   1 arriving (100 movies, 2.0 TB), 7 landed (70 movies, 7.0 TB)" in out
    assert "old-4" in out
    assert "old-5" not in out
    assert "           and 2 older ones" in out
    assert "jobs       in the last 24 h: 3 jobs, 3.0 h, 3.54 USD, 1 not completed, 1 without a price" in out
    assert "           lane    gpu1         2 jobs, 2.0 h, 3.54 USD, 1 not completed" in out
    assert "           project P12          2 jobs, 2.0 h, 1.54 USD, 1 without a price" in out
    assert "leaks      instance: i-0abc since " in out
    assert "           -> terminate it: aws ec2 ..." in out
    assert len(lines) < 40, "it is one page"


def test_a_system_without_anything(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.clients.ec2.stop_instances(InstanceIds=[system.head_node])
    assert run("status") == 0
    out = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert out[2:] == [
        f"head node  {system.head_node} (m7i.xlarge): stopped",
        "requests   none",
        "nodes      none is on",
        "lanes      none were registered yet: the head node was never awake",
        "datasets   none",
        "jobs       none ended in the last 24 h",
        "leaks      none",
    ]


def test_nodes_of_other_systems_are_not_ours(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    other = system.instance("g5.48xlarge")
    system.clients.ec2.create_tags(Resources=[other], Tags=[{"Key": "cryoem:system", "Value": "another"}])
    assert run("status", "--json") == 0
    assert json.loads(capsys.readouterr().out)["nodes"] == []


def test_more_records_than_fit_a_page_of_dynamodb(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(12):
        system.put("dataset", f"d{number:02}", state="landed", note="x" * 100_000)
    assert run("status", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["datasets"]) == 12


def test_nothing_is_written(system: Deployed) -> None:
    busy(system)
    before = system.items()
    assert run("status") == 0
    assert system.items() == before
    assert system.calls == []


# --- pure ---------------------------------------------------------------------------------------------------------------


def a_status(**changes: Any) -> Status:
    base: dict[str, Any] = {
        "name": "cryoem",
        "region": "us-east-1",
        "account": "111122223333",
        "at": 100_000.0,
        "head_node": Instance(id="i-1", type="m7i.xlarge", state="gone", since=0.0),
        "nodes": [],
        "requests": [],
        "lanes": None,
        "dataset_counts": {},
        "datasets": [],
        "jobs": sum_jobs([]),
        "jobs_by_lane": {},
        "jobs_by_project": {},
        "leaks": [],
    }
    return Status(**{**base, **changes})


@pytest.mark.parametrize(("until", "over"), [(99_999, True), (100_000, True), (100_001, False)])
def test_a_request_that_is_over_is_called_so(until: int, over: bool) -> None:
    text = as_text(a_status(requests=[{"name": "wake", "until": until, "by": "user/anna", "at": 5}]), zone=UTC)
    assert ("; over" in text) == over
    assert ", asked by user/anna at 1970-01-01 00:00 UTC" in text


@pytest.mark.parametrize(
    ("closed", "says"),
    [
        (["gpu8", "gpu4"], "closed: gpu8, gpu4"),
        ({"gpu8": "limit reached", "gpu4": ""}, "closed: gpu4, gpu8 (limit reached)"),
        ("all", "closed: all"),
        ([], None),
        (None, None),
    ],
)
def test_lanes_that_are_closed(closed: object, says: str | None) -> None:
    text = as_text(a_status(lanes={"name": "registered", "lanes": ["cpu"], "closed": closed}), zone=UTC)
    assert ("closed" in text) == (says is not None)
    assert says is None or says in text


def test_an_operators_word_is_shown() -> None:
    item = {"name": "d", "state": "arriving", "operator": "arriving", "operator_by": "user/anna"}
    page = as_text(a_status(datasets=[item], dataset_counts=count_datasets([item])), zone=UTC)
    assert "user/anna says arriving" in page
    item["operator_reason"] = "goes on tomorrow"
    page = as_text(a_status(datasets=[item], dataset_counts=count_datasets([item])), zone=UTC)
    assert "user/anna says arriving: goes on tomorrow" in page


ITEMS = st.lists(
    st.fixed_dictionaries(
        {"state": st.sampled_from(["COMPLETED", "FAILED"]), "seconds": st.integers(0, 10**6)},
        optional={"usd": st.floats(0, 1000)},
    ),
    max_size=20,
)


@given(items=ITEMS, cut=st.integers(0, 20))
def test_sums_of_parts_are_the_sum(items: list[dict[str, Any]], cut: int) -> None:
    whole, first, second = sum_jobs(items), sum_jobs(items[:cut]), sum_jobs(items[cut:])
    for field in ("jobs", "unpriced", "failed"):
        assert getattr(whole, field) == getattr(first, field) + getattr(second, field)
    assert whole.usd == pytest.approx(first.usd + second.usd, abs=1e-3)
    assert whole.hours == pytest.approx(first.hours + second.hours, abs=1e-2)
    assert isinstance(whole, Jobs)


VALUES = st.one_of(st.text(), st.integers(-(10**15), 10**15), st.floats(allow_nan=False, allow_infinity=False))


@given(item=st.dictionaries(st.text(min_size=1), VALUES))
def test_what_is_written_is_read_again(item: dict[str, Any]) -> None:
    assert plain(typed(item)) == item


def test_every_kind_of_dynamodbs_values_is_read() -> None:
    given_by_dynamodb: dict[str, Any] = {
        "l": {"L": [{"S": "a"}, {"N": "1"}]},
        "m": {"M": {"gpu8": {"S": "limit"}}},
        "s": {"SS": ["b", "a"]},
        "t": {"BOOL": True},
        "n": {"NULL": True},
    }
    assert plain(given_by_dynamodb) == {"l": ["a", 1], "m": {"gpu8": "limit"}, "s": ["a", "b"], "t": True, "n": None}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h 00 min"),
        (86399, "23 h 59 min"),
        (86400, "1 d 0 h"),
    ],
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_600, "1 MB"), (1_940_000_000_000, "1.9 TB")]
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_numbers_and_names() -> None:
    assert several(1, "job") == "1 job"
    assert several(2, "job") == "2 jobs"
    assert listed(["a", "b"]) == "a, b"
    assert listed(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert moment(0, zone=UTC) == "1970-01-01 00:00 UTC"
