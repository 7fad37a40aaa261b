"""Findings of cdk-nag that stay, each with its reason. A test holds the set, so that it cannot grow unseen.

What is decided once for a whole system is in `EVERYWHERE`; what is about one resource is acknowledged there.
"""

from __future__ import annotations

from collections.abc import Iterable

from aws_cdk import Acknowledgment, App, Stack, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3

from cdk_cryoem import (
    CryoEmPlatform,
    CryosparcWeb,
    DatasetReceipts,
    FileSystemCare,
    LandingZone,
    LaneHooks,
    MicroscopeIngest,
    ParallelCluster,
    Pcs,
)
from cdk_cryoem.dataset_receipts import MANIFEST_SUFFIX, RECEIPT_SUFFIX
from cdk_cryoem.landing_zone import BACKUPS_PREFIX, DATASETS_PREFIX, LISTINGS_PREFIX
from cdk_cryoem.microscope_ingest import REPORTS_PREFIX

from .findings import HIPAA, NIST, PCI, SERVERLESS, Everywhere, accept, accept_in, arn_of, spelled
from .system import Stacks

EVERYWHERE = (
    Everywhere(
        "IAMNoInlinePolicy",
        (NIST, HIPAA, PCI),
        "Each policy is written for one role and goes with it; a managed one could be attached to another. It is what every "
        "grant of aws-cdk-lib makes",
    ),
    Everywhere(
        "LambdaInsideVPC",
        (NIST, HIPAA, PCI),
        "The functions call APIs of AWS and nothing in the network; inside it they would only need a way out of it again",
    ),
    Everywhere(
        "LambdaConcurrency",
        (NIST, HIPAA),
        "What is reserved is taken from the whole account, which has 10 when it is new. Queues call two at a time "
        "(max_concurrency), schedules one",
    ),
    Everywhere(
        "LambdaDLQ",
        (NIST, HIPAA, SERVERLESS),
        "A function behind a queue is not called asynchronously: what it cannot work off is kept by the queue's own "
        "dead-letter queue. CryoEmChecks-QueueDeadLetters holds that",
    ),
    Everywhere(
        "LambdaEventSourceMappingDestination",
        (SERVERLESS,),
        "Lambda knows no such destination for SQS (Lambda developer guide): the queue's redrive policy is what it means",
    ),
    Everywhere(
        "LambdaTracing",
        (SERVERLESS,),
        "X-Ray wants rights that know no resources. What a hook did is in its JSON log, by dataset, job and node",
    ),
    Everywhere(
        "SQSRedrivePolicy",
        (SERVERLESS,),
        "These are the dead-letter queues. CryoEmChecks-QueueDeadLetters holds that every other queue has one",
    ),
    Everywhere(
        "SNSRedrivePolicy",
        (SERVERLESS,),
        "The subscribers are e-mail addresses, which SNS tries for hours; an alarm that was not read is still an alarm",
    ),
    Everywhere(
        "SNSEncryptedKMS",
        (NIST, HIPAA, PCI),
        "The topics carry names of alarms, datasets and jobs, which leave by e-mail; CloudWatch cannot publish to a topic "
        "under AWS's own key. Whoever wants a key passes in a topic",
    ),
    Everywhere(
        "CloudWatchLogGroupEncrypted",
        (NIST, HIPAA, PCI),
        "CloudWatch Logs encrypts every log group, with AWS's key. Names are logged, never data, and a customer managed key "
        "would have to let the log service of every stack's region use it",
    ),
    Everywhere(
        "S3BucketReplicationEnabled",
        (NIST, HIPAA, PCI),
        "A second copy doubles the bill of the movies, so the facility decides on it; versions and the denied deletion "
        "protect the first. Access logs and results are not replicated",
    ),
    Everywhere(
        "DynamoDBInBackupPlan",
        (NIST, HIPAA),
        "The records can be brought back to any second of the last 35 days (point-in-time recovery), and the table is "
        "retained",
    ),
    Everywhere(
        "VPCDefaultSecurityGroupClosed",
        (NIST, HIPAA, PCI),
        "CloudFormation cannot close it, and the rule does not look whether it is closed. Nothing carries this group",
    ),
    Everywhere(
        "VPCNoUnrestrictedRouteToIGW",
        (NIST, HIPAA, PCI),
        "The way of the NAT gateway, which is alone in the public subnets; nothing there has or gets a public address",
    ),
)
"""What is decided once, and why."""

