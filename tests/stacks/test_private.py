"""Private by default: in no template does anybody come in from the internet, whatever the file says, and in no example."""

from __future__ import annotations

import copy
import ipaddress
import json
import runpy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import aws_cdk
import pytest
import systems

from cdk_cryoem_stacks.config import Config

ROOT = Path(__file__).parents[2]
Template = dict[str, Any]
PROVIDER = "https://login.example.org/realms/em"
WEB = {
    "certificate_arn": "arn:aws:acm:us-east-1:111122223333:certificate/01234567-89ab-cdef-0123-456789abcdef",
    "allowed_from": ["203.0.113.0/24"],
    "internet_facing": True,
    "login": {
        "issuer": PROVIDER,
        "authorization_endpoint": f"{PROVIDER}/auth",
        "token_endpoint": f"{PROVIDER}/token",
        "user_info_endpoint": f"{PROVIDER}/userinfo",
        "client_id": "cryosparc",
        "client_secret_arn": "arn:aws:secretsmanager:us-east-1:111122223333:secret:login-AbCdEf",
    },
}
PCS = {"engine": "pcs", "pcs": {"ami_id": "ami-0a1b2c3d"}}
CONFIGS: dict[str, Callable[[], Config]] = {
    "bare": lambda: Config(name="bare"),
    "bare on pcs": lambda: Config.model_validate({"name": "bare", **PCS}),
    "everything": systems.everything,
    "everything on pcs": systems.everything_on_pcs,
    "web": lambda: Config.model_validate({"name": "web", "web": WEB, "network": {"endpoints": ["all"]}}),
    "web on pcs": lambda: Config.model_validate({"name": "web", "web": WEB, **PCS}),
    "no way out": lambda: Config.model_validate(
        {"name": "shut", "network": {"nat": False, "endpoints": ["all"]}, **PCS}
    ),
    "a network of yours": lambda: Config.model_validate(
        {
            "name": "yours",
            "network": {"vpc_id": "vpc-12345678", "subnet_id": "subnet-12345678", "availability_zone": "us-east-1b"},
        }
    ),
}
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/app.py"))
# What makes an address, a name or a gateway that the internet reaches.
DOORS = (
    "AWS::EC2::EIPAssociation",
    "AWS::Lambda::Url",
    "AWS::EC2::VPCPeeringConnection",
    "AWS::EC2::ClientVpnEndpoint",
)
PREFIXES = ("AWS::ApiGateway", "AWS::ApiGatewayV2", "AWS::CloudFront", "AWS::Lightsail", "AWS::GlobalAccelerator")
BLOCKED = ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets")


def open_doors(template: Template, *, may_face_the_internet: bool = False) -> list[str]:
    """Everything of a template by which somebody could come in, or that does not say what it is for."""
    return [
        f"{name}: {finding}"
        for name, resource in template["Resources"].items()
        for finding in _of(resource, template, may_face_the_internet)
    ]


def _of(resource: dict[str, Any], template: Template, may_face_the_internet: bool) -> Iterator[str]:
    kind, properties = resource["Type"], resource.get("Properties", {})
    if kind in DOORS or kind.startswith(PREFIXES):
        yield f"is a {kind}"
    for key, value in _leaves(properties):
        if key in ("AssociatePublicIpAddress", "MapPublicIpOnLaunch", "AssignPublicIp", "ElasticIp") and _is_true(
            value
        ):
            yield f"{key} is {value}"
    if kind == "AWS::EC2::EIP" and not _only_nat_has(resource, template):
        yield "is an address of something else than NAT"
    faces_the_internet = kind.endswith("LoadBalancer") and properties.get("Scheme") != "internal"
    if faces_the_internet and not may_face_the_internet:
        yield "is a load balancer with a public address"
    if kind == "AWS::EC2::SecurityGroup":
        yield from _of_group(properties)
    if kind == "AWS::EC2::SecurityGroupIngress":
        yield from _of_rule(properties)
    if kind == "AWS::S3::Bucket":
        blocked = properties.get("PublicAccessBlockConfiguration", {})
        yield from (f"{name} is not on" for name in BLOCKED if not _is_true(blocked.get(name)))
    if kind == "Custom::PclusterCluster":
        head_node = properties["ClusterConfiguration"]["HeadNode"]
        for section in ("Ssh", "Dcv"):
            if section in head_node or section == "Ssh":
                yield from _of_range(f"{section} from", head_node.get(section, {}).get("AllowedIps", "0.0.0.0/0"))


def _of_group(properties: dict[str, Any]) -> Iterator[str]:
    purpose = properties.get("GroupDescription", "")
    # What the CDK takes when nobody says what a group is for: its path.
    if len(purpose) < 15 or "/" in purpose:
        yield f"does not say what it is for: {purpose!r}"
    for rule in properties.get("SecurityGroupIngress", []):
        yield from _of_rule(rule)


def _of_rule(rule: dict[str, Any]) -> Iterator[str]:
    if not rule.get("Description") or str(rule["Description"]).startswith("from "):
        yield f"a rule does not say what it is for: {rule.get('Description')!r}"
    for key in ("CidrIp", "CidrIpv6"):
        if key in rule:
            yield from _of_range(key, rule[key])


def _of_range(key: str, cidr: object) -> Iterator[str]:
    # Half of all addresses is as open as all of them. What is known only at deployment is the VPC's own range.
    if isinstance(cidr, str) and ipaddress.ip_network(cidr, strict=False).prefixlen < 8:
        yield f"{key} {cidr} is open to everybody"


