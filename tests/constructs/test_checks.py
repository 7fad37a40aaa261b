"""The pack CryoEmChecks: for each rule a stack that breaks it and one that does not, and what it does not judge."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk import (
    Acknowledgment,
    App,
    CfnParameter,
    CfnResource,
    Duration,
    NestedStack,
    RemovalPolicy,
    Stack,
    Validations,
)
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_datasync as datasync
from aws_cdk import aws_events as events
from aws_cdk import aws_fsx as fsx
from aws_cdk import aws_iam as iam
from aws_cdk import aws_pcs as pcs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_scheduler as scheduler
from aws_cdk import aws_sns as sns
from aws_cdk import aws_sqs as sqs

from cdk_cryoem.checks import RULES, CryoEmChecks

Make = Callable[[Stack], object]


def found(app: App) -> dict[str, list[str]]:
    """What the pack says of an app, read from the report of a real synthesis: paths of constructs by rule."""
    Validations.of(app).add_plugins(CryoEmChecks(app))
    failed = False
    try:
        app.synth()
    except RuntimeError as error:
        assert "ValidationFailed" in str(error)
        failed = True
    reports = json.loads((Path(app.outdir) / "validation-report.json").read_text())["pluginReports"]
    (report,) = [each for each in reports if each["pluginName"] == "CryoEmChecks"] or [{"violations": []}]
    assert report.get("metadata") is None, report
    assert failed is any(each["severity"] == "error" for each in report["violations"])
    return {
        each["ruleName"].removeprefix("CryoEmChecks-"): [
            where["constructPath"] for where in each["violatingConstructs"]
        ]
        for each in report["violations"]
    }


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(App(outdir=str(tmp_path), analytics_reporting=False), "S")


def landing(stack: Stack, id: str = "Landing", **changes: Any) -> s3.CfnBucket:
    """A bucket as it ought to be; its policy denies deletion."""
    props: dict[str, Any] = {
        "versioning_configuration": {"status": "Enabled"},
        "lifecycle_configuration": {
            "rules": [{"id": "tidy", "status": "Enabled", "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}}]
        },
    }
    bucket = s3.CfnBucket(stack, id, **(props | changes))
    bucket.apply_removal_policy(RemovalPolicy.RETAIN)
    return bucket


def deny(stack: Stack, bucket: s3.CfnBucket, **changes: Any) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": ["s3:DeleteObject*"],
        "Resource": f"{bucket.attr_arn}/*",
        "Condition": {"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/break-glass"}},
    }
    s3.CfnBucketPolicy(
        stack,
        f"{bucket.node.id}Policy",
        bucket=bucket.ref,
        policy_document={"Version": "2012-10-17", "Statement": [statement | changes]},
    )


def deny_on(stack: Stack, *below: str) -> None:
    bucket = landed(stack, denied=False)
    deny(stack, bucket, Resource=[f"{bucket.attr_arn}{keys}" for keys in below])


def associate(stack: Stack, bucket: s3.CfnBucket, *, imported: list[str] = [], exported: list[str] = []) -> None:  # noqa: B006
    fsx.CfnDataRepositoryAssociation(
        stack,
        f"{bucket.node.id}Association",
        file_system_id="fs-0123456789abcdef0",
        file_system_path="/data",
        data_repository_path=f"s3://{bucket.ref}/datasets/",
        s3={
            **({"autoImportPolicy": {"events": imported}} if imported else {}),
            **({"autoExportPolicy": {"events": exported}} if exported else {}),
        },
    )


def landed(
    stack: Stack,
    *,
    denied: bool = True,
    exported: list[str] | None = None,
    imported: list[str] | None = None,
    **changes: Any,
) -> s3.CfnBucket:
    """A bucket with an association that imports from it."""
    bucket = landing(stack, **changes)
    if denied:
        deny(stack, bucket)
    associate(stack, bucket, imported=imported or ["NEW", "CHANGED"], exported=exported or [])
    return bucket


def kept_for_this_run(stack: Stack) -> None:
    landed(stack).apply_removal_policy(RemovalPolicy.DESTROY)


def results(stack: Stack, exported: list[str]) -> None:
    """A bucket that nothing lands in."""
    associate(stack, s3.CfnBucket(stack, "Results"), exported=exported)


def file_system(stack: Stack, id: str = "Files", *, retained: bool = True, **changes: Any) -> fsx.CfnFileSystem:
    configuration = {"deploymentType": "PERSISTENT_2", "perUnitStorageThroughput": 250} | changes.pop("lustre", {})
    props: dict[str, Any] = {
        "file_system_type": "LUSTRE",
        "storage_capacity": 2400,
        "storage_type": "SSD",
        "subnet_ids": ["subnet-1"],
        "kms_key_id": "arn:aws:kms:us-east-1:111122223333:key/1",
    }
    made = fsx.CfnFileSystem(stack, id, **(props | changes), lustre_configuration=configuration)
    made.apply_removal_policy(RemovalPolicy.RETAIN if retained else RemovalPolicy.DESTROY)
    return made


def task(stack: Stack, *, report: bool = True, **options: str) -> datasync.CfnTask:
    destination = {
        "s3": {
            "s3BucketArn": "arn:aws:s3:::b",
            "bucketAccessRoleArn": "arn:aws:iam::111122223333:role/r",
            "subdirectory": "r",
        }
    }
    return datasync.CfnTask(
        stack,
        "Task",
        source_location_arn="arn:aws:datasync:us-east-1:111122223333:location/loc-1",
        destination_location_arn="arn:aws:datasync:us-east-1:111122223333:location/loc-2",
        options={"verifyMode": "ONLY_FILES_TRANSFERRED", "preserveDeletedFiles": "PRESERVE"} | options,
        task_report_config={"destination": destination, "outputType": "STANDARD"} if report else None,
    )


def watched_queue(stack: Stack, id: str = "Dead", *, alarm: bool = True, action: bool = True) -> sqs.CfnQueue:
    queue = sqs.CfnQueue(stack, id, redrive_allow_policy={"redrivePermission": "allowAll"})
    if alarm:
        cloudwatch.CfnAlarm(
            stack,
            f"{id}Alarm",
            namespace="AWS/SQS",
            metric_name="ApproximateNumberOfMessagesVisible",
            dimensions=[{"name": "QueueName", "value": queue.attr_queue_name}],
            comparison_operator="GreaterThanThreshold",
            threshold=0,
            evaluation_periods=1,
            alarm_actions=["arn:aws:sns:us-east-1:111122223333:alarms"] if action else None,
        )
    return queue


def rule(stack: Stack, *, dead: bool) -> None:
    target: dict[str, Any] = {"id": "t", "arn": "arn:aws:lambda:us-east-1:111122223333:function:f"}
    if dead:
        target["deadLetterConfig"] = {"arn": watched_queue(stack).attr_arn}
    events.CfnRule(stack, "Rule", event_pattern={"source": ["aws.s3"]}, targets=[target])


def schedule(stack: Stack, *, dead: bool) -> None:
    target: dict[str, Any] = {
        "arn": "arn:aws:lambda:us-east-1:111122223333:function:f",
        "roleArn": "arn:aws:iam::111122223333:role/r",
    }
    if dead:
        target["deadLetterConfig"] = {"arn": watched_queue(stack).attr_arn}
    scheduler.CfnSchedule(
        stack, "Schedule", flexible_time_window={"mode": "OFF"}, schedule_expression="rate(5 minutes)", target=target
    )


def queue(stack: Stack, *, dead: bool = True, alarm: bool = True, action: bool = True) -> None:
    kept = watched_queue(stack, alarm=alarm, action=action) if dead else None
    policy = {"deadLetterTargetArn": kept.attr_arn, "maxReceiveCount": 5} if kept else None
    sqs.CfnQueue(stack, "Queue", redrive_policy=policy)


def lanes(
    stack: Stack,
    *,
    instance_type: str = "g6e.4xlarge",
    idle: int | None = 300,
    max_count: Any = 4,
    max_time: str | None = "2880",
    budget: bool = True,
    subnet: Any = "subnet-1",
    cluster_idle: int | None = None,
) -> None:
    """A PCS cluster with one node group and one queue."""
    cluster = pcs.CfnCluster(
        stack,
        "Cluster",
        size="SMALL",
        scheduler={"type": "SLURM", "version": "25.11"},
        networking={"subnetIds": ["subnet-1"], "securityGroupIds": ["sg-1"]},
        slurm_configuration={"scaleDownIdleTimeInSeconds": cluster_idle} if cluster_idle is not None else None,
    )
    group = pcs.CfnComputeNodeGroup(
        stack,
        "Group",
        cluster_id=cluster.attr_id,
        custom_launch_template={"templateId": "lt-1", "version": "1"},
        iam_instance_profile_arn="arn:aws:iam::111122223333:instance-profile/aws-pcs/p",
        instance_configs=[{"instanceType": instance_type}],
        scaling_configuration={"minInstanceCount": 0, "maxInstanceCount": max_count or 4},
        subnet_ids=[subnet],
        slurm_configuration={"scaleDownIdleTimeInSeconds": idle} if idle is not None else None,
    )
    if max_count is None:
        group.add_property_deletion_override("ScalingConfiguration.MaxInstanceCount")
    settings = [{"parameterName": "MaxTime", "parameterValue": max_time}] if max_time else []
    pcs.CfnQueue(
        stack,
        "Queue",
        cluster_id=cluster.attr_id,
        compute_node_group_configurations=[{"computeNodeGroupId": group.attr_id}],
        slurm_configuration={"slurmCustomSettings": settings},
    )
    if budget:
        told(stack)


def told(stack: Stack, *, somebody: bool = True) -> None:
    notification = {
        "notification": {"comparisonOperator": "GREATER_THAN", "notificationType": "ACTUAL", "threshold": 80},
        "subscribers": [{"subscriptionType": "EMAIL", "address": "em@example.org"}],
    }
    budgets.CfnBudget(
        stack,
        "Budget",
        budget={"budgetType": "COST", "timeUnit": "MONTHLY", "budgetLimit": {"amount": 100, "unit": "USD"}},
        notifications_with_subscribers=[notification] if somebody else None,
    )


def parallel_cluster(stack: Stack, *, budget: bool = True, files: Any = None, **changes: Any) -> None:
    """ParallelCluster's custom resource with one queue."""
    resource = {"Name": "nodes", "MinCount": 0, "MaxCount": 4, "Instances": [{"InstanceType": "p4d.24xlarge"}]}
    resource |= changes.pop("resource", {})
    lane = {
        "Name": "gpu8",
        "CustomSlurmSettings": changes.pop("slurm", {"MaxTime": "2880"}),
        "Networking": {"SubnetIds": [changes.pop("subnet", "subnet-1")]},
        "ComputeResources": [{key: value for key, value in resource.items() if value is not None}],
    }
    storage = (
        [{"MountDir": "/fsx", "StorageType": "FsxLustre", "FsxLustreSettings": {"FileSystemId": files}}]
        if files
        else []
    )
    CfnResource(
        stack,
        "ParallelCluster",
        type="Custom::PclusterCluster",
        properties={
            "ServiceToken": "arn:aws:lambda:us-east-1:111122223333:function:provider",
            "ClusterConfiguration": {
                "Scheduling": {
                    "SlurmSettings": {"ScaledownIdletime": changes.pop("idle", 10)},
                    "SlurmQueues": [lane],
                },
                "SharedStorage": storage,
            },
        },
    )
    assert not changes
    if budget:
        told(stack)


