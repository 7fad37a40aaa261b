"""Nothing in this system can delete a movie."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import App, DefaultStackSynthesizer, Duration, Environment, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Match, Template

from cdk_cryoem import CryoEmError, LandingZone
from cdk_cryoem.replication import SecondCopy

Statements = list[dict[str, Any]]
VERSIONS = {
    "s3:DeleteObjectVersion",
    "s3:BypassGovernanceRetention",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
    "s3:UpdateObjectEncryption",
}
PROTECTIONS = {
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutIntelligentTieringConfiguration",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
    "s3:PutBucketPublicAccessBlock",
    "s3:PutBucketOwnershipControls",
    "s3:PutEncryptionConfiguration",
    "s3:PutBucketObjectLockConfiguration",
    "s3:PutReplicationConfiguration",
    "s3:PutBucketLogging",
}


def statements(template: Template, stack: Stack, bucket: s3.IBucket) -> Statements:
    """The statements of a bucket's policy."""
    found = template.find_resources(
        "AWS::S3::BucketPolicy", {"Properties": {"Bucket": stack.resolve(bucket.bucket_name)}}
    )
    (policy,) = found.values()
    listed: Statements = policy["Properties"]["PolicyDocument"]["Statement"]
    return listed


def by_sid(listed: Statements, sid: str) -> dict[str, Any]:
    (statement,) = [statement for statement in listed if statement.get("Sid") == sid]
    return statement


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> tuple[Stack, LandingZone, Template]:
    stack = new_stack("Defaults")
    zone = LandingZone(stack, "Zone")
    return stack, zone, Template.from_stack(stack)


def test_every_bucket_is_private_versioned_encrypted_and_retained(made: tuple[Stack, LandingZone, Template]) -> None:
    _, _, template = made
    template.resource_count_is("AWS::S3::Bucket", 3)
    template.all_resources("AWS::S3::Bucket", {"DeletionPolicy": "Retain", "UpdateReplacePolicy": "Retain"})
    template.all_resources_properties(
        "AWS::S3::Bucket",
        {
            "VersioningConfiguration": {"Status": "Enabled"},
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "BucketEncryption": Match.any_value(),
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
        },
    )


def test_every_bucket_refuses_what_does_not_come_by_tls(made: tuple[Stack, LandingZone, Template]) -> None:
    stack, zone, template = made
    for bucket in zone.buckets:
        (tls,) = [s for s in statements(template, stack, bucket) if "Bool" in s.get("Condition", {})]
        assert tls["Effect"] == "Deny"
        assert tls["Action"] == "s3:*"
        assert tls["Principal"] == {"AWS": "*"}
        assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_nobody_but_the_break_glass_role_deletes_movies(made: tuple[Stack, LandingZone, Template]) -> None:
    stack, zone, template = made
    denied = by_sid(statements(template, stack, zone.landing_bucket), "NobodyDeletesMovies")
    assert denied["Effect"] == "Deny"
    assert denied["Principal"] == {"AWS": "*"}
    assert set(denied["Action"]) == {"s3:DeleteObject", "s3:ReplicateDelete", *VERSIONS}
    role = stack.resolve(zone.break_glass_role.role_arn)
    assert denied["Condition"]["ArnNotEquals"]["aws:PrincipalArn"] in (role, [role])
    arn = stack.resolve(zone.landing_bucket.bucket_arn)
    assert denied["Resource"] == [arn, {"Fn::Join": ["", [arn, "/*"]]}]


def test_a_deleted_result_is_a_marker_and_its_versions_stay(made: tuple[Stack, LandingZone, Template]) -> None:
    stack, zone, template = made
    denied = by_sid(statements(template, stack, zone.results_bucket), "NobodyDeletesVersions")
    assert denied["Effect"] == "Deny"
    assert set(denied["Action"]) == VERSIONS
    role = stack.resolve(zone.break_glass_role.role_arn)
    assert denied["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": [role]}}


