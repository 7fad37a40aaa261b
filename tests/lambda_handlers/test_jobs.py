from __future__ import annotations

import pytest
from fakes import job_event

from cdk_cryoem_lambda.jobs import Job, parse, parse_tres


def test_parse_takes_every_field() -> None:
    assert parse(job_event(end=5000, start=1400, submit=1000, tres="cpu=2,mem=1G")["detail"]) == Job(
        job_id="7",
        name="class2d",
        user="ada",
        project="spike",
        lane="gpu4",
        state="COMPLETED",
        submitted_at=1000,
        started_at=1400,
        ended_at=5000,
        nodes="gpu4-dy-node-1",
        node_count=1,
        tres={"cpu": 2.0, "mem": 1024.0},
    )


def test_parse_lets_no_field_be_missing() -> None:
    detail = job_event()["detail"]
    for name in detail.keys() - {"version", "cluster", "exit_code"}:
        with pytest.raises(KeyError, match=name):
            parse({key: value for key, value in detail.items() if key != name})


def test_parse_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="soon"):
        parse({**job_event()["detail"], "end": "soon"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("cpu=8", {"cpu": 8.0}),
        ("mem=512K", {"mem": 0.5}),
        ("mem=512M", {"mem": 512.0}),
        ("mem=16G", {"mem": 16_384.0}),
        ("mem=1.50T", {"mem": 1_572_864.0}),
        ("cpu=8,mem=16G,node=1,billing=8,gres/gpu=1,gres/gpu:a10g=1",
         {"cpu": 8, "mem": 16_384, "node": 1, "billing": 8, "gres/gpu": 1, "gres/gpu:a10g": 1}),
    ],
)  # fmt: skip
def test_tres_in_slurms_units(text: str, expected: dict[str, float]) -> None:
    assert parse_tres(text) == expected


@pytest.mark.parametrize("text", ["cpu", "cpu=", "cpu=x", "mem=G"])
def test_tres_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="could not convert"):
        parse_tres(text)


@pytest.mark.parametrize("text", ["cpu=inf", "cpu=nan", "cpu=1e999", "mem=1e300T", "gres/gpu=-1"])
def test_tres_that_no_job_has(text: str) -> None:
    with pytest.raises(ValueError, match="is not what a job has"):
        parse_tres(f"cpu=4,{text}")
