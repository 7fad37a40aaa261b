"""A finished job on PCS: whatever way its record spells it, it becomes the event that the head node would have sent."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from fakes import Events
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda import jobs, pcs_jobs
from cryoem_head import job_completion, send_events

pure = settings(max_examples=150, deadline=None, derandomize=True, database=None)
FIELDS: dict[str, Any] = {
    "job_id": 42,
    "job_name": 'say "粒子"',
    "user_name": "ada",
    "partition": "gpu4",
    "job_state": "COMPLETED",
    "exit_code": "0:0",
    "submit_time": 1_799_990_000,
    "start_time": 1_799_990_100,
    "end_time": 1_799_993_700,
    "node_list": "gpu4-1",
    "node_cnt": 1,
    "tres_alloc_str": "cpu=12,mem=48G,gres/gpu=1",
    "work_dir": "/fsx/projects/spike/J2",
}
EVENT = {
    "version": 1,
    "cluster": "cryo",
    "job_id": "42",
    "name": 'say "粒子"',
    "user": "ada",
    "partition": "gpu4",
    "state": "COMPLETED",
    "exit_code": "0:0",
    "submit": 1_799_990_000,
    "start": 1_799_990_100,
    "end": 1_799_993_700,
    "nodes": "gpu4-1",
    "node_count": 1,
    "tres": "cpu=12,mem=48G,gres/gpu=1",
    "project": "spike",
}


def record(**changes: Any) -> dict[str, Any]:
    """A record as PCS writes it; a field of the value Ellipsis is left out."""
    fields = {name: value for name, value in {**FIELDS, **changes}.items() if value is not ...}
    return {
        "resource_id": "pcs_0a1b2c3d4e",
        "resource_type": "PCS_CLUSTER",
        "event_timestamp": 1_799_993_701_000,
        "scheduler_type": "slurm",
        "scheduler_major_version": "25.11",
        "fields": fields,
    }


def delivered(*messages: object, kind: str = "DATA_MESSAGE") -> dict[str, Any]:
    """What CloudWatch Logs calls a function with: JSON, gzip, base64."""
    content = {
        "messageType": kind,
        "owner": "111122223333",
        "logGroup": "/aws/vendedlogs/pcs/cryo-jobs-0b4c5f3e",
        "logStream": "AWSLogs/PCS/pcs_0a1b2c3d4e/jobcomp_25.11.log",
        "subscriptionFilters": ["cryo"],
        "logEvents": [
            {"id": f"{n:056}", "timestamp": 1, "message": m if isinstance(m, str) else json.dumps(m)}
            for n, m in enumerate(messages)
        ],
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(content).encode())).decode()}}


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch) -> Iterator[Events]:
    """EventBridge, and the function's environment."""
    fake = Events()
    monkeypatch.setenv("EVENT_BUS", "cryo-bus")
    monkeypatch.setenv("CLUSTER", "cryo")
    monkeypatch.setattr(boto3, "client", {"events": fake}.__getitem__)
    pcs_jobs._events.cache_clear()
    yield fake
    pcs_jobs._events.cache_clear()


def detail(**changes: Any) -> dict[str, Any]:
    return dict(pcs_jobs.detail(record(**changes), cluster="cryo"))


# --- contract ---------------------------------------------------------------------------------------------------------


def of_the_head_node(**changes: str) -> dict[str, object]:
    environment = {
        "JOBID": "42", "JOBNAME": 'say "粒子"', "USERNAME": "ada", "PARTITION": "gpu4", "JOBSTATE": "COMPLETED",
        "EXITCODE": "0:0", "SUBMIT": "1799990000", "START": "1799990100", "END": "1799993700", "NODES": "gpu4-1",
        "NODECNT": "1", "WORK_DIR": "/fsx/projects/spike/J2", **changes,
    }  # fmt: skip
    return job_completion.event(
        environment, cluster="cryo", projects=Path("/fsx/projects"), tres="cpu=12,mem=48G,gres/gpu=1"
    )


