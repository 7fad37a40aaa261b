"""cryoSPARC's settings are right as a whole or say everything that is wrong with them."""

from __future__ import annotations

import dataclasses
import json

import pytest
from aws_cdk import Stack, Token
from aws_cdk import aws_secretsmanager as secretsmanager
from cluster_inputs import LICENSE

from cdk_cryoem import CryoEmError, Cryosparc
from cdk_cryoem.cryosparc import CRYOSPARC_VERSION, cryosparc_problems


@pytest.fixture
def license_secret(stack: Stack) -> secretsmanager.ISecret:
    return secretsmanager.Secret.from_secret_complete_arn(stack, "License", LICENSE)


def wrong(version: str = CRYOSPARC_VERSION, license_tokens: int | None = None) -> list[str]:
    return [problem.property for problem in cryosparc_problems(version=version, license_tokens=license_tokens)]


def test_by_default_it_is_one_exact_version_and_any_number_of_tokens(license_secret: secretsmanager.ISecret) -> None:
    made = Cryosparc(license=license_secret)
    assert (made.version, made.license_tokens) == (CRYOSPARC_VERSION, None)
    assert wrong() == []


def test_everything_set(license_secret: secretsmanager.ISecret) -> None:
    made = Cryosparc(license=license_secret, version="4.7.1", license_tokens=16)
    assert (made.license, made.version, made.license_tokens) == (license_secret, "4.7.1", 16)


@pytest.mark.parametrize("version", ["5.0.0", "5.0.6", "5.12.34", "4.7.0", "4.7.15"])
def test_versions_that_can_be_installed(version: str) -> None:
    assert wrong(version) == []


@pytest.mark.parametrize(
    "version",
    ["", "latest", "5", "5.0", "v5.0.6", "5.0.6-privatebeta", "5.0.6+250101", "4.6.2", "4.71.0", "4.8.0", "6.0.0"],
)
def test_versions_that_cannot(version: str) -> None:
    (problem,) = cryosparc_problems(version=version, license_tokens=None)
    assert (problem.property, problem.value) == ("version", version)
    assert "5.x.y or 4.7.y" in problem.allowed
    assert "graphics drivers" in problem.fix


def test_tokens_of_the_licence_on_both_sides_of_their_bound() -> None:
    assert wrong(license_tokens=1) == []
    assert wrong(license_tokens=0) == wrong(license_tokens=-1) == ["license_tokens"]


def test_everything_wrong_is_reported_at_once(license_secret: secretsmanager.ISecret) -> None:
    with pytest.raises(
        CryoEmError, match=r"^Cryosparc: version: got '3', allowed: .*; license_tokens: got 0"
    ) as caught:
        Cryosparc(license=license_secret, version="3", license_tokens=0)
    assert [problem.property for problem in caught.value.problems] == ["version", "license_tokens"]


def test_what_is_known_only_at_deployment_is_not_judged(license_secret: secretsmanager.ISecret) -> None:
    version, tokens = Token.as_string({"Ref": "Version"}), Token.as_number({"Ref": "Tokens"})
    assert Cryosparc(license=license_secret, version=version, license_tokens=tokens).version == version


def test_it_never_holds_the_licence_itself(license_secret: secretsmanager.ISecret, stack: Stack) -> None:
    made = Cryosparc(license=license_secret)
    fields = {field.name for field in dataclasses.fields(made)}
    assert fields == {"license", "version", "license_tokens"}
    assert json.dumps(stack.resolve(made.license.secret_arn)) == f'"{LICENSE}"'
