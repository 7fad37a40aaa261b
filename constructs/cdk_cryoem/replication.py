"""A second copy of every movie, in another region or account, which nothing that happens here can delete."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from aws_cdk import Duration, RemovalPolicy, Resource
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .problems import Problem, known

STORAGE_CLASSES = ("GLACIER_IR", "DEEP_ARCHIVE", "GLACIER", "INTELLIGENT_TIERING", "STANDARD_IA", "STANDARD")
RULE_ID = "second-copy"
_BUCKET_ARN = re.compile(r"arn:aws[a-z-]*:s3:::[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_KEY_ARN = re.compile(r"arn:aws[a-z-]*:kms:[a-z0-9-]+:(\d{12}):key/(mrk-)?[0-9a-f-]{32,36}")
_ACCOUNT = re.compile(r"\d{12}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SecondCopy:
    """Where S3 copies every new version of the landing bucket to.

    bucket_arn: a versioned bucket, best in another region and another account; with object lock there if there is one
        here. Its policy must let the role of `LandingZone.replication_role` in: examples/second-copy.
    key_arn: the key of that bucket, of its region; its policy must let the same role encrypt.
    account: the account that the bucket is of, when it is another one; the copies are then its own.
    storage_class: default GLACIER_IR: 4 USD per TB and month, read at once, 90 days at least. DEEP_ARCHIVE is 1 USD, and
        12 to 48 hours until the first byte is back, 180 days at least (us-east-1).

    Costs besides: transfer to another region 20 USD per TB, 0.02 USD (GLACIER_IR) or 0.05 (DEEP_ARCHIVE) for 1,000
    objects, CloudWatch metrics at the price of custom ones (S3 pricing page). Objects from before the rule are not
    copied; docs/data-protection.md has the batch job for them.
    """

    bucket_arn: str
    key_arn: str
    account: str | None = None
    storage_class: str = "GLACIER_IR"

    @property
    def bucket_name(self) -> str:
        """Name of the bucket."""
        return self.bucket_arn.rpartition(":")[2]


def second_copy_problems(copy: SecondCopy) -> Iterator[Problem]:
    """Everything wrong with where a second copy is to go."""
    if known(copy.bucket_arn) and not _BUCKET_ARN.fullmatch(copy.bucket_arn):
        yield Problem(property="bucket_arn", value=copy.bucket_arn, allowed="arn:aws:s3:::BUCKET")
    key = _KEY_ARN.fullmatch(copy.key_arn) if known(copy.key_arn) else None
    if known(copy.key_arn) and key is None:
        yield Problem(
            property="key_arn",
            value=copy.key_arn,
            allowed="arn:aws:kms:REGION:ACCOUNT:key/...",
            fix="S3 takes a bad key without a word and then copies nothing",
        )
    if known(copy.account):
        if not _ACCOUNT.fullmatch(str(copy.account)):
            yield Problem(property="account", value=copy.account, allowed="12 digits")
        elif key is not None and key[1] != copy.account:
            yield Problem(
                property="account",
                value=copy.account,
                allowed=f"{key[1]}, the account of key_arn",
                fix="S3 can use no other",
            )
    if known(copy.storage_class) and copy.storage_class not in STORAGE_CLASSES:
        yield Problem(property="storage_class", value=copy.storage_class, allowed=", ".join(STORAGE_CLASSES))


def replicate(scope: Construct, *, bucket: s3.Bucket, key: kms.IKey, copy: SecondCopy, locked: bool) -> iam.Role:
    """Have S3 copy what comes into the bucket; the role under which it does.

    The role may not delete over there (no ReplicateDelete), and delete markers are not copied. locked: objects have a
    retention, which goes with them.
    """
    role = iam.Role(
        scope,
        "ReplicationRole",
        assumed_by=iam.ServicePrincipal("s3.amazonaws.com"),
        description="S3 copies new movies to the second bucket; it may not delete there",
    )
    retention = ["s3:GetObjectRetention", "s3:GetObjectLegalHold"] if locked else []
    ownership = ["s3:ObjectOwnerOverrideToBucketOwner"] if copy.account is not None else []
    for actions, resources in (
        (["s3:GetReplicationConfiguration", "s3:ListBucket"], [bucket.bucket_arn]),
        (
            ["s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging", *retention],
            [bucket.arn_for_objects("*")],
        ),
        (["s3:ReplicateObject", "s3:ReplicateTags", *ownership], [f"{copy.bucket_arn}/*"]),
        (["kms:Encrypt", "kms:GenerateDataKey"], [copy.key_arn]),
    ):
        role.add_to_policy(iam.PolicyStatement(actions=actions, resources=resources))
    key.grant(role, "kms:Decrypt")
    # A bucket that is kept goes on being copied.
    for kept in (role, role.node.find_child("DefaultPolicy")):
        assert isinstance(kept, Resource)
        kept.apply_removal_policy(RemovalPolicy.RETAIN)
    cfn = bucket.node.default_child
    assert isinstance(cfn, s3.CfnBucket)
    cfn.replication_configuration = s3.CfnBucket.ReplicationConfigurationProperty(
        role=role.role_arn, rules=[_rule(copy)]
    )
    return role


def _rule(copy: SecondCopy) -> s3.CfnBucket.ReplicationRuleProperty:
    # All of it: receipts and task reports are worth as much as what they are about.
    return s3.CfnBucket.ReplicationRuleProperty(
        id=RULE_ID,
        priority=1,
        status="Enabled",
        filter=s3.CfnBucket.ReplicationRuleFilterProperty(prefix=""),
        delete_marker_replication=s3.CfnBucket.DeleteMarkerReplicationProperty(status="Disabled"),
        source_selection_criteria=s3.CfnBucket.SourceSelectionCriteriaProperty(
            sse_kms_encrypted_objects=s3.CfnBucket.SseKmsEncryptedObjectsProperty(status="Enabled")
        ),
        destination=s3.CfnBucket.ReplicationDestinationProperty(
            bucket=copy.bucket_arn,
            account=copy.account,
            access_control_translation=(
                s3.CfnBucket.AccessControlTranslationProperty(owner="Destination") if copy.account is not None else None
            ),
            encryption_configuration=s3.CfnBucket.EncryptionConfigurationProperty(replica_kms_key_id=copy.key_arn),
            metrics=s3.CfnBucket.MetricsProperty(status="Enabled"),
            storage_class=copy.storage_class,
        ),
    )


def failed_replication(*, bucket: s3.IBucket, copy: SecondCopy) -> cloudwatch.Metric:
    """Objects that S3 tried to copy and could not; published in the region of the landing bucket."""
    return cloudwatch.Metric(
        namespace="AWS/S3",
        metric_name="OperationsFailedReplication",
        dimensions_map={
            "SourceBucket": bucket.bucket_name,
            "DestinationBucket": copy.bucket_name,
            "RuleId": RULE_ID,
        },
        statistic="Sum",
        period=Duration.minutes(5),
    )