def test_neither_bucket_is_deleted_by_anybody_but_break_glass(made: tuple[Stack, LandingZone, Template]) -> None:
    stack, zone, template = made
    role = stack.resolve(zone.break_glass_role.role_arn)
    for bucket in (zone.landing_bucket, zone.results_bucket):
        denied = by_sid(statements(template, stack, bucket), "TheBucketStays")
        assert (denied["Effect"], denied["Action"]) == ("Deny", "s3:DeleteBucket")
        assert denied["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": [role]}}


def test_the_key_is_ended_by_nobody_and_its_policy_changed_by_deployments(
    made: tuple[Stack, LandingZone, Template],
) -> None:
    stack, zone, template = made
    (key,) = template.find_resources("AWS::KMS::Key").values()
    listed = key["Properties"]["KeyPolicy"]["Statement"]
    role = stack.resolve(zone.break_glass_role.role_arn)
    ended = by_sid(listed, "NobodyEndsTheKey")
    assert (ended["Effect"], ended["Principal"]) == ("Deny", {"AWS": "*"})
    assert set(ended["Action"]) == {"kms:ScheduleKeyDeletion", "kms:DisableKey"}
    assert ended["Condition"] == {"ArnNotEquals": {"aws:PrincipalArn": [role]}}
    changed = by_sid(listed, "OnlyDeploymentsChangeTheKeysProtection")
    assert set(changed["Action"]) == {"kms:PutKeyPolicy", "kms:DisableKeyRotation"}
    break_glass, deployment = changed["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]
    assert break_glass == role
    assert ":role/cdk-hnb659fds-cfn-exec-role-" in deployment["Fn::Join"][1]


def test_only_deployments_and_break_glass_change_the_protection(made: tuple[Stack, LandingZone, Template]) -> None:
    stack, zone, template = made
    for bucket in (zone.landing_bucket, zone.results_bucket):
        denied = by_sid(statements(template, stack, bucket), "OnlyDeploymentsChangeTheProtection")
        assert denied["Effect"] == "Deny"
        assert set(denied["Action"]) == PROTECTIONS
        break_glass, deployment = denied["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]
        assert break_glass == stack.resolve(zone.break_glass_role.role_arn)
        assert ":role/cdk-hnb659fds-cfn-exec-role-" in deployment["Fn::Join"][1]


def deployment_role(app: App, synthesizer: DefaultStackSynthesizer | None = None) -> str:
    env = Environment(account="111122223333", region="eu-west-1")
    stack = Stack(app, "Own", env=env, synthesizer=synthesizer)
    zone = LandingZone(stack, "Zone")
    listed = statements(Template.from_stack(stack), stack, zone.landing_bucket)
    denied = by_sid(listed, "OnlyDeploymentsChangeTheProtection")
    return str(denied["Condition"]["ArnNotEquals"]["aws:PrincipalArn"][1]["Fn::Join"][1][-1])


def test_the_deployment_role_follows_the_bootstrap_qualifier() -> None:
    app = App(analytics_reporting=False, context={"@aws-cdk/core:bootstrapQualifier": "mylab"})
    assert deployment_role(app) == ":iam::111122223333:role/cdk-mylab-cfn-exec-role-111122223333-eu-west-1"


def test_a_synthesizer_of_ones_own_does_not_lock_its_deployments_out() -> None:
    role = deployment_role(App(analytics_reporting=False), DefaultStackSynthesizer(qualifier="mylab"))
    pattern = role.replace("*", "[a-z0-9]*")
    assert re.fullmatch(pattern, ":iam::111122223333:role/cdk-mylab-cfn-exec-role-111122223333-eu-west-1")
    assert not re.fullmatch(pattern, ":iam::111122223333:role/cdk-mylab-deploy-role-111122223333-eu-west-1")


def test_a_deployment_role_can_be_passed_in(stack: Stack) -> None:
    own = iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::111122223333:role/deployer")
    zone = LandingZone(stack, "Zone", deployment_role=own)
    listed = statements(Template.from_stack(stack), stack, zone.landing_bucket)
    allowed = by_sid(listed, "OnlyDeploymentsChangeTheProtection")["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]
    assert allowed[1] == "arn:aws:iam::111122223333:role/deployer"


def test_nobody_can_assume_the_break_glass_role_without_mfa(made: tuple[Stack, LandingZone, Template]) -> None:
    _, _, template = made
    (role,) = template.find_resources("AWS::IAM::Role").values()
    (trust,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Condition"] == {"Bool": {"aws:MultiFactorAuthPresent": "true"}}
    assert "ManagedPolicyArns" not in role["Properties"]
    template.resource_count_is("AWS::IAM::Policy", 0)


def test_the_landing_bucket_alone_sends_its_events_to_eventbridge(made: tuple[Stack, LandingZone, Template]) -> None:
    stack, zone, template = made
    sending = template.find_resources(
        "AWS::S3::Bucket",
        {"Properties": {"NotificationConfiguration": {"EventBridgeConfiguration": {"EventBridgeEnabled": True}}}},
    )
    assert [{"Ref": logical_id} for logical_id in sending] == [stack.resolve(zone.landing_bucket.bucket_name)]
    template.resource_count_is("Custom::S3BucketNotifications", 0)


def test_landing_and_results_are_under_one_rotated_retained_key(made: tuple[Stack, LandingZone, Template]) -> None:
    stack, zone, template = made
    template.resource_count_is("AWS::KMS::Key", 1)
    template.has_resource("AWS::KMS::Key", {"DeletionPolicy": "Retain", "Properties": {"EnableKeyRotation": True}})
    encryption = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": stack.resolve(zone.key.key_arn)}
    template.resource_properties_count_is(
        "AWS::S3::Bucket",
        {
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {"BucketKeyEnabled": True, "ServerSideEncryptionByDefault": encryption}
                ]
            }
        },
        2,
    )


def test_both_data_buckets_log_their_access_without_any_feature_flag(made: tuple[Stack, LandingZone, Template]) -> None:
    stack, zone, template = made
    logs = stack.resolve(zone.access_logs_bucket.bucket_name)
    template.resource_properties_count_is(
        "AWS::S3::Bucket",
        {"LoggingConfiguration": {"DestinationBucketName": logs, "LogFilePrefix": Match.any_value()}},
        2,
    )
    writers = [
        statement["Principal"].get("Service")
        for statement in statements(template, stack, zone.access_logs_bucket)
        if statement["Effect"] == "Allow"
    ]
    assert writers == ["logging.s3.amazonaws.com"] * 2
    template.resource_properties_count_is("AWS::S3::Bucket", {"AccessControl": Match.any_value()}, 0)


def test_replaced_movies_stay_for_90_days_and_torn_uploads_for_7(made: tuple[Stack, LandingZone, Template]) -> None:
    _, _, template = made
    rule = {
        "Status": "Enabled",
        "NoncurrentVersionExpiration": {"NoncurrentDays": 90},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7},
        "Transitions": [{"StorageClass": "INTELLIGENT_TIERING", "TransitionInDays": 0}],
        "ExpirationInDays": Match.absent(),
    }
    template.resource_properties_count_is(
        "AWS::S3::Bucket", {"LifecycleConfiguration": {"Rules": Match.array_with([Match.object_like(rule)])}}, 2
    )


def test_backups_and_listings_expire_and_nothing_else_does(made: tuple[Stack, LandingZone, Template]) -> None:
    _, zone, template = made
    expiring = {
        name: [rule for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"] if "ExpirationInDays" in rule]
        for name, bucket in template.find_resources("AWS::S3::Bucket").items()
        if "LifecycleConfiguration" in bucket["Properties"]
    }
    stack = Stack.of(zone)
    results = stack.get_logical_id(zone.results_bucket.node.default_child)  # type: ignore[arg-type]
    assert {name for name, rules in expiring.items() if rules} <= {results, _logs_of(zone)}
    assert [(rule["Prefix"], rule["ExpirationInDays"]) for rule in expiring[results]] == [
        ("backups/", 90), ("listings/", 7),
    ]  # fmt: skip


def test_logs_that_expired_are_not_kept_as_old_versions(made: tuple[Stack, LandingZone, Template]) -> None:
    _, zone, template = made
    rules = template.find_resources("AWS::S3::Bucket")[_logs_of(zone)]["Properties"]["LifecycleConfiguration"]["Rules"]
    assert [(rule["ExpirationInDays"], rule["NoncurrentVersionExpiration"]) for rule in rules] == [
        (365, {"NoncurrentDays": 30})
    ]


def _logs_of(zone: LandingZone) -> str:
    return str(Stack.of(zone).get_logical_id(zone.access_logs_bucket.node.default_child))  # type: ignore[arg-type]


def test_what_is_passed_in_is_used_and_not_made(stack: Stack) -> None:
    bucket = s3.Bucket.from_bucket_name
    key = kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/own")
    zone = LandingZone(
        stack,
        "Zone",
        key=key,
        break_glass_role=iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::111122223333:role/own"),
        landing_bucket=bucket(stack, "L", "own-landing"),
        results_bucket=bucket(stack, "R", "own-results"),
        access_logs_bucket=bucket(stack, "A", "own-logs"),
        infrequent_access_after=Duration.days(30),
        noncurrent_expiration=Duration.days(7),
    )
    assert Template.from_stack(stack).to_json().get("Resources", {}) == {}
    assert [bucket.bucket_name for bucket in zone.buckets] == ["own-landing", "own-results", "own-logs"]
    assert zone.key is key


def test_your_key_role_and_times_reach_the_buckets_that_are_made(stack: Stack) -> None:
    LandingZone(
        stack,
        "Zone",
        key=kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/own"),
        break_glass_role=iam.Role.from_role_arn(stack, "Role", "arn:aws:iam::111122223333:role/own"),
        access_logs_bucket=s3.Bucket.from_bucket_name(stack, "A", "own-logs"),
        infrequent_access_after=Duration.days(30),
        noncurrent_expiration=Duration.days(7),
    )
    template = Template.from_stack(stack)
    for made_by_default in ("AWS::KMS::Key", "AWS::IAM::Role"):
        template.resource_count_is(made_by_default, 0)
    template.resource_count_is("AWS::S3::Bucket", 2)
    text = str(template.find_resources("AWS::S3::Bucket"))
    assert text.count("arn:aws:kms:eu-west-1:111122223333:key/own") == 2
    assert text.count("'NoncurrentDays': 7") == 2
    assert text.count("'TransitionInDays': 30") == 2
    assert text.count("own-logs") == 2
    assert "arn:aws:iam::111122223333:role/own" in str(template.find_resources("AWS::S3::BucketPolicy"))


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({"noncurrent_expiration": Duration.days(1), "infrequent_access_after": Duration.days(0)}, []),
        ({"noncurrent_expiration": Duration.hours(48), "infrequent_access_after": Duration.hours(24)}, []),
        ({"noncurrent_expiration": Duration.days(0)}, ["noncurrent_expiration"]),
        ({"noncurrent_expiration": Duration.hours(12)}, ["noncurrent_expiration"]),
        (
            {"noncurrent_expiration": Duration.hours(36), "infrequent_access_after": Duration.hours(1)},
            ["noncurrent_expiration", "infrequent_access_after"],
        ),
        ({"object_lock": Duration.days(90)}, []),
        ({"object_lock": Duration.days(91)}, ["object_lock"]),
        ({"object_lock": Duration.days(91), "noncurrent_expiration": Duration.days(91)}, []),
        ({"object_lock": Duration.days(0)}, ["object_lock"]),
        ({"object_lock": Duration.hours(36)}, ["object_lock"]),
        ({"archive_after": Duration.days(1)}, []),
        ({"archive_after": Duration.days(0)}, ["archive_after", "archive_after"]),
        ({"archive_after": Duration.days(31), "infrequent_access_after": Duration.days(30)}, []),
        ({"archive_after": Duration.days(30), "infrequent_access_after": Duration.days(30)}, ["archive_after"]),
    ],
)
def test_times_are_whole_days_that_do_not_contradict_each_other(
    stack: Stack, given: dict[str, Duration], wrong: list[str]
) -> None:
    found: list[str] = []
    try:
        LandingZone(stack, "Zone", **given)
    except CryoEmError as error:
        found = [problem.property for problem in error.problems]
    assert found == wrong


