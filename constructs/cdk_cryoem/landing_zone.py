"""The buckets: movies land in one, results leave through the other, and nothing here can delete a movie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .problems import Problem, known, require

BACKUPS_PREFIX = "backups/"
"""Where in the results bucket the head node puts cryoSPARC's database."""
DATASETS_PREFIX = "datasets/"
"""Every dataset is one prefix below this one."""
LISTINGS_PREFIX = "listings/"
"""Where in the results bucket listings for comparisons are put; they expire after a week."""
STATE_TAG = "cryoem-state"
"""Object tag of a movie that says in which state its dataset is."""
FINISHED = "finished"
"""Value of `STATE_TAG` on movies of a dataset that nobody works with any more: these may go to the archive."""

_LOGS_BY_POLICY = "@aws-cdk/aws-s3:serverAccessLogsUseBucketPolicy"
_DELETIONS = ("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:DeleteBucket")
# Each of these lets somebody else, or time, delete versions.
_PROTECTIONS = (
    "s3:PutBucketVersioning",
    "s3:PutLifecycleConfiguration",
    "s3:PutBucketPolicy",
    "s3:DeleteBucketPolicy",
)

_BACKUPS_KEPT = Duration.days(90)


class LandingZone(Construct):
    """A landing bucket for movies, a results bucket and a bucket for their access logs, under one customer managed key.

    The landing bucket is versioned, private, TLS-only, sends its events to EventBridge, and its policy denies deletion,
    and switching off what protects against it, to everyone but one named break-glass role. Buckets, their policies, the
    key and the role are retained when the stack goes.

    key: your own key (default: a new one, rotated yearly, which FSx may use; 1 USD a month). With your own, let FSx's
        service-linked roles use it, as `_let_fsx_use` does.
    break_glass_role: who may delete (default: a new role, to be assumed with MFA by those whose own policies let them;
        it has no permissions until somebody attaches a policy to it for the occasion).
    deployment_role: who may change versioning and lifecycle, at a deployment (default: CloudFormation's role of the
        CDK bootstrap; give yours when you deploy with another).
    landing_bucket, results_bucket, access_logs_bucket: your own instead of new ones; the landing zone then adds
        nothing to them, so switch EventBridge on yourself.
    infrequent_access_after: when objects move to Intelligent-Tiering, which then follows their use (default: at once).
    noncurrent_expiration: how long a replaced version of a movie is kept (default 90 days).

    Costs: S3 Standard/Intelligent-Tiering 0.023 USD per GB and month (us-east-1), and the key.
    IAM to deploy: s3, kms and iam:CreateRole.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        key: kms.IKey | None = None,
        break_glass_role: iam.IRole | None = None,
        deployment_role: iam.IRole | None = None,
        landing_bucket: s3.IBucket | None = None,
        results_bucket: s3.IBucket | None = None,
        access_logs_bucket: s3.IBucket | None = None,
        infrequent_access_after: Duration | None = None,
        noncurrent_expiration: Duration | None = None,
    ) -> None:
        super().__init__(scope, id)
        noncurrent = noncurrent_expiration or Duration.days(90)
        tiering = infrequent_access_after or Duration.days(0)
        require(f"LandingZone {id!r}", _retention_problems(noncurrent, tiering))
        # Whatever flags the app has: log delivery by an access control list is refused by a bucket without such lists.
        self.node.set_context(_LOGS_BY_POLICY, True)

        self.key: kms.IKey = key or self._key()
        self.break_glass_role: iam.IRole = break_glass_role or self._break_glass_role()
        self._deployment_role_arn: str = (
            deployment_role.role_arn if deployment_role is not None else self._bootstrapped_role_arn()
        )
        self.access_logs_bucket: s3.IBucket = access_logs_bucket or self._access_logs_bucket()
        self.landing_bucket: s3.IBucket = landing_bucket or self._bucket("Landing", tiering, noncurrent, movies=True)
        self.results_bucket: s3.IBucket = results_bucket or self._bucket("Results", tiering, noncurrent, movies=False)

    def _key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            description="cryo-EM movies and results",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self._let_fsx_use(key)
        return key

    def _let_fsx_use(self, key: kms.Key) -> None:
        """A data repository association reads and writes under a service-linked role made for each file system.

        The role is not there yet when the key is made, so the statement goes by its name (FSx for Lustre user guide,
        "Working with server-side encrypted Amazon S3 buckets").
        """
        stack = Stack.of(self)
        role = "aws-service-role/s3.data-source.lustre.fsx.*/AWSServiceRoleForFSxS3Access_*"
        key.add_to_resource_policy(
            iam.PolicyStatement(
                sid="FsxImportsAndExports",
                principals=[iam.AnyPrincipal()],
                actions=["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"],
                resources=["*"],
                conditions={
                    "StringEquals": {"kms:CallerAccount": stack.account},
                    "ArnLike": {
                        "aws:PrincipalArn": stack.format_arn(
                            service="iam", region="", resource="role", resource_name=role
                        )
                    },
                },
            )
        )

    def _break_glass_role(self) -> iam.Role:
        role = iam.Role(
            self,
            "BreakGlassRole",
            assumed_by=iam.AccountRootPrincipal().with_conditions({"Bool": {"aws:MultiFactorAuthPresent": "true"}}),
            description="The only identity that may delete movies; needs MFA and a policy attached on purpose",
        )
        # Without it a bucket that is kept would have a policy that nobody meets.
        role.apply_removal_policy(RemovalPolicy.RETAIN)
        return role

    def _access_logs_bucket(self) -> s3.Bucket:
        return s3.Bucket(
            self,
            "AccessLogs",
            # Log delivery cannot write to a bucket under a customer managed key.
            encryption=s3.BucketEncryption.S3_MANAGED,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            versioned=True,
            lifecycle_rules=[s3.LifecycleRule(id="expire-logs", expiration=Duration.days(365))],
            removal_policy=RemovalPolicy.RETAIN,
        )

    def _bucket(self, name: str, tiering: Duration, noncurrent: Duration, *, movies: bool) -> s3.Bucket:
        bucket = s3.Bucket(
            self,
            name,
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            versioned=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            server_access_logs_bucket=self.access_logs_bucket,
            server_access_logs_prefix=f"{name.lower()}/",
            removal_policy=RemovalPolicy.RETAIN,
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="tier-and-tidy",
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                    noncurrent_version_expiration=noncurrent,
                    transitions=[
                        s3.Transition(storage_class=s3.StorageClass.INTELLIGENT_TIERING, transition_after=tiering)
                    ],
                ),
                # A nightly database of 100 GB would be 3 TB a month.
                *([] if movies else [s3.LifecycleRule(id="backups", prefix=BACKUPS_PREFIX, expiration=_BACKUPS_KEPT)]),
            ],
        )
        if movies:
            # On the L1: the L2's event_bridge_enabled makes a custom resource with rights over every bucket.
            cfn = bucket.node.default_child
            assert isinstance(cfn, s3.CfnBucket)
            cfn.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
                event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
            )
            self._deny_deletion(bucket)
        if bucket.policy is not None:
            bucket.policy.apply_removal_policy(RemovalPolicy.RETAIN)
        return bucket

    def _deny_deletion(self, bucket: s3.Bucket) -> None:
        break_glass = self.break_glass_role.role_arn
        for sid, actions, allowed in (
            ("NobodyDeletesMovies", _DELETIONS, [break_glass]),
            ("OnlyDeploymentsChangeTheProtection", _PROTECTIONS, [break_glass, self._deployment_role_arn]),
        ):
            bucket.add_to_resource_policy(
                iam.PolicyStatement(
                    sid=sid,
                    effect=iam.Effect.DENY,
                    principals=[iam.AnyPrincipal()],
                    actions=list(actions),
                    resources=[bucket.bucket_arn, bucket.arn_for_objects("*")],
                    conditions={"ArnNotEquals": {"aws:PrincipalArn": allowed}},
                )
            )

    def _bootstrapped_role_arn(self) -> str:
        """The role CloudFormation has in a bootstrapped account; it sets lifecycle and versioning at a deployment."""
        stack = Stack.of(self)
        # jsii shows a synthesizer that the app passed in without the values it has for its stack: any qualifier then.
        qualifier = getattr(stack.synthesizer, "bootstrap_qualifier", None) or "*"
        name = f"cdk-{qualifier}-cfn-exec-role-{stack.account}-{stack.region}"
        return stack.format_arn(service="iam", region="", resource="role", resource_name=name)

    def dataset_prefix(self, dataset: str) -> str:
        """Key prefix of a dataset in the landing bucket."""
        return f"{DATASETS_PREFIX}{dataset}/"

    def grant_read_movies(self, grantee: iam.IGrantable, *, dataset: str = "*") -> iam.Grant:
        """Let grantee read the movies of one dataset (default: of all)."""
        return self.landing_bucket.grant_read(
            grantee, f"{DATASETS_PREFIX}{dataset}/*" if dataset != "*" else f"{DATASETS_PREFIX}*"
        )

    def grant_read_results(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let grantee read the results."""
        return self.results_bucket.grant_read(grantee)

    @property
    def buckets(self) -> Sequence[s3.IBucket]:
        """Landing, results and access-log bucket."""
        return (self.landing_bucket, self.results_bucket, self.access_logs_bucket)


def _retention_problems(noncurrent: Duration, tiering: Duration) -> Iterator[Problem]:
    # S3 lifecycle rules count whole days.
    for prop, duration, least, fix in (
        ("noncurrent_expiration", noncurrent, 1, "A replaced movie must stay retrievable for a while"),
        ("infrequent_access_after", tiering, 0, "S3 counts whole days"),
    ):
        if known(duration):
            days = duration.to_days(integral=False)
            if days < least or days % 1:
                allowed = f"{least} whole day{'s' if least != 1 else ''} or more"
                yield Problem(property=prop, value=f"{days:g} days", allowed=allowed, fix=fix)
