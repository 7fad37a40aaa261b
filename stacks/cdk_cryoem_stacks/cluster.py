"""The cluster: replaceable, holds nothing that cannot be made again except cryoSPARC's retained volume."""

from __future__ import annotations

from pathlib import Path

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk_cryoem import Cryosparc, HeadNode, ILustreStore, ParallelCluster

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
        results_bucket: s3.IBucket,
        provider_service_token: str | None,
        **kwargs: object,
    ) -> None:
        super().__init__(scope, id, **kwargs)  # type: ignore[arg-type]
        head_node, boundary = config.head_node, config.permissions_boundary_arn
        cryosparc = None
        if config.cryosparc is not None:
            cryosparc = Cryosparc(
                license=secretsmanager.Secret.from_secret_complete_arn(
                    self, "CryosparcLicense", config.cryosparc.license_secret_arn
                ),
                version=config.cryosparc.version,
                license_tokens=config.cryosparc.license_tokens,
            )
        self.engine: ParallelCluster = ParallelCluster(
            self,
            "Cluster",
            vpc=vpc,
            subnet=subnet,
            lanes=config.all_lanes(),
            file_system=file_system,
            cluster_name=config.name,
            head_node=HeadNode(
                instance_type=head_node.instance_type,
                root_volume_gib=head_node.root_volume_gib,
                cryosparc_volume_gib=head_node.cryosparc_volume_gib,
                remote_desktop_from=head_node.remote_desktop_from,
            ),
            operating_system=head_node.operating_system,
            idle_backstop_minutes=config.idle_backstop_minutes,
            tags={"cryoem:system": config.name, **config.tags},
            cryosparc=cryosparc,
            backup_bucket=results_bucket if cryosparc else None,
            permissions_boundary=(
                iam.ManagedPolicy.from_managed_policy_arn(self, "Boundary", boundary) if boundary else None
            ),
            log_retention_days=config.log_retention_days,
            provider_service_token=provider_service_token,
            recipes=str(config_folder / config.processing.recipes) if config.processing else None,
        )
        CfnOutput(self, "HeadNode", value=self.engine.head_node_instance_id)
        CfnOutput(self, "LaneManifest", value=self.engine.lane_manifest.parameter_name)
        CfnOutput(self, "EventBus", value=self.engine.event_bus.event_bus_name)
