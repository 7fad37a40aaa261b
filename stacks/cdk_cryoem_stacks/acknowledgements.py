"""Findings of cdk-nag that stay, each with its reason. A test holds the set, so that it cannot grow unseen."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Stack, Validations
from constructs import IConstruct

from cdk_cryoem import Pcs
from cdk_cryoem.landing_zone import BACKUPS_PREFIX, DATASETS_PREFIX, LISTINGS_PREFIX
from cdk_cryoem.microscope_ingest import REPORTS_PREFIX

from .system import Stacks

_NO_RESOURCES = (
    "ec2:DescribeInstances and ssm:GetCommandInvocation know no resources (AWS service authorization reference); "
    "both only read"
)


def acknowledge(stacks: Stacks) -> None:
    """Acknowledge what stays."""
    landing_zone = stacks.storage.landing_zone
    bucket = _export_name(stacks.storage, landing_zone.landing_bucket.bucket_arn)
    hooks = stacks.hooks.hooks
    for ingest in stacks.ingest.microscopes.values():
        for prefix in (DATASETS_PREFIX, REPORTS_PREFIX):
            _accept(
                ingest.bucket_access_role,
                f"AwsSolutions-IAM5[Resource::{bucket}/{prefix}*]",
                "DataSync writes objects whose names the microscope chooses; it is held to this prefix and may not delete",
            )
        task = _export_name(stacks.ingest, ingest.task_arn)
        _accept(
            hooks.dataset_hook.role,
            f"AwsSolutions-IAM5[Resource::{task}/execution/*]",
            "Executions of this one task get their names when they start; the hook only reads them",
        )
    _accept(
        stacks.cluster.engine.programs.cryosparc_login,
        "AwsSolutions-SMG4",
        "cryoSPARC has no way to rotate a password by itself; the login is generated, used by the head node alone, "
        "and replaced by deploying a new secret",
    )
    engine = stacks.cluster.engine
    results = _export_name(stacks.storage, landing_zone.results_bucket.bucket_arn)
    head_node = engine.head_node_role if isinstance(engine, Pcs) else engine.head_node_policy
    _accept(
        head_node,
        f"AwsSolutions-IAM5[Resource::{results}/{LISTINGS_PREFIX}*]",
        "Lists of the file system's files are called by whoever asks for them; the head node may only write to this prefix",
    )
    if engine.programs.with_cryosparc:
        _accept(
            head_node,
            f"AwsSolutions-IAM5[Resource::{results}/{BACKUPS_PREFIX}*]",
            "Backups of cryoSPARC's database are called after the time they were made; the head node is held to this "
            "prefix and may not delete",
        )
    if isinstance(engine, Pcs):
        _acknowledge_pcs(engine)
    for hook in (hooks.dataset_hook, hooks.lane_hook, hooks.node_hook, hooks.sweeper):
        _accept(hook.role, "AwsSolutions-IAM5[Resource::*]", _NO_RESOURCES)
    function = Stack.of(hooks).get_logical_id(hooks.sweeper.function.node.default_child)  # type: ignore[arg-type]
    _accept(
        stacks.hooks,
        f"AwsSolutions-IAM5[Resource::<{function}.Arn>:*]",
        "The schedule may invoke this one function in any version; aws-cdk-lib grants both",
    )
    _acknowledge_care(stacks)


def _acknowledge_care(stacks: Stacks) -> None:
    care = stacks.hooks.file_system_care.care
    stack = stacks.hooks
    _accept(
        care.role,
        "AwsSolutions-IAM5[Resource::*]",
        "What of it only describes knows no resources or not those it will find; all of it only reads",
    )
    _accept(
        care.role,
        f"AwsSolutions-IAM5[Resource::arn:aws:fsx:{_place(stack)}:task/*]",
        "A task has no name before it is made; the statement holds it to this one file system",
    )
    function = stack.get_logical_id(care.function.node.default_child)  # type: ignore[arg-type]
    _accept(
        stack,
        f"AwsSolutions-IAM5[Resource::<{function}.Arn>:*]",
        "The schedule may invoke this one function in any version; aws-cdk-lib grants both",
    )


def _place(stack: Stack) -> str:
    return f"{stack.region}:<AWS::AccountId>" if stack.account.startswith("${") else f"{stack.region}:{stack.account}"


def _acknowledge_pcs(engine: Pcs) -> None:
    stack = Stack.of(engine)
    for role in (engine.node_role, engine.head_node_role):
        _accept(
            role,
            "AwsSolutions-IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/AmazonSSMManagedInstanceCore]",
            "What the SSM agent needs, kept up to date by AWS with the agent; Session Manager is the only way in",
        )
    _accept(
        engine.node_role,
        "AwsSolutions-IAM5[Resource::*]",
        "pcs:RegisterComputeNodeGroupInstance, by which a node reports to its cluster, knows no resources (PCS user guide)",
    )
    cluster = stack.get_logical_id(engine.cluster)
    arn = f"arn:{stack.resolve(stack.partition)}" if isinstance(stack.resolve(stack.partition), str) else "arn:aws"
    place = f"{stack.region}:<AWS::AccountId>" if stack.account.startswith("${") else f"{stack.region}:{stack.account}"
    _accept(
        engine.head_node_role,
        f"AwsSolutions-IAM5[Resource::{arn}:secretsmanager:{place}:secret:pcs!slurm-secret-<{cluster}.Id>-*]",
        "PCS makes the secret with Slurm's key and ends its name with six random characters",
    )
    _accept(
        engine.head_node_role,
        f"AwsSolutions-IAM5[Resource::{arn}:ec2:{place}:instance/*]",
        "The head node attaches the data volume to itself; a condition on its tag holds it to instances of this cluster",
    )
    _accept(
        engine.head_node.instance,
        "AwsSolutions-EC26",
        "Its one volume is encrypted; the rule fails on an instance whose values are known only at deployment",
    )
    _accept(
        engine.head_node.instance,
        "AwsSolutions-EC29",
        "A protected instance could not be replaced by a deployment; what must not be lost is on the retained volume",
    )
    Validations.of(engine.head_node.instance).acknowledge(
        Acknowledgment(
            id="CloudFormation-Validate::W9010",
            reason="The image is pinned by the configuration file: another one replaces the head node and is a decision",
        )
    )


def _accept(scope: IConstruct, finding: str, reason: str) -> None:
    Validations.of(scope).acknowledge(Acknowledgment(id=f"AwsSolutions::{finding}", reason=reason))


def _export_name(stack: Stack, value: str) -> str:
    """The name under which another stack imports a value of this one, as findings spell it."""
    imported = stack.resolve(stack.export_value(value))
    name = imported["Fn::ImportValue"]
    assert isinstance(name, str)
    return name