def test_a_lock_longer_than_replaced_versions_are_kept_is_told_in_days(stack: Stack) -> None:
    with pytest.raises(
        CryoEmError, match=r"object_lock: got '100 days', allowed: up to noncurrent_expiration \(90 days\)"
    ):
        LandingZone(stack, "Zone", object_lock=Duration.days(100))


def test_movies_can_be_locked_in_governance_mode_and_results_are_not(stack: Stack) -> None:
    zone = LandingZone(stack, "Zone", object_lock=Duration.days(30))
    locked = Template.from_stack(stack).find_resources("AWS::S3::Bucket", {"Properties": {"ObjectLockEnabled": True}})
    assert [{"Ref": name} for name in locked] == [stack.resolve(zone.landing_bucket.bucket_name)]
    (bucket,) = locked.values()
    retention = {"Mode": "GOVERNANCE", "Days": 30}
    assert bucket["Properties"]["ObjectLockConfiguration"]["Rule"] == {"DefaultRetention": retention}


def test_only_finished_datasets_go_to_the_archive_and_only_when_it_is_asked_for(
    stack: Stack, made: tuple[Stack, LandingZone, Template]
) -> None:
    assert "DEEP_ARCHIVE" not in str(made[2].to_json())
    LandingZone(stack, "Zone", archive_after=Duration.days(60))
    template = Template.from_stack(stack)
    rules = [
        rule
        for bucket in template.find_resources("AWS::S3::Bucket").values()
        for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]
        if "DEEP_ARCHIVE" in str(rule)
    ]
    assert rules == [
        {
            "Id": "archive-finished",
            "Prefix": "datasets/",
            "Status": "Enabled",
            "TagFilters": [{"Key": "cryoem-state", "Value": "finished"}],
            "Transitions": [{"StorageClass": "DEEP_ARCHIVE", "TransitionInDays": 60}],
        }
    ]


