"""The policy of docs/iam.md to report: exactly what is called, nothing that changes anything, and enough."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import REGION, Deployed, at_hand, permitted, run
from report_account import DATASET, LANES, RECEIPT, jobs

ROOT = Path(__file__).parents[2]
NAME, BUCKET = DATASET["sk"], "cryoem-landing"
# Named in operate/, and what S3 asks for whoever reads an object.
SHARED = {"cloudformation:DescribeStacks", "dynamodb:GetItem", "dynamodb:Query", "kms:Decrypt"}
# What is left out of the page when it may not be read, in place of which it says so.
SPARED = {"s3:GetObject": "The receipt in the landing bucket", "ssm:GetParameter": "The lanes"}


def section() -> str:
    (found,) = re.findall(r"^## Reports\n(.*?)(?=^## )", (ROOT / "docs" / "iam.md").read_text(), re.M | re.S)
    return str(found)


def statements() -> list[dict[str, Any]]:
    (text,) = re.findall(r"```json\n(.*?)```", section(), re.S)
    found: list[dict[str, Any]] = json.loads(text)["Statement"]
    return found


def actions() -> set[str]:
    return {action for statement in statements() for action in statement["Action"]}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployed]:
    with at_hand(monkeypatch, tmp_path) as system:
        system.stack("cryoem-storage", LandingBucket=BUCKET, ResultsBucket="results", FileSystemId="fs-1")
        system.clients.s3.create_bucket(Bucket=BUCKET)
        system.clients.s3.put_object(
            Bucket=BUCKET, Key=f"datasets/{NAME}.receipt.json", Body=json.dumps(RECEIPT).encode()
        )
        entries = [{"name": e.name, "gpus": e.gpus, "vcpus": e.vcpus, "usd_per_hour": e.usd_per_hour} for e in LANES]
        system.clients.ssm.put_parameter(Name="/lanes", Value=json.dumps({"lanes": entries}), Type="String")
        system.stack("cryoem-cluster", LaneManifest="/lanes")
        for kind, record in [("dataset", DATASET), *(("job", each) for each in jobs())]:
            system.put(kind, record["sk"], **{key: value for key, value in record.items() if key != "sk"})
        yield system


def test_it_names_exactly_the_actions_that_the_code_asks_for_and_none_that_changes_anything() -> None:
    folder = ROOT / "stacks" / "cdk_cryoem_stacks" / "dataset_report"
    pattern = r'"((?:s3|ssm|dynamodb|cloudformation):[A-Z]\w+)"'
    asked = {action for file in folder.glob("*.py") for action in re.findall(pattern, file.read_text())}
    assert actions() == asked | SHARED
    rows = [line for line in section().splitlines() if line.startswith("| `")]
    assert {action for row in rows for action in re.findall(r"`(\w+:\w+)`", row.split("|")[1])} == actions()
    assert all(re.fullmatch(r"\w+:(Describe|Get|Query|Decrypt)\w*", action) for action in actions())
    assert all(statement["Resource"] != "*" for statement in statements())


def test_with_it_the_report_is_whole(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    with permitted(system, actions()):
        assert run("report", NAME, "--json", "--name", "cryoem", "--region", REGION) == 0
    found = json.loads(capsys.readouterr().out)
    assert [lane["name"] for lane in found["shapes"]] == [lane.name for lane in LANES]
    assert found["receipt"]["files"] == 5712
    assert len(found["jobs"]) == len(jobs())


@pytest.mark.parametrize("missing", sorted(actions() - {"kms:Decrypt"}))
def test_each_action_that_is_missing_is_named(
    system: Deployed, capsys: pytest.CaptureFixture[str], missing: str
) -> None:
    with permitted(system, actions() - {missing}):
        code = run("report", NAME, "--json", "--name", "cryoem", "--region", REGION)
    out, error = capsys.readouterr()
    if missing in SPARED:
        assert code == 0
        (note,) = [line for line in json.loads(out)["unknown"] if missing in line]
        assert note.startswith(f"{SPARED[missing]}: these credentials may not {missing}: allow it")
    else:
        assert code == 1
        assert f"these credentials may not {missing}: allow it" in error
