from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from fakes import job_event
from hypothesis import settings
from hypothesis import strategies as st

from cdk_cryoem_lambda.jobs import Job, Lane, parse, parse_tres

pure = settings(max_examples=80, deadline=None, derandomize=True, database=None)
GPU4 = Lane(name="gpu4", gpus=4, vcpus=48, memory_mib=196_608, hold_minutes=0, usd_per_hour=4.0)
CPU = Lane(name="cpu", gpus=0, vcpus=16, memory_mib=32_768, hold_minutes=0, usd_per_hour=1.0)
lanes = st.builds(
    Lane,
    name=st.just("lane"),
    gpus=st.integers(0, 16),
    vcpus=st.integers(1, 200),
    memory_mib=st.integers(1024, 2_000_000),
    hold_minutes=st.just(0),
    usd_per_hour=st.floats(0, 100),
)
tres = st.dictionaries(st.sampled_from(["cpu", "mem", "gres/gpu", "node", "billing"]), st.floats(0, 10**7))
seconds = st.integers(0, 2_000_000_000)


def job(text: str = "", *, hours: float = 1.0, node_count: int = 1, **changes: Any) -> Job:
    made = parse(job_event(tres=text, start=1_000_000, end=1_000_000 + int(3600 * hours))["detail"])
    return dataclasses.replace(made, node_count=node_count, **changes)


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
