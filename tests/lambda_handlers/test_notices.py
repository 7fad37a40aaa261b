"""What people are told, word by word, and what they are not told."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_events_out import EXAMPLES, made

from cdk_cryoem_lambda import notices
from cdk_cryoem_lambda.events_out import KINDS
from cdk_cryoem_lambda.notices import TOLD, Notice, notice

_ROOT = Path(__file__).resolve().parents[2]
DAY = "2027-01-15"


def told(kind: str, /, *, day: str = DAY, minutes: int = 30, **changes: Any) -> Notice | None:
    detail = {**EXAMPLES[kind].detail(cluster="cryo"), **changes}
    return notice(kind, {name: v for name, v in detail.items() if v is not None}, day=day, job_minutes=minutes)


def subject(kind: str, /, **changes: Any) -> str:
    found = told(kind, **changes)
    assert found is not None
    return found.subject


def test_a_finished_job_with_its_time_and_its_price() -> None:
    assert subject("Job Finished") == "Your job P3 J12 (cryoSPARC) finished: 3 h 07 min, $9.32 (gpu1)"
    assert subject("Job Finished", name="J12 Non-uniform refinement") == (
        "Your job J12 Non-uniform refinement finished: 3 h 07 min, $9.32 (gpu1)"
    )


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ("FAILED", "failed"),
        ("CANCELLED", "was cancelled"),
        ("CANCELLED by 1001", "was cancelled"),
        ("TIMEOUT", "was stopped at its time limit"),
        ("DEADLINE", "was stopped at its deadline"),
        ("OUT_OF_MEMORY", "ran out of memory"),
        ("NODE_FAIL", "lost its node"),
        ("BOOT_FAIL", "got no node that starts"),
        ("PREEMPTED", "was taken off its node"),
        ("REVOKED", "ended as REVOKED"),
    ],
)
def test_a_job_that_did_not_finish_says_so(state: str, words: str) -> None:
    assert subject("Job Finished", state=state) == f"Your job P3 J12 (cryoSPARC) {words}: 3 h 07 min, $9.32 (gpu1)"


def test_a_job_whose_lane_is_unknown_has_no_price() -> None:
    assert subject("Job Finished", usd=None, lane="mine") == "Your job P3 J12 (cryoSPARC) finished: 3 h 07 min (mine)"


def test_a_job_without_a_name_has_its_number() -> None:
    assert subject("Job Finished", name="").startswith("Your job 7 finished")


def test_the_text_has_what_the_subject_has_no_room_for() -> None:
    found = told("Job Finished")
    assert found is not None
    assert found.text == (
        "Your job P3 J12 (cryoSPARC) finished: 3 h 07 min, $9.32 (gpu1).\n\n"
        "Slurm job   7\n"
        "User        ada\n"
        "Project     spike\n"
        "State       COMPLETED\n"
        "Nodes       gpu1-dy-nodes-1\n"
        "GPUs, CPUs  1, 8\n"
        "Waited      13 min\n"
    )
    assert (found.user, found.project, found.event) == ("ada", "spike", "Job Finished")


def test_a_job_that_never_started_has_not_waited() -> None:
    found = told("Job Finished", started_at=0, minutes=0, seconds=0, state="CANCELLED")
    assert found is not None
    assert "Waited" not in found.text
    assert found.subject.endswith("was cancelled: 0 s, $9.32 (gpu1)")


@pytest.mark.parametrize(("seconds", "minutes", "is_told"), [
    (1799, 30, False), (1800, 30, True), (1801, 30, True), (0, 0, True), (59.9, 1, False), (60, 1, True),
])  # fmt: skip
def test_short_jobs_are_not_told(seconds: float, minutes: int, is_told: bool) -> None:
    assert (told("Job Finished", seconds=seconds, minutes=minutes) is not None) is is_told


@pytest.mark.parametrize(
    ("kind", "changes", "words"),
    [
        ("Dataset Landed", {}, "Dataset krios-1 has landed: 4,321 movies, 1.9 TB"),
        ("Dataset Landed", {"movies": 1, "bytes": 999}, "Dataset krios-1 has landed: 1 movie, 999 bytes"),
        ("Dataset Safe", {}, "Dataset krios-1 is safe to purge from the microscope disk: 4,400 files, 1.9 TB"),
        ("Dataset Not Safe", {}, "Dataset krios-1 is NOT safe to purge from the microscope disk"),
        ("Transfer Failed", {}, "A transfer from the microscope failed: the agent is offline"),
        ("Processing Ended", {}, "Recipe spa has finished on dataset krios-1"),
        ("Processing Ended", {"state": "failed"}, "Recipe spa failed on dataset krios-1"),
        ("Processing Ended", {"state": "refused"}, "Recipe spa was not started on dataset krios-1"),
        ("Lanes Changed", {}, "Lane cpu is closed"),
        ("Lanes Changed", {"closed": ["cpu", "gpu1"]}, "Lanes cpu, gpu1 are closed"),
        ("Node Failed", {}, "Node gpu1-dy-nodes-1 of lane gpu1 failed"),
        ("Backup Failed", {}, "The backup of cryoSPARC's database failed"),
        ("Cost Leak Found", {}, "Instance i-0c2d costs money for nothing, $16.29 an hour"),
        ("Cost Leak Found", {"kind": "live-session", "usd_per_hour": None}, "Live session i-0c2d costs money for nothing"),
        ("File System Trouble", {}, "The association on /data is misconfigured"),
        ("File System Trouble", {"kind": "file-system", "id": "fs-0a1b", "state": "GONE"}, "File system fs-0a1b is gone"),
        ("File System Trouble", {"kind": "task", "state": "FAILED"}, "The release of /data is failed"),
    ],
)  # fmt: skip
def test_words_of_each_kind(kind: str, changes: dict[str, Any], words: str) -> None:
    assert subject(kind, **changes) == words


def test_reasons_and_advice_are_in_the_text() -> None:
    for kind, field in (
        ("Dataset Landed", "reason"), ("Transfer Failed", "reason"), ("Processing Ended", "reason"), ("Node Failed", "reason"),
        ("Backup Failed", "reason"), ("Cost Leak Found", "advice"),
        ("File System Trouble", "reason"), ("File System Trouble", "advice"),
    ):  # fmt: skip
        found = told(kind, **{field: "because\nof this"})
        assert found is not None
        assert "because of this" in found.text
    failed = told("Node Failed")
    assert failed is not None
    assert "Since   2027-01-15 08:00 UTC" in failed.text


@pytest.mark.parametrize("kind", sorted(set(KINDS) - set(TOLD)))
def test_what_is_of_no_interest_is_not_told(kind: str) -> None:
    assert told(kind) is None


def test_lanes_that_changed_and_are_open_are_not_told() -> None:
    assert told("Lanes Changed", closed=[]) is None


def test_kinds_that_are_told_are_those_that_the_rule_lets_through() -> None:
    source = (_ROOT / "constructs" / "cdk_cryoem" / "notifications.py").read_text()
    (listed,) = (
        node.value
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "TOLD_EVENTS"
    )
    assert ast.literal_eval(listed) == TOLD
    assert set(TOLD) < set(KINDS)


def test_an_event_of_another_version_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="version 2; this is written for version 1"):
        told("Backup Failed", version=2)


@pytest.mark.parametrize("kind", TOLD)
def test_a_copy_has_the_same_key_and_another_event_has_not(kind: str) -> None:
    first, copy = told(kind), told(kind)
    assert first is not None
    assert copy is not None
    assert first.key == copy.key
    assert len(first.key.encode()) < 1024, "what DynamoDB takes"
    elsewhere = told(kind, cluster="other")
    assert elsewhere is not None
    assert elsewhere.key != first.key
    tomorrow = told(kind, day="2027-01-16")
    assert tomorrow is not None
    assert (tomorrow.key != first.key) is KINDS[kind].daily


def test_numbers_that_are_one_number_and_lists_in_another_order_are_copies() -> None:
    def key(kind: str, /, **changes: Any) -> str:
        found = told(kind, **changes)
        assert found is not None
        return found.key

    assert key("Job Finished", ended_at=1_800_000_000) == key("Job Finished", ended_at=1_800_000_000.0)
    assert key("Job Finished", ended_at=1_800_000_001) != key("Job Finished")
    assert key("Job Finished", job_id="8") != key("Job Finished")
    assert key("Lanes Changed", closed=["a", "b"]) == key("Lanes Changed", closed=["b", "a"])
    assert key("Lanes Changed", lanes=["new"]) == key("Lanes Changed"), "the same lane is closed"
    assert key("Processing Ended", state="failed") != key("Processing Ended")


def test_a_chat_gets_a_custom_notification() -> None:
    found = told("Job Finished")
    assert found is not None
    message = json.loads(found.message())
    assert message["email"] == found.text
    assert message["default"] == message["https"]
    assert json.loads(message["https"]) == {
        "version": "1.0",
        "source": "custom",
        "id": found.key,
        "content": {"title": found.subject, "description": found.text},
    }


def test_a_name_calls_nobody_in_a_chat_and_is_no_link() -> None:
    found = told("Job Finished", name="<!channel> @here [x](https://e)")
    assert found is not None
    title = json.loads(json.loads(found.message())["https"])["content"]["title"]
    assert title.startswith("Your job (!channel) (at)here [x] (https://e) finished")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 00 min"), (200_000, "55 h 33 min")],
)
def test_durations(seconds: float, words: str) -> None:
    assert notices.duration(seconds) == words


@pytest.mark.parametrize(
    ("usd", "words"),
    [(0, "$0.00"), (0.004, "less than $0.01"), (0.01, "$0.01"), (9.324, "$9.32"), (12345.6, "$12,345.60")],
)
def test_money(usd: float, words: str) -> None:
    assert notices.money(usd) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1.9e12, "1.9 TB"), (5e15, "5000.0 TB")]
)
def test_sizes(count: float, words: str) -> None:
    assert notices.size(count) == words


def test_of_a_long_name_both_ends_stay_and_the_result_too() -> None:
    words = subject("Job Finished", name=f"first-{'x' * 200}-last")
    assert words.startswith("Your job first-")
    assert words.endswith("-last finished: 3 h 07 min, $9.32 (gpu1)")


@pytest.mark.parametrize("kind", TOLD)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_the_event_sns_takes_it(kind: str, data: st.DataObject) -> None:
    detail = data.draw(made(KINDS[kind])).detail(cluster="cryo")
    found = notice(kind, json.loads(json.dumps(detail)), day=DAY, job_minutes=0)
    if found is None:
        assert (kind, detail["closed"]) == ("Lanes Changed", [])
        return
    line = found.email_subject()
    assert line.isascii()
    assert line.isprintable()
    assert 0 < len(line) < 100
    chat = json.loads(json.loads(found.message())["default"])["content"]
    assert 0 < len(chat["title"]) <= 250
    assert 0 < len(chat["description"]) <= 8000
    assert not set("<>@") & set(chat["title"] + chat["description"])
    assert all(value["StringValue"].strip() for value in found.attributes().values())
    assert len(found.message().encode()) < 200_000
