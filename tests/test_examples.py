"""Every example synthesises as it stands, from any folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
# What each example is about: how many resources of which types it has.
CONTENTS = {
    "own-vpc": {"AWS::EC2::VPC": 1, "AWS::S3::Bucket": 3, "AWS::FSx::FileSystem": 1, "AWS::FSx::DataRepositoryAssociation": 2,
                "Custom::PclusterCluster": 0},
    "one-stack": {"AWS::EC2::VPC": 1, "AWS::FSx::FileSystem": 1, "AWS::DataSync::Task": 1, "Custom::PclusterCluster": 1,
                  "AWS::DynamoDB::Table": 1},
    "second-copy": {"AWS::S3::Bucket": 1, "AWS::KMS::Key": 1, "AWS::S3::BucketPolicy": 1},
    "checks": {"AWS::DataSync::Task": 1},
}  # fmt: skip


def synthesise(example: str, folder: Path) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, str(EXAMPLES / example / "app.py")],
        cwd=folder,
        env={**os.environ, "CDK_OUTDIR": str(folder / "out")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    template = json.loads((folder / "out" / f"{example}.template.json").read_text())
    assert isinstance(template, dict)
    return template


def test_every_example_is_tested() -> None:
    assert sorted(path.parent.name for path in EXAMPLES.glob("*/app.py")) == sorted(CONTENTS)


@pytest.mark.parametrize("example", CONTENTS)
def test_an_example_synthesises(example: str, tmp_path: Path) -> None:
    template = synthesise(example, tmp_path)
    found = Counter(resource["Type"] for resource in template["Resources"].values())
    assert {kind: found[kind] for kind in CONTENTS[example]} == CONTENTS[example]


def test_examples_are_short() -> None:
    for path in EXAMPLES.glob("*/app.py"):
        assert len(path.read_text().splitlines()) <= 40, path


def test_the_place_of_a_second_copy_lets_its_role_write_and_not_delete(tmp_path: Path) -> None:
    template = synthesise("second-copy", tmp_path)
    allowed = {
        action
        for resource in template["Resources"].values()
        for document in ("PolicyDocument", "KeyPolicy")
        for statement in resource["Properties"].get(document, {}).get("Statement", [])
        if statement["Effect"] == "Allow" and "LandingZoneRepl*" in str(statement.get("Condition"))
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }
    # What LandingZone's role is allowed on its side, and what S3 looks at before it copies.
    assert allowed == {
        "s3:ReplicateObject", "s3:ReplicateTags", "s3:ObjectOwnerOverrideToBucketOwner", "s3:GetBucketVersioning",
        "kms:Encrypt", "kms:GenerateDataKey",
    }  # fmt: skip
    (bucket,) = [r for r in template["Resources"].values() if r["Type"] == "AWS::S3::Bucket"]
    assert bucket["DeletionPolicy"] == "Retain"
    assert bucket["Properties"]["VersioningConfiguration"] == {"Status": "Enabled"}
    assert bucket["Properties"]["ObjectLockEnabled"] is True
