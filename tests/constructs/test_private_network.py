"""A network without public addresses, with a way out and without, and its endpoints."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import App, Environment, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from aws_cdk.assertions import Match, Template

from cdk_cryoem import CryoEmError, PrivateNetwork
from cdk_cryoem.private_network import ENDPOINTS, STANDARD_ENDPOINTS, cidr_problems, endpoint_names, endpoint_problems

Resources = dict[str, dict[str, Any]]


def of_type(template: Template, kind: str) -> Resources:
    return dict(template.find_resources(kind))


def private_cidrs(template: Template) -> list[str]:
    return sorted(
        subnet["Properties"]["CidrBlock"]
        for name, subnet in of_type(template, "AWS::EC2::Subnet").items()
        if "Private" in name
    )


def test_the_default_has_a_way_out_and_one_public_address_which_is_that_of_nat(stack: Stack) -> None:
    network = PrivateNetwork(stack, "Network")
    template = Template.from_stack(stack)
    (address,) = of_type(template, "AWS::EC2::EIP")
    (nat,) = of_type(template, "AWS::EC2::NatGateway").values()
    assert nat["Properties"]["AllocationId"] == {"Fn::GetAtt": [address, "AllocationId"]}
    subnets = of_type(template, "AWS::EC2::Subnet")
    assert len(subnets) == 4
    assert {subnet["Properties"]["MapPublicIpOnLaunch"] for subnet in subnets.values()} == {False}
    assert (network.nat, len(network.private_subnets), len(network.public_subnets)) == (True, 2, 2)
    assert network.subnet.subnet_id == network.vpc.private_subnets[0].subnet_id


def test_gateway_endpoints_are_always_there_and_interface_endpoints_are_not(stack: Stack) -> None:
    network = PrivateNetwork(stack, "Network")
    template = Template.from_stack(stack)
    found = of_type(template, "AWS::EC2::VPCEndpoint").values()
    assert [endpoint["Properties"]["VpcEndpointType"] for endpoint in found] == ["Gateway", "Gateway"]
    services = sorted(endpoint["Properties"]["ServiceName"]["Fn::Join"][1][2] for endpoint in found)
    assert services == [".dynamodb", ".s3"]
    assert (network.endpoints, network.endpoint_security_group) == ({}, None)
    assert of_type(template, "AWS::EC2::SecurityGroup") == {}


def test_everything_that_passes_is_written_down_and_the_log_stays(stack: Stack) -> None:
    PrivateNetwork(stack, "Network", flow_log_retention=logs.RetentionDays.ONE_YEAR)
    template = Template.from_stack(stack)
    template.has_resource_properties("AWS::EC2::FlowLog", {"TrafficType": "ALL", "ResourceType": "VPC"})
    template.has_resource("AWS::Logs::LogGroup", {"DeletionPolicy": "Retain", "Properties": {"RetentionInDays": 365}})


def test_without_nat_nothing_leads_to_the_internet(stack: Stack) -> None:
    network = PrivateNetwork(stack, "Network", nat=False, endpoints=["all"])
    template = Template.from_stack(stack)
    for kind in ("InternetGateway", "NatGateway", "EIP", "Route", "VPCGatewayAttachment"):
        template.resource_count_is(f"AWS::EC2::{kind}", 0)
    template.resource_count_is("AWS::EC2::Subnet", 2)
    assert (network.nat, network.public_subnets) == (False, ())
    assert network.subnet.subnet_id == network.vpc.isolated_subnets[0].subnet_id
    assert set(network.endpoints) == set(ENDPOINTS)


def test_taking_nat_away_replaces_no_subnet() -> None:
    """Same logical ids, same addresses: cluster and file system stay where they are."""
    kept = []
    for nat in (True, False):
        stack = Stack(App(analytics_reporting=False), "Test")
        PrivateNetwork(stack, "Network", nat=nat)
        template = Template.from_stack(stack)
        subnets = of_type(template, "AWS::EC2::Subnet")
        kept.append(
            {
                name: (subnet["Properties"]["CidrBlock"], subnet["Properties"]["AvailabilityZone"])
                for name, subnet in subnets.items()
                if "Private" in name
            }
        )
    assert kept[0] == kept[1]
    assert len(kept[0]) == 2


def test_an_endpoint_is_in_one_zone_and_only_this_network_reaches_it(stack: Stack) -> None:
    network = PrivateNetwork(stack, "Network", cidr="10.9.0.0/20", endpoints=["ssm", "pcs"])
    template = Template.from_stack(stack)
    (group,) = of_type(template, "AWS::EC2::SecurityGroup")
    interfaces = [
        endpoint["Properties"]
        for endpoint in of_type(template, "AWS::EC2::VPCEndpoint").values()
        if endpoint["Properties"]["VpcEndpointType"] == "Interface"
    ]
    assert len(interfaces) == len(network.endpoints) == 2
    for interface in interfaces:
        assert interface["SubnetIds"] == [stack.resolve(network.subnet.subnet_id)]
        assert interface["SecurityGroupIds"] == [{"Fn::GetAtt": [group, "GroupId"]}]
        assert interface["PrivateDnsEnabled"] is True
    template.has_resource_properties(
        "AWS::EC2::SecurityGroup",
        {
            "GroupDescription": "Interface endpoints of AWS services",
            "SecurityGroupIngress": [
                {
                    "CidrIp": "10.9.0.0/20",
                    "FromPort": 443,
                    "ToPort": 443,
                    "IpProtocol": "tcp",
                    "Description": Match.any_value(),
                }
            ],
            "Tags": Match.array_with([{"Key": "Name", "Value": "Test/Network interface endpoints"}]),
        },
    )


def test_a_zone_of_ones_own_and_names_by_purpose() -> None:
    stack = Stack(App(analytics_reporting=False), "Test", env=Environment(account="111122223333", region="eu-west-1"))
    network = PrivateNetwork(stack, "Default", availability_zone="eu-west-1b")
    template = Template.from_stack(stack)
    assert len(network.private_subnets) == 1
    assert private_cidrs(template) == ["10.20.128.0/17"]
    names = {
        tag["Value"]
        for subnet in of_type(template, "AWS::EC2::Subnet").values()
        for tag in subnet["Properties"]["Tags"]
        if tag["Key"] == "Name"
    }
    assert names == {"Test private 1", "Test public 1"}


def test_two_networks_fit_in_one_stack(stack: Stack) -> None:
    for name in ("A", "B"):
        PrivateNetwork(stack, name, endpoints=["standard"])
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::EC2::VPC", 2)
    template.resource_count_is("AWS::EC2::VPCEndpoint", 2 * (2 + len(STANDARD_ENDPOINTS)))


def test_named_default_it_adds_nothing_to_logical_ids() -> None:
    """What a stack had before it came from this construct keeps its name."""
    plain, ours = (Stack(App(analytics_reporting=False), "Test") for _ in range(2))
    ec2.Vpc(plain, "Vpc", max_azs=2, nat_gateways=1)
    PrivateNetwork(ours, "Default")
    of_vpc = {"AWS::EC2::VPC", "AWS::EC2::Subnet", "AWS::EC2::NatGateway", "AWS::EC2::InternetGateway"}
    found = [
        {
            name
            for name, resource in Template.from_stack(stack).to_json()["Resources"].items()
            if resource["Type"] in of_vpc
        }
        for stack in (plain, ours)
    ]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("wanted", "made"),
    [
        ([], []),
        (["standard"], sorted(STANDARD_ENDPOINTS)),
        (["ec2", "standard", "ec2", "ssm"], sorted([*STANDARD_ENDPOINTS, "ec2"])),
        (["all", "standard"], sorted(ENDPOINTS)),
    ],
)
def test_groups_are_opened_and_each_is_made_once(wanted: list[str], made: list[str]) -> None:
    assert sorted(endpoint_names(wanted)) == made
    assert list(endpoint_problems(wanted)) == []


def test_an_unknown_endpoint_and_one_that_is_there_already(stack: Stack) -> None:
    (unknown,) = endpoint_problems(["ssm", "lambda"])
    assert (unknown.value, unknown.fix) == ("lambda", "")
    assert "standard, all, ssm" in unknown.allowed
    (gateway,) = endpoint_problems(["s3"])
    assert "always there and costs nothing" in gateway.fix
    with pytest.raises(CryoEmError) as caught:
        PrivateNetwork(stack, "Network", endpoints=["x"], cidr="10.0.0.0/8")
    assert [problem.property for problem in caught.value.problems] == ["cidr", "endpoints"]


@pytest.mark.parametrize(
    ("cidr", "right"),
    [
        ("10.0.0.0/16", True),
        ("10.0.0.0/24", True),
        ("10.0.0.0/15", False),
        ("10.0.0.0/25", False),
        ("10.0.0.256/20", False),
    ],
)
def test_sizes_of_a_network(cidr: str, right: bool) -> None:
    assert (list(cidr_problems(cidr)) == []) is right
