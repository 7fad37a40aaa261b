from __future__ import annotations

import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest

from cryoem_head import send_events


class Events:
    """EventBridge: takes events, refuses those of some jobs, or does not answer."""

    def __init__(self) -> None:
        self.calls: list[list[dict[str, Any]]] = []
        self.refused: dict[str, str] = {}
        self.away = False

    def put_events(self, *, Entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if self.away:
            raise OSError("no route to EventBridge")
        self.calls.append(list(Entries))
        codes = [self.refused.get(json.loads(entry["Detail"])["job_id"]) for entry in Entries]
        answers = [{"ErrorCode": code, "ErrorMessage": "no"} if code else {"EventId": "e"} for code in codes]
        return {"FailedEntryCount": len([code for code in codes if code]), "Entries": answers}

    @property
    def jobs(self) -> list[str]:
        return [json.loads(entry["Detail"])["job_id"] for call in self.calls for entry in call]


@pytest.fixture
def events() -> Events:
    return Events()


def spool(folder: Path, *numbers: int) -> None:
    for n in numbers:
        (folder / f"{1_799_990_000 + n}-{n}.json").write_text(json.dumps({"job_id": str(n)}))


def names(folder: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] or path.name for path in folder.iterdir() if path.is_file())


def send(folder: Path, events: Events) -> int:
    return send_events.send(folder, event_bus="bus", events=events)


def test_an_empty_spool_calls_nobody(tmp_path: Path, events: Events) -> None:
    assert (send(tmp_path, events), events.calls) == (0, [])


def test_what_is_sent(tmp_path: Path, events: Events) -> None:
    spool(tmp_path, 7)
    assert send(tmp_path, events) == 1
    assert events.calls == [
        [
            {
                "EventBusName": "bus",
                "Source": "cryoem.slurm",
                "DetailType": "Slurm Job State Change",
                "Detail": '{"job_id": "7"}',
            }
        ]
    ]
    assert names(tmp_path) == []


def test_ten_at_a_time_the_oldest_first(tmp_path: Path, events: Events) -> None:
    spool(tmp_path, *reversed(range(23)))
    assert send(tmp_path, events) == 23
    assert [len(call) for call in events.calls] == [10, 10, 3]
    assert events.jobs == [str(n) for n in range(23)]
    assert names(tmp_path) == []


def test_what_eventbridge_does_not_take_stays(
    tmp_path: Path, events: Events, capsys: pytest.CaptureFixture[str]
) -> None:
    spool(tmp_path, *range(4))
    events.refused = {"1": "ThrottlingException", "2": "InternalFailure"}
    assert send(tmp_path, events) == 2
    assert names(tmp_path) == ["1.json", "2.json"]
    assert "1799990001-1.json not taken: no" in capsys.readouterr().err
    events.refused = {}
    assert send(tmp_path, events) == 2
    assert names(tmp_path) == []


def test_what_eventbridge_will_never_take_is_set_aside(tmp_path: Path, events: Events) -> None:
    spool(tmp_path, 1, 2)
    events.refused = {"1": "MalformedDetail"}
    assert send(tmp_path, events) == 1
    assert names(tmp_path) == ["1.unreadable"]
    assert send(tmp_path, events) == 0


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\x00", b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_set_aside_and_holds_up_nobody(
    tmp_path: Path, events: Events, content: bytes
) -> None:
    spool(tmp_path, 1, 3)
    (tmp_path / "1799990002-2.json").write_bytes(content)
    assert send(tmp_path, events) == 2
    assert (events.jobs, names(tmp_path)) == (["1", "3"], ["2.unreadable"])
    assert (tmp_path / "1799990002-2.unreadable").read_bytes() == content


def test_a_batch_of_nothing_but_unreadable_files_calls_nobody(tmp_path: Path, events: Events) -> None:
    (tmp_path / "1-1.json").write_text("{")
    assert (send(tmp_path, events), events.calls) == (0, [])


def test_nothing_is_lost_when_eventbridge_does_not_answer(tmp_path: Path, events: Events) -> None:
    spool(tmp_path, *range(12))
    events.away = True
    with pytest.raises(OSError, match="no route"):
        send(tmp_path, events)
    assert len(names(tmp_path)) == 12
    events.away = False
    assert send(tmp_path, events) == 12


def test_drafts_are_nobodys_business(tmp_path: Path, events: Events) -> None:
    (tmp_path / ".1-1.json.77").write_text('{"job_id')
    (tmp_path / ".hidden.json").write_text('{"job_id')
    assert (send(tmp_path, events), len(list(tmp_path.iterdir()))) == (0, 2)


def test_main_sends_once(home: Path, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []

    def client(service: str, *, region_name: str) -> Events:
        asked.append((service, region_name))
        return events

    monkeypatch.setattr(boto3, "client", client)
    monkeypatch.setattr(sys, "argv", ["send-events"])
    spool(home / "spool", 1)
    send_events.main()
    assert (asked, events.jobs) == ([("events", "eu-central-1")], ["1"])
    assert events.calls[0][0]["EventBusName"] == "bus"


def test_main_fails_when_eventbridge_does_not_answer(
    home: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boto3, "client", lambda service, region_name: events)
    monkeypatch.setattr(sys, "argv", ["send-events"])
    spool(home / "spool", 1)
    events.away = True
    with pytest.raises(OSError, match="no route"):
        send_events.main()


def test_main_stays_over_an_outage(
    home: Path, events: Events, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The clock's third beat ends it."""
    beats: list[float] = []

    class Clock:
        def wait(self, seconds: float) -> None:
            beats.append(seconds)
            events.away = False
            if len(beats) == 3:
                raise KeyboardInterrupt

    monkeypatch.setattr(boto3, "client", lambda service, region_name: events)
    monkeypatch.setattr(sys, "argv", ["send-events", "--stay"])
    monkeypatch.setattr(threading, "Event", Clock)
    events.away = True
    spool(home / "spool", 1)
    with pytest.raises(KeyboardInterrupt):
        send_events.main()
    assert (beats, events.jobs) == ([0.5] * 3, ["1"])
    assert "the spool keeps 1 events" in capsys.readouterr().err


def test_many_jobs_that_end_at_once_do_not_make_systemd_give_up(head_node: Path) -> None:
    """Its default of five starts in ten seconds would end the path unit for good."""
    service = (head_node / "units" / "cryoem-send-events.service").read_text()
    assert "StartLimitIntervalSec=0" in service.partition("[Service]")[0].splitlines()
    assert "ExecStopPost=/bin/sleep 1" in service.partition("[Service]")[2].splitlines()
