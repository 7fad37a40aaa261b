"""What a head node is told and may do, whichever engine it belongs to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Match, Template
from cluster_inputs import LICENSE

from cdk_cryoem import Cryosparc, HeadNodePrograms, LaneManifest, default_lanes
from cdk_cryoem.landing_zone import BACKUPS_PREFIX, LISTINGS_PREFIX

KEY = "arn:aws:kms:us-east-1:111122223333:key/0b4c5f3e-1111-2222-3333-444455556666"
SECRET = "['secretsmanager:GetSecretValue', 'secretsmanager:DescribeSecret']"
Made = tuple[Stack, HeadNodePrograms, Template]


def parts(stack: Stack) -> dict[str, Any]:
    return {
        "cluster_name": "cryoem",
        "event_bus": events.EventBus.from_event_bus_name(stack, "Bus", "jobs"),
        "lane_manifest": LaneManifest(stack, "Manifest", cluster_name="cryoem", lanes=default_lanes()),
    }


@pytest.fixture(scope="module")
def defaults(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Defaults")
    programs = HeadNodePrograms(stack, "Programs", **parts(stack))
    programs.grant_use(iam.ManagedPolicy(stack, "HeadNode"))
    return stack, programs, Template.from_stack(stack)


@pytest.fixture(scope="module")
def everything(new_stack: Callable[[str], Stack], tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Everything set that adds something."""
    stack = new_stack("Everything")
    recipes = tmp_path_factory.mktemp("recipes")
    (recipes / "recipe").write_text("#!/bin/sh\n")
    programs = HeadNodePrograms(
        stack, "Programs", **parts(stack), recipes=str(recipes),
        cryosparc=Cryosparc(
            license=secretsmanager.Secret.from_secret_complete_arn(stack, "License", LICENSE), version="4.7.1"
        ),
        backup_bucket=s3.Bucket.from_bucket_attributes(
            stack, "Results", bucket_name="results", encryption_key=kms.Key.from_key_arn(stack, "Key", KEY)
        ),
        settings={"pcs_cluster": "pcs_1", "cluster": "of the engine"},
    )  # fmt: skip
    programs.grant_use(iam.ManagedPolicy(stack, "HeadNode"))
    return stack, programs, Template.from_stack(stack)


def setup(made: Made) -> dict[str, Any]:
    """The setup parameter's document, as it is before deployment."""
    (parameter,) = [p for name, p in made[2].find_resources("AWS::SSM::Parameter").items() if "Setup" in name]
    value = parameter["Properties"]["Value"]
    found: dict[str, Any] = json.loads("".join(p if isinstance(p, str) else "TOKEN" for p in value["Fn::Join"][1]))
    return found


def permissions(made: Made) -> dict[str, list[Any]]:
    """Resources of the head node's policy, by its actions."""
    (policy,) = made[2].find_resources("AWS::IAM::ManagedPolicy").values()
    found: dict[str, list[Any]] = {}
    for statement in policy["Properties"]["PolicyDocument"]["Statement"]:
        resources = statement["Resource"]
        found.setdefault(str(statement["Action"]), []).extend(resources if isinstance(resources, list) else [resources])
    return found


def test_without_anything_said_nothing_is_installed_or_kept(defaults: Made) -> None:
    found = setup(defaults)
    assert set(found) == {
        "scripts", "recipes", "cluster", "event_bus", "manifest_parameter", "cryosparc_secret", "cryosparc_version",
        "cryosparc_license_secret", "results_bucket",
    }  # fmt: skip
    assert (found["cluster"], found["event_bus"]) == ("cryoem", "jobs")
    unset = ("recipes", "cryosparc_version", "cryosparc_license_secret", "results_bucket")
    assert [found[name] for name in unset] == ["none"] * 4
    assert defaults[1].recipes is None


def test_everything_set_is_in_the_setup_and_an_engine_has_the_last_word(everything: Made) -> None:
    found = setup(everything)
    assert found["cryosparc_version"] == "4.7.1"
    assert found["cryosparc_license_secret"] == LICENSE
    assert found["results_bucket"] == "results"
    assert found["recipes"] != "none"
    assert (found["pcs_cluster"], found["cluster"]) == ("pcs_1", "of the engine")


