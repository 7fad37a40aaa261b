from __future__ import annotations

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any

import pytest
from cryosparc.models.session import RtpChild, RtpWorkerState
from doubles.cryosparc_api import now
from recipe_world import RecipeWorld, recipe_world

from cryoem_head import live_sessions
from cryoem_head.live_sessions import Look, idle_sessions, stale

NOW = 1_000_000.0
LOOK = Look(
    project="P1", session="S2", title="spike", running=True, since=NOW - 1800.5, work_left=0, changed=0, lane="live", gpus=4
)  # fmt: skip


@pytest.fixture
def world(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecipeWorld:
    return recipe_world(home, tmp_path, monkeypatch)


class Sessions:
    """The program, and one session of the master's."""

    def __init__(self, world: RecipeWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.world, self._monkeypatch, self._capsys = world, monkeypatch, capsys
        self.session = self.begin("spike", minutes=45)

    def begin(self, title: str, *, minutes: int) -> Any:
        """A session that was started so long ago and has four workers on nodes."""
        made = self.world.cryosparc.add_session("P1", title)
        made.status = "running"
        made.running_at.append(now() - datetime.timedelta(minutes=minutes))
        made.compute_resources.phase_one_lane = "live"
        made.phase_one_workers = {f"J{n}": RtpWorkerState(status="running") for n in range(1, 5)}
        return made

    def run(self, *arguments: str) -> dict[str, Any]:
        self._monkeypatch.setattr("sys.argv", ["live-sessions", *arguments])
        live_sessions.main()
        document: dict[str, Any] = json.loads(self._capsys.readouterr().out)
        return document

    def show(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.run("show")["sessions"]
        return found

    def pause(self, session: str, seen: int) -> dict[str, Any]:
        return self.run("pause", "--session", session, "--seen", str(seen))


@pytest.fixture
def sessions(world: RecipeWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Sessions:
    return Sessions(world, monkeypatch, capsys)


def test_idle_begins_with_the_very_minute() -> None:
    (found,) = idle_sessions([LOOK], now=NOW, idle_minutes=30)
    assert (found.id, found.project, found.since, found.idle_minutes, found.gpus) == ("P1S2", "P1", 998_199, 30, 4)
    assert idle_sessions([LOOK], now=NOW - 1, idle_minutes=30) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"running": False}, "not running"),
        ({"gpus": 0}, "no worker on a node"),
        ({"work_left": 1}, "exposures wait or are in progress"),
        ({"changed": 1}, "something happened since"),
    ],
)
def test_a_session_with_anything_to_do_is_not_idle(change: dict[str, Any], reason: str) -> None:
    look = dataclasses.replace(LOOK, **change)
    assert stale(look) == reason
    assert idle_sessions([look], now=NOW, idle_minutes=1) == []


def test_a_session_is_idle_since_one_moment_only() -> None:
    assert stale(LOOK, seen=998_199) == ""
    assert stale(LOOK, seen=998_198) == stale(LOOK, seen=998_200) == "something happened since"


def test_most_gpus_first() -> None:
    looks = [dataclasses.replace(LOOK, session="S1", gpus=1), LOOK]
    assert [found.id for found in idle_sessions(looks, now=NOW, idle_minutes=30)] == ["P1S2", "P1S1"]


def test_a_session_whose_last_exposure_is_long_ago_is_shown(sessions: Sessions) -> None:
    cryosparc = sessions.world.cryosparc
    at = now() - datetime.timedelta(minutes=40)
    cryosparc.add_exposure(sessions.session, at - datetime.timedelta(minutes=3))
    cryosparc.add_exposure(sessions.session, at)
    (found,) = sessions.show()
    assert found == {
        "id": "P1S1", "project": "P1", "session": "S1", "title": "spike", "since": int(at.timestamp()),
        "idle_minutes": 40, "lane": "live", "gpus": 4,
    }  # fmt: skip


def test_one_that_was_just_started_is_not_idle(sessions: Sessions) -> None:
    sessions.session.running_at[-1] = now()
    assert sessions.show() == []


def test_one_that_works_on_an_old_exposure_is_not_idle(sessions: Sessions) -> None:
    """The newest exposure was found long ago and is done; an older one changed a minute ago."""
    at = now() - datetime.timedelta(minutes=40)
    sessions.world.cryosparc.add_exposure(sessions.session, at, changed=now() - datetime.timedelta(minutes=1))
    sessions.world.cryosparc.add_exposure(sessions.session, at)
    assert sessions.show() == []


