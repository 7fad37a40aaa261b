"""The buckets: movies land in one, results leave through the other, and nothing here can delete a movie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from aws_cdk import Duration, RemovalPolicy, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_sns as sns
from constructs import Construct

from .landing_policy import protect_bucket, protect_key
from .problems import Problem, known, require
from .replication import SecondCopy, failed_replication, replicate, second_copy_problems
from .runbooks import with_runbook

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
_BACKUPS_KEPT = Duration.days(90)
_LISTINGS_KEPT = Duration.days(7)
LANDING = "landing"
RESULTS = "results"


class LandingZone(Construct):
    """A landing bucket for movies, a results bucket and a bucket for their access logs, under one customer managed key.

    The landing bucket is versioned, private, TLS-only, sends its events to EventBridge, and its policy denies deletion,
    and changing what protects against it, to everyone but one named break-glass role (`landing_policy`). The results
    bucket's denies the deletion of versions: a deleted result is a delete marker, and comes back when that is removed. The
    key's denies its own deletion. Buckets, their policies, the key and the role are retained when the stack goes.

    key: your own key (default: a new one, rotated yearly, which FSx may use; 1 USD a month). With your own, let FSx's
        service-linked roles use it, as `_let_fsx_use` does, and deny its deletion.
    break_glass_role: who may delete (default: a new role, to be assumed with MFA by those whose own policies let them;
        it has no permissions until somebody attaches a policy to it for the occasion).
    deployment_role: who may change versioning, lifecycle and policies, at a deployment (default: CloudFormation's role of
        the CDK bootstrap; give yours when you deploy with another: KMS makes no key whose policy its maker cannot change).
    landing_bucket, results_bucket, access_logs_bucket: your own instead of new ones; the landing zone then adds
        nothing to them, so switch EventBridge on yourself.
    infrequent_access_after: when objects move to Intelligent-Tiering, which then follows their use (default: at once).
    noncurrent_expiration: how long a replaced version of a movie is kept (default 90 days).
    object_lock: every version of the landing bucket is locked for so long from the moment it comes (governance mode; default
        none), from whoever deletes it, break-glass too unless it says that it means to. To be decided when the bucket is
        made: later CloudFormation makes another bucket, and keeps the first. No charge for the lock, but for the versions
        that it keeps. Never tried on AWS with DataSync; FSx only reads this bucket.
    archive_after: movies of a dataset that is finished (object tag `cryoem-state=finished`) move to Glacier Deep Archive so
        long after they came (default never). 1 USD per TB and month, 0.05 USD for 1,000 objects, 180 days at least, and 12
        to 48 hours until they can be read again. Untagged ones stay.
    replicate_to: a `SecondCopy`, in another region or account (default none).
    removable: buckets, of `LANDING` and `RESULTS`, that go with the stack if they are empty (default none). S3 deletes no
        bucket with anything in it, and nothing here empties one.

    Errors: CryoEmError for times that are not whole days or contradict each other, and for a second copy's place.
    Costs: S3 Standard/Intelligent-Tiering 0.023 USD per GB and month (us-east-1), and the key.
    IAM to deploy: s3, kms and iam:CreateRole; iam:PassRole with replicate_to.
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
        object_lock: Duration | None = None,
        archive_after: Duration | None = None,
        replicate_to: SecondCopy | None = None,
        removable: Sequence[str] = (),
    ) -> None:
        super().__init__(scope, id)
        noncurrent = noncurrent_expiration or Duration.days(90)
        tiering = infrequent_access_after or Duration.days(0)
        require(
            f"LandingZone {id!r}",
            [
                *_retention_problems(noncurrent, tiering, object_lock, archive_after),
                *_own_bucket_problems(landing_bucket, object_lock, archive_after, replicate_to),
                *(p.under("replicate_to") for p in (second_copy_problems(replicate_to) if replicate_to else ())),
            ],
        )
        # Whatever flags the app has: log delivery by an access control list is refused by a bucket without such lists.
        self.node.set_context(_LOGS_BY_POLICY, True)

        self._lock = object_lock
        self._archive_after = archive_after
        self._removable = frozenset(removable)
        self.break_glass_role: iam.IRole = break_glass_role or self._break_glass_role()
        self._deployment_role_arn: str = (
            deployment_role.role_arn if deployment_role is not None else self._bootstrapped_role_arn()
        )
        self.key: kms.IKey = key or self._key()
        self.access_logs_bucket: s3.IBucket = access_logs_bucket or self._access_logs_bucket()
        self.landing_bucket: s3.IBucket = landing_bucket or self._bucket(LANDING, tiering, noncurrent)
        self.results_bucket: s3.IBucket = results_bucket or self._bucket(RESULTS, tiering, noncurrent)
        self.second_copy: SecondCopy | None = replicate_to
        self.replication_role: iam.Role | None = None
        if replicate_to is not None and isinstance(self.landing_bucket, s3.Bucket):
            self.replication_role = replicate(
                self, bucket=self.landing_bucket, key=self.key, copy=replicate_to, locked=object_lock is not None
            )

    def _key(self) -> kms.Key:
        key = kms.Key(
            self,
            "Key",
            description="cryo-EM movies and results",
            enable_key_rotation=True,
            removal_policy=RemovalPolicy.RETAIN,
        )
        self._let_fsx_use(key)
        protect_key(key, break_glass_arn=self.break_glass_role.role_arn, deployment_arn=self._deployment_role_arn)
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
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="expire-logs",
                    expiration=Duration.days(365),
                    # What has expired is an old version then, and would be paid for for ever.
                    noncurrent_version_expiration=Duration.days(30),
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                )
            ],
            removal_policy=RemovalPolicy.RETAIN,
        )

    def _bucket(self, name: str, tiering: Duration, noncurrent: Duration) -> s3.Bucket:
        movies = name == LANDING
        bucket = s3.Bucket(
            self,
            name.capitalize(),
            encryption=s3.BucketEncryption.KMS,
            encryption_key=self.key,
            bucket_key_enabled=True,
            versioned=True,
            block_public_access=s3.BlockPublicAccess.BLOCK_ALL,
            object_ownership=s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
            enforce_ssl=True,
            server_access_logs_bucket=self.access_logs_bucket,
            server_access_logs_prefix=f"{name}/",
            removal_policy=RemovalPolicy.RETAIN,
            object_lock_default_retention=(
                s3.ObjectLockRetention.governance(self._lock) if movies and self._lock is not None else None
            ),
            lifecycle_rules=[
                s3.LifecycleRule(
                    id="tier-and-tidy",
                    abort_incomplete_multipart_upload_after=Duration.days(7),
                    noncurrent_version_expiration=noncurrent,
                    transitions=[
                        s3.Transition(storage_class=s3.StorageClass.INTELLIGENT_TIERING, transition_after=tiering)
                    ],
                ),
                *(self._movies_rules() if movies else self._results_rules()),
            ],
        )
        cfn = bucket.node.default_child
        assert isinstance(cfn, s3.CfnBucket)
        if name in self._removable:
            # A change that replaces it still keeps it: only its end with the stack is meant.
            cfn.apply_removal_policy(RemovalPolicy.DESTROY, apply_to_update_replace_policy=False)
        if movies:
            # On the L1: the L2's event_bridge_enabled makes a custom resource with rights over every bucket.
            cfn.notification_configuration = s3.CfnBucket.NotificationConfigurationProperty(
                event_bridge_configuration=s3.CfnBucket.EventBridgeConfigurationProperty(event_bridge_enabled=True)
            )
        protect_bucket(
            bucket,
            movies=movies,
            removable=name in self._removable,
            break_glass_arn=self.break_glass_role.role_arn,
            deployment_arn=self._deployment_role_arn,
        )
        if bucket.policy is not None:
            bucket.policy.apply_removal_policy(RemovalPolicy.RETAIN)
        return bucket

    def _movies_rules(self) -> list[s3.LifecycleRule]:
        if self._archive_after is None:
            return []
        archive = s3.Transition(storage_class=s3.StorageClass.DEEP_ARCHIVE, transition_after=self._archive_after)
        return [
            s3.LifecycleRule(
                id="archive-finished",
                prefix=DATASETS_PREFIX,
                tag_filters={STATE_TAG: FINISHED},
                transitions=[archive],
            )
        ]

    @staticmethod
    def _results_rules() -> list[s3.LifecycleRule]:
        return [
            # A nightly database of 100 GB would be 3 TB a month.
            s3.LifecycleRule(id="backups", prefix=BACKUPS_PREFIX, expiration=_BACKUPS_KEPT),
            s3.LifecycleRule(
                id="listings",
                prefix=LISTINGS_PREFIX,
                expiration=_LISTINGS_KEPT,
                noncurrent_version_expiration=Duration.days(1),
            ),
        ]

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

    def metric_failed_copies(self) -> cloudwatch.Metric:
        """Objects that did not reach the second bucket."""
        return failed_replication(bucket=self.landing_bucket, copy=self._copy())

    def alarm_on_failed_copies(self, topic: sns.ITopic, *, scope: Construct) -> cloudwatch.Alarm:
        """An alarm for topic when a movie did not reach the second bucket. scope: of the stack with the topic."""
        alarm = cloudwatch.Alarm(
            scope,
            "SecondCopyFails",
            metric=self.metric_failed_copies(),
            threshold=1,
            evaluation_periods=1,
            treat_missing_data=cloudwatch.TreatMissingData.NOT_BREACHING,
            alarm_description=with_runbook(
                self,
                "Movies did not reach the second bucket: look at the role, its key and the bucket's policy over there, then "
                "copy them by a batch job",
                "second-copy",
            ),
        )
        alarm.add_alarm_action(cloudwatch_actions.SnsAction(topic))
        return alarm

    def _copy(self) -> SecondCopy:
        if self.second_copy is None:
            require("LandingZone", [Problem(property="replicate_to", value=None, allowed="a SecondCopy")])
        assert self.second_copy is not None
        return self.second_copy

    @property
    def buckets(self) -> Sequence[s3.IBucket]:
        """Landing, results and access-log bucket."""
        return (self.landing_bucket, self.results_bucket, self.access_logs_bucket)


