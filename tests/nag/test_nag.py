"""cdk-nag's AwsSolutions checks: no finding is left, and none is acknowledged unseen."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import systems
from aws_cdk import aws_s3 as s3

from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load

ROOT = Path(__file__).parents[2]
ACKNOWLEDGED = Path(__file__).with_name("acknowledged.txt")
TWO_MICROSCOPES = Config.model_validate(
    {
        "name": "two",
        "microscopes": [
            {
                "name": "krios",
                "smb": {
                    "host": "epu.lab",
                    "path": "/movies",
                    "user": "reader",
                    "password_secret_arn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:krios-AbCdEf",
                },
                "activation_key": "ABCDE-12345-FGHIJ-67890-KLMNO",
            },
            {
                "name": "talos",
                "nfs": {"host": "10.0.0.5", "path": "/talos"},
                "agent_arn": "arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0",
            },
        ],
    }
)
NO_MICROSCOPES = Config(name="bare")
Report = dict[str, Any]


def report_of(config: Config, outdir: Path, *, folder: Path = ROOT) -> Report:
    app = make_app(outdir=str(outdir))
    build(app, config, config_folder=folder)
    app.synth()
    return nag_report(outdir)


def nag_report(outdir: Path) -> Report:
    document = json.loads((outdir / "validation-report.json").read_text())
    (report,) = [report for report in document["pluginReports"] if report["pluginName"] == "AwsSolutions"]
    assert isinstance(report, dict)
    return report


def masked(finding: str, path: str) -> str:
    """One line for a finding, without what is generated: names of exports, logical ids, names of microscopes."""
    finding = re.sub(r"[a-z]+-(storage|ingest):ExportsOutput[^/\]]*", r"<\1's export>", finding)
    finding = re.sub(r"<[A-Za-z]+?[0-9A-F]{8}\.(Arn|Id|TaskArn)>", "<resource>", finding)
    finding = re.sub(r":(us-east-1:\d{12}|us-east-1:<AWS::AccountId>):", ":<here>:", finding)
    path = re.sub(r"Microscope-[^/]+", "Microscope", path.partition("-")[2].removesuffix("/Resource"))
    return f"{re.sub(r'-[0-9a-f]{6}(?=/|$)', '', path)}: {finding.removeprefix('AwsSolutions::')}"


def acknowledged(report: Report) -> list[str]:
    return sorted(
        {
            masked(found["acknowledgedId"], where["constructPath"])
            for found in report["suppressedViolations"]
            for where in found["violatingConstructs"]
        }
    )


INGEST = [
    "ingest/Microscope/Pace/Role/DefaultPolicy: AwsSolutions-IAM5[Resource::<resource>/execution/*]",
    "ingest/Microscope/Pace/ScheduleRole/DefaultPolicy: AwsSolutions-IAM5[Resource::<resource>:*]",
    "ingest/Microscope/Schedule/NotStarted: AwsSolutions-SQS3",
]
"""With a schedule below an hour and with bandwidth windows."""
RELEASE = "hooks/FileSystemCare/Care/Role/DefaultPolicy: AwsSolutions-IAM5[Resource::arn:aws:fsx:<here>:task/*]"
"""With file_system.release_after_days."""


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> Report:
    return report_of(load(ROOT / "cryoem.yaml"), tmp_path_factory.mktemp("default"))


def test_the_default_system_has_no_finding(default: Report) -> None:
    assert (default["conclusion"], default["violations"]) == ("success", [])


def test_every_acknowledgement_says_why(default: Report) -> None:
    for found in default["suppressedViolations"]:
        assert len(found["reason"]) > 40, found["acknowledgedId"]


def test_what_is_acknowledged_is_the_committed_list(default: Report) -> None:
    assert acknowledged(default) == ACKNOWLEDGED.read_text().splitlines()


def test_two_microscopes_and_no_budget_have_no_finding_and_nothing_more_is_acknowledged(tmp_path: Path) -> None:
    report = report_of(TWO_MICROSCOPES, tmp_path)
    assert (report["conclusion"], report["violations"]) == ("success", [])
    assert acknowledged(report) == ACKNOWLEDGED.read_text().splitlines()


# What is acknowledged besides, in systems that have it.
BACKUPS = "AwsSolutions-IAM5[Resource::<storage's export>/backups/*]"
LISTINGS = BACKUPS.replace("backups", "listings")
SECOND_COPY = [
    f"storage/LandingZone/ReplicationRole/DefaultPolicy: AwsSolutions-IAM5[Resource::{bucket}/*]"
    for bucket in ("arn:aws:s3:::second-copy", "<resource>")
]
PCS = [
    "cluster/Cluster/HeadNode: AwsSolutions-EC26",
    "cluster/Cluster/HeadNode: AwsSolutions-EC29",
    "cluster/Cluster/HeadNodeRole/DefaultPolicy: AwsSolutions-IAM5[Resource::arn:aws:ec2:<here>:instance/*]",
    "cluster/Cluster/HeadNodeRole/DefaultPolicy: "
    "AwsSolutions-IAM5[Resource::arn:aws:secretsmanager:<here>:secret:pcs!slurm-secret-<resource>-*]",
    "cluster/Cluster/HeadNodeRole: AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonSSMManagedInstanceCore]",
    "cluster/Cluster/NodeRole/DefaultPolicy: AwsSolutions-IAM5[Resource::*]",
    "cluster/Cluster/NodeRole: AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonSSMManagedInstanceCore]",
]


def test_everything_that_a_configuration_may_say_has_no_finding_and_backups_are_acknowledged(tmp_path: Path) -> None:
    report = report_of(systems.everything(), tmp_path, folder=ROOT / "twin")
    assert (report["conclusion"], report["violations"]) == ("success", [])
    more = set(acknowledged(report)) - set(ACKNOWLEDGED.read_text().splitlines())
    assert more == {f"cluster/Cluster/HeadNodePolicy: {BACKUPS}", RELEASE, *SECOND_COPY, *INGEST}


@pytest.mark.parametrize("account", ["111122223333", None])
def test_everything_on_pcs_has_no_finding_and_this_much_more_is_acknowledged(
    tmp_path: Path, account: str | None
) -> None:
    system = systems.everything_on_pcs().model_copy(update={"account": account})
    report = report_of(system, tmp_path, folder=ROOT / "twin")
    assert (report["conclusion"], report["violations"]) == ("success", [])
    more = set(acknowledged(report)) - set(ACKNOWLEDGED.read_text().splitlines())
    assert sorted(more) == sorted(
        [
            *PCS,
            f"cluster/Cluster/HeadNodeRole/DefaultPolicy: {BACKUPS}",
            f"cluster/Cluster/HeadNodeRole/DefaultPolicy: {LISTINGS}",
            RELEASE,
            *SECOND_COPY,
            *INGEST,
        ]
    )
    for found in report["suppressedViolations"]:
        assert len(found["reason"]) > 40, found["acknowledgedId"]


def test_a_bare_system_has_no_finding_and_less_is_acknowledged(tmp_path: Path) -> None:
    report = report_of(NO_MICROSCOPES, tmp_path)
    assert (report["conclusion"], report["violations"]) == ("success", [])
    assert set(acknowledged(report)) < set(ACKNOWLEDGED.read_text().splitlines())


def test_a_bad_resource_makes_the_synthesis_fail(tmp_path: Path) -> None:
    app = make_app(outdir=str(tmp_path))
    stacks = build(app, NO_MICROSCOPES, config_folder=ROOT)
    s3.Bucket(stacks.storage, "Bad")
    with pytest.raises(RuntimeError, match=r"^ValidationFailed"):
        app.synth()
    report = nag_report(tmp_path)
    assert report["conclusion"] == "failure"
    found = {
        (v["ruleName"], where["constructPath"]) for v in report["violations"] for where in v["violatingConstructs"]
    }
    assert found == {(f"AwsSolutions-{rule}", "bare-storage/Bad/Resource") for rule in ("S1", "S10")}


def test_the_mask_keeps_what_matters() -> None:
    line = masked(
        "AwsSolutions::AwsSolutions-IAM5[Resource::two-storage:ExportsOutputFnGetAttLandingZone1234ABCDArn0/datasets/*]",
        "two-ingest/Microscope-krios/Role/DefaultPolicy/Resource",
    )
    assert line == "ingest/Microscope/Role/DefaultPolicy: AwsSolutions-IAM5[Resource::<storage's export>/datasets/*]"
