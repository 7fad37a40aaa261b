from __future__ import annotations

import os
from dataclasses import fields

import pytest
from fakes import Aws

from cdk_cryoem_lambda.settings import Queues, Settings


def test_every_variable_arrives_typed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TASKS", '["arn:a", "arn:b"]')
    monkeypatch.setenv("QUEUES", '[{"name": "node", "queue": "https://q", "dead": "https://d"}]')
    found = Settings.from_environment()
    assert found.ingest_tasks == ("arn:a", "arn:b")
    assert (found.quiet_minutes, found.stop_head_node_after_minutes, found.live_idle_minutes) == (60, 0, 60)
    assert found.instance_tag == ("parallelcluster:cluster-name", "cryo")
    assert found.queues == (Queues(name="node", queue="https://q", dead="https://d"),)
    for field in fields(Settings):
        if field.type == "str":
            assert getattr(found, field.name) == os.environ[field.name.upper()]


def test_who_neither_prices_waiting_nor_has_working_hours_says_nothing(aws: Aws) -> None:
    found = Settings.from_environment()
    assert (found.waiting, found.awake) == (None, None)


def test_working_hours_are_read(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWAKE", '{"days": ["mon"], "from": "09:00", "to": "19:00", "time_zone": "UTC"}')
    found = Settings.from_environment().awake
    assert found is not None
    assert (found.days, found.start, found.end) == (frozenset({"mon"}), 540, 1140)


def test_a_tag_may_have_an_equals_sign_in_its_value(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSTANCE_TAG", "aws:pcs:cluster-id=a=b")
    assert Settings.from_environment().instance_tag == ("aws:pcs:cluster-id", "a=b")


def test_a_missing_variable_is_named(aws: Aws) -> None:
    for field in fields(Settings):
        without = {name: value for name, value in os.environ.items() if name != field.name.upper()}
        with pytest.raises(KeyError, match=field.name.upper()):
            Settings.from_environment(without)
