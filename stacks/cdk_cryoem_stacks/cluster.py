"""The cluster: replaceable, holds nothing that cannot be made again except cryoSPARC's retained volume."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict

from aws_cdk import CfnOutput, Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk_cryoem import Cap, Cryosparc, CryosparcWeb, HeadNode, ILustreStore, Lane, ParallelCluster, Pcs

from .config import Config
from .web import web


class _Common(TypedDict):
    vpc: ec2.IVpc
    subnet: ec2.ISubnet
    lanes: list[Lane]
    file_system: ILustreStore
    cluster_name: str
    head_node: HeadNode
    recipes: str | None
    cryosparc: Cryosparc | None
    backup_bucket: s3.IBucket
    stages: dict[str, str]
    caps: list[Cap]
    records: dynamodb.ITable
    head_node_security_groups: list[ec2.ISecurityGroup]
    tags: dict[str, str]


class ClusterStack(Stack):
    """The engine of the configuration, with its lanes."""

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
        records: dynamodb.ITable,
        provider_service_token: str | None,
        web_subnets: Sequence[ec2.ISubnet] = (),
        **kwargs: object,
    ) -> None:
        super().__init__(scope, id, **kwargs)  # type: ignore[arg-type]
        head_node, boundary = config.head_node, config.permissions_boundary_arn
        cryosparc = self._cryosparc(config)
        self.web: CryosparcWeb | None = web(self, config.web, vpc, web_subnets) if config.web else None
        common = _Common(
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
            recipes=str(config_folder / config.processing.recipes) if config.processing else None,
            cryosparc=cryosparc,
            backup_bucket=results_bucket,
            stages=config.stages,
            caps=config.all_caps(),
            records=records,
            head_node_security_groups=[self.web.head_node_security_group] if self.web else [],
            tags={"cryoem:system": config.name, **config.tags},
        )
        self.engine: ParallelCluster | Pcs
        if config.pcs is not None and config.engine == "pcs":
            self.engine = Pcs(
                self,
                "Cluster",
                **common,
                ami_id=config.pcs.ami_id,
                slurm_version=config.pcs.slurm_version,
                size=config.pcs.size,
                longest_hold_minutes=config.waiting.longest_minutes if config.waiting else 0,
                log_retention=_RETENTION[config.log_retention_days],
            )
        else:
            self.engine = ParallelCluster(
                self,
                "Cluster",
                **common,
                operating_system=head_node.operating_system,
                idle_backstop_minutes=config.idle_backstop_minutes,
                provider_service_token=provider_service_token,
                permissions_boundary=(
                    iam.ManagedPolicy.from_managed_policy_arn(self, "Boundary", boundary) if boundary else None
                ),
                log_retention_days=config.log_retention_days,
            )
        if self.web is not None:
            self.web.serve(self.engine)
            CfnOutput(self, "WebAddress", value=self.web.load_balancer.load_balancer_dns_name)
        CfnOutput(self, "HeadNode", value=self.engine.head_node_instance_id)
        CfnOutput(self, "LaneManifest", value=self.engine.lane_manifest.parameter_name)
        CfnOutput(self, "EventBus", value=self.engine.event_bus.event_bus_name)

    def _cryosparc(self, config: Config) -> Cryosparc | None:
        if config.cryosparc is None:
            return None
        return Cryosparc(
            license=secretsmanager.Secret.from_secret_complete_arn(
                self, "CryosparcLicense", config.cryosparc.license_secret_arn
            ),
            version=config.cryosparc.version,
            license_tokens=config.cryosparc.license_tokens,
        )


_RETENTION = {
    1: logs.RetentionDays.ONE_DAY,
    3: logs.RetentionDays.THREE_DAYS,
    5: logs.RetentionDays.FIVE_DAYS,
    7: logs.RetentionDays.ONE_WEEK,
    14: logs.RetentionDays.TWO_WEEKS,
    30: logs.RetentionDays.ONE_MONTH,
    60: logs.RetentionDays.TWO_MONTHS,
    90: logs.RetentionDays.THREE_MONTHS,
    120: logs.RetentionDays.FOUR_MONTHS,
    150: logs.RetentionDays.FIVE_MONTHS,
    180: logs.RetentionDays.SIX_MONTHS,
    365: logs.RetentionDays.ONE_YEAR,
    400: logs.RetentionDays.THIRTEEN_MONTHS,
    545: logs.RetentionDays.EIGHTEEN_MONTHS,
    731: logs.RetentionDays.TWO_YEARS,
    1827: logs.RetentionDays.FIVE_YEARS,
    3653: logs.RetentionDays.TEN_YEARS,
}
