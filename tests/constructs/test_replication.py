"""A second copy of every movie: what goes there, under which role, and what is told when it does not arrive."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import CfnParameter, Duration, Stack
from aws_cdk import aws_sns as sns
from aws_cdk.assertions import Match, Template

from cdk_cryoem import CryoEmError, LandingZone
from cdk_cryoem.replication import STORAGE_CLASSES, SecondCopy, second_copy_problems

BUCKET = "arn:aws:s3:::second-copy"
KEY = "arn:aws:kms:eu-west-1:444455556666:key/11111111-2222-3333-4444-555555555555"
COPY = SecondCopy(bucket_arn=BUCKET, key_arn=KEY, account="444455556666")


def replicating(template: Template) -> dict[str, Any]:
    (bucket,) = template.find_resources(
        "AWS::S3::Bucket", {"Properties": {"ReplicationConfiguration": Match.any_value()}}
    ).values()
    found = bucket["Properties"]["ReplicationConfiguration"]
    assert isinstance(found, dict)
    return found


def role_actions(template: Template) -> dict[str, list[str]]:
    """What the role may do, by resource."""
    (policy,) = [p for name, p in template.find_resources("AWS::IAM::Policy").items() if "ReplicationRole" in name]
    return {
        str(statement["Resource"]): sorted(
            [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
        )
        for statement in policy["Properties"]["PolicyDocument"]["Statement"]
    }


def test_by_default_there_is_no_second_copy(stack: Stack) -> None:
    zone = LandingZone(stack, "Zone")
    assert zone.replication_role is None
    template = Template.from_stack(stack)
    template.all_resources_properties("AWS::S3::Bucket", {"ReplicationConfiguration": Match.absent()})
    with pytest.raises(CryoEmError, match="replicate_to"):
        zone.metric_failed_copies()


def test_everything_that_comes_is_copied_under_the_other_key_and_no_delete_marker(stack: Stack) -> None:
    zone = LandingZone(stack, "Zone", replicate_to=COPY)
    assert zone.replication_role is not None
    found = replicating(Template.from_stack(stack))
    assert found["Role"] == stack.resolve(zone.replication_role.role_arn)
    assert found["Rules"] == [
        {
            "Id": "second-copy",
            "Priority": 1,
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "DeleteMarkerReplication": {"Status": "Disabled"},
            "SourceSelectionCriteria": {"SseKmsEncryptedObjects": {"Status": "Enabled"}},
            "Destination": {
                "Bucket": BUCKET,
                "Account": "444455556666",
                "AccessControlTranslation": {"Owner": "Destination"},
                "EncryptionConfiguration": {"ReplicaKmsKeyID": KEY},
                "Metrics": {"Status": "Enabled"},
                "StorageClass": "GLACIER_IR",
            },
        }
    ]


def test_in_the_same_account_nobodys_ownership_changes(stack: Stack) -> None:
    LandingZone(stack, "Zone", replicate_to=SecondCopy(bucket_arn=BUCKET, key_arn=KEY, storage_class="DEEP_ARCHIVE"))
    template = Template.from_stack(stack)
    (rule,) = replicating(template)["Rules"]
    assert rule["Destination"] == {
        "Bucket": BUCKET,
        "EncryptionConfiguration": {"ReplicaKmsKeyID": KEY},
        "Metrics": {"Status": "Enabled"},
        "StorageClass": "DEEP_ARCHIVE",
    }
    assert role_actions(template)[f"{BUCKET}/*"] == ["s3:ReplicateObject", "s3:ReplicateTags"]


def test_the_role_reads_here_writes_there_and_deletes_nowhere(stack: Stack) -> None:
    LandingZone(stack, "Zone", replicate_to=COPY)
    found = role_actions(Template.from_stack(stack))
    assert found.pop(f"{BUCKET}/*") == ["s3:ObjectOwnerOverrideToBucketOwner", "s3:ReplicateObject", "s3:ReplicateTags"]
    assert found.pop(KEY) == ["kms:Encrypt", "kms:GenerateDataKey"]
    assert sorted(map(tuple, found.values())) == [
        ("kms:Decrypt",),
        ("s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication", "s3:GetObjectVersionTagging"),
        ("s3:GetReplicationConfiguration", "s3:ListBucket"),
    ]


def test_a_bucket_that_is_kept_goes_on_being_copied(stack: Stack) -> None:
    LandingZone(stack, "Zone", replicate_to=COPY)
    template = Template.from_stack(stack)
    kept = [
        resource["DeletionPolicy"]
        for kind in ("AWS::IAM::Role", "AWS::IAM::Policy")
        for name, resource in template.find_resources(kind).items()
        if "ReplicationRole" in name
    ]
    assert kept == ["Retain", "Retain"]


def test_a_lock_goes_with_what_it_locks(stack: Stack) -> None:
    LandingZone(stack, "Zone", replicate_to=COPY, object_lock=Duration.days(30))
    found = [action for actions in role_actions(Template.from_stack(stack)).values() for action in actions]
    assert {"s3:GetObjectRetention", "s3:GetObjectLegalHold"} <= set(found)


def test_a_copy_that_fails_is_told_to_a_topic(stack: Stack) -> None:
    zone = LandingZone(stack, "Zone", replicate_to=COPY)
    topic = sns.Topic(stack, "Topic")
    zone.alarm_on_failed_copies(topic, scope=stack)
    Template.from_stack(stack).has_resource_properties(
        "AWS::CloudWatch::Alarm",
        {
            "Namespace": "AWS/S3",
            "MetricName": "OperationsFailedReplication",
            "Dimensions": [
                {"Name": "DestinationBucket", "Value": "second-copy"},
                {"Name": "RuleId", "Value": "second-copy"},
                {"Name": "SourceBucket", "Value": stack.resolve(zone.landing_bucket.bucket_name)},
            ],
            "Threshold": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "TreatMissingData": "notBreaching",
            "AlarmActions": [stack.resolve(topic.topic_arn)],
        },
    )


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        ({}, []),
        ({"account": None}, []),
        ({"key_arn": KEY.replace("key/11111111-2222-3333-4444-555555555555", "key/mrk-" + "0" * 32)}, []),
        *(({"storage_class": storage_class}, []) for storage_class in STORAGE_CLASSES),
        ({"bucket_arn": "second-copy"}, ["bucket_arn"]),
        ({"bucket_arn": f"{BUCKET}/movies"}, ["bucket_arn"]),
        ({"key_arn": KEY.replace("key/", "alias/")}, ["key_arn"]),
        ({"account": "4444"}, ["account"]),
        ({"account": "111122223333"}, ["account"]),
        ({"storage_class": "ONEZONE_IA"}, ["storage_class"]),
    ],
)
def test_where_it_may_go(given: dict[str, Any], wrong: list[str]) -> None:
    copy = SecondCopy(**{"bucket_arn": BUCKET, "key_arn": KEY, "account": "444455556666"} | given)
    assert [problem.property for problem in second_copy_problems(copy)] == wrong


def test_a_place_that_is_known_only_at_deployment_is_not_judged(stack: Stack) -> None:
    later = CfnParameter(stack, "Later").value_as_string
    copy = SecondCopy(bucket_arn=later, key_arn=later, account=later, storage_class=later)
    assert list(second_copy_problems(copy)) == []


def test_a_landing_zone_tells_which_of_its_properties_is_wrong(stack: Stack) -> None:
    with pytest.raises(CryoEmError, match=r"replicate_to\.key_arn: got 'none'.*copies nothing"):
        LandingZone(stack, "Zone", replicate_to=SecondCopy(bucket_arn=BUCKET, key_arn="none"))