@pytest.mark.parametrize("name", ["landing", "results"])
def test_a_removable_bucket_goes_with_the_stack_if_it_is_empty_and_its_policy_still_holds(
    stack: Stack, name: str
) -> None:
    zone = LandingZone(stack, "Zone", removable=[name])
    template = Template.from_stack(stack)
    buckets = {"landing": zone.landing_bucket, "results": zone.results_bucket, "logs": zone.access_logs_bucket}
    for each, bucket in buckets.items():
        (found,) = [
            resource
            for logical_id, resource in template.find_resources("AWS::S3::Bucket").items()
            if {"Ref": logical_id} == stack.resolve(bucket.bucket_name)
        ]
        assert found["DeletionPolicy"] == ("Delete" if each == name else "Retain"), each
        assert found["UpdateReplacePolicy"] == "Retain", each
        if each != "logs":
            listed = statements(template, stack, bucket)
            who = by_sid(listed, "TheBucketStays")["Condition"]["ArnNotEquals"]["aws:PrincipalArn"]
            assert ("cfn-exec-role" in str(who)) is (each == name)
            ends = "NobodyDeletesMovies" if each == "landing" else "NobodyDeletesVersions"
            assert "cfn-exec-role" not in str(by_sid(listed, ends))
    for policy in template.find_resources("AWS::S3::BucketPolicy").values():
        if "TheBucketStays" in str(policy):
            assert policy["DeletionPolicy"] == "Retain"
    assert "Custom::S3AutoDeleteObjects" not in str(template.to_json())