def subnets(stack: Stack, *zones: Any) -> list[Any]:
    return [
        CfnResource(
            stack, f"Subnet{number}", type="AWS::EC2::Subnet", properties={"VpcId": "vpc-1", "AvailabilityZone": zone}
        ).ref
        for number, zone in enumerate(zones)
    ]


def in_zones(stack: Stack, one: Any, other: Any) -> None:
    first, second = subnets(stack, one, other)
    file_system(stack, subnet_ids=[first])
    lanes(stack, subnet=second)


def zone(number: int) -> dict[str, Any]:
    return {"Fn::Select": [number, {"Fn::GetAZs": ""}]}


# For each rule what breaks it, and what does not.
PAIRS: dict[str, list[tuple[Make, Make]]] = {
    "LandingBucketVersioned": [
        (lambda s: landed(s, versioning_configuration=None), landed),
        (lambda s: landed(s, versioning_configuration={"status": "Suspended"}), landed),
    ],
    "LandingBucketRetained": [(kept_for_this_run, landed)],
    "LandingBucketAbortsUploads": [
        (lambda s: landed(s, lifecycle_configuration=None), landed),
        (
            lambda s: landed(
                s,
                lifecycle_configuration={
                    "rules": [
                        {"status": "Enabled", "prefix": "x/", "abortIncompleteMultipartUpload": {"daysAfterInitiation": 7}}
                    ]
                },
            ),
            landed,
        ),
    ],
    "LandingBucketDeniesDeletion": [
        (lambda s: landed(s, denied=False), landed),
        (
            # What refuses calls without TLS denies deletion to nobody who calls as one should.
            lambda s: deny(s, landed(s, denied=False), Action="s3:*", Condition={"Bool": {"aws:SecureTransport": "false"}}),
            lambda s: deny(s, landed(s, denied=False), Action="s3:*", Condition={}),
        ),
        (lambda s: deny_on(s, "/logs/*"), lambda s: deny_on(s, "/datasets/*")),
        # The bucket itself and one dataset: neither is a movie that comes tomorrow.
        (lambda s: deny_on(s, "", "/datasets/2026-03-17/*"), lambda s: deny_on(s, "", "/*")),
        (
            lambda s: deny(s, landed(s, denied=False), Resource=None, NotResource=["arn:aws:s3:::other/*"]),
            lambda s: deny(s, landed(s, denied=False), Resource="*"),
        ),
        (
            lambda s: landed(s, denied=False, object_lock_enabled=True),
            lambda s: landed(
                s,
                denied=False,
                object_lock_enabled=True,
                object_lock_configuration={
                    "objectLockEnabled": "Enabled",
                    "rule": {"defaultRetention": {"mode": "GOVERNANCE", "days": 30}},
                },
            ),
        ),
    ],
    "DataSyncVerifies": [(lambda s: task(s, verifyMode="NONE"), task)],
    "DataSyncPreserves": [(lambda s: task(s, preserveDeletedFiles="REMOVE"), task)],
    "DataSyncReports": [(lambda s: task(s, report=False), task)],
    "AssociationDeletesNoMovies": [
        (lambda s: landed(s, exported=["NEW", "DELETED"]), lambda s: landed(s, exported=["NEW"])),
    ],
    "AssociationDeletesNoResults": [
        (lambda s: results(s, ["NEW", "CHANGED", "DELETED"]), lambda s: results(s, ["NEW", "CHANGED"])),
    ],
    "AssociationImportsNoDeletions": [
        (lambda s: landed(s, imported=["NEW", "CHANGED", "DELETED"]), landed),
        (
            lambda s: file_system(
                s, lustre={"deploymentType": "PERSISTENT_1", "perUnitStorageThroughput": 50, "autoImportPolicy": "NEW_CHANGED_DELETED"}
            ),
            lambda s: file_system(
                s, lustre={"deploymentType": "PERSISTENT_1", "perUnitStorageThroughput": 50, "autoImportPolicy": "NEW_CHANGED"}
            ),
        ),
    ],
    "FileSystemRetained": [(lambda s: file_system(s, retained=False), file_system)],
    "FileSystemOwnKey": [
        (
            lambda s: file_system(s, kms_key_id=None),
            # A scratch file system takes no key.
            lambda s: file_system(s, kms_key_id=None, lustre={"deploymentType": "SCRATCH_2", "perUnitStorageThroughput": None}),
        )
    ],
    "FileSystemNoImportPath": [
        (
            lambda s: file_system(s, lustre={"importPath": "s3://b/p"}),
            lambda s: file_system(s, lustre={"importPath": "s3://b/p", "deploymentType": "PERSISTENT_1"}),
        ),
    ],
    "FileSystemCapacity": [
        (lambda s: file_system(s, storage_capacity=1024), lambda s: file_system(s, storage_capacity=1200)),
        (lambda s: file_system(s, storage_capacity=3600), lambda s: file_system(s, storage_capacity=4800)),
        (
            lambda s: file_system(s, storage_capacity=4800, lustre={"deploymentType": "SCRATCH_1"}, kms_key_id=None),
            lambda s: file_system(s, storage_capacity=7200, lustre={"deploymentType": "SCRATCH_1"}, kms_key_id=None),
        ),
        (
            lambda s: file_system(
                s, storage_capacity=2400, storage_type="HDD", lustre={"deploymentType": "PERSISTENT_1", "perUnitStorageThroughput": 12}
            ),
            lambda s: file_system(
                s, storage_capacity=1800, storage_type="HDD", lustre={"deploymentType": "PERSISTENT_1", "perUnitStorageThroughput": 40}
            ),
        ),
    ],
    "EventTargetDeadLetters": [
        (lambda s: rule(s, dead=False), lambda s: rule(s, dead=True)),
        (lambda s: schedule(s, dead=False), lambda s: schedule(s, dead=True)),
    ],
    "QueueDeadLetters": [(lambda s: queue(s, dead=False), queue)],
    "DeadLettersAlarm": [
        (lambda s: queue(s, alarm=False), queue),
        (lambda s: queue(s, action=False), queue),
    ],
    "NodesIdleTime": [
        (lambda s: lanes(s, idle=-1), lanes),
        (lambda s: lanes(s, idle=None), lambda s: lanes(s, idle=None, cluster_idle=600)),
        (lambda s: parallel_cluster(s, idle=-1), parallel_cluster),
    ],
    "NodesMaxCount": [
        (lambda s: lanes(s, max_count=None), lanes),
        (lambda s: parallel_cluster(s, resource={"MaxCount": None}), parallel_cluster),
    ],
    "GpuQueueTimeLimit": [
        (lambda s: lanes(s, max_time=None), lanes),
        (lambda s: lanes(s, max_time="infinite"), lambda s: lanes(s, max_time=None, instance_type="c7g.4xlarge")),
        (lambda s: parallel_cluster(s, slurm={}), parallel_cluster),
    ],
    "GpuBudget": [
        (lambda s: lanes(s, budget=False), lanes),
        (lambda s: parallel_cluster(s, budget=False), parallel_cluster),
        (
            lambda s: (lanes(s, budget=False), told(s, somebody=False)),
            lambda s: lanes(s, budget=False, instance_type="m7i.4xlarge"),
        ),
    ],
    "FileSystemBesideGpus": [
        (lambda s: in_zones(s, "us-east-1a", "us-east-1b"), lambda s: in_zones(s, "us-east-1a", "us-east-1a")),
        (lambda s: in_zones(s, zone(0), zone(1)), lambda s: in_zones(s, zone(1), zone(1))),
        (
            lambda s: parallel_cluster(s, files=file_system(s, subnet_ids=subnets(s, zone(0))).ref, subnet=in_subnet(s, zone(1))),
            lambda s: parallel_cluster(s, files=file_system(s, subnet_ids=subnets(s, zone(0))).ref, subnet=in_subnet(s, zone(0))),
        ),
    ],
}  # fmt: skip


