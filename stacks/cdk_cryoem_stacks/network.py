"""The network: a VPC with one private subnet for cluster and file system, or yours."""

from __future__ import annotations

from collections.abc import Sequence

from aws_cdk import Annotations, CfnWaitConditionHandle, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cdk_cryoem import PrivateNetwork

from .config_network import NetworkConfig


class NetworkStack(Stack):
    """A PrivateNetwork, or your VPC, of which nothing is changed."""

    def __init__(self, scope: Construct, id: str, *, config: NetworkConfig, **kwargs: object) -> None:
        super().__init__(scope, id, **kwargs)  # type: ignore[arg-type]
        self.vpc: ec2.IVpc
        self.subnet: ec2.ISubnet
        self.network: PrivateNetwork | None = None
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
        # Default adds nothing to logical ids: a VPC or a subnet with another one would be another VPC or subnet.
        self.network = PrivateNetwork(
            self,
            "Default",
            cidr=config.cidr,
            availability_zone=config.availability_zone,
            nat=config.nat,
            endpoints=config.endpoints,
        )
        self.vpc = self.network.vpc
        self.subnet = self.network.subnet
        # Used by some configurations and not by others: an export that goes while the cluster still imports it would make
        # the deployment fail that stops using it.
        for subnet in (*self.network.private_subnets, *self.network.public_subnets):
            self.export_value(subnet.subnet_id)
        made = self.subnet.node.default_child
        assert isinstance(made, ec2.CfnSubnet)
        self.export_value(made.attr_availability_zone)

    def subnets_for_a_load_balancer(self, *, public: bool) -> Sequence[ec2.ISubnet]:
        """Subnets of the network that is made here, in its zones; none of a network that is yours."""
        if self.network is None:
            return ()
        return self.network.public_subnets if public else self.network.private_subnets
