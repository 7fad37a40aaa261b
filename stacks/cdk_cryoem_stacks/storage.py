"""Buckets, key and file system: retained, termination-protected, older and longer-lived than any cluster."""

from __future__ import annotations

from aws_cdk import CfnOutput, Duration, Size, Stack
from aws_cdk import aws_ec2 as ec2
from constructs import Construct

from cdk_cryoem import LandingZone, LustreStore

from .config import Config


class StorageStack(Stack):
    """LandingZone and LustreStore."""

    def __init__(
        self, scope: Construct, id: str, *, config: Config, vpc: ec2.IVpc, subnet: ec2.ISubnet, **kwargs: object
    ) -> None:
        super().__init__(scope, id, termination_protection=True, **kwargs)  # type: ignore[arg-type]
        self.landing_zone: LandingZone = LandingZone(
            self, "LandingZone", noncurrent_expiration=Duration.days(config.landing.noncurrent_days)
        )
        self.file_system: LustreStore = LustreStore(
            self,
            "FileSystem",
            vpc=vpc,
            subnet=subnet,
            landing_bucket=self.landing_zone.landing_bucket,
            results_bucket=self.landing_zone.results_bucket,
            capacity=Size.gibibytes(config.file_system.capacity_gib),
            throughput_mibps_per_tib=config.file_system.throughput_mibps_per_tib,
            deployment_type=config.file_system.deployment_type,
            generation=config.file_system.generation,
            key=self.landing_zone.key,
        )
        # Used by some configurations and not by others: an export that goes while another stack still imports it would
        # make the deployment fail that stops using it.
        for value in (
            self.landing_zone.results_bucket.bucket_name,
            self.landing_zone.results_bucket.bucket_arn,
            self.landing_zone.key.key_arn,
            self.file_system.file_system_id,
            self.file_system.file_system.attr_dns_name,
            self.file_system.file_system.attr_lustre_mount_name,
        ):
            self.export_value(value)
        CfnOutput(self, "LandingBucket", value=self.landing_zone.landing_bucket.bucket_name)
        CfnOutput(self, "ResultsBucket", value=self.landing_zone.results_bucket.bucket_name)
        CfnOutput(self, "FileSystemId", value=self.file_system.file_system_id)
