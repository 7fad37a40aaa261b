"""Runs of DataSync: what counts as a look at the share, of which trouble people are told, and how often."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fakes import Aws, batch, failed

from cdk_cryoem_lambda import dataset_hook, transfers
from cdk_cryoem_lambda.datasets import Emptied, covers
from cdk_cryoem_lambda.receipts import Look
from cdk_cryoem_lambda.transfers import Run, emptied, looks
from cdk_cryoem_lambda.world import world

TASK = "arn:aws:datasync:eu-central-1:111122223333:task/task-0a"
ARN = f"{TASK}/execution/exec-1"
HOUR, DAY = 3600.0, 24 * 3600.0
BEGAN = datetime(2026, 3, 17, 9, tzinfo=UTC)
OFFLINE = {"Status": "ERROR", "Result": {"ErrorCode": "AgentOffline", "ErrorDetail": "the agent is offline"}}


def rules(*patterns: str) -> list[dict[str, str]]:
    return [{"FilterType": "SIMPLE_PATTERN", "Value": "|".join(patterns)}]


def run(task: dict[str, Any] | None = None, **execution: Any) -> Run:
    return Run.of(ARN, {"Status": "SUCCESS", "StartTime": BEGAN, **execution}, task or {})


@pytest.mark.parametrize(
    ("execution", "whole", "well", "failures"),
    [
        ({}, True, True, 0),
        ({"Status": "ERROR"}, False, False, 1),
        ({"Status": "TRANSFERRING"}, False, False, 0),
        ({"FilesFailed": {"Transfer": 2}}, True, False, 2),
        ({"FilesFailed": {"Verify": 1}}, True, False, 1),
        ({"FilesFailed": {"Prepare": 1}}, False, False, 1),
        ({"FoldersFailed": {"List": 1}}, False, False, 1),
        ({"ManifestConfig": {"Action": "TRANSFER"}}, False, False, 0),
        ({"Excludes": rules("*.tmp")}, True, True, 0),
        ({"Excludes": rules("*.tmp", "/em-1")}, False, False, 0),
        ({"Includes": rules("/em-1*")}, True, True, 0),
    ],
    ids=str,
)  # fmt: skip
def test_what_a_run_has_seen(execution: dict[str, Any], whole: bool, well: bool, failures: int) -> None:
    """What failed on the way was listed; what a person left out besides the task's own patterns was not."""
    found = run({"Excludes": rules("*.tmp", "*.part")}, **execution)
    assert (found.whole, found.well, found.failed) == (whole, well, failures)


def test_a_run_leaves_out_what_its_task_does_also_when_it_does_not_say_so() -> None:
    task = {"Excludes": rules("*.tmp", "*/atlas")}
    assert run(task).excludes == ("*.tmp", "*/atlas")
    assert run(task, Excludes=rules("*.tmp")).excludes == ("*.tmp", "*/atlas")
    assert run(task, Includes=rules("/a*", "/b")).includes == ("/a*", "/b")
    assert run({"Includes": rules("/a*")}).includes == run({"Includes": rules("/a*")}).scope == ("/a*",)
    other = run({"Includes": rules("/a*")}, Includes=rules("/b"))
    assert (other.includes, other.scope) == (("/b",), ("/a*",))


def test_a_run_that_waited_looks_since_its_launch() -> None:
    launched = datetime(2026, 3, 17, 11, tzinfo=UTC)
    assert run(LaunchTime=launched).began == launched.timestamp()
    assert run().began == BEGAN.timestamp()


