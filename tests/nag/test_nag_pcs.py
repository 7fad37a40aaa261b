"""cdk-nag's checks on the default system with AWS Parallel Computing Service, in partitions and with or without an account."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load

ROOT = Path(__file__).parents[2]
ACKNOWLEDGED = Path(__file__).with_name("acknowledged-pcs.txt")
PLACES = {
    "somewhere": {},
    "an account": {"account": "111122223333"},
    "China": {"account": "111122223333", "region": "cn-north-1"},
    "another system": {"name": "second", "region": "eu-west-1"},
}


def report_of(changes: dict[str, Any], outdir: Path) -> dict[str, Any]:
    app = make_app(outdir=str(outdir))
    usual = load(ROOT / "cryoem.yaml").model_dump()
    config = Config.model_validate({**usual, "engine": "pcs", "pcs": {"ami_id": "ami-0a1b2c3d4e5f60718"}, **changes})
    build(app, config, config_folder=ROOT)
    app.synth()
    document = json.loads((outdir / "validation-report.json").read_text())
    (report,) = [report for report in document["pluginReports"] if report["pluginName"] == "AwsSolutions"]
    assert isinstance(report, dict)
    return report


def of_the_cluster(report: dict[str, Any]) -> list[str]:
    """What is acknowledged in the cluster stack, without what is generated or of a place."""
    found = set()
    for each in report["suppressedViolations"]:
        for where in each["violatingConstructs"]:
            stack, _, path = where["constructPath"].partition("/")
            if stack.endswith("-cluster"):
                finding = each["acknowledgedId"].removeprefix("AwsSolutions::")
                finding = re.sub(r"<[A-Za-z]+[0-9A-F]{8}\.(?:Arn|Id)>", "<resource>", finding)
                finding = re.sub(r"[a-z]+-storage:ExportsOutput[^/\]]*", "<storage's export>", finding)
                finding = re.sub(r"arn:(?:aws|aws-cn|<AWS::Partition>):", "arn:", finding)
                finding = re.sub(r":[a-z]{2}-[a-z]+-\d:(?:\d{12}|<AWS::AccountId>):", ":<here>:", finding)
                found.add(f"{path.removesuffix('/Resource')}: {finding}")
    return sorted(found)


@pytest.mark.parametrize("place", PLACES)
def test_no_finding_is_left_and_what_is_acknowledged_is_the_committed_list(place: str, tmp_path: Path) -> None:
    report = report_of(PLACES[place], tmp_path)
    assert (report["conclusion"], report["violations"]) == ("success", [])
    assert of_the_cluster(report) == ACKNOWLEDGED.read_text().splitlines()
    for found in report["suppressedViolations"]:
        assert len(found["reason"]) > 40, found["acknowledgedId"]


def test_nothing_is_acknowledged_on_everything_but_the_action_that_knows_no_resources() -> None:
    on_everything = [line for line in ACKNOWLEDGED.read_text().splitlines() if line.endswith("[Resource::*]")]
    assert on_everything == ["Cluster/NodeRole/DefaultPolicy: AwsSolutions-IAM5[Resource::*]"]
