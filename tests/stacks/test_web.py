"""Section `web`: from the file to the load balancer before the head node, with either engine; what no pack leaves unanswered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nag_reports import of_system

from cdk_cryoem_stacks.config import Config

ROOT = Path(__file__).parents[2]
Templates = dict[str, dict[str, Any]]
PROVIDER = "https://login.example.org/realms/em"
LOGIN = {
    "issuer": PROVIDER,
    "authorization_endpoint": f"{PROVIDER}/auth",
    "token_endpoint": f"{PROVIDER}/token",
    "user_info_endpoint": f"{PROVIDER}/userinfo",
    "client_id": "cryosparc",
    "client_secret_arn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:login-AbCdEf",
}
WEB = {
    "certificate_arn": "arn:aws:acm:us-east-1:111122223333:certificate/01234567-89ab-cdef-0123-456789abcdef",
    "allowed_from": ["203.0.113.0/24"],
}
PCS = {"engine": "pcs", "pcs": {"ami_id": "ami-0a1b2c3d"}}
OWN = {"vpc_id": "vpc-12345678", "subnet_id": "subnet-12345678", "availability_zone": "us-east-1b"}


def config(**changes: Any) -> Config:
    return Config.model_validate({"name": "web", "region": "us-east-1", "web": WEB, **changes})


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    return {name: found for name, found in template["Resources"].items() if found["Type"] == kind}


@pytest.mark.parametrize("engine", [{}, PCS])
def test_people_reach_the_head_node_by_the_load_balancer_and_its_group(
    synthesise: Callable[..., Templates], engine: dict[str, Any]
) -> None:
    cluster = synthesise(config(**engine))["cluster"]
    (group,) = of_type(cluster, "AWS::ElasticLoadBalancingV2::TargetGroup").values()
    head_node = cluster["Outputs"]["HeadNode"]["Value"]
    assert group["Properties"]["Targets"] == [{"Id": head_node, "Port": 61000}]
    (balancer,) = of_type(cluster, "AWS::ElasticLoadBalancingV2::LoadBalancer")
    assert cluster["Outputs"]["WebAddress"]["Value"] == {"Fn::GetAtt": [balancer, "DNSName"]}


def test_it_is_internal_and_in_both_private_subnets_unless_the_file_says_otherwise(
    synthesise: Callable[..., Templates],
) -> None:
    internal = synthesise(config())["cluster"]
    public = synthesise(config(web={**WEB, "internet_facing": True, "login": LOGIN}))["cluster"]
    for template, scheme, kind in ((internal, "internal", "Private"), (public, "internet-facing", "Public")):
        (balancer,) = of_type(template, "AWS::ElasticLoadBalancingV2::LoadBalancer").values()
        assert balancer["Properties"]["Scheme"] == scheme
        subnets = [subnet["Fn::ImportValue"] for subnet in balancer["Properties"]["Subnets"]]
        assert len(subnets) == 2
        assert all(f"{kind}Subnet" in subnet for subnet in subnets)
    (listener,) = of_type(public, "AWS::ElasticLoadBalancingV2::Listener").values()
    assert [action["Type"] for action in listener["Properties"]["DefaultActions"]] == ["authenticate-oidc", "forward"]
    assert "resolve:secretsmanager" in json.dumps(listener)


def test_in_a_network_of_yours_it_is_where_you_say(synthesise: Callable[..., Templates]) -> None:
    web = {**WEB, "subnet_ids": ["subnet-aaaaaaaa", "subnet-bbbbbbbb", "subnet-aaaaaaaa"]}
    made = synthesise(config(web=web, network=OWN))
    (balancer,) = of_type(made["cluster"], "AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    assert balancer["Properties"]["Subnets"] == ["subnet-aaaaaaaa", "subnet-bbbbbbbb"]
    assert list(made["network"]["Resources"]) == ["Nothing"]


def test_without_the_section_there_is_none_and_nothing_of_it(templates: Templates) -> None:
    assert "ElasticLoadBalancing" not in json.dumps(templates)
    assert "WebAddress" not in templates["cluster"]["Outputs"]


def test_taking_it_away_leaves_what_other_stacks_export(synthesise: Callable[..., Templates]) -> None:
    """CloudFormation refuses to take an export away that a stack deployed later still imports."""
    exports = [
        set(synthesise(Config.model_validate({"name": "web", **values}))["network"]["Outputs"])
        for values in ({"web": WEB}, {"web": {**WEB, "internet_facing": True, "login": LOGIN}}, {})
    ]
    assert exports[0] == exports[1] == exports[2]


@pytest.mark.parametrize("engine", [{}, PCS])
def test_no_pack_finds_anything_of_it_that_is_not_answered(tmp_path: Path, engine: dict[str, Any]) -> None:
    budget = {"monthly_usd": 1, "emails": ["em@example.org"]}
    public = config(
        web={**WEB, "internet_facing": True, "login": LOGIN}, network={"endpoints": ["all"]}, budget=budget, **engine
    )
    said = of_system(public, tmp_path, folder=ROOT)
    assert said.violations == []
    of_web = [found for found in said.acknowledged if "/Web/" in found.path]
    assert {found.rule for found in of_web} == {
        "S1", "S3BucketLoggingEnabled", "S3DefaultEncryptionKMS", "ALBWAFEnabled", "S3BucketReplicationEnabled",
    }  # fmt: skip
    assert all(len(found.reason) > 40 for found in of_web)
