"""The network: a VPC with one private subnet for cluster and file system, or yours."""

from __future__ import annotations

from typing import Any

from aws_cdk import Annotations, CfnWaitConditionHandle, RemovalPolicy, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_logs as logs
from constructs import Construct

from .config_network import NetworkConfig


class NetworkStack(Stack):
    """VPC with NAT, S3 gateway endpoint and flow logs. Costs: the NAT gateway, 33 USD a month plus 0.045 USD per GB."""

    def __init__(self, scope: Construct, id: str, *, config: NetworkConfig, **kwargs: object) -> None:
        super().__init__(scope, id, **kwargs)  # type: ignore[arg-type]
        self.vpc: ec2.IVpc
        self.subnet: ec2.ISubnet
        if config.vpc_id and config.subnet_id and config.availability_zone:
            self.vpc = ec2.Vpc.from_vpc_attributes(
                self,
                "Vpc",
                vpc_id=config.vpc_id,
                availability_zones=[config.availability_zone],
                private_subnet_ids=[config.subnet_id],
            )
            self.subnet = self.vpc.private_subnets[0]
            Annotations.of(self).acknowledge_warning(
                "@aws-cdk/aws-ec2:noSubnetRouteTableId", "Nothing here touches the routes of a network that is yours"
            )
            # CloudFormation refuses a stack without resources; this one makes nothing and costs nothing.
            CfnWaitConditionHandle(self, "Nothing")
            return
        zones: Any = {"availability_zones": [config.availability_zone]} if config.availability_zone else {"max_azs": 2}
        vpc = ec2.Vpc(
            self,
            "Vpc",
            ip_addresses=ec2.IpAddresses.cidr(config.cidr),
            **zones,
            nat_gateways=1,
            subnet_configuration=[
                ec2.SubnetConfiguration(
                    name="Public", subnet_type=ec2.SubnetType.PUBLIC, cidr_mask=26, map_public_ip_on_launch=False
                ),
                ec2.SubnetConfiguration(name="Private", subnet_type=ec2.SubnetType.PRIVATE_WITH_EGRESS),
            ],
            # The L2 would empty the default group by a custom resource; nothing here uses that group.
            restrict_default_security_group=False,
            gateway_endpoints={"S3": ec2.GatewayVpcEndpointOptions(service=ec2.GatewayVpcEndpointAwsService.S3)},
        )
        self.flow_log_group: logs.LogGroup = logs.LogGroup(
            self, "FlowLogs", retention=logs.RetentionDays.SIX_MONTHS, removal_policy=RemovalPolicy.RETAIN
        )
        vpc.add_flow_log("FlowLog", destination=ec2.FlowLogDestination.to_cloud_watch_logs(self.flow_log_group))
        self.vpc = vpc
        self.subnet = vpc.private_subnets[0]
        # Used on PCS alone: an export that goes while the cluster still imports it would make a change of engine fail.
        made = self.subnet.node.default_child
        assert isinstance(made, ec2.CfnSubnet)
        self.export_value(made.attr_availability_zone)
