"""cfn-lint has nothing to say of any stack, on either engine, small or with everything; but for one thing that is the CDK's."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import systems
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from cdk_cryoem_stacks.config import Config

Templates = dict[str, dict[str, Any]]
STACKS = ("network", "storage", "ingest", "cluster", "hooks")
SYSTEMS = ("default", "default on pcs", "everything", "everything on pcs")
# Those of another engine are the same but for these.
LOOKED_AT = [
    *(("default", stack) for stack in STACKS),
    *(("default on pcs", stack) for stack in ("storage", "cluster", "hooks")),
    *(("everything", stack) for stack in STACKS),
    *(("everything on pcs", stack) for stack in ("storage", "cluster")),
]
# Each with what it says. aws-cdk-lib lets whatever uses a role wait for role and policy, and names both. The zone is
# written down because the configuration says it.
ALLOWED = {
    "W3005": r"'\w+Role\w+' dependency already enforced by a 'GetAtt' at .*",
    "W3010": r"Avoid hardcoding availability zones 'us-east-1c'",
}


@pytest.fixture(scope="module")
def made(default_config: Config, synthesise: Callable[..., Templates], root: Path) -> dict[str, Templates]:
    """Templates by system and stack."""
    on_pcs = Config.model_validate(
        {**default_config.model_dump(), "engine": "pcs", "pcs": {"ami_id": "ami-0a1b2c3d4e5f60718"}}
    )
    return {
        "default": synthesise(default_config),
        "default on pcs": synthesise(on_pcs),
        "everything": synthesise(systems.everything(), folder=root / "twin"),
        "everything on pcs": synthesise(systems.everything_on_pcs(), folder=root / "twin"),
    }


def findings(template: dict[str, Any]) -> list[tuple[str, str]]:
    """Rules and messages."""
    return [
        (found.rule.id, found.message) for found in lint(json.dumps(template), config=ManualArgs(regions=["us-east-1"]))
    ]


@pytest.mark.parametrize(("system", "stack"), LOOKED_AT)
def test_nothing_is_found(made: dict[str, Templates], system: str, stack: str) -> None:
    allowed = ALLOWED if system.startswith("everything") else {"W3005": ALLOWED["W3005"]}
    unforeseen = [
        (rule, message)
        for rule, message in findings(made[system][stack])
        if not re.fullmatch(allowed.get(rule, ""), message)
    ]
    assert unforeseen == []


def test_what_is_not_looked_at_is_the_same_with_the_other_engine(made: dict[str, Templates]) -> None:
    for stack in ("network", "ingest"):
        assert made["default on pcs"][stack] == made["default"][stack]


def test_each_system_has_all_stacks_and_those_on_pcs_another_cluster(made: dict[str, Templates]) -> None:
    for system in SYSTEMS:
        assert sorted(made[system]) == sorted(STACKS)
        kinds = {resource["Type"] for resource in made[system]["cluster"]["Resources"].values()}
        assert ("AWS::PCS::Cluster" in kinds) is system.endswith("pcs")
        assert ("Custom::PclusterCluster" in kinds) is not system.endswith("pcs")


def test_what_is_wrong_would_be_found(made: dict[str, Templates]) -> None:
    template = json.loads(json.dumps(made["default on pcs"]["cluster"]))
    (cluster,) = [r for r in template["Resources"].values() if r["Type"] == "AWS::PCS::Cluster"]
    cluster["Properties"]["Size"] = "HUGE"
    (group, *_) = [r for r in template["Resources"].values() if r["Type"] == "AWS::PCS::ComputeNodeGroup"]
    group["Properties"]["Mistake"] = 1
    assert {rule for rule, _ in findings(template)} - set(ALLOWED) == {"E3030", "E3002"}
