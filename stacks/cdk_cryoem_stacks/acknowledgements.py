"""Findings of cdk-nag that stay, each with its reason. A test holds the set, so that it cannot grow unseen."""

from __future__ import annotations

from aws_cdk import Acknowledgment, Stack, Validations
from constructs import IConstruct

from cdk_cryoem.landing_zone import DATASETS_PREFIX
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
    for hook in (hooks.dataset_hook, hooks.lane_hook, hooks.node_hook, hooks.sweeper):
        _accept(hook.role, "AwsSolutions-IAM5[Resource::*]", _NO_RESOURCES)
    function = Stack.of(hooks).get_logical_id(hooks.sweeper.function.node.default_child)  # type: ignore[arg-type]
    _accept(
        stacks.hooks,
        f"AwsSolutions-IAM5[Resource::<{function}.Arn>:*]",
        "The schedule may invoke this one function in any version; aws-cdk-lib grants both",
    )


def _accept(scope: IConstruct, finding: str, reason: str) -> None:
    Validations.of(scope).acknowledge(Acknowledgment(id=f"AwsSolutions::{finding}", reason=reason))


def _export_name(stack: Stack, value: str) -> str:
    """The name under which another stack imports a value of this one, as findings spell it."""
    imported = stack.resolve(stack.export_value(value))
    name = imported["Fn::ImportValue"]
    assert isinstance(name, str)
    return name
