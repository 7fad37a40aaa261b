"""The default system's templates, to be read when they change. Logical ids are the contract with what is deployed."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.json import JSONSnapshotExtension

STACKS = ("network", "storage", "ingest", "cluster", "hooks")
STATEFUL = (
    "AWS::S3::Bucket",
    "AWS::KMS::Key",
    "AWS::FSx::FileSystem",
    "AWS::FSx::DataRepositoryAssociation",
    "AWS::DynamoDB::Table",
    "AWS::SecretsManager::Secret",
    "AWS::SSM::Parameter",
    "AWS::EC2::VPC",
    "AWS::EC2::Subnet",
    "AWS::Events::EventBus",
    "AWS::Logs::LogGroup",
    "Custom::PclusterCluster",
)
_ASSET_HASH = re.compile(r"[0-9a-f]{64}")


def normalised(value: Any) -> Any:
    """The template without what changes with every edit of a script or comes with the bootstrap."""
    if isinstance(value, dict):
        left_out = {"BootstrapVersion", "CheckBootstrapVersion"}
        found = {key: normalised(inner) for key, inner in value.items() if key not in left_out}
        if isinstance(found.get("Resource"), list):
            # The CDK sorts what a policy is about, and so by the hashes that are in it.
            found["Resource"].sort(key=json.dumps)
        return found
    if isinstance(value, list):
        return [normalised(inner) for inner in value]
    return _ASSET_HASH.sub("<hash>", value) if isinstance(value, str) else value


def test_all_stacks_have_a_snapshot(templates: dict[str, dict[str, Any]]) -> None:
    assert sorted(templates) == sorted(STACKS)


@pytest.mark.parametrize("stack", STACKS)
def test_template(stack: str, templates: dict[str, dict[str, Any]], snapshot: SnapshotAssertion) -> None:
    assert normalised(templates[stack]) == snapshot(extension_class=JSONSnapshotExtension)


def test_logical_ids_of_what_holds_state(templates: dict[str, dict[str, Any]], snapshot: SnapshotAssertion) -> None:
    """A changed id here is a replacement there: it needs a new major version."""
    rows = [
        f"{stack:8} {resource['Type']:36} {name:50} {resource.get('DeletionPolicy', '-')}"
        for stack in STACKS
        for name, resource in sorted(templates[stack]["Resources"].items())
        if resource["Type"] in STATEFUL
    ]
    assert "\n".join(rows) == snapshot


def test_the_mask_hides_the_order_that_hashes_bring() -> None:
    first, second = "0" * 64, "f" * 64
    assert normalised({"Resource": [f"{first}.sh", f"{second}.zip"]}) == normalised(
        {"Resource": [f"{first}.zip", f"{second}.sh"]}
    )
    assert normalised({"Resource": ["b", "a"], "Action": ["b", "a"]}) == {"Resource": ["a", "b"], "Action": ["b", "a"]}


def test_the_mask_hides_hashes_and_nothing_else() -> None:
    sha = "0123456789abcdef" * 4
    before = {"Key": [f"{sha}.zip", "LandingZoneLandingFA1C3BE1", 3], "Parameters": {"BootstrapVersion": 1}}
    assert normalised(before) == {"Key": ["<hash>.zip", "LandingZoneLandingFA1C3BE1", 3], "Parameters": {}}
