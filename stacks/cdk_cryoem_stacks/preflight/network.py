"""A network of one's own: subnet, way out, names, S3 endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from . import addresses
from .ask import Clients, ask, checked, find
from .check import Check, error, ok, warning
from .places import Site

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import RouteTypeDef, SubnetTypeDef

_SUBNET, _VPC = "network.subnet_id", "network.vpc_id"


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """Everything about a network that was brought; nothing when the system makes its own."""
    vpc, subnet = site.config.network.vpc_id, site.config.network.subnet_id
    if vpc is None or subnet is None:
        return
    yield from checked("subnet", _SUBNET, lambda: _subnet(clients, site, subnet))
    yield from checked("way out", _SUBNET, lambda: _routes(clients, subnet, vpc))
    yield from checked("VPC names", _VPC, lambda: _names(clients, vpc))
    yield from checked("S3 endpoint", _VPC, lambda: _endpoint(clients, vpc, site.region))


def decide_subnet(subnet: SubnetTypeDef | None, *, subnet_id: str, vpc_id: str, zone: str) -> Check:
    """Whether the subnet is there, in the VPC and in the zone that are named beside it."""
    if subnet is None:
        mend = f"aws ec2 describe-subnets --filters Name=vpc-id,Values={vpc_id}"
        return error("subnet", _SUBNET, f"there is no {subnet_id}", mend)
    if subnet["VpcId"] != vpc_id:
        reason = f"{subnet_id} is in {subnet['VpcId']}, the file says {vpc_id}"
        return error("subnet", _SUBNET, reason, f"{_VPC}: {subnet['VpcId']}")
    there = subnet["AvailabilityZone"]
    if there != zone:
        reason = f"{subnet_id} is in {there}, the file says {zone}"
        return error("subnet", _SUBNET, reason, f"network.availability_zone: {there}, or a subnet in {zone}")
    return ok("subnet", _SUBNET, f"{subnet_id} is in {vpc_id} and {zone}")


def decide_route(routes: Sequence[RouteTypeDef] | None, *, subnet_id: str) -> Check:
    """Whether nodes without a public address can reach AWS and package servers."""
    name, mend = "way out", "Route 0.0.0.0/0 of its route table to a NAT gateway in a public subnet"
    if routes is None:
        return error(name, _SUBNET, f"{subnet_id} has no route table", mend)
    for route in routes:
        if route.get("DestinationCidrBlock") != "0.0.0.0/0":
            continue
        gateway = route.get("GatewayId", "")
        by = (
            route.get("NatGatewayId")
            or route.get("TransitGatewayId")
            or route.get("NetworkInterfaceId")
            or route.get("VpcPeeringConnectionId")
            or gateway
        )
        if route.get("State") == "blackhole":
            return error(name, _SUBNET, f"0.0.0.0/0 of {subnet_id} goes to {by or 'something'} that is gone", mend)
        if gateway.startswith("igw-"):
            reason = f"{subnet_id} is public ({gateway}): head node and nodes have no public address, so no way out"
            return error(name, _SUBNET, reason, f"Name a private subnet. {mend}")
        return ok(name, _SUBNET, f"0.0.0.0/0 of {subnet_id} goes to {by}")
    return error(name, _SUBNET, f"{subnet_id} has no route for 0.0.0.0/0", mend)


def decide_names(*, support: bool, hostnames: bool, vpc_id: str) -> Check:
    """Whether the VPC resolves names, which FSx and the cluster need."""
    off = [f"--{flag}" for flag, on in (("enable-dns-support", support), ("enable-dns-hostnames", hostnames)) if not on]
    if not off:
        return ok("VPC names", _VPC, "DNS support and DNS hostnames are on")
    # EC2 changes one of them in a call.
    mend = " && ".join(f"aws ec2 modify-vpc-attribute --vpc-id {vpc_id} {flag}" for flag in off)
    what = " and ".join(flag.removeprefix("--enable-dns-") for flag in off)
    return error("VPC names", _VPC, f"DNS {what} off in {vpc_id}: nodes find neither file system nor head node", mend)


def _subnet(clients: Clients, site: Site, subnet_id: str) -> Iterator[Check]:
    network = site.config.network
    assert network.vpc_id is not None
    assert network.availability_zone is not None
    answer = find(
        "ec2:DescribeSubnets",
        lambda: clients.ec2.describe_subnets(SubnetIds=[subnet_id]),
        missing=("InvalidSubnetID.NotFound",),
    )
    subnet = answer["Subnets"][0] if answer else None
    yield decide_subnet(subnet, subnet_id=subnet_id, vpc_id=network.vpc_id, zone=network.availability_zone)
    if subnet is not None:
        need = addresses.wanted(
            site.config,
            site.types,
            file_system_is_there=site.has_file_system,
            head_node_is_there=bool(site.is_deployed("cluster")),
        )
        free = subnet["AvailableIpAddressCount"]
        yield from addresses.decide(f"{_SUBNET} {subnet_id}", free, need, mend="Take a larger subnet")


def _routes(clients: Clients, subnet_id: str, vpc_id: str) -> Iterator[Check]:
    def tables(name: str, value: str) -> list[Sequence[RouteTypeDef]]:
        filters = [{"Name": name, "Values": [value]}, {"Name": "vpc-id", "Values": [vpc_id]}]
        found = clients.ec2.describe_route_tables(Filters=filters)["RouteTables"]  # type: ignore[arg-type]
        return [table.get("Routes", []) for table in found]

    # A subnet without a table of its own has the VPC's main one.
    found = ask(
        "ec2:DescribeRouteTables",
        lambda: tables("association.subnet-id", subnet_id) or tables("association.main", "true"),
    )
    yield decide_route(found[0] if found else None, subnet_id=subnet_id)


def _names(clients: Clients, vpc_id: str) -> Iterator[Check]:
    support = find(
        "ec2:DescribeVpcAttribute",
        lambda: clients.ec2.describe_vpc_attribute(VpcId=vpc_id, Attribute="enableDnsSupport"),
        missing=("InvalidVpcID.NotFound",),
    )
    if support is None:
        yield error("VPC names", _VPC, f"there is no {vpc_id}", "aws ec2 describe-vpcs")
        return
    hostnames = ask(
        "ec2:DescribeVpcAttribute",
        lambda: clients.ec2.describe_vpc_attribute(VpcId=vpc_id, Attribute="enableDnsHostnames"),
    )
    yield decide_names(
        support=support["EnableDnsSupport"].get("Value", False),
        hostnames=hostnames["EnableDnsHostnames"].get("Value", False),
        vpc_id=vpc_id,
    )


def _endpoint(clients: Clients, vpc_id: str, region: str) -> Iterator[Check]:
    service = f"com.amazonaws.{region}.s3"

    def endpoints() -> int:
        filters = [{"Name": "vpc-id", "Values": [vpc_id]}, {"Name": "service-name", "Values": [service]}]
        found = clients.ec2.describe_vpc_endpoints(Filters=filters)["VpcEndpoints"]  # type: ignore[arg-type]
        return sum(str(endpoint.get("State", "")).lower() in ("available", "pending") for endpoint in found)

    if ask("ec2:DescribeVpcEndpoints", endpoints):
        yield ok("S3 endpoint", _VPC, f"{vpc_id} has one")
    else:
        mend = f"aws ec2 create-vpc-endpoint --vpc-id {vpc_id} --service-name {service} --route-table-ids TABLE"
        reason = f"{vpc_id} has none: what nodes fetch from S3 goes through NAT and is paid for"
        yield warning("S3 endpoint", _VPC, reason, mend)