def in_subnet(stack: Stack, zone: Any) -> str:
    made = CfnResource(stack, "Nodes", type="AWS::EC2::Subnet", properties={"VpcId": "vpc-1", "AvailabilityZone": zone})
    return made.ref


def test_every_rule_has_a_pair() -> None:
    assert sorted(PAIRS) == sorted(rule.name for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)


BAD = [pytest.param(name, bad, id=f"{name}-{n}") for name, pairs in PAIRS.items() for n, (bad, _) in enumerate(pairs)]
GOOD = [pytest.param(good, id=f"{name}-{n}") for name, pairs in PAIRS.items() for n, (_, good) in enumerate(pairs)]


@pytest.mark.parametrize(("name", "bad"), BAD)
def test_what_breaks_a_rule_breaks_this_one_alone(stack: Stack, name: str, bad: Make) -> None:
    bad(stack)
    assert list(found(app_of(stack))) == [name]


@pytest.mark.parametrize("good", GOOD)
def test_what_is_good_breaks_no_rule(stack: Stack, good: Make) -> None:
    good(stack)
    assert found(app_of(stack)) == {}


def app_of(stack: Stack) -> App:
    app = stack.node.root
    assert isinstance(app, App)
    return app


def test_what_only_a_deployment_knows_is_not_judged(stack: Stack) -> None:
    decided_later = CfnParameter(stack, "Later").value_as_string
    number = CfnParameter(stack, "Number", type="Number").value_as_number
    bucket = landed(stack, denied=False, versioning_configuration={"status": decided_later})
    s3.CfnBucketPolicy(stack, "Policy", bucket=bucket.ref, policy_document={"Fn::Transform": {"Name": "x"}})
    file_system(
        stack,
        storage_capacity=number,
        kms_key_id=decided_later,
        subnet_ids=[decided_later],
        lustre={"deploymentType": decided_later, "importPath": "s3://b/p"},
    )
    task(stack, verifyMode=decided_later, preserveDeletedFiles=decided_later)
    lanes(stack, idle=number, max_count=number, max_time=decided_later, subnet=decided_later)  # type: ignore[arg-type]
    parallel_cluster(stack, budget=False, subnet=decided_later, files=decided_later, slurm={"MaxTime": decided_later})
    assert found(app_of(stack)) == {}


