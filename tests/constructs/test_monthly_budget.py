"""A budget tells people; wrong limits and addresses are refused."""

from __future__ import annotations

import fnmatch
import math
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Template

from cdk_cryoem import CryoEmError, DenyLaunches, MonthlyBudget, instance_shapes
from cdk_cryoem.budget_action import GPU_TYPES
from cdk_cryoem.monthly_budget import budget_problems


def test_people_are_told_at_50_80_and_100_percent_and_by_the_forecast(stack: Stack) -> None:
    MonthlyBudget(stack, "Budget", limit_usd=2500, emails=["a@example.org", "b@example.org"])
    template = Template.from_stack(stack)
    template.has_resource_properties(
        "AWS::Budgets::Budget",
        {"Budget": {"BudgetType": "COST", "TimeUnit": "MONTHLY", "BudgetLimit": {"Amount": 2500, "Unit": "USD"}}},
    )
    (budget,) = template.find_resources("AWS::Budgets::Budget").values()
    told = budget["Properties"]["NotificationsWithSubscribers"]
    assert [(n["Notification"]["NotificationType"], n["Notification"]["Threshold"]) for n in told] == [
        ("ACTUAL", 50), ("ACTUAL", 80), ("ACTUAL", 100), ("FORECASTED", 100),
    ]  # fmt: skip
    assert all([s["Address"] for s in n["Subscribers"]] == ["a@example.org", "b@example.org"] for n in told)


def test_two_budgets_fit_in_one_stack(stack: Stack) -> None:
    for name in ("A", "B"):
        MonthlyBudget(stack, name, limit_usd=0.01, emails=["a@example.org"])
    Template.from_stack(stack).resource_count_is("AWS::Budgets::Budget", 2)


@pytest.mark.parametrize("limit", [0, -1, -0.01, math.nan, math.inf])
def test_a_limit_is_above_zero_and_finite(limit: float) -> None:
    assert [problem.property for problem in budget_problems(limit_usd=limit, emails=["a@b"])] == ["limit_usd"]


@pytest.mark.parametrize(("count", "wrong"), [(0, True), (1, False), (10, False), (11, True)])
def test_one_to_ten_people_are_told(count: int, wrong: bool) -> None:
    assert bool(budget_problems(limit_usd=1, emails=["a@b"] * count)) is wrong


def test_everything_wrong_is_reported_at_once(stack: Stack) -> None:
    with pytest.raises(CryoEmError) as caught:
        MonthlyBudget(stack, "Budget", limit_usd=-1, emails=["nobody", "a@b", "noone"])
    assert [problem.value for problem in caught.value.problems] == [-1, "nobody", "noone"]


HEAD_NODE = "arn:aws:iam::111122223333:role/parallelcluster/cryoem/cryoem-RoleHeadNode-1A2B"


def denying(stack: Stack, **more: Any) -> Template:
    role = iam.Role.from_role_arn(stack, "HeadNode", HEAD_NODE, mutable=False)
    MonthlyBudget(stack, "Budget", limit_usd=5, emails=["a@example.org"], at_limit=DenyLaunches(roles=[role], **more))
    return Template.from_stack(stack)


@pytest.mark.parametrize(("more", "model"), [({}, "AUTOMATIC"), ({"approval": "manual"}, "MANUAL")])
def test_at_100_percent_a_policy_is_attached_to_the_role_that_launches(
    stack: Stack, more: dict[str, Any], model: str
) -> None:
    (action,) = denying(stack, **more).find_resources("AWS::Budgets::BudgetsAction").values()
    found = action["Properties"]
    assert found["ActionType"] == "APPLY_IAM_POLICY"
    assert (found["NotificationType"], found["ApprovalModel"]) == ("ACTUAL", model)
    assert found["ActionThreshold"] == {"Type": "PERCENTAGE", "Value": 100}
    assert found["Subscribers"] == [{"Type": "EMAIL", "Address": "a@example.org"}]
    assert found["Definition"]["IamActionDefinition"]["Roles"] == ["cryoem-RoleHeadNode-1A2B"], (
        "its name, without a path"
    )
    assert found["BudgetName"] == {"Ref": "Budget" + found["BudgetName"]["Ref"].removeprefix("Budget")}


def policies(template: Template) -> dict[str, list[dict[str, Any]]]:
    return {
        name: found["Properties"]["PolicyDocument"]["Statement"]
        for name, found in template.find_resources("AWS::IAM::ManagedPolicy").items()
    }


def test_fleets_and_gpu_instances_are_denied_and_nothing_that_runs(stack: Stack) -> None:
    (denied,) = [found for name, found in policies(denying(stack)).items() if "NoLaunches" in name]
    fleets, instances = denied
    assert (fleets["Effect"], fleets["Action"], fleets["Resource"]) == ("Deny", "ec2:CreateFleet", "*")
    assert (instances["Effect"], instances["Action"]) == ("Deny", "ec2:RunInstances")
    assert instances["Condition"] == {"StringLike": {"ec2:InstanceType": list(GPU_TYPES)}}


def test_the_patterns_are_all_gpu_types_of_the_table_and_no_others() -> None:
    for name, shape in instance_shapes().items():
        assert any(fnmatch.fnmatchcase(name, pattern) for pattern in GPU_TYPES) is bool(shape.gpus), name


def test_aws_budgets_may_attach_this_policy_to_this_role_and_nothing_else(stack: Stack) -> None:
    template = denying(stack)
    found = policies(template)
    (denied,) = [name for name in found if "NoLaunches" in name]
    ((allowed,),) = [statements for name, statements in found.items() if "MayAttach" in name]
    assert sorted(allowed["Action"]) == ["iam:AttachRolePolicy", "iam:DetachRolePolicy"]
    assert allowed["Resource"] == HEAD_NODE
    assert allowed["Condition"] == {"ArnEquals": {"iam:PolicyARN": {"Ref": denied}}}
    (role,) = template.find_resources("AWS::IAM::Role").values()
    (trust,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "budgets.amazonaws.com"}
    assert trust["Condition"] == {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    template.resource_count_is("AWS::IAM::Policy", 0)


def test_two_that_deny_fit_in_one_stack(stack: Stack) -> None:
    role = iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    for name in ("A", "B"):
        MonthlyBudget(stack, name, limit_usd=5, emails=["a@example.org"], at_limit=DenyLaunches(roles=[role]))
    Template.from_stack(stack).resource_count_is("AWS::Budgets::BudgetsAction", 2)


@pytest.mark.parametrize(
    ("deny", "wrong"), [({"roles": []}, "at_limit.roles"), ({"approval": "never"}, "at_limit.approval")]
)
def test_what_denies_nobody_or_by_nobody_is_refused(stack: Stack, deny: dict[str, Any], wrong: str) -> None:
    role = iam.Role.from_role_arn(stack, "HeadNode", HEAD_NODE)
    with pytest.raises(CryoEmError, match=wrong):
        MonthlyBudget(
            stack, "Budget", limit_usd=5, emails=["a@example.org"], at_limit=DenyLaunches(**{"roles": [role], **deny})
        )