def test_the_event_is_the_head_nodes_event_of_the_same_job() -> None:
    assert detail() == EVENT == of_the_head_node()
    assert list(detail()) == list(of_the_head_node())


def test_keys_and_types_are_the_head_nodes_even_of_a_record_with_next_to_nothing() -> None:
    bare = pcs_jobs.detail(
        {"fields": {"JobId": "7", "Partition": "cpu", "JobState": "CANCELLED", "EndTime": "1799993700"}}, cluster="cryo"
    )
    theirs = of_the_head_node()
    assert {name: type(value) for name, value in bare.items()} == {name: type(value) for name, value in theirs.items()}


def test_the_hooks_read_it_as_they_read_the_head_nodes() -> None:
    ours = jobs.parse(json.loads(json.dumps(detail())))
    assert ours == jobs.parse(json.loads(json.dumps(of_the_head_node())))
    assert (ours.seconds, ours.tres["gres/gpu"], ours.project, ours.lane) == (3600, 1.0, "spike", "gpu4")


def test_source_and_detail_type_are_the_head_nodes() -> None:
    assert (pcs_jobs.SOURCE, pcs_jobs.DETAIL_TYPE) == (send_events.SOURCE, send_events.DETAIL_TYPE)


# --- spellings --------------------------------------------------------------------------------------------------------

SPELT = [
    (ours, theirs) for ours, spellings in pcs_jobs._SPELLINGS.items() for theirs in spellings
]  # fmt: skip
GIVEN_AS = {
    "job_id": "job_id", "name": "job_name", "user": "user_name", "partition": "partition", "state": "job_state",
    "exit_code": "exit_code", "submit": "submit_time", "start": "start_time", "end": "end_time", "nodes": "node_list",
    "node_count": "node_cnt", "tres": "tres_alloc_str", "work_dir": "work_dir",
}  # fmt: skip


@pytest.mark.parametrize(("ours", "theirs"), SPELT)
def test_every_spelling_in_every_way_of_writing_it(ours: str, theirs: str) -> None:
    usual = GIVEN_AS[ours]
    for written in (theirs, theirs.upper(), theirs.title(), f"@{theirs}", "_".join([theirs[:2], theirs[2:]])):
        changed = record(**{usual: ...})
        changed["fields"][written] = FIELDS[usual]
        assert pcs_jobs.detail(changed, cluster="cryo") == EVENT, written


def test_no_two_of_our_names_share_a_spelling() -> None:
    assert set(GIVEN_AS) == set(pcs_jobs._SPELLINGS)
    all_spellings = [theirs for _, theirs in SPELT]
    assert len(all_spellings) == len(set(all_spellings))
    assert all(re.fullmatch("[a-z]+", theirs) for theirs in all_spellings)


# As Slurm's own job completion plugins write a job: jobcomp/filetxt, jobcomp/elasticsearch and jobcomp/kafka.
FILETXT = {
    "JobId": "42", "UserId": "ada(1001)", "GroupId": "em(1001)", "Name": 'say "粒子"', "JobState": "COMPLETED",
    "Partition": "gpu4", "TimeLimit": "2880", "StartTime": "2027-01-15T03:08:20", "EndTime": "2027-01-15T04:08:20",
    "NodeList": "gpu4-1", "NodeCnt": "1", "ProcCnt": "12", "WorkDir": "/fsx/projects/spike/J2",
    "SubmitTime": "2027-01-15T03:06:40", "ExitCode": "0:0", "Tres": "cpu=12,mem=48G,gres/gpu=1",
}  # fmt: skip
ELASTICSEARCH = {
    "jobid": 42, "username": "ada", "user_id": 1001, "groupname": "em", "@start": "2027-01-15T03:08:20",
    "@end": "2027-01-15T04:08:20", "elapsed": 3600, "partition": "gpu4", "nodes": "gpu4-1", "total_cpus": 12,
    "total_nodes": 1, "exit_code": "0:0", "state": "COMPLETED", "@submit": "2027-01-15T03:06:40",
    "@eligible": "2027-01-15T03:06:40", "work_dir": "/fsx/projects/spike/J2", "job_name": 'say "粒子"',
    "tres_req": "cpu=1,mem=1G", "tres_alloc": "cpu=12,mem=48G,gres/gpu=1",
}  # fmt: skip


