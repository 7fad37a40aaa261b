"""The simulator of policies says of known cases what AWS's documentation says, and refuses to guess."""

from __future__ import annotations

from typing import Any

import pytest
from deployed import Deployed
from iam_simulator import (
    ADMINISTRATOR,
    NotUnderstood,
    Principal,
    Request,
    Simulated,
    allowed,
    aws_managed,
)

ACCOUNT = "111122223333"
BUCKET = "arn:aws:s3:::one-movies"
MOVIE = f"{BUCKET}/datasets/d/m.tiff"
KEY = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/one-Key"
Json = dict[str, Any]


def _statement(effect: str, action: object, resource: object = "*", **more: Any) -> Json:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def _system(*roles: Json, bucket: list[Json] | None = None, key: list[Json] | None = None) -> Simulated:
    resources: Json = {
        "Movies": {"Type": "AWS::S3::Bucket"},
        "Key": {"Type": "AWS::KMS::Key", "Properties": {"KeyPolicy": {"Statement": key or []}}},
        "MoviesPolicy": {
            "Type": "AWS::S3::BucketPolicy",
            "Properties": {"Bucket": {"Ref": "Movies"}, "PolicyDocument": {"Statement": bucket or []}},
        },
        **{f"Role{n}": {"Type": "AWS::IAM::Role", "Properties": role} for n, role in enumerate(roles)},
    }
    return Simulated.of({"one": {"Resources": resources}})


def _inline(*statements: Json, **more: Any) -> Json:
    return {"Policies": [{"PolicyDocument": {"Statement": list(statements)}}], **more}


def _may(simulated: Simulated, action: str, resource: str = MOVIE, *, role: str = "one/Role0", **keys: str) -> bool:
    return simulated.allows(simulated.roles[role], Request(action, resource, keys))


def test_nothing_is_allowed_that_nobody_allows() -> None:
    assert not _may(_system({}), "s3:GetObject")


def test_actions_are_matched_with_wildcards_and_whatever_their_case() -> None:
    system = _system(_inline(_statement("Allow", ["S3:Get*", "s3:PutObjec?"], f"{BUCKET}/datasets/*")))
    assert _may(system, "s3:getobject")
    assert _may(system, "s3:PutObject")
    assert not _may(system, "s3:PutObjectTagging")
    assert not _may(system, "s3:GetObject", f"{BUCKET}/Datasets/d")


def test_not_action_allows_all_others() -> None:
    system = _system(_inline({"Effect": "Allow", "NotAction": "s3:Delete*", "Resource": "*"}))
    assert _may(system, "s3:PutObject")
    assert not _may(system, "s3:DeleteObject")


def test_a_deny_goes_before_every_allow_wherever_it_is() -> None:
    allow = _inline(_statement("Allow", "s3:*"))
    assert _may(_system(allow), "s3:DeleteObject")
    own = _inline(_statement("Allow", "s3:*"), _statement("Deny", "s3:DeleteObject"))
    assert not _may(_system(own), "s3:DeleteObject")
    everybody = {"AWS": "*"}
    bucket = [_statement("Deny", "s3:DeleteObject", f"{BUCKET}/*", Principal=everybody)]
    assert not _may(_system(allow, bucket=bucket), "s3:DeleteObject")
    assert _may(_system(allow, bucket=bucket), "s3:PutObject")


def test_a_bucket_policy_allows_by_itself_within_the_account() -> None:
    role = f"arn:aws:iam::{ACCOUNT}:role/one-Role0"
    assert _may(
        _system({}, bucket=[_statement("Allow", "s3:GetObject", f"{BUCKET}/*", Principal={"AWS": role})]),
        "s3:GetObject",
    )
    other = [_statement("Allow", "s3:GetObject", f"{BUCKET}/*", Principal={"AWS": f"{role}x"})]
    assert not _may(_system({}, bucket=other), "s3:GetObject")