def test_to_a_bucket_of_ones_own_nothing_is_done_that_was_asked_for_and_it_is_told(stack: Stack) -> None:
    own = s3.Bucket.from_bucket_name(stack, "L", "own-landing")
    with pytest.raises(CryoEmError) as caught:
        LandingZone(
            stack, "Zone", landing_bucket=own, object_lock=Duration.days(1), archive_after=Duration.days(1),
            replicate_to=SecondCopy(
                bucket_arn="arn:aws:s3:::second", key_arn=f"arn:aws:kms:eu-west-1:111122223333:key/{'a' * 36}"
            ),
        )  # fmt: skip
    assert [problem.property for problem in caught.value.problems] == ["object_lock", "archive_after", "replicate_to"]


def test_two_landing_zones_fit_in_one_stack_and_have_no_physical_names(stack: Stack) -> None:
    LandingZone(stack, "A")
    LandingZone(stack, "B")
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::S3::Bucket", 6)
    template.all_resources_properties("AWS::S3::Bucket", {"BucketName": Match.absent()})
    template.all_resources_properties("AWS::IAM::Role", {"RoleName": Match.absent()})


def test_grants_reach_one_dataset_or_all_and_only_read(stack: Stack) -> None:
    zone = LandingZone(stack, "Zone")
    one = iam.Role(stack, "One", assumed_by=iam.AccountRootPrincipal())
    results = iam.Role(stack, "Results", assumed_by=iam.AccountRootPrincipal())
    zone.grant_read_movies(one, dataset="em-1")
    zone.grant_read_results(results)
    policies = Template.from_stack(stack).find_resources("AWS::IAM::Policy")
    assert "/datasets/em-1/*" in str(policies)
    assert len(policies) == 2
    actions = [
        action
        for policy in policies.values()
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    ]
    assert all(a.startswith(("s3:GetObject", "s3:GetBucket", "s3:List", "kms:Decr", "kms:Desc")) for a in actions), (
        actions
    )
    assert zone.dataset_prefix("em-1") == "datasets/em-1/"