def test_another_sessions_exposures_do_not_count(sessions: Sessions) -> None:
    other = sessions.begin("other", minutes=90)
    sessions.world.cryosparc.add_exposure(other, now())
    assert [found["id"] for found in sessions.show()] == ["P1S1"]


def test_exposures_that_wait_for_a_node_are_not_paused_away(sessions: Sessions) -> None:
    sessions.session.stats.total_queued = 3
    assert sessions.show() == []


@pytest.mark.parametrize("status", ["launched", "queued", "completed", "killed", "failed"])
def test_a_session_without_workers_on_nodes_costs_nothing(sessions: Sessions, status: Any) -> None:
    sessions.session.phase_one_workers = {"J1": RtpWorkerState(status=status)}
    assert sessions.show() == []


def test_streaming_jobs_hold_gpus_too(sessions: Sessions) -> None:
    sessions.session.compute_resources.phase_one_workers_per_gpu = 2
    sessions.session.compute_resources.phase_two_gpus = 2
    sessions.session.rtp_childs = [
        RtpChild(uid="J8", status="running", rtp_handle_func="phase2_class2D_handle"),
        RtpChild(uid="J9", status="running", rtp_handle_func="phase2_abinit_handle"),
        RtpChild(uid="J7", status="completed", rtp_handle_func="phase2_refine_handle"),
    ]
    assert sessions.show()[0]["gpus"] == 2 + 2 + 1


def test_an_idle_session_is_paused_once(sessions: Sessions) -> None:
    (found,) = sessions.show()
    assert sessions.pause("P1S1", found["since"]) == {"paused": ["P1S1"], "left_alone": {}}
    assert sessions.pause("P1S1", found["since"]) == {"paused": [], "left_alone": {"P1S1": "not running"}}
    assert sessions.world.cryosparc.calls == ["sessions.pause"]
    assert sessions.show() == []


def test_a_session_that_got_an_exposure_meanwhile_is_left_alone(sessions: Sessions) -> None:
    (found,) = sessions.show()
    sessions.world.cryosparc.add_exposure(sessions.session, now())
    assert sessions.pause("P1S1", found["since"])["left_alone"] == {"P1S1": "something happened since"}
    assert sessions.world.cryosparc.calls == []


def test_a_session_that_was_paused_and_started_again_meanwhile_is_left_alone(sessions: Sessions) -> None:
    (found,) = sessions.show()
    sessions.session.running_at.append(now())
    assert sessions.pause("P1S1", found["since"])["left_alone"] == {"P1S1": "something happened since"}


def test_more_sessions_than_one_page_are_seen(sessions: Sessions) -> None:
    for number in range(104):
        sessions.begin(f"s{number}", minutes=60).phase_one_workers = {}
    sessions.begin("last", minutes=60)
    assert [found["title"] for found in sessions.show()] == ["last", "spike"]


@pytest.mark.parametrize("lines", [{"CRYOSPARC_URL": ""}, {"CRYOSPARC_INSTALLED": "4.7.1"}])
def test_without_cryosparc_5_there_are_none(sessions: Sessions, lines: dict[str, str]) -> None:
    sessions.world.set(**lines)
    assert sessions.run("show") == {"sessions": []}
    assert sessions.pause("P1S1", 1) == {"paused": [], "left_alone": {"P1S1": "no cryoSPARC 5 here"}}
    assert sessions.world.secrets == []


def test_a_master_that_does_not_answer_is_a_temporary_failure(
    sessions: Sessions, recwarn: pytest.WarningsRecorder, capsys: pytest.CaptureFixture[str]
) -> None:
    sessions.world.set(CRYOSPARC_URL="http://127.0.0.1:1")
    with pytest.raises(SystemExit) as stopped:
        sessions.show()
    assert stopped.value.code == 75
    assert "live-sessions: cryoSPARC at http://127.0.0.1:1 does not answer" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["P1", "S1P1", "P1S1;reboot", ""])
def test_what_is_no_session_is_not_accepted(sessions: Sessions, name: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        sessions.pause(name, 1)
    assert stopped.value.code == 2