_NO_RESOURCES = (
    "ec2:DescribeInstances and ssm:GetCommandInvocation know no resources (AWS service authorization reference); "
    "both only read"
)


def acknowledge(stacks: Stacks) -> None:
    """Acknowledge what stays in a system of five stacks."""
    _acknowledge_parts(
        stacks.storage.landing_zone,
        stacks.ingest.microscopes.values(),
        stacks.cluster.engine,
        stacks.hooks.hooks,
    )
    _acknowledge_receipts(stacks.storage.landing_zone, stacks.hooks.receipts)
    _acknowledge_care(stacks.hooks.file_system_care)
    if stacks.cluster.web is not None:
        acknowledge_web(stacks.cluster.web)


def acknowledge_platform(platform: CryoEmPlatform) -> None:
    """Acknowledge what stays in an app of your own with this construct in it."""
    assert isinstance(platform.engine, ParallelCluster | Pcs), "an engine of yours has findings of its own"
    _acknowledge_parts(platform.landing_zone, platform.microscopes.values(), platform.engine, platform.hooks)
    _acknowledge_receipts(platform.landing_zone, platform.receipts)
    if platform.file_system_care is not None:
        _acknowledge_care(platform.file_system_care)


def acknowledge_everywhere(app: App) -> None:
    """Acknowledge what is decided once for every resource of an app."""
    Validations.of(app).acknowledge(
        *(
            Acknowledgment(id=f"{pack}::{pack}-{each.rule}", reason=each.reason)
            for each in EVERYWHERE
            for pack in each.packs
        )
    )


def acknowledge_deletion(storage: Stack) -> None:
    """Acknowledge that data may go with a storage stack for which both keys were given."""
    for rule in ("LandingBucketRetained", "FileSystemRetained"):
        accept_in(
            ("CryoEmChecks",),
            storage,
            rule,
            "Both keys were given: the file allows the deletion and who deploys has named the system",
        )


def acknowledge_own_network(vpc: ec2.IVpc) -> None:
    """Acknowledge what stays in a network that is not this library's."""
    reason = "A network of your own is judged where it is made; PrivateNetwork makes one without these findings"
    accept_in(("AwsSolutions",), vpc, "VPC7", reason)
    for rule in ("VPCFlowLogsEnabled", "VPCSubnetAutoAssignPublicIpDisabled"):
        accept_in((NIST, HIPAA, PCI), vpc, rule, reason)


def acknowledge_web(web: CryosparcWeb) -> None:
    """Acknowledge what stays of a load balancer before cryoSPARC's pages."""
    logs = "It holds access logs: logs of who reads them would go to a bucket of the same kind; CloudTrail can tell"
    accept_in(("AwsSolutions",), web.access_logs_bucket, "S1", logs)
    accept_in((NIST, HIPAA, PCI), web.access_logs_bucket, "S3BucketLoggingEnabled", logs)
    accept_in(
        (NIST, HIPAA, PCI),
        web.access_logs_bucket,
        "S3DefaultEncryptionKMS",
        "Load balancers write access logs only to a bucket under S3's own key (ELB user guide, *Enable access logs*)",
    )
    accept_in(
        (NIST, PCI),
        web.load_balancer,
        "ALBWAFEnabled",
        "Only addresses that the file names reach it, and a public one asks for a login before it passes anything on; whoever "
        "wants a web ACL associates one of theirs",
    )


def acknowledge_second_copy(bucket: s3.IBucket) -> None:
    """Acknowledge what stays of a bucket for copies in another account."""
    reason = "The other account keeps its logs where it wants them; nobody but the replication works with this bucket"
    accept_in(("AwsSolutions",), bucket, "S1", reason)
    accept_in((NIST, HIPAA, PCI), bucket, "S3BucketLoggingEnabled", reason)