def test_the_scripts_are_one_asset_and_the_trampoline_another(defaults: Made) -> None:
    programs = defaults[1]
    assert programs.scripts.asset_hash != programs.trampoline.asset_hash
    assert programs.scripts.is_zip_archive
    assert programs.trampoline.is_file


def test_the_hooks_user_gets_a_password_that_nobody_sees(defaults: Made) -> None:
    template = defaults[2]
    template.resource_count_is("AWS::SecretsManager::Secret", 1)
    template.has_resource_properties(
        "AWS::SecretsManager::Secret",
        {
            "SecretString": Match.absent(),
            "Name": Match.absent(),
            "GenerateSecretString": {
                "GenerateStringKey": "password",
                "PasswordLength": 40,
                "SecretStringTemplate": '{"email":"hooks@cryoem.invalid"}',
            },
        },
    )


def test_without_cryosparc_the_head_node_may_do_four_things(defaults: Made) -> None:
    stack, programs, _ = defaults
    found = permissions(defaults)
    assert sorted(found) == [SECRET, "events:PutEvents", "s3:GetObject", "ssm:GetParameter"]
    assert found[SECRET] == [stack.resolve(programs.cryosparc_login.secret_arn)]
    assert len(found["s3:GetObject"]) == 2, "scripts and trampoline"
    assert found["ssm:GetParameter"] == [
        stack.resolve(parameter.parameter_arn) for parameter in (programs._lane_manifest.parameter, programs.setup)
    ]


def test_with_cryosparc_it_may_read_the_licence_and_with_a_bucket_keep_backups(everything: Made) -> None:
    found = permissions(everything)
    assert found[SECRET][1:] == [LICENSE]
    assert len(found["s3:GetObject"]) == 3, "scripts, trampoline and recipes"
    (objects,) = found["['s3:GetObject', 's3:PutObject', 's3:AbortMultipartUpload']"]
    assert objects["Fn::Join"][1][-1].endswith(f":s3:::results/{BACKUPS_PREFIX}*")
    (listings,) = found["['s3:PutObject', 's3:AbortMultipartUpload']"]
    assert listings["Fn::Join"][1][-1].endswith(f":s3:::results/{LISTINGS_PREFIX}*")
    assert found["['kms:Decrypt', 'kms:GenerateDataKey']"] == [KEY]


def test_of_the_bucket_it_may_list_the_backups_only_and_delete_nothing(everything: Made) -> None:
    (policy,) = everything[2].find_resources("AWS::IAM::ManagedPolicy").values()
    (listing,) = [s for s in policy["Properties"]["PolicyDocument"]["Statement"] if s["Action"] == "s3:ListBucket"]
    assert listing["Condition"] == {"StringLike": {"s3:prefix": [f"{BACKUPS_PREFIX}*"]}}
    actions = str(list(permissions(everything)))
    assert "Delete" not in actions
    assert "*" not in actions


def test_a_bucket_without_a_key_of_its_own_needs_no_key(stack: Stack) -> None:
    programs = HeadNodePrograms(
        stack, "Programs", **parts(stack), backup_bucket=s3.Bucket.from_bucket_name(stack, "Results", "results")
    )
    programs.grant_use(iam.ManagedPolicy(stack, "HeadNode"))
    assert "kms:" not in str(Template.from_stack(stack).find_resources("AWS::IAM::ManagedPolicy"))


def test_a_role_may_be_the_head_node_as_well_as_a_policy(stack: Stack) -> None:
    programs = HeadNodePrograms(stack, "Programs", **parts(stack))
    programs.grant_use(iam.Role(stack, "HeadNode", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com")))
    (policy,) = Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    assert len(policy["Properties"]["PolicyDocument"]["Statement"]) == 4


def test_two_head_nodes_fit_in_one_stack_and_have_the_same_programs(stack: Stack, tmp_path: Path) -> None:
    given = parts(stack)
    first, second = (HeadNodePrograms(stack, name, **given) for name in ("A", "B"))
    assert first.scripts.asset_hash == second.scripts.asset_hash
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::SecretsManager::Secret", 2)
    template.resource_properties_count_is("AWS::SSM::Parameter", {"Name": Match.absent()}, 3)
