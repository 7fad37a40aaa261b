"""The other account's side of a second copy: a bucket that another account's landing zone may write to and never empty."""

from aws_cdk import App, CfnOutput, Duration, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3

ACCOUNT = "111122223333"  # of the landing zone
# LandingZone.replication_role, whose name CloudFormation ends: this side is deployed first, when there is no such role yet.
ROLE = f"arn:aws:iam::{ACCOUNT}:role/cryoem-storage-LandingZoneRepl*"

app = App()
stack = Stack(app, "second-copy", termination_protection=True)
key = kms.Key(stack, "Key", enable_key_rotation=True)
bucket = s3.Bucket(
    stack,
    "Movies",
    versioned=True,
    # Locked here whatever happens there; a landing bucket with object_lock demands that its copies can be locked.
    object_lock_default_retention=s3.ObjectLockRetention.governance(Duration.days(90)),
    encryption=s3.BucketEncryption.KMS,
    encryption_key=key,
    bucket_key_enabled=True,
    enforce_ssl=True,
    block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
    object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
    lifecycle_rules=[s3.LifecycleRule(abort_incomplete_multipart_upload_after=Duration.days(7))],
)
role = iam.AccountPrincipal(ACCOUNT).with_conditions({"ArnLike": {"aws:PrincipalArn": ROLE}})
for actions, resource in (
    (["s3:ReplicateObject", "s3:ReplicateTags", "s3:ObjectOwnerOverrideToBucketOwner"], bucket.arn_for_objects("*")),
    (["s3:GetBucketVersioning"], bucket.bucket_arn),
):
    bucket.add_to_resource_policy(iam.PolicyStatement(principals=[role], actions=actions, resources=[resource]))
key.add_to_resource_policy(
    iam.PolicyStatement(principals=[role], actions=["kms:Encrypt", "kms:GenerateDataKey"], resources=["*"])
)
CfnOutput(stack, "BucketArn", value=bucket.bucket_arn)
CfnOutput(stack, "KeyArn", value=key.key_arn)
app.synth()
