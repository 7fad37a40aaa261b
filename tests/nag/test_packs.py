"""Every pack of cdk-nag and our own, on every stack and every example: nothing is left that nobody has answered."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import systems
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sqs as sqs
from nag_reports import (
    AT_EACH_SYNTHESIS,
    IN_TESTS_ONLY,
    Finding,
    Said,
    add_other_packs,
    of_example,
    of_system,
    synthesised,
)

from cdk_cryoem_stacks.acknowledgements import EVERYWHERE
from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load

ROOT = Path(__file__).parents[2]
ACKNOWLEDGED = Path(__file__).with_name("acknowledged-packs.txt")
CONFIGS = {
    "default": lambda: (load(ROOT / "cryoem.yaml"), ROOT),
    "everything": lambda: (systems.everything(), ROOT / "twin"),
    "everything on pcs": lambda: (systems.everything_on_pcs(), ROOT / "twin"),
    "twin": lambda: (load(ROOT / "twin" / "cryoem.yaml"), ROOT / "twin"),
    "twin on pcs": lambda: (load(ROOT / "twin" / "cryoem-pcs.yaml"), ROOT / "twin"),
}
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/app.py"))


@pytest.fixture(scope="module")
def all_said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Said]:
    found = {}
    for name, make in CONFIGS.items():
        config, folder = make()
        found[name] = of_system(config, tmp_path_factory.mktemp("system"), folder=folder)
    return found


@pytest.fixture(params=CONFIGS)
def said(request: pytest.FixtureRequest, all_said: dict[str, Said]) -> Said:
    return all_said[request.param]


def lines(findings: list[Finding]) -> set[str]:
    """A line for each rule and resource, whichever of the packs that are not run at each synthesis have it."""
    return {f"{found.rule}: {found.path}" for found in findings if found.pack in IN_TESTS_ONLY}


def test_no_pack_finds_anything_in_any_system_that_is_not_answered(said: Said) -> None:
    assert said.violations == []


def test_every_answer_says_why(said: Said) -> None:
    assert {found.pack for found in said.acknowledged} >= set(IN_TESTS_ONLY)
    for found in said.acknowledged:
        assert len(found.reason) > 40, found


def test_our_own_rules_need_no_acknowledgement(said: Said) -> None:
    assert [found for found in said.acknowledged if found.pack == "CryoEmChecks"] == []


def test_what_is_acknowledged_is_in_the_committed_list(said: Said) -> None:
    assert sorted(lines(said.acknowledged) - set(ACKNOWLEDGED.read_text().splitlines())) == []


# How many resources each rule is acknowledged on, over all systems together. Written by hand: a number that grows, and a rule
# that is new, are decisions.
ON_RESOURCES = {
    "CloudWatchLogGroupEncrypted": 14,
    "DynamoDBInBackupPlan": 1,
    "EC2EBSInBackupPlan": 1,
    "EC2RestrictedCommonPorts": 1,
    "IAMNoInlinePolicy": 17,
    "LambdaConcurrency": 9,
    "LambdaDLQ": 5,
    "LambdaEventSourceMappingDestination": 5,
    "LambdaInsideVPC": 9,
    "LambdaTracing": 9,
    "S3BucketReplicationEnabled": 3,
    "S3DefaultEncryptionKMS": 1,
    "SNSEncryptedKMS": 2,
    "SNSRedrivePolicy": 2,
    "SQSRedrivePolicy": 10,
    "SecretsManagerRotationEnabled": 1,
    "SecretsManagerUsingKMSKey": 1,
    "VPCDefaultSecurityGroupClosed": 1,
    "VPCNoUnrestrictedRouteToIGW": 1,
}


def test_how_much_each_rule_is_acknowledged() -> None:
    rules = [line.partition(":")[0] for line in ACKNOWLEDGED.read_text().splitlines()]
    assert Counter(rules) == ON_RESOURCES
    assert sorted(rules) == rules


def test_nothing_is_in_the_list_that_no_system_has(all_said: dict[str, Said]) -> None:
    found = {line for said in all_said.values() for line in lines(said.acknowledged)}
    assert sorted(set(ACKNOWLEDGED.read_text().splitlines()) - found) == []


def test_each_rule_is_answered_once_everywhere_or_where_it_is() -> None:
    everywhere = [each.rule for each in EVERYWHERE]
    assert len(set(everywhere)) == len(everywhere)
    assert set(everywhere) < set(ON_RESOURCES)


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_pack_finds_anything_in_an_example_that_is_not_answered(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = of_example(ROOT / "examples" / example / "app.py", tmp_path, monkeypatch)
    assert said.violations == []
    assert said.acknowledged, "the packs have looked at it"


def test_packs_that_are_not_run_at_each_synthesis_find_what_is_wrong(tmp_path: Path) -> None:
    app = make_app(outdir=str(tmp_path))
    stacks = build(app, Config(name="bare"), config_folder=ROOT)
    s3.Bucket(stacks.storage, "Bad")
    sqs.Queue(stacks.hooks, "BadQueue")
    add_other_packs(app)
    bad = {(each.pack, each.rule) for each in synthesised(app).violations if "/Bad" in each.path}
    assert bad >= {
        ("NIST.800.53.R5", "S3BucketVersioningEnabled"),
        ("HIPAA.Security", "S3BucketLoggingEnabled"),
        ("PCI.DSS.321", "S3DefaultEncryptionKMS"),
        ("AwsSolutions", "S10"),
        ("CryoEmChecks", "QueueDeadLetters"),
    }
    assert {pack for pack, _ in bad} == {*AT_EACH_SYNTHESIS, *IN_TESTS_ONLY} - {"Serverless"}