def _only_nat_has(resource: dict[str, Any], template: Template) -> bool:
    (name,) = [name for name, each in template["Resources"].items() if each is resource]
    users = [
        each["Type"]
        for each in template["Resources"].values()
        if each is not resource and f'["{name}", "AllocationId"]' in json.dumps(each.get("Properties", {}))
    ]
    return users == ["AWS::EC2::NatGateway"]


def _leaves(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, key)
    else:
        yield key, value


def _is_true(value: object) -> bool:
    """CloudFormation takes text for it, too."""
    return value is True or str(value).lower() == "true"


@pytest.fixture(scope="module")
def system(synthesise: Callable[..., dict[str, Template]]) -> Callable[[str], dict[str, Template]]:
    return lambda name: synthesise(CONFIGS[name](), folder=ROOT / "twin")


@pytest.mark.parametrize("name", CONFIGS)
def test_nobody_comes_in_from_the_internet(name: str, system: Callable[[str], dict[str, Template]]) -> None:
    found = {
        stack: open_doors(template, may_face_the_internet=name.startswith("web"))
        for stack, template in system(name).items()
    }
    assert {stack: doors for stack, doors in found.items() if doors} == {}
    assert len(found) == 5


def test_the_committed_system_too(templates: dict[str, Template]) -> None:
    assert [door for template in templates.values() for door in open_doors(template)] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_example_does(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_cdk, "App", partial(aws_cdk.App, outdir=str(tmp_path)))
    runpy.run_path(str(ROOT / "examples" / example / "app.py"), run_name="__main__")
    made = list(tmp_path.glob("*.template.json"))
    assert made
    found = [
        door
        for path in made
        for door in open_doors(json.loads(path.read_text()))
        # A network of one's own, made by the CDK's own construct, is not ours to judge.
        if not (example == "own-vpc" and "MapPublicIpOnLaunch" in door)
    ]
    assert found == []


def test_a_network_that_is_made_has_one_public_address_or_none(system: Callable[[str], dict[str, Template]]) -> None:
    for name, addresses in (("bare", 1), ("everything", 1), ("no way out", 0), ("a network of yours", 0)):
        kinds = [each["Type"] for template in system(name).values() for each in template["Resources"].values()]
        assert kinds.count("AWS::EC2::EIP") == addresses, name
        assert kinds.count("AWS::EC2::InternetGateway") == addresses, name


def test_the_default_group_of_a_network_is_used_by_nothing(templates: dict[str, Template]) -> None:
    assert "DefaultSecurityGroup" not in json.dumps(templates)


# What would be seen: a change of the bare system, and a part of what is found.
WRONG: dict[str, tuple[str, str, Callable[[dict[str, Any]], Any], str]] = {
    "a subnet that gives addresses": (
        "network", "AWS::EC2::Subnet", lambda p: p.update(MapPublicIpOnLaunch="true"), "MapPublicIpOnLaunch is true"),
    "a rule for everybody": (
        "storage", "AWS::EC2::SecurityGroup",
        lambda p: p.update(SecurityGroupIngress=[{"CidrIp": "0.0.0.0/0", "Description": "All"}]), "open to everybody"),
    "a rule for half of everybody": (
        "storage", "AWS::EC2::SecurityGroupIngress", lambda p: p.update(CidrIp="128.0.0.0/1"), "open to everybody"),
    "a rule for everybody with IPv6": (
        "storage", "AWS::EC2::SecurityGroupIngress", lambda p: p.update(CidrIpv6="::/0"), "open to everybody"),
    "a rule without a purpose": (
        "storage", "AWS::EC2::SecurityGroupIngress", lambda p: p.update(Description="from x:988"), "what it is for"),
    "a group without a purpose": (
        "storage", "AWS::EC2::SecurityGroup", lambda p: p.update(GroupDescription="storage/Group"), "what it is for"),
    "an open bucket": (
        "storage", "AWS::S3::Bucket", lambda p: p.pop("PublicAccessBlockConfiguration"), "BlockPublicAcls is not on"),
    "an address of something": (
        "network", "AWS::EC2::NatGateway", lambda p: p.pop("AllocationId"), "something else than NAT"),
    "SSH as ParallelCluster would have it": (
        "cluster", "Custom::PclusterCluster", lambda p: p["ClusterConfiguration"]["HeadNode"].pop("Ssh"), "Ssh from"),
    "an address of the head node": (
        "cluster", "Custom::PclusterCluster",
        lambda p: p["ClusterConfiguration"]["HeadNode"]["Networking"].update(ElasticIp=True), "ElasticIp is True"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_open_is_found(wrong: str, templates: dict[str, Template]) -> None:
    stack, kind, change, finding = WRONG[wrong]
    template = copy.deepcopy(templates[stack])
    resource = next(each for each in template["Resources"].values() if each["Type"] == kind)
    change(resource["Properties"])
    assert any(finding in door for door in open_doors(template)), open_doors(template)


@pytest.mark.parametrize("kind", [*DOORS, "AWS::ApiGateway::RestApi", "AWS::CloudFront::Distribution"])
def test_other_doors_are_found(kind: str) -> None:
    assert open_doors({"Resources": {"Door": {"Type": kind}}}) == [f"Door: is a {kind}"]


def test_a_public_load_balancer_is_found_where_the_file_says_nothing_of_it(
    system: Callable[[str], dict[str, Template]],
) -> None:
    found = open_doors(system("web")["cluster"])
    assert len(found) == 1
    assert "a load balancer with a public address" in found[0]
