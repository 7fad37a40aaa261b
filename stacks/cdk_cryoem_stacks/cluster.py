"""The cluster: replaceable, holds nothing that cannot be made again except cryoSPARC's retained volume."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cdk_cryoem import HeadNode, ILustreStore, ParallelCluster

from .config import Config


class ClusterStack(Stack):
    """ParallelCluster with the lanes of the configuration."""

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: Config,
        config_folder: Path,
        vpc: ec2.IVpc,
        subnet: ec2.ISubnet,
        file_system: ILustreStore,
        provider_service_token: str | None,
        **kwargs: object,
    ) -> None:
        super().__init__(scope, id, **kwargs)  # type: ignore[arg-type]
        head_node = config.head_node
        self.engine: ParallelCluster = ParallelCluster(
            self,
            "Cluster",
            vpc=vpc,
            subnet=subnet,
            lanes=[lane.lane() for lane in config.lanes],
            file_system=file_system,
            cluster_name=config.name,
            head_node=HeadNode(
                instance_type=head_node.instance_type,
                root_volume_gib=head_node.root_volume_gib,
                cryosparc_volume_gib=head_node.cryosparc_volume_gib,
            ),
            operating_system=head_node.operating_system,
            idle_backstop_minutes=config.idle_backstop_minutes,
            tags={"cryoem:system": config.name},
            provider_service_token=provider_service_token,
            recipes=str(config_folder / config.processing.recipes) if config.processing else None,
        )
        CfnOutput(self, "HeadNode", value=self.engine.head_node_instance_id)
        CfnOutput(self, "LaneManifest", value=self.engine.lane_manifest.parameter_name)
        CfnOutput(self, "EventBus", value=self.engine.event_bus.event_bus_name)
