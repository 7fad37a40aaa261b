"""The policy of docs/preflight.md: exactly what is called, and enough, with moto enforcing it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3
import pytest
from moto import settings

sys.path.insert(0, str(Path(__file__).parent))

from preflight_account import REGION, Account, healthy

from cdk_cryoem_stacks.preflight.check import Level

ROOT = Path(__file__).parents[2]
# What the account's stubs answer, so that moto never sees it.
STUBBED = {
    "acm:DescribeCertificate",
    "cloudformation:DescribeStackResources",
    "datasync:DescribeAgent",
    "ec2:DescribeCapacityReservations",
    "fsx:DescribeFileSystems",
    "servicequotas:GetServiceQuota",
    "servicequotas:GetAWSDefaultServiceQuota",
}


def documented() -> list[str]:
    page = (ROOT / "docs" / "preflight.md").read_text()
    (policy,) = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    (statement,) = json.loads(policy)["Statement"]
    assert (statement["Effect"], statement["Resource"]) == ("Allow", "*")
    actions: list[str] = statement["Action"]
    return actions


@pytest.fixture
def account() -> Iterator[Account]:
    with healthy() as account:
        yield account


@contextmanager
def permitted(account: Account, actions: list[str]) -> Iterator[None]:
    """Look as a user who may do these things and nothing else."""
    iam = boto3.client("iam", region_name=REGION, aws_access_key_id="testing", aws_secret_access_key="testing")
    iam.create_user(UserName="somebody")
    key = iam.create_access_key(UserName="somebody")["AccessKey"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_user_policy(UserName="somebody", PolicyName="preflight", PolicyDocument=policy)
    account.become(key["AccessKeyId"], key["SecretAccessKey"])
    before = settings.INITIAL_NO_AUTH_ACTION_COUNT
    settings.INITIAL_NO_AUTH_ACTION_COUNT = 0
    try:
        yield
    finally:
        settings.INITIAL_NO_AUTH_ACTION_COUNT = before


def test_the_documented_policy_names_exactly_the_actions_that_the_code_asks_for() -> None:
    folder = ROOT / "stacks" / "cdk_cryoem_stacks" / "preflight"
    services = "sts|ec2|cloudformation|servicequotas|datasync|secretsmanager|s3|fsx|iam|acm|kms"
    asked = {
        action
        for file in folder.glob("*.py")
        for action in re.findall(rf'"((?:{services}):[A-Z]\w+)"', file.read_text())
    }
    assert documented() == sorted(asked)
    page = (ROOT / "docs" / "preflight.md").read_text()
    assert [action for action in asked if f"`{action}`" not in page] == [], "each is in a row of the table"


def test_it_only_describes_and_gets() -> None:
    assert [action for action in documented() if not re.match(r"\w+:(Describe|Get)", action)] == []
    assert not [action for action in documented() if "SecretValue" in action]


def test_with_the_documented_policy_everything_is_answered(account: Account) -> None:
    account.storage()
    account.extras()
    # moto takes the question for a bucket's object lock for one for its list; IAM's own action is documented.
    with permitted(account, [*documented(), "s3:ListBucket"]):
        assert account.wrong() == []
        account.config["network"] = {}
        del account.config["web"]["subnet_ids"]
        assert account.wrong() == []


def test_with_less_every_action_that_is_missing_is_named(account: Account) -> None:
    account.storage()
    account.extras()
    with permitted(account, ["sts:GetCallerIdentity"]):
        wrong = account.wrong()
        assert {check.level for check in wrong} == {Level.WARNING}
        named = {action for action in documented() for check in wrong if f"Allow {action};" in check.fix}
    own_network = {"ec2:DescribeVpcs", "ec2:DescribeAddresses"}
    # Without knowing where the second copy is nobody asks on.
    after = {"s3:GetBucketVersioning", "s3:GetBucketObjectLockConfiguration"}
    assert named == set(documented()) - STUBBED - own_network - after - {"sts:GetCallerIdentity"}
