"""The load balancer before cryoSPARC's pages: who reaches it, who passes, what it reaches."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aws_cdk import App, Environment, SecretValue, Stack
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk.assertions import Match, Template

from cdk_cryoem import (
    CryoEmError,
    CryosparcWeb,
    LandingZone,
    LustreStore,
    OidcLogin,
    ParallelCluster,
    Pcs,
    PrivateNetwork,
    default_lanes,
)
from cdk_cryoem.cryosparc_web import login_problems, web_problems

CERTIFICATE = "arn:aws:acm:us-east-1:111122223333:certificate/01234567-89ab-cdef-0123-456789abcdef"
SECRET = "arn:aws:secretsmanager:us-east-1:111122223333:secret:login-AbCdEf"
PROVIDER = "https://login.example.org/realms/em"
ENDPOINTS = {
    "issuer": PROVIDER,
    "authorization_endpoint": f"{PROVIDER}/auth",
    "token_endpoint": f"{PROVIDER}/token",
    "user_info_endpoint": f"{PROVIDER}/userinfo",
}


@pytest.fixture
def stack() -> Stack:
    env = Environment(account="111122223333", region="us-east-1")
    return Stack(App(analytics_reporting=False), "Test", env=env)


def make(stack: Stack, id: str = "Web", *, with_login: bool = False, **changes: Any) -> CryosparcWeb:
    network = stack.node.try_find_child("Network") or PrivateNetwork(stack, "Network")
    assert isinstance(network, PrivateNetwork)
    values: dict[str, Any] = {
        "vpc": network.vpc,
        "subnets": network.private_subnets,
        "certificate": acm.Certificate.from_certificate_arn(stack, f"{id}Certificate", CERTIFICATE),
        "allowed_from": ["10.0.0.0/8"],
    }
    if with_login:
        values["login"] = OidcLogin(
            **ENDPOINTS,
            client_id="cryosparc",
            client_secret=secretsmanager.Secret.from_secret_complete_arn(stack, f"{id}Secret", SECRET),
        )
    return CryosparcWeb(stack, id, **values | changes)


def groups(template: Template) -> dict[str, dict[str, Any]]:
    """Security groups by their description."""
    found = template.find_resources("AWS::EC2::SecurityGroup")
    return {
        group["Properties"]["GroupDescription"]: {"id": name, **group["Properties"]} for name, group in found.items()
    }


BROWSERS = "Browsers to cryoSPARC's load balancer"
PAGES = "cryoSPARC's load balancer to its pages on the head node"


def test_by_default_it_is_internal_https_only_and_logged(stack: Stack) -> None:
    make(stack)
    template = Template.from_stack(stack)
    (balancer,) = template.find_resources("AWS::ElasticLoadBalancingV2::LoadBalancer").values()
    attributes = {each["Key"]: each["Value"] for each in balancer["Properties"]["LoadBalancerAttributes"]}
    assert balancer["Properties"]["Scheme"] == "internal"
    assert attributes["deletion_protection.enabled"] == "true"
    assert attributes["access_logs.s3.enabled"] == "true"
    assert attributes["routing.http.drop_invalid_header_fields.enabled"] == "true"
    (listener,) = template.find_resources("AWS::ElasticLoadBalancingV2::Listener").values()
    assert (listener["Properties"]["Port"], listener["Properties"]["Protocol"]) == (443, "HTTPS")
    assert listener["Properties"]["SslPolicy"].startswith("ELBSecurityPolicy-TLS13")
    assert listener["Properties"]["Certificates"] == [{"CertificateArn": CERTIFICATE}]
    assert [action["Type"] for action in listener["Properties"]["DefaultActions"]] == ["forward"]


def test_a_chain_of_two_groups_each_for_one_purpose(stack: Stack) -> None:
    web = make(stack, allowed_from=["10.1.0.0/16", "192.168.0.0/24"])
    template = Template.from_stack(stack)
    found = groups(template)
    assert set(found) == {BROWSERS, PAGES}
    browsers = [(rule["CidrIp"], rule["FromPort"], rule["ToPort"]) for rule in found[BROWSERS]["SecurityGroupIngress"]]
    assert browsers == [("10.1.0.0/16", 443, 443), ("192.168.0.0/24", 443, 443)]
    assert "SecurityGroupIngress" not in found[PAGES]
    (rule,) = template.find_resources("AWS::EC2::SecurityGroupIngress").values()
    assert rule["Properties"]["GroupId"] == {"Fn::GetAtt": [found[PAGES]["id"], "GroupId"]}
    assert rule["Properties"]["SourceSecurityGroupId"] == {"Fn::GetAtt": [found[BROWSERS]["id"], "GroupId"]}
    assert (rule["Properties"]["FromPort"], rule["Properties"]["ToPort"]) == (61000, 61000)
    (out,) = template.find_resources("AWS::EC2::SecurityGroupEgress").values()
    assert out["Properties"]["DestinationSecurityGroupId"] == {"Fn::GetAtt": [found[PAGES]["id"], "GroupId"]}
    assert "0.0.0.0/0" not in json.dumps(found), "without a login it asks nobody else"
    assert stack.resolve(web.head_node_security_group.security_group_id)["Fn::GetAtt"][0] == found[PAGES]["id"]


def test_a_login_goes_before_and_its_secret_is_in_no_template(stack: Stack) -> None:
    make(stack, with_login=True)
    template = Template.from_stack(stack)
    (listener,) = template.find_resources("AWS::ElasticLoadBalancingV2::Listener").values()
    first, second = sorted(listener["Properties"]["DefaultActions"], key=lambda action: action["Order"])
    assert (first["Type"], second["Type"]) == ("authenticate-oidc", "forward")
    login = first["AuthenticateOidcConfig"]
    assert login["ClientSecret"] == f"{{{{resolve:secretsmanager:{SECRET}:SecretString:::}}}}"
    assert login["OnUnauthenticatedRequest"] == "authenticate"
    assert login["SessionTimeout"] == "43200"
    assert {login[key] for key in ("Issuer", "AuthorizationEndpoint", "TokenEndpoint", "UserInfoEndpoint")} == set(
        ENDPOINTS.values()
    )
    outward = groups(template)[BROWSERS]["SecurityGroupEgress"]
    assert [(rule["CidrIp"], rule["FromPort"], rule["Description"]) for rule in outward] == [
        ("0.0.0.0/0", 443, "The identity provider")
    ]


def test_access_logs_are_kept_encrypted_and_private(stack: Stack) -> None:
    make(stack)
    template = Template.from_stack(stack)
    template.has_resource(
        "AWS::S3::Bucket",
        {
            "DeletionPolicy": "Retain",
            "Properties": {
                "BucketEncryption": {
                    "ServerSideEncryptionConfiguration": [{"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]
                },
                "PublicAccessBlockConfiguration": {
                    "BlockPublicAcls": True,
                    "BlockPublicPolicy": True,
                    "IgnorePublicAcls": True,
                    "RestrictPublicBuckets": True,
                },
                "LifecycleConfiguration": {
                    "Rules": [Match.object_like({"ExpirationInDays": 180, "Status": "Enabled"})]
                },
            },
        },
    )


def test_a_bucket_of_ones_own_is_used(stack: Stack) -> None:
    bucket = s3.Bucket(stack, "Mine", encryption=s3.BucketEncryption.S3_MANAGED)
    web = make(stack, access_logs_bucket=bucket)
    assert web.access_logs_bucket is bucket
    Template.from_stack(stack).resource_count_is("AWS::S3::Bucket", 1)


def test_two_of_them_fit_in_one_stack(stack: Stack) -> None:
    for name in ("A", "B"):
        make(stack, name, with_login=True, port=39000, deletion_protection=False)
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::ElasticLoadBalancingV2::LoadBalancer", 2)
    ports = {
        rule["Properties"]["FromPort"] for rule in template.find_resources("AWS::EC2::SecurityGroupIngress").values()
    }
    assert ports == {39000}


@pytest.mark.parametrize("engine", ["parallelcluster", "pcs"])
def test_either_engine_is_served_and_its_head_node_alone_is_in_the_group(stack: Stack, engine: str) -> None:
    web = make(stack)
    network = stack.node.find_child("Network")
    assert isinstance(network, PrivateNetwork)
    zone = LandingZone(stack, "Zone")
    store = LustreStore(
        stack, "Store", vpc=network.vpc, subnet=network.subnet, landing_bucket=zone.landing_bucket,
        results_bucket=zone.results_bucket, key=zone.key,
    )  # fmt: skip
    common: dict[str, Any] = {
        "vpc": network.vpc, "subnet": network.subnet, "lanes": default_lanes(), "file_system": store,
        "head_node_security_groups": [web.head_node_security_group],
    }  # fmt: skip
    made: ParallelCluster | Pcs
    if engine == "pcs":
        made = Pcs(stack, "Cluster", **common, ami_id="ami-0a1b2c3d4e5f60718")
    else:
        made = ParallelCluster(stack, "Cluster", **common)
    web.serve(made)
    template = Template.from_stack(stack)
    (target,) = template.find_resources("AWS::ElasticLoadBalancingV2::TargetGroup").values()
    assert target["Properties"]["Targets"] == [{"Id": stack.resolve(made.head_node_instance_id), "Port": 61000}]
    assert (target["Properties"]["TargetType"], target["Properties"]["Port"]) == ("instance", 61000)
    pages = {"Fn::GetAtt": [groups(template)[PAGES]["id"], "GroupId"]}
    if engine == "pcs":
        (node,) = template.find_resources("AWS::EC2::Instance").values()
        assert pages in node["Properties"]["SecurityGroupIds"]
        assert json.dumps(pages) not in json.dumps(template.find_resources("AWS::EC2::LaunchTemplate"))
    else:
        (cluster,) = template.find_resources("Custom::PclusterCluster").values()
        configuration = cluster["Properties"]["ClusterConfiguration"]
        assert pages in configuration["HeadNode"]["Networking"]["AdditionalSecurityGroups"]
        assert json.dumps(pages) not in json.dumps(configuration["Scheduling"])


@pytest.mark.parametrize(
    ("changes", "prop"),
    [
        ({"allowed_from": []}, "allowed_from"),
        ({"allowed_from": ["0.0.0.0/0"]}, "allowed_from"),
        ({"allowed_from": ["128.0.0.0/1"]}, "allowed_from"),
        ({"allowed_from": ["10.0.0.1/8"]}, "allowed_from"),
        ({"allowed_from": ["::/0"]}, "allowed_from"),
        ({"allowed_from": ["10.0.0.0/8"] * 51}, "allowed_from"),
        ({"internet_facing": True}, "login"),
        ({"subnets": []}, "subnets"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
    ],
)
def test_what_is_refused(stack: Stack, changes: dict[str, Any], prop: str) -> None:
    with pytest.raises(CryoEmError) as caught:
        make(stack, **changes)
    assert {problem.property for problem in caught.value.problems} == {prop}


def test_a_stack_that_knows_no_region_is_refused() -> None:
    with pytest.raises(CryoEmError, match="region: got 'known only at deployment'"):
        make(Stack(App(analytics_reporting=False), "Test"))


def test_a_login_that_is_none_is_refused_with_its_place(stack: Stack) -> None:
    secret = secretsmanager.Secret(stack, "Secret", secret_string_value=SecretValue.unsafe_plain_text("x"))
    wrong = OidcLogin(**ENDPOINTS | {"issuer": "http://x"}, client_id="c", client_secret=secret, session_hours=169)
    with pytest.raises(CryoEmError) as caught:
        make(stack, login=wrong)
    assert [problem.property for problem in caught.value.problems] == ["login.issuer", "login.session_hours"]


@pytest.mark.parametrize(("hours", "right"), [(1, True), (168, True), (0, False), (169, False)])
def test_hours_of_a_login(hours: int, right: bool) -> None:
    assert (list(login_problems({**ENDPOINTS, "session_hours": hours})) == []) is right


@pytest.mark.parametrize("cidr", ["10.0.0.0/8", "203.0.113.7/32", "203.0.113.0/24"])
def test_ranges_that_may_come(cidr: str) -> None:
    assert list(web_problems(allowed_from=[cidr], internet_facing=True, has_login=True)) == []


def test_a_public_one_is_in_public_subnets(stack: Stack) -> None:
    network = PrivateNetwork(stack, "Network")
    make(stack, with_login=True, internet_facing=True, subnets=network.public_subnets)
    Template.from_stack(stack).has_resource_properties(
        "AWS::ElasticLoadBalancingV2::LoadBalancer",
        {"Scheme": "internet-facing", "Subnets": [stack.resolve(s.subnet_id) for s in network.public_subnets]},
    )


def test_whether_it_answers_can_be_watched(stack: Stack) -> None:
    metric = make(stack).metric_healthy()
    assert stack.resolve(metric.to_metric_config().metric_stat.metric_name) == "HealthyHostCount"  # type: ignore[union-attr]


def test_an_own_group_and_an_imported_subnet(stack: Stack) -> None:
    subnets = [ec2.Subnet.from_subnet_id(stack, name, f"subnet-{name}") for name in ("a", "b")]
    make(stack, subnets=subnets)
    Template.from_stack(stack).has_resource_properties(
        "AWS::ElasticLoadBalancingV2::LoadBalancer", {"Subnets": ["subnet-a", "subnet-b"]}
    )