def test_a_bucket_made_elsewhere_and_one_that_nothing_lands_in_are_not_judged(stack: Stack) -> None:
    s3.CfnBucket(stack, "Scratch")
    associate_with(stack, "s3://made-elsewhere/datasets/")
    assert found(app_of(stack)) == {}


def associate_with(stack: Stack, repository: str) -> None:
    fsx.CfnDataRepositoryAssociation(
        stack,
        "Association",
        file_system_id="fs-0123456789abcdef0",
        file_system_path="/data",
        data_repository_path=repository,
        batch_import_meta_data_on_create=True,
    )


def test_a_bucket_is_known_by_its_name(stack: Stack) -> None:
    landing(stack, bucket_name="movies-of-ours")
    associate_with(stack, "s3://movies-of-ours/datasets/")
    assert found(app_of(stack)) == {"LandingBucketDeniesDeletion": ["S/Landing"]}


def test_a_bucket_that_datasync_writes_to_is_a_landing_bucket(stack: Stack) -> None:
    bucket = landing(stack)
    made = task(stack)
    made.destination_location_arn = datasync.CfnLocationS3(
        stack,
        "Location",
        s3_bucket_arn=bucket.attr_arn,
        s3_config={"bucketAccessRoleArn": "arn:aws:iam::111122223333:role/r"},
    ).attr_location_arn
    assert found(app_of(stack)) == {"LandingBucketDeniesDeletion": ["S/Landing"]}