@pytest.mark.parametrize("fields", [FILETXT, ELASTICSEARCH], ids=["filetxt", "elasticsearch"])
def test_a_job_as_slurms_own_plugins_write_it(fields: dict[str, Any]) -> None:
    assert pcs_jobs.detail({"fields": fields}, cluster="cryo") == {**EVENT, **shifted(fields)}


def shifted(fields: dict[str, Any]) -> dict[str, int]:
    """The times of these records, of which only the differences are those of FIELDS."""
    found = {
        ours: int(datetime.fromisoformat(next(v for k, v in fields.items() if k.strip("@").lower().startswith(ours)))
                  .replace(tzinfo=UTC).timestamp())
        for ours in ("submit", "start", "end")
    }  # fmt: skip
    assert (found["end"] - found["start"], found["start"] - found["submit"]) == (3600, 100)
    return found


def test_what_slurm_gave_goes_before_what_was_asked_for() -> None:
    assert detail(tres_req_str="cpu=1")["tres"] == EVENT["tres"]
    assert detail(tres_alloc_str=..., tres_req_str="cpu=1")["tres"] == "cpu=1"
    assert detail(tres_alloc_str="", tres_req_str="cpu=1")["tres"] == "cpu=1"
    assert detail(tres_alloc_str=None)["tres"] == ""


@pytest.mark.parametrize(
    ("field", "given_as", "name", "value"),
    [
        ("user_name", "ada(1001)", "user", "ada"),
        ("user_name", "ada(lab)", "user", "ada(lab)"),
        ("user_name", 1001, "user", "1001"),
        ("job_state", "CANCELLED by 1001", "state", "CANCELLED"),
        ("job_state", " FAILED ", "state", "FAILED"),
        ("job_id", "42", "job_id", "42"),
        ("node_cnt", "4", "node_count", 4),
        ("node_cnt", ..., "node_count", 0),
        ("node_cnt", "", "node_count", 0),
        ("exit_code", 0, "exit_code", "0"),
        ("exit_code", ..., "exit_code", ""),
        ("node_list", None, "nodes", ""),
        ("job_name", ..., "name", ""),
        ("start_time", "Unknown", "start", 0),
        ("start_time", 0, "start", 0),
        ("submit_time", ..., "submit", 0),
        ("work_dir", "/home/ada", "project", ""),
    ],
)
def test_what_a_field_may_hold(field: str, given_as: object, name: str, value: object) -> None:
    found = detail(**{field: given_as})
    assert found[name] == value
    assert {key: found[key] for key in EVENT if key != name} == {key: v for key, v in EVENT.items() if key != name}


