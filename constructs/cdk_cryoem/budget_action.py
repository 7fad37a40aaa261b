"""What AWS Budgets does when the month's budget is spent: whoever launches nodes may not launch any more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from aws_cdk import Stack
from aws_cdk import aws_budgets as budgets
from aws_cdk import aws_iam as iam
from constructs import Construct

from .problems import Problem, known

GPU_TYPES = ("g*.*", "p*.*")
"""EC2's families with GPUs of NVIDIA, as patterns of instance types: g4dn to g7, gr6, p3 to p6."""
_ROLES_MAX = 100


@dataclass(frozen=True, kw_only=True, slots=True)
class DenyLaunches:
    """Deny launches to these roles at 100 % of the month's budget, actual costs.

    roles: those that launch nodes: with ParallelCluster the head node's, whose name is known when the cluster is there. PCS
        launches by its service-linked role, which no policy reaches. 1 to 100.
    approval: automatic (default), or manual: somebody says yes in the console of Billing.
    """

    roles: Sequence[iam.IRole]
    approval: Literal["automatic", "manual"] = "automatic"


class BudgetAction(Construct):
    """The action, the policy that it attaches, and the role by which AWS Budgets does so.

    budget_name: of the budget. deny: what is denied to whom. emails: told when it acts, or asked.

    The policy denies ec2:CreateFleet, and ec2:RunInstances of GPU types. A fleet of any types is denied because the types of one
    are not certain to be in what IAM sees; so a CPU lane with several types gets no nodes either, one with a single type does.
    Nothing that runs is touched. It acts hours late: costs reach AWS Budgets 8 to 24 hours after they arose (recalled from its user
    guide).

    The role may attach and detach this one policy, to these roles alone. Costs: 0.10 USD a day beyond an account's first two
    budgets with actions (recalled). IAM to deploy: budgets:CreateBudgetAction and its like, iam:CreatePolicy, iam:CreateRole,
    iam:PassRole for the role.
    """

    def __init__(
        self, scope: Construct, id: str, *, budget_name: str, deny: DenyLaunches, emails: Sequence[str]
    ) -> None:
        super().__init__(scope, id)
        stack = Stack.of(self)
        instances = stack.format_arn(service="ec2", region="*", resource="instance", resource_name="*")
        self.policy: iam.ManagedPolicy = iam.ManagedPolicy(
            self,
            "NoLaunches",
            description="Attached by AWS Budgets when the budget is spent: no GPU nodes are launched",
            statements=[
                iam.PolicyStatement(effect=iam.Effect.DENY, actions=["ec2:CreateFleet"], resources=["*"]),
                iam.PolicyStatement(
                    effect=iam.Effect.DENY,
                    actions=["ec2:RunInstances"],
                    resources=[instances],
                    conditions={"StringLike": {"ec2:InstanceType": list(GPU_TYPES)}},
                ),
            ],
        )
        of_this_account = {"StringEquals": {"aws:SourceAccount": stack.account}}
        self.role: iam.Role = iam.Role(
            self,
            "Role",
            assumed_by=iam.ServicePrincipal("budgets.amazonaws.com", conditions=of_this_account),
            description="AWS Budgets attaches one policy to the roles that launch nodes, and takes it off",
        )
        self.role_policy: iam.ManagedPolicy = iam.ManagedPolicy(
            self,
            "MayAttach",
            roles=[self.role],
            description="One policy, for the roles that launch nodes",
            statements=[
                iam.PolicyStatement(
                    actions=["iam:AttachRolePolicy", "iam:DetachRolePolicy"],
                    resources=[role.role_arn for role in deny.roles],
                    conditions={"ArnEquals": {"iam:PolicyARN": self.policy.managed_policy_arn}},
                )
            ],
        )
        self.action: budgets.CfnBudgetsAction = budgets.CfnBudgetsAction(
            self,
            "Resource",
            budget_name=budget_name,
            action_type="APPLY_IAM_POLICY",
            notification_type="ACTUAL",
            action_threshold=budgets.CfnBudgetsAction.ActionThresholdProperty(type="PERCENTAGE", value=100),
            approval_model=deny.approval.upper(),
            definition=budgets.CfnBudgetsAction.DefinitionProperty(
                iam_action_definition=budgets.CfnBudgetsAction.IamActionDefinitionProperty(
                    policy_arn=self.policy.managed_policy_arn, roles=[role.role_name for role in deny.roles]
                )
            ),
            execution_role_arn=self.role.role_arn,
            subscribers=[
                budgets.CfnBudgetsAction.SubscriberProperty(type="EMAIL", address=address) for address in emails
            ],
        )
        # Made before the role may do anything, the action would be refused.
        self.action.node.add_dependency(self.role_policy)


def deny_problems(deny: DenyLaunches) -> Iterator[Problem]:
    """What is wrong with what is denied."""
    if not 1 <= len(deny.roles) <= _ROLES_MAX:
        yield Problem(property="roles", value=f"{len(deny.roles)} roles", allowed=f"1 to {_ROLES_MAX} roles")
    if known(deny.approval) and deny.approval not in ("automatic", "manual"):
        yield Problem(property="approval", value=deny.approval, allowed="automatic or manual")