def test_fsx_may_use_the_new_key_under_its_own_roles_of_this_account_only() -> None:
    stack = Stack(App(analytics_reporting=False), "Fsx")
    LandingZone(stack, "Zone")
    (key,) = Template.from_stack(stack).find_resources("AWS::KMS::Key").values()
    (statement,) = [s for s in key["Properties"]["KeyPolicy"]["Statement"] if s.get("Sid") == "FsxImportsAndExports"]
    assert statement["Condition"]["StringEquals"] == {"kms:CallerAccount": {"Ref": "AWS::AccountId"}}
    assert "AWSServiceRoleForFSxS3Access_*" in str(statement["Condition"]["ArnLike"])
    assert "kms:ScheduleKeyDeletion" not in statement["Action"]


def test_the_protection_of_a_kept_bucket_is_kept_with_it() -> None:
    stack = Stack(App(analytics_reporting=False), "Kept")
    zone = LandingZone(stack, "Zone")
    template = Template.from_stack(stack)
    for kind, resource in (("AWS::S3::BucketPolicy", zone.landing_bucket), ("AWS::IAM::Role", zone.break_glass_role)):
        assert resource is not None
        kept = [
            found["DeletionPolicy"] for found in template.find_resources(kind).values() if "DeletionPolicy" in found
        ]
        assert kept
        assert set(kept) == {"Retain"}, kind
