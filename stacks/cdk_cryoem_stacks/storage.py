"""Buckets, key, file system and records: retained, termination-protected, older and longer-lived than any cluster."""

from __future__ import annotations

from collections.abc import Collection

from aws_cdk import CfnOutput, Duration, RemovalPolicy, Size, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from cdk_cryoem import DatasetGroup, DatasetGroups, LandingZone, LustreStore, RecordsTable
from cdk_cryoem.landing_zone import LANDING, RESULTS

from .config import Config


class StorageStack(Stack):
    """LandingZone, LustreStore, RecordsTable, and DatasetGroups when the file has groups.

    deletable: of file_system, results and landing what goes with the stack (default nothing); `deletion.py` says when.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        config: Config,
        vpc: ec2.IVpc,
        subnet: ec2.ISubnet,
        deletable: Collection[str] = (),
        **kwargs: object,
    ) -> None:
        super().__init__(scope, id, termination_protection=not deletable, **kwargs)  # type: ignore[arg-type]
        landing = config.landing
        self.landing_zone: LandingZone = LandingZone(
            self,
            "LandingZone",
            noncurrent_expiration=Duration.days(landing.noncurrent_days),
            object_lock=_days(landing.object_lock_days),
            archive_after=_days(landing.archive_after_days),
            replicate_to=landing.replicate_to.second_copy() if landing.replicate_to is not None else None,
            removable=[name for name in (LANDING, RESULTS) if name in deletable],
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
        self.records: RecordsTable = RecordsTable(self, "Records")
        if "file_system" in deletable:
            for resource in (self.file_system.file_system, *self.file_system.associations):
                # A change that replaces it still keeps it: only its end with the stack is meant.
                resource.apply_removal_policy(RemovalPolicy.DESTROY, apply_to_update_replace_policy=False)
        self.groups: DatasetGroups | None = self._groups(config, vpc) if config.groups else None
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

    def _groups(self, config: Config, vpc: ec2.IVpc) -> DatasetGroups:
        readers = {arn for group in config.groups for arn in group.reader_role_arns}
        roles = {arn: iam.Role.from_role_arn(self, f"Reader-{arn}", arn, mutable=False) for arn in sorted(readers)}
        made = DatasetGroups(
            self,
            "Groups",
            landing_zone=self.landing_zone,
            groups=[
                DatasetGroup(
                    name=group.name,
                    datasets=group.datasets,
                    readers=[roles[arn] for arn in group.reader_role_arns],
                    vpc=vpc if group.vpc_only else None,
                )
                for group in config.groups
            ],
        )
        for name, doors in made.doors.items():
            place = Construct(self, f"Group-{name}")
            CfnOutput(
                place, "Movies", value=doors.movies.attr_alias, description=f"Movies of {name}, like a bucket's name"
            )
            CfnOutput(place, "Results", value=doors.results.attr_alias, description=f"Results of {name}")
        return made


def _days(days: int | None) -> Duration | None:
    return Duration.days(days) if days is not None else None