@pytest.mark.parametrize("strength", ["strong", "weak"])
def test_a_bucket_of_another_stack_is_known(tmp_path: Path, strength: str) -> None:
    app = App(outdir=str(tmp_path), context={"@aws-cdk/core:defaultCrossStackReferences": strength})
    first, second = Stack(app, "First"), Stack(app, "Second")
    bucket = landing(first)
    associate_with(second, f"s3://{bucket.ref}/datasets/")
    template = json.loads((Path(app.synth().directory) / "Second.template.json").read_text())
    assert ("Fn::ImportValue" in json.dumps(template)) is (strength == "strong")
    found_in = dict(found_again(app))
    assert found_in == {"LandingBucketDeniesDeletion": ["Landing"]}


def found_again(app: App) -> list[tuple[str, list[str]]]:
    report = CryoEmChecks().validate_scope(app)
    return [
        (
            each.rule_name.removeprefix("CryoEmChecks-"),
            [str(where.resource_logical_id) for where in each.violating_resources],
        )
        for each in report.violations
    ]


def test_a_nested_stack_is_judged_with_the_app(stack: Stack) -> None:
    nested = NestedStack(stack, "Nested")
    sqs.CfnQueue(nested, "Queue")
    assert found(app_of(stack)) == {"QueueDeadLetters": ["S/Nested/Queue"]}