@pytest.mark.parametrize(("field", "name"), [("job_id", "job_id"), ("partition", "partition"), ("job_state", "state"), ("end_time", "end")])  # fmt: skip
@pytest.mark.parametrize("value", [..., None, "", "  "])
def test_what_a_record_must_say(field: str, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^a record without {name}; it has ") as caught:
        detail(**{field: value})
    assert "work_dir" in str(caught.value), "what it has is told, for whoever looks at the dead letter"


@pytest.mark.parametrize("end", ["Unknown", "None", 0, "tomorrow"])
def test_a_job_without_an_end_is_no_finished_job(end: object) -> None:
    with pytest.raises(ValueError, match=f"job 42 whose end is {end!r}, which is no time"):
        detail(end_time=end)


# --- times ------------------------------------------------------------------------------------------------------------

MOMENT = datetime(2027, 1, 15, 4, 8, 20, tzinfo=UTC)
SECONDS = int(MOMENT.timestamp())


@pytest.mark.parametrize(
    "written",
    [
        SECONDS, str(SECONDS), float(SECONDS), f"{SECONDS}.75", SECONDS * 1000, str(SECONDS * 1000), SECONDS * 1000 + 999,
        f" {SECONDS} ", "2027-01-15T04:08:20", "2027-01-15T04:08:20Z", "2027-01-15T04:08:20.123Z",
        "2027-01-15T05:08:20+01:00", "2027-01-15 04:08:20", "20270115T040820Z",
    ],
)  # fmt: skip
def test_a_time_in_seconds_milliseconds_or_iso(written: object) -> None:
    assert pcs_jobs.epoch(written) == SECONDS


@pytest.mark.parametrize(
    "written", [None, "", "Unknown", "None", "N/A", "0", 0, "-1", "soon", "1e9", "nan", "9" * 400, "²"]
)
def test_what_is_no_time(written: object) -> None:
    assert pcs_jobs.epoch(written) == 0


@pure
@given(text=st.text(max_size=40) | st.from_regex(r"[0-9T:.+Z -]{0,40}", fullmatch=True))
@example("9" * 400)
@example("0001-01-01T00:00:00+23:59")
@example("9999-12-31T23:59:59-23:59")
@example("24:00")
def test_no_text_at_all_stops_it(text: str) -> None:
    assert isinstance(pcs_jobs.epoch(text), int)


@pure
@given(
    moment=st.datetimes(datetime(1974, 1, 1), datetime(2100, 1, 1)),
    hours=st.integers(-12, 14),
)
def test_any_time_in_any_zone_is_the_same_time_in_every_way_of_writing_it(moment: datetime, hours: int) -> None:
    moment = moment.replace(microsecond=0, tzinfo=timezone(timedelta(hours=hours)))
    wanted = int(moment.timestamp())
    utc = moment.astimezone(UTC)
    for written in (
        moment.isoformat(),
        utc.replace(tzinfo=None).isoformat(),
        wanted,
        wanted * 1000,
        str(wanted * 1000),
    ):
        assert pcs_jobs.epoch(written) == wanted, written


# --- projects ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("folder", "project"),
    [
        ("/fsx/projects/spike", "spike"),
        ("/fsx/projects/spike/J1/deep", "spike"),
        ("/fsx/projects//spike/./J1", "spike"),
        ("/fsx/projects", ""),
        ("/fsx/projects2/spike", ""),
        ("/fsx/projects/../data/d", ""),
        ("/fsx/projects/spike/../other/J1", ""),
        ("fsx/projects/spike", ""),
        ("/home/ada/fsx/projects/spike", ""),
        ("", ""),
    ],
)
def test_project_of_a_working_directory(folder: str, project: str) -> None:
    assert pcs_jobs.project_of(folder) == project


@pure
@given(parts=st.lists(st.sampled_from(["fsx", "projects", "spike", "..", ".", "", "粒子", "a b", "\x00"]), max_size=7))
@example(["fsx", "projects", ".."])
def test_a_project_is_one_folder_and_never_above(parts: list[str]) -> None:
    found = pcs_jobs.project_of("/" + "/".join(parts))
    assert "/" not in found
    assert found not in {".", ".."}
    if ".." in parts:
        assert found == ""


@pure
@given(text=st.text(max_size=60))
def test_no_working_directory_stops_it(text: str) -> None:
    assert isinstance(pcs_jobs.project_of(text), str)


@pure
@given(name=st.from_regex(r"[A-Za-z0-9._-]{1,30}", fullmatch=True).filter(lambda name: name not in {".", ".."}))
def test_the_head_node_and_this_agree_on_the_project_of_a_plain_path(name: str) -> None:
    folder = f"/fsx/projects/{name}/J1"
    assert pcs_jobs.project_of(folder) == job_completion.project_of(folder, Path("/fsx/projects")) == name


# --- the handler ------------------------------------------------------------------------------------------------------


