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
    of_report,
    of_system,
    synthesised,
)

from cdk_cryoem_stacks.acknowledgements import EVERYWHERE
from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load
from cdk_cryoem_stacks.flags import DELETE_CONTEXT

ROOT = Path(__file__).parents[2]
ACKNOWLEDGED = Path(__file__).with_name("acknowledged-packs.txt")
CONFIGS = {
    "default": lambda: (load(ROOT / "cryoem.yaml"), ROOT),
    "everything": lambda: (systems.everything(), ROOT / "twin"),
    "everything on pcs": lambda: (systems.everything_on_pcs(), ROOT / "twin"),
    "twin": lambda: (load(ROOT / "twin" / "cryoem.yaml"), ROOT / "twin"),
    "twin on pcs": lambda: (load(ROOT / "twin" / "cryoem-pcs.yaml"), ROOT / "twin"),
}
# Besides what everything set at once covers: what excludes something else.
OTHERWISE = {
    "without NAT": {
        "network": {"nat": False, "endpoints": ["all"]},
        "engine": "pcs",
        "pcs": {"ami_id": "ami-0a1b2c3d4e5f60718"},
    },
    "for one session": {"file_system": {"deployment_type": "SCRATCH_2", "throughput_mibps_per_tib": None}},
    "without microscopes": {"microscopes": []},
}
BUDGET = {"monthly_usd": 100, "emails": ["em@example.org"]}
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


@pytest.mark.parametrize("name", OTHERWISE)
def test_no_pack_finds_anything_in_a_system_that_is_otherwise(name: str, tmp_path: Path) -> None:
    config = Config.model_validate({"name": "other", "budget": BUDGET, **OTHERWISE[name]})
    assert of_system(config, tmp_path, folder=ROOT).violations == []


def test_without_a_budget_there_is_one_warning(tmp_path: Path) -> None:
    app = make_app(outdir=str(tmp_path))
    build(app, Config(name="bare"), config_folder=ROOT)
    app.synth()  # A warning does not make it fail.
    found = [(each.pack, each.rule) for each in of_report(app).violations]
    assert found == [("CryoEmChecks", "GpuBudget")]


def test_with_both_keys_to_delete_data_our_own_rules_are_answered_and_with_one_there_is_nothing_to_answer(
    tmp_path: Path,
) -> None:
    allowed = {"name": "short", "budget": BUDGET, "deletion": {"allowed": ["landing", "file_system"]}}
    for given in (False, True):
        app = make_app(outdir=str(tmp_path / str(given)))
        if given:
            app.node.set_context(DELETE_CONTEXT, "short")
        build(app, Config.model_validate(allowed), config_folder=ROOT)
        app.synth()
        said = of_report(app)
        own = {each.rule for each in said.acknowledged if each.pack == "CryoEmChecks"}
        assert said.violations == []
        assert own == ({"LandingBucketRetained", "FileSystemRetained"} if given else set())


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