def _retention_problems(
    noncurrent: Duration, tiering: Duration, lock: Duration | None, archive: Duration | None
) -> Iterator[Problem]:
    # S3 lifecycle rules and object lock count whole days.
    for prop, duration, least, fix in (
        ("noncurrent_expiration", noncurrent, 1, "A replaced movie must stay retrievable for a while"),
        ("infrequent_access_after", tiering, 0, "S3 counts whole days"),
        ("object_lock", lock, 1, "S3 counts whole days"),
        ("archive_after", archive, 1, "S3 counts whole days"),
    ):
        if known(duration) and duration is not None:
            days = duration.to_days(integral=False)
            if days < least or days % 1:
                allowed = f"{least} whole day{'s' if least != 1 else ''} or more"
                yield Problem(property=prop, value=f"{days:g} days", allowed=allowed, fix=fix)
    yield from lock_problems(lock=_days(lock), noncurrent=_days(noncurrent))
    after, before = _days(archive), _days(tiering)
    if after is not None and before is not None and after <= before:
        yield Problem(
            property="archive_after",
            value=f"{after:g} days",
            allowed=f"more than infrequent_access_after ({before:g} days)",
        )


def lock_problems(
    *, lock: float | None, noncurrent: float | None, prop: str = "object_lock", other: str = "noncurrent_expiration"
) -> Iterator[Problem]:
    """What is wrong with a lock, in days, beside the days that replaced versions are kept."""
    if lock is not None and noncurrent is not None and lock > noncurrent:
        yield Problem(
            property=prop,
            value=f"{lock:g} days",
            allowed=f"up to {other} ({noncurrent:g} days)",
            fix=f"S3 keeps a locked version whatever the lifecycle says; raise {other}, so that it says what happens",
        )


def _days(duration: Duration | None) -> float | None:
    if duration is None or not known(duration):
        return None
    return float(duration.to_days(integral=False))


def _own_bucket_problems(
    bucket: s3.IBucket | None, lock: Duration | None, archive: Duration | None, copy: SecondCopy | None
) -> Iterator[Problem]:
    if bucket is None:
        return
    for prop, given in (("object_lock", lock), ("archive_after", archive), ("replicate_to", copy)):
        if given is not None:
            yield Problem(
                property=prop, value="given", allowed="nothing beside landing_bucket", fix="Set it on your own bucket"
            )