def acknowledge_landing_zone(landing_zone: LandingZone) -> None:
    """Acknowledge what stays in a landing zone."""
    accept_in(
        (NIST, HIPAA, PCI),
        landing_zone.access_logs_bucket,
        "S3DefaultEncryptionKMS",
        "S3 delivers access logs only to a bucket under its own key (S3 user guide, server access logging)",
    )
    if landing_zone.replication_role is not None and landing_zone.second_copy is not None:
        here = spelled(landing_zone, landing_zone.landing_bucket.bucket_arn, landing_zone)
        for bucket in (here, landing_zone.second_copy.bucket_arn):
            accept(
                landing_zone.replication_role,
                f"AwsSolutions-IAM5[Resource::{bucket}/*]",
                "S3 copies every object of the one bucket into the other; the role only reads here and may not delete there",
            )


def _acknowledge_parts(
    landing_zone: LandingZone,
    microscopes: Iterable[MicroscopeIngest],
    engine: ParallelCluster | Pcs,
    hooks: LaneHooks,
) -> None:
    acknowledge_landing_zone(landing_zone)
    for ingest in microscopes:
        bucket = spelled(landing_zone, landing_zone.landing_bucket.bucket_arn, ingest)
        for prefix in (DATASETS_PREFIX, REPORTS_PREFIX):
            accept(
                ingest.bucket_access_role,
                f"AwsSolutions-IAM5[Resource::{bucket}/{prefix}*]",
                "DataSync writes objects whose names the microscope chooses; it is held to this prefix and may not delete",
            )
        task = spelled(ingest, ingest.task_arn, hooks)
        accept(
            hooks.dataset_hook.role,
            f"AwsSolutions-IAM5[Resource::{task}/execution/*]",
            "Executions of this one task get their names when they start; the hook only reads them",
        )
        _acknowledge_ingest(ingest)
    login = engine.programs.cryosparc_login
    accept(
        login,
        "AwsSolutions-SMG4",
        "cryoSPARC has no way to rotate a password by itself; the login is generated, used by the head node alone, "
        "and replaced by deploying a new secret",
    )
    accept_in(
        (NIST, HIPAA), login, "SecretsManagerRotationEnabled", "cryoSPARC has no way to rotate a password by itself"
    )
    accept_in(
        (NIST, HIPAA, PCI),
        login,
        "SecretsManagerUsingKMSKey",
        "Generated here and read by the head node alone, in this account; a customer managed key serves readers of others",
    )
    results = spelled(landing_zone, landing_zone.results_bucket.bucket_arn, engine)
    head_node = engine.head_node_role if isinstance(engine, Pcs) else engine.head_node_policy
    accept(
        head_node,
        f"AwsSolutions-IAM5[Resource::{results}/{LISTINGS_PREFIX}*]",
        "Lists of the file system's files are called by whoever asks for them; the head node may only write to this prefix",
    )
    if engine.programs.with_cryosparc:
        accept(
            head_node,
            f"AwsSolutions-IAM5[Resource::{results}/{BACKUPS_PREFIX}*]",
            "Backups of cryoSPARC's database are called after the time they were made; the head node is held to this "
            "prefix and may not delete",
        )
    if isinstance(engine, Pcs):
        _acknowledge_pcs(engine)
    for hook in (hooks.dataset_hook, hooks.lane_hook, hooks.node_hook, hooks.sweeper):
        accept(hook.role, "AwsSolutions-IAM5[Resource::*]", _NO_RESOURCES)
    function = Stack.of(hooks).get_logical_id(hooks.sweeper.function.node.default_child)  # type: ignore[arg-type]
    accept(
        Stack.of(hooks),
        f"AwsSolutions-IAM5[Resource::<{function}.Arn>:*]",
        "The schedule may invoke this one function in any version; aws-cdk-lib grants both",
    )


def _acknowledge_receipts(landing_zone: LandingZone, receipts: DatasetReceipts) -> None:
    bucket = spelled(landing_zone, landing_zone.landing_bucket.bucket_arn, receipts)
    for place, reason in (
        (
            f"{DATASETS_PREFIX}*",
            "Checksums of versions whose names the microscope chooses; this reads, and nothing is written",
        ),
        (f"{REPORTS_PREFIX}*", "DataSync names its reports after executions; they are only read"),
        (f"{DATASETS_PREFIX}*{RECEIPT_SUFFIX}", "A receipt is called after its dataset, which the microscope names"),
        (f"{DATASETS_PREFIX}*{MANIFEST_SUFFIX}", "A manifest is called after its dataset, which the microscope names"),
    ):
        accept(receipts.hook.role, f"AwsSolutions-IAM5[Resource::{bucket}/{place}]", reason)