def test_a_finished_job_becomes_an_event(bus: Events) -> None:
    assert pcs_jobs.handler(delivered(record()), None) == {"jobs": 1}
    assert bus.taken == [
        {
            "EventBusName": "cryo-bus",
            "Source": "cryoem.slurm",
            "DetailType": "Slurm Job State Change",
            "Detail": EVENT,
        }
    ]


def test_a_message_that_asks_whether_we_are_there_is_no_job(bus: Events) -> None:
    probe = delivered("CWL CONTROL MESSAGE: Checking health of destination Lambda.", kind="CONTROL_MESSAGE")
    assert pcs_jobs.handler(probe, None) == {"jobs": 0}
    assert bus.taken == []


def test_a_delivery_of_nothing_sends_nothing(bus: Events) -> None:
    assert pcs_jobs.handler(delivered(), None) == {"jobs": 0}
    assert bus.taken == []


@pytest.mark.parametrize(("count", "calls"), [(1, [1]), (10, [10]), (11, [10, 1]), (25, [10, 10, 5])])
def test_events_go_ten_at_a_time_in_their_order(
    bus: Events, monkeypatch: pytest.MonkeyPatch, count: int, calls: list[int]
) -> None:
    sizes: list[int] = []
    put = bus.put_events

    def counted(**arguments: Any) -> dict[str, Any]:
        sizes.append(len(arguments["Entries"]))
        return put(**arguments)

    monkeypatch.setattr(bus, "put_events", counted)
    found = pcs_jobs.handler(delivered(*(record(job_id=n) for n in range(count))), None)
    assert (found, sizes) == ({"jobs": count}, calls)
    assert [entry["Detail"]["job_id"] for entry in bus.taken] == [str(n) for n in range(count)]


def test_what_eventbridge_does_not_take_comes_again(bus: Events) -> None:
    bus.refusing = True
    with pytest.raises(RuntimeError, match=r"^EventBridge did not take 2 events: .*ThrottlingException"):
        pcs_jobs.handler(delivered(record(), record(job_id=43)), None)


def test_what_comes_again_is_the_same_event(bus: Events) -> None:
    for _ in range(2):
        pcs_jobs.handler(delivered(record()), None)
    assert bus.taken[0] == bus.taken[1], "the hooks know a job by its id and its end"


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("no JSON at all", "JSONDecodeError"),
        ("[1, 2]", "TypeError"),
        ('"text"', "TypeError"),
        ("null", "TypeError"),
        ({"resource_id": "pcs_1"}, "KeyError: 'fields'"),
        ({"fields": None}, "AttributeError"),
        ({"fields": ["job_id"]}, "AttributeError"),
        (record(end_time=...), "a record without end"),
        (record(node_cnt="many"), "invalid literal for int"),
    ],
)
def test_a_record_that_is_none_fails_and_keeps_no_other_from_its_event(bus: Events, bad: object, words: str) -> None:
    with pytest.raises(ValueError, match=r"^1 records are no finished jobs: ") as caught:
        pcs_jobs.handler(delivered(record(job_id=1), bad, record(job_id=2)), None)
    assert words in str(caught.value)
    assert [entry["Detail"]["job_id"] for entry in bus.taken] == ["1", "2"]


def test_only_what_cloudwatch_logs_sends_is_taken(bus: Events) -> None:
    for wrong in ({}, {"awslogs": {}}, {"awslogs": {"data": base64.b64encode(b"no gzip").decode()}}):
        with pytest.raises((KeyError, gzip.BadGzipFile)):
            pcs_jobs.handler(wrong, None)


@pure
@given(name=st.text(max_size=50), user=st.text(st.characters(exclude_characters="()"), max_size=20))
def test_every_name_survives(name: str, user: str) -> None:
    found = json.loads(json.dumps(detail(job_name=name, user_name=user)))
    assert (found["name"], found["user"]) == (name, user)
    assert jobs.parse(found).name == name
