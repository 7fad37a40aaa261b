"""The transfer takes as much of the line as the hour allows, and nothing but that is changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import boto3
import pytest
from botocore.exceptions import ClientError
from fakes import SQS, Clock
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem_lambda import ingest_pace
from cdk_cryoem_lambda.hours import DAYS
from cdk_cryoem_lambda.ingest_pace import UNLIMITED, Pace, Window, act, wanted

TASK = "arn:aws:datasync:us-east-1:111122223333:task/task-0a"
OPTIONS = {"VerifyMode": "ONLY_FILES_TRANSFERRED", "PreserveDeletedFiles": "PRESERVE", "TaskQueueing": "ENABLED"}
MIB = 1024 * 1024


def window(limit: int | None, *, days: list[str] | None = None, start: str = "08:00", end: str = "18:00",
           zone: str = "Europe/Vienna") -> Window:  # fmt: skip
    document = {"days": days or list(DAYS), "from": start, "to": end, "time_zone": zone, "limit_mibps": limit}
    return Window.parse(document)


def at(text: str, zone: str = "Europe/Vienna") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("moment", "limit"),
    [("2026-07-01T07:59", 7), ("2026-07-01T08:00", 2), ("2026-07-01T17:59", 2), ("2026-07-01T18:00", 7),
     ("2026-01-01T08:00", 2), ("2026-01-01T07:59", 7)],
)  # fmt: skip
def test_in_and_outside_a_window_in_summer_and_winter(moment: str, limit: int) -> None:
    assert wanted(at(moment), [window(2)], 7 * MIB) == limit * MIB


def test_the_lower_limit_of_two_windows_holds_and_one_without_limit_gives_way() -> None:
    noon = at("2026-07-01T12:00")
    assert wanted(noon, [window(9), window(3), window(None)], UNLIMITED) == 3 * MIB
    assert wanted(noon, [window(None)], 5 * MIB) == UNLIMITED
    assert wanted(noon, [], UNLIMITED) == UNLIMITED


def test_two_windows_meet_at_midnight_without_a_gap() -> None:
    night = [window(2, start="22:00", end="24:00"), window(2, start="00:00", end="06:00")]
    limits = [wanted(at("2026-07-01T22:00") + 60 * minute, night, 7 * MIB) for minute in range(8 * 60)]
    assert set(limits) == {2 * MIB}
    assert wanted(at("2026-07-02T06:00"), night, 7 * MIB) == 7 * MIB


@pytest.mark.parametrize(("night", "hours"), [("2026-03-29", 3), ("2026-10-25", 5)])
def test_a_window_is_as_long_as_the_night_in_which_clocks_change(night: str, hours: int) -> None:
    early = [window(2, start="00:00", end="04:00")]
    first = int(at(f"{night}T00:00"))
    inside = [wanted(first + 60 * minute, early, UNLIMITED) == 2 * MIB for minute in range(23 * 60)]
    assert inside == [True] * hours * 60 + [False] * (23 - hours) * 60


TIMES = st.integers(0, 24 * 12).map(lambda n: f"{n // 12:02d}:{n % 12 * 5:02d}")
SPANS = st.tuples(TIMES, TIMES).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: tuple(sorted(pair)))
WINDOWS = st.builds(
    lambda limit, days, span, zone: (
        window(limit, days=days, start=span[0], end=span[1], zone=zone),
        limit,
        days,
        span,
        zone,
    ),
    st.none() | st.integers(1, 1000),
    st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True),
    SPANS,
    st.sampled_from(["UTC", "Europe/Vienna", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)


@given(
    made=st.lists(WINDOWS, max_size=4),
    otherwise=st.none() | st.integers(1, 1000),
    # Clocks of these zones change in it, both ways.
    minute=st.integers(0, 2 * 366 * 24 * 60),
)
def test_what_holds_is_what_a_clock_on_the_wall_says(made: list[Any], otherwise: int | None, minute: int) -> None:
    moment = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minute)
    held = []
    for _, limit, days, (start, end), zone in made:
        wall = moment.astimezone(ZoneInfo(zone))
        if f"{wall:%a}".lower() in days and start <= f"{wall:%H:%M}" < end:
            held.append(limit)
    finite = [limit for limit in held if limit is not None]
    expected = min(finite) if finite else None if held else otherwise
    found = wanted(moment.timestamp(), [each[0] for each in made], UNLIMITED if otherwise is None else otherwise * MIB)
    assert found == (UNLIMITED if expected is None else expected * MIB)


@dataclass
class DataSync:
    """Of DataSync what the function uses; it keeps options as they are written."""

    options: dict[str, Any]
    executions: dict[str, dict[str, Any]] = field(default_factory=dict)
    written: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    ends: bool = False

    def describe_task(self, *, TaskArn: str) -> dict[str, Any]:
        assert TaskArn == TASK
        return {"Options": dict(self.options)}

    def update_task(self, *, TaskArn: str, Options: dict[str, Any]) -> None:
        assert TaskArn == TASK
        self.written.append((TASK, Options))
        self.options = Options

    def get_paginator(self, name: str) -> Any:
        assert name == "list_task_executions"
        return self

    def paginate(self, *, TaskArn: str) -> Iterator[dict[str, Any]]:
        assert TaskArn == TASK
        for arn, run in self.executions.items():
            yield {"TaskExecutions": [{"TaskExecutionArn": arn, "Status": run["Status"]}]}

    def describe_task_execution(self, *, TaskExecutionArn: str) -> dict[str, Any]:
        return self.executions[TaskExecutionArn]

    def update_task_execution(self, *, TaskExecutionArn: str, Options: dict[str, Any]) -> None:
        if self.ends:
            self.executions[TaskExecutionArn]["Status"] = "SUCCESS"
        if self.executions[TaskExecutionArn]["Status"] in ("SUCCESS", "REFUSED"):
            raise ClientError({"Error": {"Code": "InvalidRequestException"}}, "UpdateTaskExecution")
        self.written.append((TaskExecutionArn, Options))
        self.executions[TaskExecutionArn]["Options"].update(Options)


def run(status: str, limit: int) -> dict[str, Any]:
    return {"Status": status, "Options": {**OPTIONS, "BytesPerSecond": limit}}


def test_only_the_bandwidth_of_a_task_is_changed_and_all_else_is_said_again() -> None:
    datasync = DataSync({**OPTIONS, "BytesPerSecond": UNLIMITED})
    act(datasync, TASK, 5)  # type: ignore[arg-type]
    assert datasync.written == [(TASK, {**OPTIONS, "BytesPerSecond": 5})]
    act(datasync, TASK, 5)  # type: ignore[arg-type]
    assert len(datasync.written) == 1, "what is right is not written again"


def test_a_task_that_says_nothing_of_bandwidth_has_no_limit() -> None:
    datasync = DataSync(dict(OPTIONS))
    act(datasync, TASK, UNLIMITED)  # type: ignore[arg-type]
    assert datasync.written == []


def test_runs_under_way_follow_and_runs_that_are_over_do_not() -> None:
    runs = {
        "queued": run("QUEUED", 9),
        "going": run("TRANSFERRING", 9),
        "over": run("SUCCESS", 9),
        "right": run("VERIFYING", 5),
    }
    datasync = DataSync({**OPTIONS, "BytesPerSecond": 5}, runs)
    act(datasync, TASK, 5)  # type: ignore[arg-type]
    assert datasync.written == [("queued", {"BytesPerSecond": 5}), ("going", {"BytesPerSecond": 5})]


def test_a_run_that_ends_meanwhile_is_no_failure() -> None:
    datasync = DataSync({**OPTIONS, "BytesPerSecond": 5}, {"going": run("TRANSFERRING", 9)}, ends=True)
    act(datasync, TASK, 5)  # type: ignore[arg-type]
    assert datasync.written == []


def test_a_refusal_for_another_reason_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    datasync = DataSync({**OPTIONS, "BytesPerSecond": 5}, {"going": run("TRANSFERRING", 9)})

    def refused(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "UpdateTaskExecution")

    monkeypatch.setattr(datasync, "update_task_execution", refused)
    with pytest.raises(ClientError, match="AccessDenied"):
        act(datasync, TASK, 5)  # type: ignore[arg-type]


def test_the_handler_does_what_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    datasync = DataSync(dict(OPTIONS))
    sqs = SQS(Clock(at("2026-07-01T12:00")))
    sqs.put("dead", {}, {"source": "aws.scheduler"})
    monkeypatch.setattr(boto3, "client", lambda name: {"datasync": datasync, "sqs": sqs}[name])
    monkeypatch.setattr(ingest_pace.time, "time", lambda: at("2026-07-01T12:00"))
    document = {"days": ["wed"], "from": "08:00", "to": "18:00", "time_zone": "Europe/Vienna", "limit_mibps": 2}
    given = {"TASK": TASK, "WINDOWS": json.dumps([document]), "OTHERWISE_MIBPS": "", "DEAD_LETTERS": "dead"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    ingest_pace.handler({}, None)
    assert datasync.options["BytesPerSecond"] == 2 * MIB
    assert sqs.bodies("dead") == [], "this look makes good those that failed"
    assert Pace.from_environment({**given, "WINDOWS": "[]", "OTHERWISE_MIBPS": "3"}) == Pace(TASK, (), 3 * MIB, "dead")


def test_while_looks_fail_the_alarm_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    sqs = SQS(Clock(0.0))
    sqs.put("dead", {})
    datasync = DataSync(dict(OPTIONS))
    monkeypatch.setattr(boto3, "client", lambda name: {"datasync": datasync, "sqs": sqs}[name])
    given = {"TASK": "another", "WINDOWS": "[]", "OTHERWISE_MIBPS": "", "DEAD_LETTERS": "dead"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(AssertionError):
        ingest_pace.handler({}, None)
    assert sqs.visible("dead") == 1


def test_runs_under_way_are_held_back_also_when_the_task_cannot_be_changed_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    datasync = DataSync({**OPTIONS, "BytesPerSecond": 9}, {"going": run("TRANSFERRING", 9)})

    def refused(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "InvalidRequestException"}}, "UpdateTask")

    monkeypatch.setattr(datasync, "update_task", refused)
    with pytest.raises(ClientError):
        act(datasync, TASK, 5)  # type: ignore[arg-type]
    assert datasync.written == [("going", {"BytesPerSecond": 5})]
