"""A network without public addresses: private subnets, endpoints instead of ways through the internet, flow logs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Any

from aws_cdk import RemovalPolicy, Tags
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from .problems import Problem, known, require

ENDPOINTS: Mapping[str, str] = {
    "ssm": "Session Manager and the hooks' documents; parameters",
    "ssmmessages": "Session Manager and the hooks' documents",
    "ec2messages": "agents of Systems Manager before 3.3",
    "secretsmanager": "cryoSPARC's login and licence; Slurm's key with PCS",
    "events": "job events of the head node",
    "logs": "logs of head node and nodes",
    "monitoring": "their metrics",
    "ec2": "the head node starts nodes; with PCS it attaches its volume",
    "cloudformation": "ParallelCluster's nodes while they boot",
    "sts": "programs that take another role",
    "kms": "programs that encrypt by themselves",
    "sqs": "ParallelCluster's nodes; programs of yours",
    "fsx": "commands about the file system, from the head node",
    "datasync": "commands about transfers, from the head node",
    "pcs": "nodes of AWS PCS report to their cluster",
}
"""Services whose interface endpoints can be made, each with who calls it."""
STANDARD_ENDPOINTS = ("ssm", "ssmmessages", "ec2messages", "secretsmanager", "events", "logs")
"""What `standard` means: what every head node calls, whatever runs Slurm."""
ENDPOINT_GROUPS: Mapping[str, Sequence[str]] = {"standard": STANDARD_ENDPOINTS, "all": tuple(ENDPOINTS)}


class PrivateNetwork(Construct):
    """A VPC whose machines have no public addresses: private subnets, S3 and DynamoDB gateway endpoints, flow logs.

    cidr: its addresses, /16 to /24; default 10.20.0.0/16. availability_zone: its one zone. Default: the first two zones, of
        which cluster and file system use the first; a load balancer needs both.
    nat: a NAT gateway, so that machines reach the internet and nobody reaches them; default yes. Without it there are no
        public subnets and no internet gateway, and machines reach AWS by endpoints alone: no licence server of
        cryoSPARC, no PyPI, no package servers. Its address is the network's only public one.
    endpoints: interface endpoints, in the first subnet: names of `ENDPOINTS`, or standard, or all. Default: none, and calls
        to AWS go through NAT.
    flow_log_retention: default six months; the logs stay when the network goes.

    A cluster in the same stack needs the endpoints before it boots: `cluster.node.add_dependency(network)`.
    The default security group stays as EC2 makes it, which only a custom resource could change; nothing here uses it.

    Errors: CryoEmError for a cidr or an endpoint that is none.
    Costs (list prices, us-east-1): NAT gateway 32.85 USD a month (0.045 an hour) and 0.045 per GB, its address 3.65; an
    interface endpoint 7.30 USD a month (0.01 an hour and zone) and 0.01 per GB; gateway endpoints nothing; flow logs 0.50
    per GB. IAM to deploy: ec2, logs, and a role for flow logs.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cidr: str = "10.20.0.0/16",
        availability_zone: str | None = None,
        nat: bool = True,
        endpoints: Sequence[str] = (),
        flow_log_retention: logs.RetentionDays = logs.RetentionDays.SIX_MONTHS,
    ) -> None:
        super().__init__(scope, id)
        require(f"PrivateNetwork {id!r}", [*cidr_problems(cidr), *endpoint_problems(endpoints)])
        self.nat: bool = nat
        zones: Any = {"availability_zones": [availability_zone]} if availability_zone else {"max_azs": 2}
        self.vpc: ec2.Vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(cidr),
            **zones,
            nat_gateways=1 if nat else 0,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public",
                    subnet_type=ec2.SubnetType.PUBLIC,
                    cidr_mask=26,
                    map_public_ip_on_launch=False,
                    # Its addresses stay reserved, so that the private subnets have the same ones with NAT and without.
                    reserved=not nat,
                ),
                ec2.SubnetConfiguration(
                    name="Private",
                    subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS if nat else ec2.SubnetType.PRIVATE_ISOLATED,
                ),
            ],
            # The L2 would empty the default group by a custom resource; nothing here uses that group.
            restrict_default_security_group=False,
            gateway_endpoints={
                "S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3),
                "DynamoDb": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.DYNAMODB),
            },
        )
        self.private_subnets: Sequence[ec2.ISubnet] = self.vpc.private_subnets if nat else self.vpc.isolated_subnets
        self.public_subnets: Sequence[ec2.ISubnet] = self.vpc.public_subnets if nat else ()
        self.subnet: ec2.ISubnet = self.private_subnets[0]
        self._name()
        self.flow_log_group: logs.LogGroup = logs.LogGroup(
            self, "FlowLogs", retention=flow_log_retention, removal_policy=RemovalPolicy.RETAIN
        )
        self.flow_log: ec2.FlowLog = self.vpc.add_flow_log(
            "FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(self.flow_log_group)
        )
        self.endpoint_security_group: ec2.SecurityGroup | None = None
        self.endpoints: Mapping[str, ec2.InterfaceVpcEndpoint] = {}
        wanted = endpoint_names(endpoints)
        if wanted:
            self.endpoint_security_group = self._endpoint_security_group(cidr)
            self.endpoints = {name: self._endpoint(name, self.endpoint_security_group) for name in wanted}

    def _name(self) -> None:
        name = self.node.path.removesuffix("/Default")
        Tags.of(self.vpc).add("Name", name)
        for kind, subnets in (("private", self.private_subnets), ("public", self.public_subnets)):
            for number, subnet in enumerate(subnets, start=1):
                Tags.of(subnet).add("Name", f"{name} {kind} {number}")

    def _endpoint_security_group(self, cidr: str) -> ec2.SecurityGroup:
        group = ec2.SecurityGroup(
            self,
            "EndpointSecurityGroup",
            vpc=self.vpc,
            description="Interface endpoints of AWS services",
            allow_all_outbound=False,
        )
        group.add_ingress_rule(ec2.Peer.ipv4(cidr), ec2.Port.tcp(443), "AWS APIs, from this network")
        Tags.of(group).add("Name", f"{self.node.path.removesuffix('/Default')} interface endpoints")
        return group

    def _endpoint(self, name: str, group: ec2.SecurityGroup) -> ec2.InterfaceVpcEndpoint:
        return ec2.InterfaceVpcEndpoint(
            self,
            f"Endpoint-{name}",
            vpc=self.vpc,
            service=ec2.InterfaceVpcEndpointAwsService(name),
            # One zone: cluster and file system are in it, and each further one costs as much again.
            subnets=ec2.SubnetSelection(subnets=[self.subnet]),
            security_groups=[group],
            open=False,
            private_dns_enabled=True,
        )


def endpoint_names(wanted: Sequence[str]) -> list[str]:
    """The services that are meant, each once: groups opened, in the order of `ENDPOINTS`."""
    named = {name for each in wanted for name in ENDPOINT_GROUPS.get(each, (each,))}
    return [name for name in ENDPOINTS if name in named]


def endpoint_problems(wanted: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with a list of endpoints."""
    allowed = [*ENDPOINT_GROUPS, *ENDPOINTS]
    for name in wanted:
        if known(name) and name not in allowed:
            # People who know S3's endpoint look for it here.
            there = name in ("s3", "dynamodb")
            yield Problem(
                property="endpoints",
                value=name,
                allowed=", ".join(allowed),
                fix="Its gateway endpoint is always there and costs nothing" if there else "",
            )


def cidr_problems(cidr: str) -> Iterator[Problem]:
    """What is wrong with a network's addresses."""
    if not known(cidr):
        return
    try:
        network = IPv4Network(cidr, strict=False)
    except ValueError:
        network = None
    if network is None or not 16 <= network.prefixlen <= 24:
        yield Problem(property="cidr", value=cidr, allowed="four numbers up to 255 and a size of /16 to /24")
