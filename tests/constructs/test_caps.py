"""Caps as constructs and stacks take them."""

from __future__ import annotations

import json

import pytest
from aws_cdk import App, Stack
from aws_cdk.assertions import Annotations, Match, Template

from cdk_cryoem import Cap, Lane, LaneManifest, Period, RecordsTable, default_lanes
from cdk_cryoem.caps import caps_problems, caps_warnings
from cdk_cryoem.records_table import grant_read_money

LANE = Lane(name="gpu1", instance_types=["g5.4xlarge"], gpus=1)


@pytest.mark.parametrize(
    ("cap", "found"),
    [
        (Cap(name="Month", usd=1), "caps[0].name: got 'Month', allowed: a lower-case letter"),
        (Cap(name="m", usd=0), "caps[0].usd: got 0, allowed: above 0"),
        (Cap(name="m", usd=float("inf")), "caps[0].usd: got inf, allowed: above 0"),
        (Cap(name="m", usd=1, each=True), "caps[0].each: got True, allowed: with projects"),
        (Cap(name="m", usd=1, projects=["a/b"]), "caps[0].projects: got 'a/b', allowed: a folder's name"),
        (Cap(name="m", usd=1, projects=["a#b"]), "caps[0].projects: got 'a#b'"),
        (Cap(name="m", usd=1, projects=[""]), "caps[0].projects: got ''"),
    ],
)
def test_what_is_wrong_is_named(cap: Cap, found: str) -> None:
    problems = [str(problem) for problem in caps_problems([cap])]
    assert len(problems) == 1
    assert problems[0].startswith(found)


def test_names_are_each_caps_own_and_there_are_twenty_at_most() -> None:
    twice = [str(p) for p in caps_problems([Cap(name="m", usd=1), Cap(name="m", usd=2)])]
    assert twice == ["caps[1].name: got 'm', allowed: every cap has a name of its own"]
    many = [Cap(name=f"m{n}", usd=1) for n in range(21)]
    assert [str(p) for p in caps_problems(many)] == ["caps: got '21 caps', allowed: 20 at most"]


def test_a_hard_cap_that_a_lane_can_never_keep_is_warned_of() -> None:
    (warning,) = caps_warnings([Cap(name="small", usd=50), Cap(name="soft", usd=1, hard=False)], [LANE])
    assert warning.startswith("cap small: a job on a whole node of lane gpu1 may cost 77.95 USD (48 h)")


def test_the_manifest_has_caps_only_where_there_are_some() -> None:
    stack = Stack(App(), "Test")
    LaneManifest(stack, "Without", cluster_name="c", lanes=default_lanes())
    with_caps = LaneManifest(
        stack,
        "With",
        cluster_name="c",
        lanes=[LANE],
        caps=[Cap(name="grant", usd=0.1, projects=["a*"], each=True, period=Period.ALWAYS, hard=False)],
    )
    texts = {
        name: json.loads(parameter["Properties"]["Value"])
        for name, parameter in Template.from_stack(stack).find_resources("AWS::SSM::Parameter").items()
    }
    without, given = sorted(texts.values(), key=lambda text: "caps" in text)
    assert "caps" not in without
    assert given["caps"] == [
        {"name": "grant", "usd_micro": 100_000, "projects": ["a*"], "each": True, "period": "always", "hard": False}
    ]
    assert with_caps.parameter_name
    Annotations.from_stack(stack).has_no_warning("*", Match.string_like_regexp("cap grant"))


def test_records_are_kept_and_can_be_had_back_and_two_fit_in_one_stack() -> None:
    stack = Stack(App(), "Test")
    RecordsTable(stack, "One")
    RecordsTable(stack, "Two")
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::DynamoDB::Table", 2)
    template.all_resources(
        "AWS::DynamoDB::Table",
        {
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "BillingMode": "PAY_PER_REQUEST",
                "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True},
                "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": True},
            },
        },
    )


def test_who_reads_money_reads_nothing_else() -> None:
    from aws_cdk import aws_iam as iam

    stack = Stack(App(), "Test")
    role = iam.Role(stack, "Role", assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"))
    grant_read_money(RecordsTable(stack, "Records").table, role)
    Template.from_stack(stack).has_resource_properties(
        "AWS::IAM::Policy",
        {
            "PolicyDocument": {
                "Statement": [
                    {
                        "Action": ["dynamodb:GetItem", "dynamodb:Query"],
                        "Condition": {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["spend", "job", "cap"]}},
                        "Effect": "Allow",
                        "Resource": Match.any_value(),
                    }
                ]
            }
        },
    )