def test_a_bucket_policy_that_names_the_account_leaves_it_to_the_roles_policies() -> None:
    root = [_statement("Allow", "s3:GetObject", f"{BUCKET}/*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})]
    assert not _may(_system({}, bucket=root), "s3:GetObject")
    assert _may(_system(_inline(_statement("Allow", "s3:GetObject")), bucket=root), "s3:GetObject")


def test_a_key_is_used_only_by_whom_its_policy_lets() -> None:
    role = _inline(_statement("Allow", "kms:*"))
    root = [_statement("Allow", "kms:*", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:root"})]
    assert not _may(_system(role), "kms:ScheduleKeyDeletion", KEY)
    assert _may(_system(role, key=root), "kms:ScheduleKeyDeletion", KEY)
    assert not _may(_system({}, key=root), "kms:ScheduleKeyDeletion", KEY)


def test_a_boundary_takes_away_what_it_does_not_allow() -> None:
    boundary = {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"PolicyDocument": {"Statement": [_statement("Allow", "s3:Get*")]}},
    }
    role = _inline(_statement("Allow", "s3:*"), PermissionsBoundary={"Ref": "Boundary"})
    system = _system(role)
    system.deployed.templates["one"]["Resources"]["Boundary"] = boundary
    assert _may(system, "s3:GetObject")
    assert not _may(system, "s3:DeleteObject")


def test_a_boundary_that_is_not_known_takes_nothing_away() -> None:
    role = _inline(_statement("Allow", "s3:*"), PermissionsBoundary=f"arn:aws:iam::{ACCOUNT}:policy/theirs")
    assert _may(_system(role), "s3:DeleteObject")


@pytest.mark.parametrize(
    ("condition", "denied"),
    [
        ({"ArnNotEquals": {"aws:PrincipalArn": [f"arn:aws:iam::{ACCOUNT}:role/x"]}}, True),
        ({"ArnNotEquals": {"aws:PrincipalArn": ["a", f"arn:aws:iam::{ACCOUNT}:role/one-Role0"]}}, False),
        ({"ArnNotLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/one-*"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/one-*"}}, True),
        ({"StringNotLike": {"aws:PrincipalArn": f"arn:aws:iam::{ACCOUNT}:role/two-*"}}, True),
        ({"StringEquals": {"aws:PrincipalAccount": ACCOUNT}}, True),
        ({"StringEquals": {"aws:PrincipalAccount": "444455556666"}}, False),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}, "Null": {"aws:PrincipalArn": "false"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}, "Null": {"aws:PrincipalArn": "true"}}, False),
    ],
)
def test_conditions_of_a_deny(condition: Json, denied: bool) -> None:
    deny = [_statement("Deny", "s3:*", f"{BUCKET}/*", Principal="*", Condition=condition)]
    system = _system(_inline(_statement("Allow", "s3:*")), bucket=deny)
    assert _may(system, "s3:DeleteObject") is not denied


def test_what_is_not_known_of_a_request_neither_denies_nor_stops_an_allow() -> None:
    """So that "denied" means denied, whatever else a request carries."""
    asked = {"StringLike": {"s3:prefix": "datasets/*"}}
    assert _may(_system(_inline(_statement("Allow", "s3:ListBucket", Condition=asked))), "s3:ListBucket", BUCKET)
    refused = _inline(_statement("Allow", "s3:*"), _statement("Deny", "s3:*", Condition=asked))
    assert _may(_system(refused), "s3:ListBucket", BUCKET)


def test_what_a_bucket_leaves_to_its_access_points_is_not_for_requests_to_the_bucket() -> None:
    leave = {"StringEquals": {"s3:DataAccessPointAccount": ACCOUNT}}
    bucket = [_statement("Allow", "s3:GetObject", f"{BUCKET}/*", Principal="*", Condition=leave)]
    assert not _may(_system({}, bucket=bucket), "s3:GetObject")
    assert _may(_system({}, bucket=bucket), "s3:GetObject", **{"s3:DataAccessPointAccount": ACCOUNT})


def test_what_is_said_of_a_request_counts() -> None:
    asked = {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["notice"]}}
    system = _system(_inline(_statement("Allow", "dynamodb:PutItem", Condition=asked)))
    assert _may(system, "dynamodb:PutItem", "*", **{"dynamodb:LeadingKeys": "notice"})
    assert not _may(system, "dynamodb:PutItem", "*", **{"dynamodb:LeadingKeys": "dataset"})


def test_a_service_may_what_resource_policies_say() -> None:
    logs = {"Service": "logging.s3.amazonaws.com"}
    condition = {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
    allow = _statement("Allow", "s3:PutObject", f"{BUCKET}/*", Principal=logs, Condition=condition)
    but = {"ArnNotEquals": {"aws:PrincipalArn": [f"arn:aws:iam::{ACCOUNT}:role/x"]}}
    deny = _statement("Deny", "s3:Delete*", f"{BUCKET}/*", Principal={"AWS": "*"}, Condition=but)
    system = _system(bucket=[allow, deny])
    asked = [Request("s3:PutObject", MOVIE), Request("s3:DeleteObject", MOVIE)]
    names = ("logging.s3.amazonaws.com", "fsx.amazonaws.com")
    assert allowed(system, map(system.service, names), asked) == [("logging.s3.amazonaws.com", "s3:PutObject", MOVIE)]


@pytest.mark.parametrize(
    "statement",
    [
        _statement("Allow", "s3:*", Condition={"StringSounds": {"aws:PrincipalArn": "x"}}),
        {"Effect": "Allow", "Resource": "*"},
        {"Effect": "allow", "Action": "s3:*", "Resource": "*"},
        _statement("Deny", "s3:*", NotPrincipal={"AWS": "*"}),
    ],
)
def test_what_is_not_understood_is_an_error(statement: Json) -> None:
    with pytest.raises(NotUnderstood):
        _may(_system(_inline(statement)), "s3:GetObject")


def test_every_policy_of_a_role_counts() -> None:
    system = _system({"ManagedPolicyArns": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"]})
    for name, kind, of_roles in (
        ("Inline", "AWS::IAM::Policy", {"Roles": [{"Ref": "Role0"}]}),
        ("Managed", "AWS::IAM::ManagedPolicy", {"Roles": [{"Ref": "Role0"}]}),
        ("Other", "AWS::IAM::Policy", {"Roles": [{"Ref": "Movies"}]}),
    ):
        document = {"Statement": [_statement("Allow", f"s3:{name}")]}
        resource = {"Type": kind, "Properties": {"PolicyDocument": document, **of_roles}}
        system.deployed.templates["one"]["Resources"][name] = resource
    wanted = ["ssm:UpdateInstanceInformation", "s3:Inline", "s3:Managed", "s3:Other"]
    assert [action for action in wanted if _may(system, action)] == wanted[:3]
    assert aws_managed("AdministratorAccess")["Statement"][0]["Action"] == "*"


def test_a_managed_policy_that_is_somebody_elses_is_an_error() -> None:
    with pytest.raises(NotUnderstood, match="policy/theirs"):
        _may(_system({"ManagedPolicyArns": [f"arn:aws:iam::{ACCOUNT}:policy/theirs"]}), "s3:GetObject")


def test_a_statement_that_is_taken_away_is_noticed() -> None:
    deny = [_statement("Deny", "s3:DeleteObject", f"{BUCKET}/*", Principal={"AWS": "*"}, Sid="Nobody")]
    system = _system(bucket=deny)
    administrator = Principal(name="a", arn=f"arn:aws:iam::{ACCOUNT}:role/a", policies=[ADMINISTRATOR])
    asked = Request("s3:DeleteObject", MOVIE)
    assert not system.allows(administrator, asked)
    assert system.without("Nobody").allows(administrator, asked)
    with pytest.raises(KeyError):
        system.without("Nobdy")


def test_templates_are_resolved_as_a_deployment_would() -> None:
    """Names, ARNs and imports come out the same wherever they are used."""
    one: Json = {
        "Resources": {"Movies": {"Type": "AWS::S3::Bucket"}, "Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {
            "Out": {"Value": {"Fn::GetAtt": ["Movies", "Arn"]}, "Export": {"Name": {"Fn::Sub": "x-${Movies}"}}}
        },
        "Conditions": {"No": {"Fn::Not": [{"Fn::Equals": [{"Ref": "AWS::Region"}, "us-east-1"]}]}},
    }
    deployed = Deployed({"one": one, "two": {"Resources": {}}})
    cases: list[tuple[object, object]] = [
        ({"Ref": "Movies"}, "one-movies"),
        ({"Ref": "Topic"}, "arn:aws:sns:us-east-1:111122223333:one-Topic"),
        ({"Fn::Sub": ["${Movies.Arn}/${p}/${!q}", {"p": "d"}]}, "arn:aws:s3:::one-movies/d/${q}"),
        ({"Fn::Join": ["/", [{"Ref": "AWS::AccountId"}, {"Fn::Select": [1, {"Fn::Split": [":", "a:b"]}]}]]}, ACCOUNT + "/b"),
        ({"a": {"Fn::If": ["No", 1, {"Ref": "AWS::NoValue"}]}, "b": 2}, {"b": 2}),
        ({"Fn::GetStackOutput": {"StackName": "one", "OutputName": "Out"}}, BUCKET),
    ]  # fmt: skip
    for value, resolved in cases:
        assert deployed.value(value, "one") == resolved
    assert deployed.value({"Fn::ImportValue": "x-one-movies"}, "two") == BUCKET
    with pytest.raises(ValueError, match="Fn::Cidr"):
        deployed.value({"Fn::Cidr": ["10.0.0.0/8", 1]}, "one")
