"""NAME-hooks says where its dashboard is, and the dashboard shows all that the system has."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import systems

from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.overview import limits

Templates = dict[str, dict[str, Any]]
ROOT = Path(__file__).parents[2]
BUDGET = {"monthly_usd": 2500.0, "emails": ["a@example.org"]}


@pytest.fixture(scope="module", params=["parallelcluster", "pcs"])
def hooks(request: pytest.FixtureRequest, synthesise: Callable[..., Templates]) -> dict[str, Any]:
    """The hooks' stack of a system with everything."""
    config = systems.everything() if request.param == "parallelcluster" else systems.everything_on_pcs()
    return synthesise(config, folder=ROOT / "twin")["hooks"]


def dashboard(hooks: dict[str, Any]) -> dict[str, Any]:
    (found,) = [each for each in hooks["Resources"].values() if each["Type"] == "AWS::CloudWatch::Dashboard"]
    parts = found["Properties"]["DashboardBody"]["Fn::Join"][1]
    made: dict[str, Any] = json.loads(
        "".join(part if isinstance(part, str) else json.dumps(part).replace('"', "'") for part in parts)
    )
    return made


def test_the_stack_says_where_it_is(hooks: dict[str, Any]) -> None:
    address = json.dumps(hooks["Outputs"]["Dashboard"]["Value"])
    assert "https://console.aws.amazon.com/cloudwatch/home?region=us-east-1#dashboards/dashboard/" in address


def test_every_alarm_of_the_stack_is_at_the_top(hooks: dict[str, Any]) -> None:
    (widget,) = [each for each in dashboard(hooks)["widgets"] if each["type"] == "alarm"]
    alarms = [name for name, each in hooks["Resources"].items() if each["Type"] == "AWS::CloudWatch::Alarm"]
    shown = " ".join(widget["properties"]["alarms"])
    assert len(widget["properties"]["alarms"]) == len(alarms)
    assert [name for name in alarms if name not in shown] == []


def test_every_hook_and_every_microscope_is_shown(hooks: dict[str, Any]) -> None:
    shown = {each["properties"].get("title"): json.dumps(each["properties"]) for each in dashboard(hooks)["widgets"]}
    for name in ("dataset", "lane", "node", "sweeper", "receipts", "care", "notifier"):
        assert f'"label": "{name}"' in shown["Hooks: dead letters"]
    for name in ("krios", "talos"):
        assert f'"label": "{name}"' in shown["Datasets; bytes of microscopes"]


def config(**more: Any) -> Config:
    return Config.model_validate({"name": "em", **more})


def test_lines_are_the_budget_and_the_caps_of_a_month_that_count_every_job() -> None:
    caps = [
        {"name": "all", "usd": 3000.0},
        {"name": "grant", "usd": 9000.0, "period": "always"},
        {"name": "spike", "usd": 100.0, "projects": ["spike"]},
    ]
    assert limits(config()) == {}
    assert limits(config(budget=BUDGET)) == {"budget": 2500.0}
    assert limits(config(budget=BUDGET, caps=caps)) == {"budget": 2500.0, "cap all": 3000.0}


def test_without_microscopes_the_rest_is_shown(synthesise: Callable[..., Templates]) -> None:
    made = synthesise(config(name="bare"))["hooks"]
    titles = [each["properties"].get("title") for each in dashboard(made)["widgets"]]
    assert "Datasets" in titles
    assert "Nodes that are paid for" in titles
