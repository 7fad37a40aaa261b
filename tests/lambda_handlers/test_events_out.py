"""Events of the platform are what docs/events.schema.json allows."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json
import re
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
from fakes import job_event
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from cdk_cryoem_lambda import events_out, pcs_jobs
from cdk_cryoem_lambda.events_out import KINDS, PlatformEvent, PoweredDown
from cryoem_head import job_completion, send_events

_DOCS = Path(__file__).resolve().parents[2] / "docs"
SCHEMA = json.loads((_DOCS / "events.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
AT = 1_800_000_000.0

EXAMPLES: dict[str, PlatformEvent] = {
    event.detail_type: event
    for event in (
        events_out.DatasetArriving(dataset="krios-1", first_at=AT),
        events_out.DatasetLanded(
            dataset="krios-1", objects=4400, movies=4321, bytes=1_900_000_000_000, reason="sentinel", landed_at=AT
        ),
        events_out.DatasetGone(dataset="krios-1", objects_before=12),
        events_out.DatasetSafe(
            dataset="krios-1", files=4400, movies=4321, bytes=1_900_000_000_000,
            manifest="datasets/krios-1.manifest.jsonl.gz", manifest_version="v1", safe_at=AT,
        ),
        events_out.DatasetNotSafe(
            dataset="krios-1", files=4400, verified=4396, unverified=1, different=1, missing=1, unknown=1,
            reasons=("1 files missing in the bucket",), examples=("Images-Disc1/a b.mrc",), since=AT,
        ),
        events_out.TransferFailed(
            task="arn:aws:datasync:us-east-1:111122223333:task/task-0a", execution="exec-0b", since=AT,
            reason="the agent is offline",
        ),
        events_out.ProcessingEnded(dataset="krios-1", recipe="spa", state="finished", reason="it ended with success"),
        events_out.JobFinished(
            job_id="7", name="cryosparc_P3_J12", user="ada", project="spike", lane="gpu1", state="COMPLETED",
            submitted_at=AT - 12_000, started_at=AT - 11_220, ended_at=AT, seconds=11_220, nodes="gpu1-dy-nodes-1",
            gpus=1.0, cpus=8.0, usd=9.32,
        ),
        events_out.LanesChanged(
            manifest="5e66ddf6", lanes=("cpu", "gpu1"), set=("gpu1",), removed=("gpu8",), kept=("gpu4",), closed=("cpu",)
        ),
        events_out.NodesPoweredDown(nodes=(PoweredDown(name="gpu1-dy-nodes-1", lane="gpu1", idle_seconds=31.5),)),
        events_out.NodeFailed(node="gpu1-dy-nodes-1", lane="gpu1", since=AT, reason="it did not boot in 20 minutes"),
        events_out.HeadNodeStarted(instance_id="i-0a1b", reason="movies arrive"),
        events_out.HeadNodeStopped(instance_id="i-0a1b", reason="nothing to do for 120 minutes"),
        events_out.BackupFailed(reason="no space left", at=AT),
        events_out.CostLeakFound(
            kind="instance", id="i-0c2d", since=AT, advice="terminate it in the EC2 console", usd_per_hour=16.288
        ),
        events_out.SpendCapReached(
            cap="one-dataset", project="spike", period="always", percent=80, limit_usd=300.0, spent_usd=241.5, hard=True
        ),
        events_out.FileSystemTrouble(
            kind="association", id="dra-0a1b", path="/data", state="MISCONFIGURED", since=AT,
            reason="Amazon FSx is unable to access the S3 bucket", advice="mend the bucket's policy",
        ),
    )
}  # fmt: skip
WITHOUT = {"Transfer Failed": "execution", "Job Finished": "usd", "Cost Leak Found": "usd_per_hour"}


def envelope(detail_type: str, detail: dict[str, Any], *, source: str = events_out.SOURCE) -> dict[str, Any]:
    return {"version": "0", "id": "e", "source": source, "detail-type": detail_type, "time": "2027-01-15T08:00:00Z",
            "detail": detail}  # fmt: skip


def valid(detail_type: str, detail: dict[str, Any], **more: str) -> bool:
    return VALIDATOR.is_valid(envelope(detail_type, detail, **more))


def strategy(hint: Any) -> st.SearchStrategy[Any]:
    """All legal values of a field."""
    options = typing.get_args(hint)
    if typing.get_origin(hint) is Literal:
        return st.sampled_from(options)
    if typing.get_origin(hint) is tuple:
        return st.lists(strategy(options[0]), max_size=3).map(tuple)
    if type(None) in options:
        return st.none() | strategy(options[0])
    if dataclasses.is_dataclass(hint):
        return made(hint)
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(0, 10**18),
        float: st.floats(0, 1e18) | st.integers(0, 10**12),
        # Lone surrogates too: Slurm's names are any bytes.
        str: st.text(st.characters(codec=None), min_size=1, max_size=1100),
    }
    return kinds[hint]


def made(kind: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{field.name: strategy(hints[field.name]) for field in dataclasses.fields(kind)})


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_kind_has_a_definition_and_a_class_and_an_example() -> None:
    told = {
        (entry["properties"]["source"]["const"], entry["properties"]["detail-type"]["const"]): entry
        for entry in SCHEMA["oneOf"]
    }
    assert set(told) == {("cryoem.platform", kind) for kind in KINDS} | {("cryoem.slurm", "Slurm Job State Change")}
    assert set(EXAMPLES) == set(KINDS)
    for (_, kind), entry in told.items():
        assert entry["properties"]["detail"] == {"$ref": f"#/$defs/{kind.replace(' ', '')}"}


@pytest.mark.parametrize("kind", KINDS)
def test_fields_of_a_class_are_those_of_its_definition(kind: str) -> None:
    definition = SCHEMA["$defs"][kind.replace(" ", "")]
    fields = [field.name for field in dataclasses.fields(KINDS[kind])]
    assert sorted(definition["properties"]) == sorted(["version", "cluster", *fields])
    assert definition["additionalProperties"] is False
    assert set(definition["properties"]) - set(definition["required"]) == {WITHOUT.get(kind)} - {None}
    assert set(KINDS[kind].identity) <= set(definition["required"]), "an identity is always there"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_said_is_allowed(kind: str) -> None:
    detail = EXAMPLES[kind].detail(cluster="cryo")
    assert list(VALIDATOR.iter_errors(envelope(kind, detail))) == []
    assert (detail["version"], detail["cluster"]) == (1, "cryo")


@pytest.mark.parametrize("kind", WITHOUT)
def test_what_is_not_known_is_left_out(kind: str) -> None:
    detail = dataclasses.replace(EXAMPLES[kind], **{WITHOUT[kind]: None}).detail(cluster="cryo")
    assert WITHOUT[kind] not in detail
    assert valid(kind, detail)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_is_said_is_allowed(kind: str, data: st.DataObject) -> None:
    detail = data.draw(made(KINDS[kind])).detail(cluster="cryo")
    sent = json.loads(json.dumps(detail, ensure_ascii=False, allow_nan=False).encode())
    assert list(VALIDATOR.iter_errors(envelope(kind, sent))) == []


WRONG: dict[type, Any] = {str: 7, bool: "yes", int: "7", float: "7", list: "x"}


@pytest.mark.parametrize("kind", KINDS)
def test_any_change_of_a_field_is_refused(kind: str) -> None:
    detail = EXAMPLES[kind].detail(cluster="cryo")
    assert valid(kind, detail)
    assert not valid(kind, {**detail, "more": 1}), "one more"
    for field, value in detail.items():
        rest = {name: told for name, told in detail.items() if name != field}
        assert valid(kind, rest) is (WITHOUT.get(kind) == field), f"without {field}"
        assert not valid(kind, {**rest, f"{field}_": value}), f"{field} renamed"
        assert not valid(kind, {**detail, field: WRONG[type(value)]}), f"another type of {field}"
        assert not valid(kind, {**detail, field: None}), f"{field} null"
    assert not valid(kind, {**detail, "version": 2})
    assert not valid(kind, detail, source="cryoem.slurm")
    assert not valid(f"{kind}s", detail)


def test_a_state_and_a_kind_that_are_not_known_are_refused() -> None:
    ended, leak = (EXAMPLES[kind].detail(cluster="c") for kind in ("Processing Ended", "Cost Leak Found"))
    assert not valid("Processing Ended", {**ended, "state": "running"})
    assert not valid("Cost Leak Found", {**leak, "kind": "volume"})


def test_the_head_nodes_job_event_is_allowed(tmp_path: Path) -> None:
    environment = {"JOBID": "42", "PARTITION": "gpu4", "JOBSTATE": "COMPLETED", "END": "1799993700"}
    detail = job_completion.event(environment, cluster="cryo", projects=tmp_path, tres="cpu=1")
    assert list(VALIDATOR.iter_errors(envelope(send_events.DETAIL_TYPE, detail, source=send_events.SOURCE))) == []
    assert valid("Slurm Job State Change", job_event()["detail"], source="cryoem.slurm")
    for field in detail:
        assert not valid(
            send_events.DETAIL_TYPE, {n: v for n, v in detail.items() if n != field}, source="cryoem.slurm"
        )
    assert not valid(send_events.DETAIL_TYPE, {**detail, "more": 1}, source="cryoem.slurm")


def test_the_job_event_of_pcs_is_allowed() -> None:
    record = {
        "fields": {"jobId": 7, "partition": "gpu4", "jobState": "CANCELLED by 0", "endTime": "2027-01-15T08:00:00"}
    }
    logged = {"messageType": "DATA_MESSAGE", "logEvents": [{"message": json.dumps(record)}]}
    data = base64.b64encode(gzip.compress(json.dumps(logged).encode())).decode()
    (message,) = pcs_jobs.messages({"awslogs": {"data": data}})
    detail = pcs_jobs.detail(json.loads(message), cluster="cryo")
    assert list(VALIDATOR.iter_errors(envelope(pcs_jobs.DETAIL_TYPE, detail, source=pcs_jobs.SOURCE))) == []


def test_a_long_text_is_cut_and_half_a_character_replaced() -> None:
    detail = events_out.DatasetArriving(dataset="\ud800" + "x" * 2000, first_at=AT).detail(cluster="cryo")
    assert detail["dataset"] == "?" + "x" * 1023


def test_ten_of_the_longest_are_within_what_eventbridge_takes() -> None:
    """256 KB a call: detail, source, detail type, each counted in bytes of UTF-8 (EventBridge user guide)."""
    long = "字" * 2000
    job = dataclasses.replace(EXAMPLES["Job Finished"], name=long, user=long, project=long, nodes=long, lane=long)
    detail = json.dumps(job.detail(cluster="cryo"), ensure_ascii=False).encode()
    assert 10 * (len(detail) + 100) < 256 * 1024


def page() -> dict[str, list[str]]:
    """The table of kinds in docs/events.md: fields, and those that tell copies from other events."""
    rows = re.findall(r"(?m)^\| ([A-Z][A-Za-z ]+) \| (.*?) \| (.*?) \| (.*?) \|$", (_DOCS / "events.md").read_text())
    return {
        kind: [*re.findall(r"`(\w+)`", fields), "/", *re.findall(r"`(\w+)`|(UTC day)", same)]
        for kind, fields, same, _ in rows
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_has_a_row_for_each_kind(kind: str) -> None:
    written = page()[kind]
    fields, same = written[: written.index("/")], ["".join(each) for each in written[written.index("/") + 1 :]]
    assert fields == [field.name for field in dataclasses.fields(KINDS[kind])]
    assert same == [*KINDS[kind].identity, *(["UTC day"] if KINDS[kind].daily else [])]


def test_the_page_has_no_other_kinds() -> None:
    assert set(page()) == set(KINDS)


def test_patterns_of_the_page_are_about_what_there_is() -> None:
    patterns = [json.loads(text) for text in re.findall(r"(?s)```json\n(.*?)```", (_DOCS / "events.md").read_text())]
    assert len(patterns) == 3
    for pattern in patterns:
        assert set(pattern) == {"source", "detail-type", "detail"}
        for kind in pattern["detail-type"]:
            known = {"version", "cluster", *(field.name for field in dataclasses.fields(KINDS[kind]))}
            assert set(pattern["detail"]) <= known
