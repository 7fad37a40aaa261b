from __future__ import annotations

import os
from dataclasses import fields

import pytest
from fakes import Aws

from cdk_cryoem_lambda.settings import Settings


def test_every_variable_arrives_typed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TASKS", '["arn:a", "arn:b"]')
    found = Settings.from_environment()
    assert found.ingest_tasks == ("arn:a", "arn:b")
    assert (found.quiet_minutes, found.stop_head_node_after_minutes) == (60, 0)
    for field in fields(Settings):
        if field.type == "str":
            assert getattr(found, field.name) == os.environ[field.name.upper()]


def test_a_missing_variable_is_named(aws: Aws) -> None:
    for field in fields(Settings):
        without = {name: value for name, value in os.environ.items() if name != field.name.upper()}
        with pytest.raises(KeyError, match=field.name.upper()):
            Settings.from_environment(without)
