"""Who may delete, and who may change what protects against it: statements for buckets and key.

The rule is the same everywhere: what ends data is left to the break-glass role; what a deployment has to set is left to
it and to the role that deploys. Everybody else is denied, whatever other policy they have.
"""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

# A lock that is lifted, shortened or passed by is a version that can be deleted; a legal hold that is taken off is one, too;
# and what is put under somebody's key ends with that key.
ENDS_OF_VERSIONS = (
    "s3:DeleteObjectVersion",
    "s3:BypassGovernanceRetention",
    "s3:PutObjectRetention",
    "s3:PutObjectLegalHold",
    "s3:UpdateObjectEncryption",
)
# A delete marker ends nothing, and takes a movie out of everybody's sight; ReplicateDelete brings one from elsewhere.
ENDS_OF_MOVIES = ("s3:DeleteObject", "s3:ReplicateDelete", *ENDS_OF_VERSIONS)
# Each of these lets somebody else, or time, delete or read versions, or keeps those from knowing who should.
PROTECTIONS = (
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
    # Not s3:PutBucketNotification: automatic import sets one under FSx's service-linked role, and is MISCONFIGURED without
    # (FSx for Lustre user guide, "Data repository association lifecycle state"). Events are hints; what is lost, sweeps see.
)
# An object under a key that is gone is gone.
ENDS_OF_KEYS = ("kms:ScheduleKeyDeletion", "kms:DisableKey")
KEY_PROTECTIONS = ("kms:PutKeyPolicy", "kms:DisableKeyRotation")


def deny_to_others(
    sid: str, actions: Sequence[str], resources: Sequence[str], allowed: Sequence[str]
) -> iam.PolicyStatement:
    """Deny actions to every principal of whatever account but those allowed, which are ARNs of roles."""
    return iam.PolicyStatement(
        sid=sid,
        effect=iam.Effect.DENY,
        principals=[iam.AnyPrincipal()],
        actions=list(actions),
        resources=list(resources),
        conditions={"ArnNotEquals": {"aws:PrincipalArn": list(allowed)}},
    )


def protect_bucket(
    bucket: s3.Bucket, *, movies: bool, removable: bool, break_glass_arn: str, deployment_arn: str
) -> None:
    """Deny deletion of versions, and of the bucket, and changes of its protection.

    movies: deny delete markers, too. removable: the role that deploys may delete the bucket, which S3 refuses while there
    is anything in it.
    """
    resources = [bucket.bucket_arn, bucket.arn_for_objects("*")]
    both = [break_glass_arn, deployment_arn]
    ends, sid = (ENDS_OF_MOVIES, "NobodyDeletesMovies") if movies else (ENDS_OF_VERSIONS, "NobodyDeletesVersions")
    for statement in (
        deny_to_others(sid, ends, resources, [break_glass_arn]),
        deny_to_others("TheBucketStays", ["s3:DeleteBucket"], resources[:1], both if removable else [break_glass_arn]),
        deny_to_others("OnlyDeploymentsChangeTheProtection", PROTECTIONS, resources[:1], both),
    ):
        bucket.add_to_resource_policy(statement)


def protect_key(key: kms.Key, *, break_glass_arn: str, deployment_arn: str) -> None:
    """Deny ending the key, and changing the policy that denies it.

    Not even the account's root user is above a key policy. Who loses both roles makes a role with the same name again: the
    condition compares ARNs, not identities.
    """
    for sid, actions, allowed in (
        ("NobodyEndsTheKey", ENDS_OF_KEYS, [break_glass_arn]),
        ("OnlyDeploymentsChangeTheKeysProtection", KEY_PROTECTIONS, [break_glass_arn, deployment_arn]),
    ):
        key.add_to_resource_policy(deny_to_others(sid, actions, ["*"], allowed))
