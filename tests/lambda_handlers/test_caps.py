"""How much of each cap is spent, and that people are told of it once."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from fakes import Aws

from cdk_cryoem_lambda.caps import Cap, Spent, spent
from cdk_cryoem_lambda.reconcile import caps
from cdk_cryoem_lambda.world import world

NOW = 1_795_000_000.0  # 2026-11-18
MONTH = Cap(name="month", limit=100, projects=(), each=False, period="month", hard=True)
EACH = Cap(name="one", limit=20, projects=("20*",), each=True, period="always", hard=False)
TOTALS = {
    "2026-11#month": 90,
    "2026-11#project#spike": 60,
    "2026-11#project#": 30,
    "2026-11#user#ada": 90,
    "always#project#spike": 75,
    "always#project#2026-krios": 19,
    "always#project#2025-krios": 20,
}


def found(cap: Cap, **raised: int) -> dict[str, tuple[int, int, int]]:
    return {
        each.scope: (each.micro_usd, each.limit, each.level)
        for each in spent([cap], TOTALS, raised=raised, month="2026-11")
    }


@pytest.mark.parametrize(
    ("cap", "expected"),
    [
        (MONTH, {"month": (90, 100, 80)}),
        (dataclasses.replace(MONTH, period="always"), {"month": (114, 100, 100)}),
        (dataclasses.replace(MONTH, projects=("spike",)), {"month": (60, 100, 0)}),
        (dataclasses.replace(MONTH, projects=("nobody",)), {"month": (0, 100, 0)}),
        (EACH, {"one#2025-krios": (20, 20, 100), "one#2026-krios": (19, 20, 80)}),
    ],
)
def test_what_was_spent(cap: Cap, expected: dict[str, tuple[int, int, int]]) -> None:
    assert found(cap) == expected


def test_a_raised_limit_counts_when_it_is_higher() -> None:
    assert found(MONTH, month=200) == {"month": (90, 200, 0)}
    assert found(MONTH, month=1) == {"month": (90, 100, 80)}


@pytest.mark.parametrize(("micro", "level"), [(79, 0), (80, 80), (99, 80), (100, 100), (250, 100)])
def test_levels(micro: int, level: int) -> None:
    assert Spent(cap=MONTH, project="", period="2026-11", micro_usd=micro, limit=100).level == level


ENTRY = {"name": "one", "usd_micro": 300_000_000, "projects": ["*"], "each": True, "period": "always", "hard": True}


def with_caps(aws: Aws, *entries: dict[str, Any]) -> None:
    name = next(iter(aws.ssm.parameters))
    aws.ssm.parameters[name] = json.dumps({**json.loads(aws.ssm.parameters[name]), "caps": list(entries)})


def said(aws: Aws) -> list[dict[str, Any]]:
    return [json.loads(item["detail"]["S"]) for (pk, _), item in aws.dynamodb.items.items() if pk == "outbox"]


def spend(name: str, micro: int) -> None:
    world().records.note_job(job_id=name, ended_at=int(NOW), fields={}, spent={name: {"usd_micro": micro, "jobs": 1}})


def test_people_are_told_once_at_each_level_and_again_when_it_was_raised(aws: Aws) -> None:
    with_caps(aws, ENTRY)
    w = world()

    def told() -> list[tuple[str, int, float]]:
        caps.reconcile(w, now=NOW)
        return sorted((each["project"], each["percent"], each["spent_usd"]) for each in said(aws))

    assert told() == []
    spend("always#project#spike", 241_500_000)
    assert told() == [("spike", 80, 241.5)]
    assert told() == [("spike", 80, 241.5)], "said once"
    spend("always#project#other", 300_000_000)
    assert told() == [("other", 100, 300.0), ("spike", 80, 241.5)]
    w.records.note("cap", "one#other", fields={"usd_micro": 350_000_000, "until": NOW + 1})
    assert told() == [("other", 80, 300.0), ("other", 100, 300.0), ("spike", 80, 241.5)]


def test_a_raise_that_is_over_is_none(aws: Aws) -> None:
    with_caps(aws, ENTRY)
    spend("always#project#spike", 300_000_000)
    world().records.note("cap", "one#spike", fields={"usd_micro": 10**9, "until": NOW})
    caps.reconcile(world(), now=NOW)
    assert [each["percent"] for each in said(aws)] == [100]


def test_without_caps_no_total_is_read(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(type(aws.dynamodb), "get_paginator")
    caps.reconcile(world(), now=NOW)