def _acknowledge_ingest(ingest: MicroscopeIngest) -> None:
    if ingest.schedule is not None:
        accept(
            ingest.schedule.dead_letter_queue,
            "AwsSolutions-SQS3",
            "It is the dead-letter queue of a schedule, which the rule does not look for",
        )
    if ingest.pace is not None:
        task = spelled(ingest, ingest.task_arn, ingest.pace)
        accept(
            ingest.pace.role,
            f"AwsSolutions-IAM5[Resource::{task}/execution/*]",
            "Executions of this one task get their names when they start; the function sets their bandwidth",
        )
        function = Stack.of(ingest).get_logical_id(ingest.pace.function.node.default_child)  # type: ignore[arg-type]
        accept(
            ingest.pace.schedule_role,
            f"AwsSolutions-IAM5[Resource::<{function}.Arn>:*]",
            "The schedule may invoke this one function in any version; aws-cdk-lib grants both",
        )


def _acknowledge_care(file_system: FileSystemCare) -> None:
    care, stack = file_system.care, Stack.of(file_system)
    accept(
        care.role,
        "AwsSolutions-IAM5[Resource::*]",
        "What of it only describes knows no resources or not those it will find; all of it only reads",
    )
    accept(
        care.role,
        f"AwsSolutions-IAM5[Resource::{arn_of(stack, 'fsx')}:task/*]",
        "A task has no name before it is made; the statement holds it to this one file system",
    )
    function = stack.get_logical_id(care.function.node.default_child)  # type: ignore[arg-type]
    accept(
        stack,
        f"AwsSolutions-IAM5[Resource::<{function}.Arn>:*]",
        "The schedule may invoke this one function in any version; aws-cdk-lib grants both",
    )


def _acknowledge_pcs(engine: Pcs) -> None:
    stack = Stack.of(engine)
    for role in (engine.node_role, engine.head_node_role):
        accept(
            role,
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonSSMManagedInstanceCore]",
            "What the SSM agent needs, kept up to date by AWS with the agent; Session Manager is the only way in",
        )
    accept(
        engine.node_role,
        "AwsSolutions-IAM5[Resource::*]",
        "pcs:RegisterComputeNodeGroupInstance, by which a node reports to its cluster, knows no resources (PCS user guide)",
    )
    cluster = stack.get_logical_id(engine.cluster)
    accept(
        engine.head_node_role,
        f"AwsSolutions-IAM5[Resource::{arn_of(stack, 'secretsmanager')}:secret:pcs!slurm-secret-<{cluster}.Id>-*]",
        "PCS makes the secret with Slurm's key and ends its name with six random characters",
    )
    accept(
        engine.head_node_role,
        f"AwsSolutions-IAM5[Resource::{arn_of(stack, 'ec2')}:instance/*]",
        "The head node attaches the data volume to itself; a condition on its tag holds it to instances of this cluster",
    )
    accept(
        engine.head_node.instance,
        "AwsSolutions-EC26",
        "Its one volume is encrypted; the rule fails on an instance whose values are known only at deployment",
    )
    accept(
        engine.head_node.instance,
        "AwsSolutions-EC29",
        "A protected instance could not be replaced by a deployment; what must not be lost is on the retained volume",
    )
    accept_in(
        (NIST, HIPAA),
        engine.data_volume,
        "EC2EBSInBackupPlan",
        "What is on it, cryoSPARC's database, is backed up into the results bucket; the volume is retained",
    )
    accept_in(
        (NIST, HIPAA, PCI),
        engine.security_group,
        "EC2RestrictedCommonPorts",
        "Slurm's daemons call each other on ports of their own choice: the group is open to itself and to nobody else",
    )
    Validations.of(engine.head_node.instance).acknowledge(
        Acknowledgment(
            id="CloudFormation-Validate::W9010",
            reason="The image is pinned by the configuration file: another one replaces the head node and is a decision",
        )
    )
