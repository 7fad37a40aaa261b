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