class Site:
    """One microscope, whose runs reach the dataset hook."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.number = 0

    def ends(self, *, began_ago: float = 60.0, name: str = "", **execution: Any) -> list[str]:
        self.number += 1
        arn = f"{TASK}/execution/{name or f'exec-{self.number}'}"
        self.aws.datasync.executions[arn] = {
            "Status": "SUCCESS",
            "StartTime": datetime.fromtimestamp(self.aws.clock.now - began_ago, UTC),
            **execution,
        }
        event = {"source": "aws.datasync", "resources": [TASK, arn], "detail": {"State": "ERROR"}}
        return failed(dataset_hook.handler(batch(event), None))

    def told(self) -> list[tuple[float, str]]:
        return [(each["since"], each["reason"]) for each in self.aws.said("Transfer Failed")]


@pytest.fixture
def site(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("INGEST_TASKS", '["task-0a"]')
    # At noon: hours of one test are of one UTC day.
    aws.clock.now = datetime(2026, 3, 17, 12, tzinfo=UTC).timestamp()
    return Site(aws)


def test_a_run_that_failed_is_told_at_once_with_datasyncs_words(site: Site) -> None:
    assert site.ends(**OFFLINE) == []
    (said,) = site.aws.said("Transfer Failed")
    assert said == {
        "version": 1, "cluster": "cryo", "task": TASK, "execution": "exec-1",
        "reason": "AgentOffline: the agent is offline", "since": site.aws.clock.now - 60,
    }  # fmt: skip


def test_it_is_told_once_a_day_while_it_lasts_and_since_when(site: Site) -> None:
    first = site.aws.clock.now - 60
    for _ in range(48):
        site.ends(**OFFLINE)
        site.aws.clock.now += HOUR
    # 12 o'clock of the first day, and the two days that came: each once.
    assert [since for since, _ in site.told()] == [first] * 3


def test_after_a_good_run_it_is_forgotten_and_the_next_trouble_is_another(site: Site) -> None:
    site.ends(**OFFLINE)
    site.aws.clock.now += DAY
    site.ends()
    assert "transfer-failed" not in {kind for kind, _ in site.aws.dynamodb.items}
    site.aws.clock.now += HOUR
    site.ends(**OFFLINE)
    assert [since for since, _ in site.told()] == [site.aws.clock.now - DAY - HOUR - 60, site.aws.clock.now - 60]


def test_what_comes_and_goes_is_told_once_a_day(site: Site) -> None:
    for _ in range(4):
        site.ends(**OFFLINE)
        site.aws.clock.now += HOUR
        site.ends()
        site.aws.clock.now += HOUR
    assert len(site.told()) == 1
    site.aws.clock.now += DAY
    site.ends(**OFFLINE)
    assert [since for since, _ in site.told()][1:] == [site.aws.clock.now - 60]


def test_what_failed_in_a_run_that_succeeded_is_told_too(site: Site) -> None:
    site.ends(FilesFailed={"Transfer": 2}, FoldersFailed={"List": 1})
    assert [reason for _, reason in site.told()] == ["3 files or folders could not be listed, copied or verified"]


def test_a_run_of_listed_files_is_no_trouble_and_ends_none(site: Site) -> None:
    site.ends(ManifestConfig={"Action": "TRANSFER"})
    assert site.told() == []
    site.ends(**OFFLINE)
    site.aws.clock.now += DAY
    site.ends(ManifestConfig={"Action": "TRANSFER"})
    assert site.aws.record("transfer-failed", TASK)["over"] == 0


def test_a_failure_that_is_told_of_late_is_none(site: Site) -> None:
    site.ends(began_ago=100)
    site.ends(began_ago=4000, **OFFLINE)
    assert site.told() == []
    assert (site.aws.record("transfer", TASK)["well"], site.aws.record("look", TASK)["execution"]) == (1.0, "exec-1")


def test_the_same_event_twice_is_one(site: Site) -> None:
    site.ends(name="exec-9", **OFFLINE)
    before = dict(site.aws.dynamodb.items)
    site.ends(name="exec-9", **OFFLINE)
    assert (site.aws.dynamodb.items, len(site.told())) == (before, 1)


UNAVAILABLE = {
    "source": "aws.datasync",
    "detail-type": "DataSync Task State Change",
    "resources": [TASK],
    "detail": {"State": "UNAVAILABLE"},
}


def test_a_task_that_can_start_no_run_is_told_like_a_run_that_failed(site: Site) -> None:
    site.aws.datasync.state = {"Status": "UNAVAILABLE", "ErrorCode": "AgentOffline", "ErrorDetail": "since Monday"}
    for _ in range(3):
        assert failed(dataset_hook.handler(batch(UNAVAILABLE), None)) == []
    (said,) = site.aws.said("Transfer Failed")
    assert said == {
        "version": 1, "cluster": "cryo", "task": TASK, "since": site.aws.clock.now,
        "reason": "the task is unavailable: AgentOffline: since Monday",
    }  # fmt: skip
    assert ("transfer", TASK) not in site.aws.dynamodb.items, "nothing ran"
    site.aws.clock.now += DAY
    site.ends()
    assert ("transfer-failed", TASK) not in site.aws.dynamodb.items


def test_a_task_that_is_available_again_by_now_is_no_trouble(site: Site) -> None:
    assert failed(dataset_hook.handler(batch(UNAVAILABLE), None)) == []
    assert site.told() == []


def test_a_run_that_failed_takes_no_look_back(site: Site) -> None:
    site.ends(began_ago=4000, name="exec-good", Excludes=rules("*.tmp"))
    site.aws.datasync.excludes = rules("*.tmp")
    site.ends(began_ago=3000, name="exec-better", Excludes=rules("*.tmp"), Includes=rules("/em*"))
    site.ends(**OFFLINE)
    look = site.aws.record("look", TASK)
    assert (look["execution"], look["excludes"], look["includes"]) == ("exec-better", "*.tmp", "/em*")
    assert site.aws.record("transfer", TASK)["well"] == 0


def test_of_two_looks_at_one_moment_the_later_stays(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    note_since = transfers.Records.note_since
    raced: list[float] = []

    def slowly(self: Any, kind: str, name: str, **given: Any) -> bool:
        if kind == "look" and not raced:
            raced.append(1.0)
            site.ends(began_ago=50, name="exec-later")
        return note_since(self, kind, name, **given)

    monkeypatch.setattr(transfers.Records, "note_since", slowly)
    assert site.ends(began_ago=500, name="exec-earlier") == []
    assert raced
    assert site.aws.record("look", TASK)["execution"] == "exec-later"


@pytest.mark.parametrize(
    ("includes", "covered"),
    [((), True), (("/em-1*",), True), (("/em-1",), True), (("/em-1/Images*",), True), (("/em-2*",), False),
     (("/em-10*",), False), (("/em-2", "/em-*"), True)],
)  # fmt: skip
def test_whether_patterns_reach_a_dataset(includes: tuple[str, ...], covered: bool) -> None:
    assert covers(includes, "em-1") is covered


@pytest.mark.parametrize(("includes", "state"), [("/d*", "landed"), ("/e*", "arriving"), ("", "landed")])
def test_a_dataset_lands_by_an_empty_run_that_was_to_look_at_it(site: Site, includes: str, state: str) -> None:
    aws = site.aws
    aws.s3.put("datasets/d/a.mrc", at=aws.clock.now - 300)
    event = {"source": "aws.s3", "detail": {"object": {"key": "datasets/d/a.mrc"}}}
    assert failed(dataset_hook.handler(batch(event), None)) == []
    site.ends(**({"Includes": rules(includes)} if includes else {}))
    assert aws.record("dataset", "d")["state"] == state


def test_an_empty_run_is_known_by_its_tasks_id() -> None:
    item = {"sk": TASK, "began": 5.0, "files": 0, "well": 1, "includes": "/a|/b"}
    assert emptied([item], ["task-0a", "task-0b"]) == [Emptied(began=5.0, includes=("/a", "/b")), Emptied(began=None)]
    none = [Emptied(began=None, includes=("/a", "/b"))]
    assert emptied([{**item, "files": 3}], [TASK]) == emptied([{**item, "well": 0}], [TASK]) == none
    assert emptied([{name: value for name, value in item.items() if name != "well"}], [TASK]) == none


@pytest.mark.parametrize(
    ("patterns", "state"),
    [
        ({"scope": "/glacios-*", "includes": "/glacios-*"}, "landed"),
        ({}, "arriving"),
        # Only this one run was held to other folders.
        ({"scope": "", "includes": "/glacios-*"}, "arriving"),
    ],
)
def test_microscopes_with_folders_of_their_own_do_not_wait_for_each_other(
    site: Site, monkeypatch: pytest.MonkeyPatch, patterns: dict[str, str], state: str
) -> None:
    """The first has looked again; the second did so before the last movie came."""
    monkeypatch.setenv("INGEST_TASKS", '["task-0a", "task-0b"]')
    aws = site.aws
    aws.s3.put("datasets/krios-1/a.mrc", at=aws.clock.now - 300)
    records = world().records
    records.note_transfer(f"{TASK[:-1]}b", began=aws.clock.now - 400, files=0, well=True, **patterns)
    event = {"source": "aws.s3", "detail": {"object": {"key": "datasets/krios-1/a.mrc"}}}
    assert failed(dataset_hook.handler(batch(event), None)) == []
    site.aws.datasync.includes = rules("/krios-*")
    site.ends(Includes=rules("/krios-*"))
    assert aws.record("dataset", "krios-1")["state"] == state


RUN = {"began": 100.0, "files": 0, "failed": 0, "well": 1, "execution": "exec-2"}
SEEN = {"looked_at": 100.0, "execution": "exec-2", "includes": "", "excludes": "*.tmp|*.part"}


def found(run: dict[str, Any] | None, seen: dict[str, Any] | None, *, now: float = 1000.0) -> Look | None:
    reported = {("task-0a", "exec-2"): 500.0}
    made = looks(
        [TASK],
        transfers={} if run is None else {"task-0a": run},
        seen={} if seen is None else {"task-0a": seen},
        reported=reported,
        now=now,
    )
    return made["task-0a"]


def test_the_latest_look_is_what_was_seen() -> None:
    assert found(None, None) is None
    look = found(RUN, SEEN)
    assert look == Look(began=100.0, reported=True, well=True, excludes=("*.tmp", "*.part"))
    unsettled = found(RUN, SEEN, now=600.0)
    assert unsettled is not None
    assert not unsettled.reported


def test_a_later_run_that_failed_leaves_the_look_and_says_so() -> None:
    look = found({**RUN, "began": 200.0, "well": 0, "failed": 1, "execution": "exec-3"}, SEEN)
    assert look is not None
    assert (look.began, look.reported, look.failed_at) == (100.0, True, 200.0)
    # Listed files alone: nothing failed.
    look = found({**RUN, "began": 200.0, "well": 0, "failed": 0, "execution": "exec-3"}, SEEN)
    assert look is not None
    assert look.failed_at is None


def test_a_share_that_was_never_seen_well_has_no_look() -> None:
    look = found({**RUN, "well": 0, "failed": 1}, None)
    assert look is not None
    assert (look.well, look.failed_at) == (False, 100.0)
    assert found({**RUN, "well": 0, "failed": 0}, None) is None


def test_a_record_of_an_earlier_version_is_a_look_too() -> None:
    look = found(RUN, None)
    assert look == Look(began=100.0, reported=True, well=True)
    newer = found({**RUN, "began": 300.0}, SEEN)
    assert newer is not None
    assert newer.began == 300.0
