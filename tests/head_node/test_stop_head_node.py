from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoem_head import backup_outcome, installation, slurm_status, stop_head_node

NOW = 1_800_000_000.0
QUIET: dict[str, Any] = {
    "now": NOW,
    "pending": {},
    "blocked": {},
    "running": {},
    "powered_up": 0,
    "logins": 0,
    "recipes": 0,
    "spool": 0,
    "backup": {},
}


def verdict(status: dict[str, Any], *, has_database: bool = False, used_until: float = NOW - 7200) -> str:
    return stop_head_node.decide({**QUIET, **status}, has_database=has_database, used_until=used_until)["verdict"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"pending": {"gpu1": 1}}, "jobs wait"),
        ({"blocked": {"gpu1": 1}}, "jobs wait"),
        ({"running": {"cpu": 1}}, "jobs run"),
        ({"powered_up": 1}, "nodes are on"),
        ({"logins": 1}, "somebody is logged in"),
        ({"recipes": 1}, "a recipe, an installation or a backup runs"),
        ({"spool": 1}, "job events have not been sent"),
    ],
)
def test_whoever_would_miss_it_keeps_it_on(status: dict[str, Any], reason: str) -> None:
    found = stop_head_node.decide({**QUIET, **status}, has_database=False, used_until=0)
    assert found == {"verdict": "stay", "reason": reason}


def test_nobody_would_miss_it() -> None:
    assert verdict({"pending": {"gpu1": 0}}) == "stop"


@pytest.mark.parametrize(
    ("backup", "wanted"),
    [
        ({}, "back-up"),
        ({"made_at": NOW - 7201}, "back-up"),
        ({"made_at": NOW - 7200}, "stop"),
        ({"made_at": NOW - 9000, "failed_at": NOW - 3599, "reason": "disk full"}, "stay"),
        ({"made_at": NOW - 9000, "failed_at": NOW - 3601, "reason": "disk full"}, "back-up"),
        ({"made_at": NOW - 60, "failed_at": NOW - 10, "reason": "disk full"}, "stop"),
    ],
)
def test_the_database_is_backed_up_since_it_was_used(backup: dict[str, Any], wanted: str) -> None:
    assert verdict({"backup": backup}, has_database=True) == wanted
    assert verdict({"backup": backup}, has_database=False) == "stop"


@given(
    st.fixed_dictionaries({name: st.integers(0, 2) for name in ("powered_up", "logins", "recipes", "spool")}),
    st.booleans(),
    st.dictionaries(st.sampled_from(["made_at", "failed_at"]), st.floats(0, NOW)),
)
def test_it_stops_only_when_nothing_is_left(counts: dict[str, int], has_database: bool, backup: dict[str, Any]) -> None:
    stops = verdict({**counts, "backup": backup}, has_database=has_database) == "stop"
    assert not stops or not any(counts.values())
    assert not stops or not has_database or backup.get("made_at", 0) >= NOW - 7200


class HeadNode:
    """Runs the program with what it sees replaced; what it does to the machine is noted."""

    def __init__(self, home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self._capsys, self._monkeypatch = home, capsys, monkeypatch
        self.status: dict[str, Any] = dict(QUIET)
        self.booted_at = NOW - 9000.0
        self.done: list[str] = []
        monkeypatch.setattr(slurm_status, "look", lambda here: self.status)
        monkeypatch.setattr(stop_head_node, "booted_at", lambda: self.booted_at)
        monkeypatch.setattr(
            stop_head_node.subprocess, "run", lambda command, check: self.done.append(" ".join(command))
        )

    def ask(self, *, decided_at: float = NOW - 20) -> dict[str, Any]:
        self._monkeypatch.setattr(
            sys, "argv", ["stop-head-node", "--used-until", str(NOW - 7200), "--decided-at", str(decided_at)]
        )
        stop_head_node.main()
        document: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return document

    def has_cryosparc(self) -> None:
        with (self.home / "etc" / "head-node.env").open("a") as told:
            told.write("CRYOSPARC_VERSION=5.0.6\nCRYOSPARC_INSTALLED=5.0.6\n")


@pytest.fixture
def head_node_stops(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> HeadNode:
    return HeadNode(home, capsys, monkeypatch)


def test_it_powers_itself_off(head_node_stops: HeadNode) -> None:
    assert head_node_stops.ask()["verdict"] == "stop"
    assert head_node_stops.done == ["systemctl poweroff --no-block"]


def test_a_job_that_came_since_the_decision_is_seen(head_node_stops: HeadNode) -> None:
    head_node_stops.status["running"] = {"gpu4": 1}
    assert head_node_stops.ask() == {"verdict": "stay", "reason": "jobs run"}
    assert head_node_stops.done == []


@pytest.mark.parametrize("booted_ago", [19, 1])
def test_a_decision_from_before_the_boot_is_stale(head_node_stops: HeadNode, booted_ago: float) -> None:
    head_node_stops.booted_at = NOW - booted_ago
    assert head_node_stops.ask()["reason"] == "it was started again since"
    assert head_node_stops.done == []


def test_one_that_was_only_rebooted_stops_too(head_node_stops: HeadNode) -> None:
    """EC2 calls an instance launched when it was started, not when somebody rebooted it."""
    head_node_stops.booted_at = NOW - 21
    assert head_node_stops.ask()["verdict"] == "stop"


def test_with_a_database_it_is_backed_up_first(head_node_stops: HeadNode) -> None:
    head_node_stops.has_cryosparc()
    assert head_node_stops.ask()["verdict"] == "back-up"
    assert head_node_stops.done == ["systemctl start --no-block cryoem-backup.service"]
    head_node_stops.status["backup"] = {"made_at": NOW}
    assert head_node_stops.ask()["verdict"] == "stop"


def test_a_backup_that_failed_keeps_when_the_last_good_one_was(home: Path) -> None:
    assert backup_outcome.last(home) == {}
    backup_outcome.note(home)
    made = backup_outcome.last(home)["made_at"]
    backup_outcome.note(home, failed="OSError: no space left")
    found = backup_outcome.last(home)
    assert (found["made_at"], found["reason"]) == (made, "OSError: no space left")
    assert found["failed_at"] >= made
    backup_outcome.note(home)
    assert "failed_at" not in backup_outcome.last(home)


def test_its_machine_was_booted_some_time_ago() -> None:
    assert 0 < stop_head_node.booted_at() < NOW * 2
    assert not installation.at_work(Path("/nowhere"))