def test_a_finding_is_acknowledged_where_it_is(stack: Stack) -> None:
    first, _second = sqs.CfnQueue(stack, "First"), sqs.CfnQueue(stack, "Second")
    Validations.of(first).acknowledge(
        Acknowledgment(id="CryoEmChecks::CryoEmChecks-QueueDeadLetters", reason="Whoever reads it tries for ever")
    )
    assert found(app_of(stack)) == {"QueueDeadLetters": ["S/Second"]}


@pytest.mark.parametrize("acts", [True, False])
def test_the_l2s_ways_of_writing_are_understood(stack: Stack, acts: bool) -> None:
    bucket = s3.Bucket(stack, "Bucket", versioned=True, enforce_ssl=True)
    bucket.add_lifecycle_rule(abort_incomplete_multipart_upload_after=Duration.days(7))
    bucket.add_to_resource_policy(
        iam.PolicyStatement(
            effect=iam.Effect.DENY,
            principals=[iam.AnyPrincipal()],
            actions=["s3:DeleteObjectVersion"],
            resources=[bucket.arn_for_objects("*")],
        )
    )
    associate_with(stack, f"s3://{bucket.bucket_name}")
    dead = sqs.Queue(stack, "Dead")
    sqs.Queue(stack, "Queue", dead_letter_queue=sqs.DeadLetterQueue(queue=dead, max_receive_count=3))
    alarm = dead.metric_approximate_number_of_messages_visible().create_alarm(
        stack, "Alarm", threshold=1, evaluation_periods=1
    )
    if acts:
        alarm.add_alarm_action(cloudwatch_actions.SnsAction(sns.Topic(stack, "Topic")))
    bucket.apply_removal_policy(RemovalPolicy.RETAIN if acts else RemovalPolicy.DESTROY)
    expected = {} if acts else {"LandingBucketRetained": ["S/Bucket/Resource"], "DeadLettersAlarm": ["S/Dead/Resource"]}
    assert found(app_of(stack)) == expected


def test_with_verbose_it_says_what_to_do(stack: Stack) -> None:
    sqs.CfnQueue(stack, "Queue")
    report = CryoEmChecks(verbose=True).validate_scope(stack)
    assert [each.description for each in report.violations] == [
        "A message that nobody can work off goes round until it expires. "
        "Give the queue a RedrivePolicy with a dead-letter queue."
    ]


def test_the_pack_says_what_it_has() -> None:
    pack = CryoEmChecks()
    assert pack.name == "CryoEmChecks"
    assert pack.rule_ids == [f"CryoEmChecks-{rule.name}" for rule in RULES]
    for rule in RULES:
        assert rule.info.endswith("."), rule.name
        assert len(rule.explanation) > 40, rule.name


def test_the_library_does_not_need_cdk_nag() -> None:
    said = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, cdk_cryoem; print('cdk_nag' in sys.modules, 'cdk_cryoem.checks' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert said.stdout == "False False\n"


def test_the_page_has_every_rule_as_it_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "checks.md").read_text().splitlines()
    rows = [line for line in page if line.startswith("| `")]
    assert sorted(rows) == sorted(
        f"| `{rule.name}` | {rule.level} | {rule.info} | {rule.explanation} |" for rule in RULES
    )
