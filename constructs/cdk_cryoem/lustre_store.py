"""FSx for Lustre as a cache between the buckets: movies appear under /data, results leave from /projects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jsii
from aws_cdk import Duration, RemovalPolicy, Size, Tags
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_fsx as fsx
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from constructs import Construct

from .landing_zone import DATASETS_PREFIX
from .lustre_rules import (
    association_problems,
    association_set_problems,
    file_system_problems,
    generation_problems,
)
from .problems import require

DATA_PATH = "/data"
PROJECTS_PATH = "/projects"
PROJECTS_PREFIX = "projects/"


@runtime_checkable
class ILustreStore(Protocol):
    """A Lustre file system that nodes can mount."""

    @property
    def file_system_id(self) -> str:
        """The file system, fs-..."""

    @property
    def client_security_group(self) -> ec2.ISecurityGroup:
        """What carries this security group may mount the file system."""

    @property
    def mount_source(self) -> str | None:
        """What is mounted, HOST@tcp:/NAME; ParallelCluster finds it out by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _ImportedLustreStore:
    file_system_id: str
    client_security_group: ec2.ISecurityGroup
    mount_source: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Association:
    """One data repository association: a folder of the file system and the S3 prefix behind it.

    path: folder, below the root. bucket, prefix: what is behind it.
    import_events: changes in S3 that become visible on the file system (metadata at once, content at first read).
    export_events: changes on the file system that are copied to S3. DELETED is refused.
    """

    path: str
    bucket: s3.IBucket
    prefix: str
    import_events: Sequence[str] = ()
    export_events: Sequence[str] = ()

    @property
    def data_repository_path(self) -> str:
        """The S3 side, as FSx wants it."""
        return f"s3://{self.bucket.bucket_name}/{self.prefix}"


@jsii.implements(ec2.IConnectable)
class LustreStore(Construct):
    """An FSx for Lustre file system with an import-only path for movies and an export-only path for results.

    `/data` shows `datasets/` of the landing bucket (NEW and CHANGED are imported, nothing is ever exported), `/projects`
    is exported to `projects/` of the results bucket (NEW and CHANGED). The movies of a new
    file system are there again by themselves; earlier results stay in S3 and have to be copied back.

    vpc, subnet: one subnet; put it where the GPU nodes are, traffic between zones is slow and billed.
    capacity: 1200, 2400 or a multiple of 2400 GiB. Default 2400 (one dataset of 2 TB; take 4800 for several people).
    throughput_mibps_per_tib: 125, 250 (default), 500 or 1000; 2400 GiB at 250 give 585 MiB/s. Nothing with SCRATCH_2.
    metadata_iops: default automatic.
    deployment_type: PERSISTENT_2 (default), or SCRATCH_2 for a single session (not replicated).
    lustre_version: default 2.15.
    key: default the AWS managed key; give the landing zone's.
    client_security_group, file_system_security_group: default new ones with just the Lustre ports.
    associations: more than the two; eight at most in all.
    generation: 1 is the first file system. The next number makes a new, empty one beside it (the old one is retained and
        costs on), on which movies and results appear again, read from S3 when they are first used: docs/file-system.md,
        "Restore". Clusters that use the old one have to be destroyed first.

    The file system is retained when the stack goes. Costs (us-east-1): 2400 GiB at 250 MiB/s/TiB 504 USD a month.
    IAM to deploy: fsx:*, iam:CreateServiceLinkedRole for s3.data-source.lustre.fsx.
    Errors: CryoEmError for every rule of `lustre_rules`.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        vpc: ec2.IVpc,
        subnet: ec2.ISubnet,
        landing_bucket: s3.IBucket,
        results_bucket: s3.IBucket,
        capacity: Size | None = None,
        throughput_mibps_per_tib: int | None = None,
        metadata_iops: int | None = None,
        deployment_type: str = "PERSISTENT_2",
        lustre_version: str = "2.15",
        key: kms.IKey | None = None,
        client_security_group: ec2.ISecurityGroup | None = None,
        file_system_security_group: ec2.ISecurityGroup | None = None,
        associations: Sequence[Association] = (),
        generation: int = 1,
    ) -> None:
        super().__init__(scope, id)
        persistent = deployment_type == "PERSISTENT_2"
        if throughput_mibps_per_tib is None and persistent:
            throughput_mibps_per_tib = 250
        capacity_gib = int((capacity or Size.gibibytes(2400)).to_gibibytes())
        self._generation = generation
        self.declared_associations: tuple[Association, ...] = (
            Association(
                path=DATA_PATH, bucket=landing_bucket, prefix=DATASETS_PREFIX, import_events=("NEW", "CHANGED")
            ),
            Association(
                path=PROJECTS_PATH, bucket=results_bucket, prefix=PROJECTS_PREFIX, export_events=("NEW", "CHANGED")
            ),
            *associations,
        )
        all_associations = self.declared_associations
        require(
            f"LustreStore {id!r}",
            [
                *file_system_problems(
                    deployment_type=deployment_type,
                    capacity_gib=capacity_gib,
                    throughput_mibps_per_tib=throughput_mibps_per_tib,
                    metadata_iops=metadata_iops,
                    lustre_version=lustre_version,
                ),
                *(
                    problem.under(f"association {a.path}")
                    for a in all_associations
                    for problem in association_problems(
                        path=a.path,
                        data_repository_path=a.data_repository_path,
                        import_events=a.import_events,
                        export_events=a.export_events,
                    )
                ),
                *association_set_problems(
                    [a.path for a in all_associations], [a.data_repository_path for a in all_associations]
                ),
                *generation_problems(generation),
            ],
        )

        self.client_security_group: ec2.ISecurityGroup = client_security_group or ec2.SecurityGroup(
            self,
            "ClientSecurityGroup",
            vpc=vpc,
            description="May mount the Lustre file system",
            allow_all_outbound=True,
        )
        self.file_system_security_group: ec2.ISecurityGroup = file_system_security_group or ec2.SecurityGroup(
            self, "SecurityGroup", vpc=vpc, description="The Lustre file system", allow_all_outbound=False
        )
        if file_system_security_group is None:
            self._open_lustre_ports()
        self.file_system: fsx.CfnFileSystem = fsx.CfnFileSystem(
            self,
            self._numbered("Resource"),
            file_system_type="LUSTRE",
            file_system_type_version=lustre_version,
            storage_capacity=capacity_gib,
            storage_type="SSD",
            subnet_ids=[subnet.subnet_id],
            security_group_ids=[self.file_system_security_group.security_group_id],
            # SCRATCH_2 has a key of AWS's own and takes no other (FSx API reference, KmsKeyId).
            kms_key_id=key.key_arn if key and persistent else None,
            lustre_configuration=fsx.CfnFileSystem.LustreConfigurationProperty(
                deployment_type=deployment_type,
                per_unit_storage_throughput=throughput_mibps_per_tib,
                data_compression_type="LZ4",
                metadata_configuration=self._metadata(metadata_iops) if persistent else None,
            ),
        )
        self.file_system.apply_removal_policy(RemovalPolicy.RETAIN)
        Tags.of(self.file_system).add("Name", self.node.path)
        self.associations: tuple[fsx.CfnDataRepositoryAssociation, ...] = tuple(
            self._associate(association) for association in all_associations
        )
        self.capacity_gib: int = capacity_gib
        self.connections: ec2.Connections = ec2.Connections(security_groups=[self.file_system_security_group])

    @staticmethod
    def from_lustre_store_attributes(
        *, file_system_id: str, client_security_group: ec2.ISecurityGroup, mount_source: str | None = None
    ) -> ILustreStore:
        """A file system made elsewhere. mount_source: HOST@tcp:/NAME, which Pcs needs."""
        return _ImportedLustreStore(
            file_system_id=file_system_id, client_security_group=client_security_group, mount_source=mount_source
        )

    @property
    def file_system_id(self) -> str:
        """The file system, fs-..."""
        return self.file_system.ref

    @property
    def mount_source(self) -> str:
        """What is mounted, HOST@tcp:/NAME."""
        return f"{self.file_system.attr_dns_name}@tcp:/{self.file_system.attr_lustre_mount_name}"

    def metric_free_storage_bytes(self) -> cloudwatch.Metric:
        """Free space of the file system in bytes.

        FSx sends a value for each disk every minute, so that only their sum over one minute is the file system's.
        """
        return self._metric("FreeDataStorageCapacity", statistic="Sum")

    def metric_free_storage_percent(self) -> cloudwatch.MathExpression:
        """Free space of the file system in percent of what is paid for."""
        return cloudwatch.MathExpression(
            expression=f"100 * free / {self.capacity_gib * 2**30}",
            using_metrics={"free": self.metric_free_storage_bytes()},
            period=Duration.minutes(1),
            label="Free space, %",
        )

    def metric_queued_seconds(self, publisher: str) -> cloudwatch.Metric:
        """How long the oldest change waits, over all associations. publisher: AutoImport or AutoExport."""
        return self._metric("AgeOfOldestQueuedMessage", statistic="Maximum", Publisher=publisher)

    def _metric(self, name: str, *, statistic: str, **dimensions: str) -> cloudwatch.Metric:
        return cloudwatch.Metric(
            namespace="AWS/FSx",
            metric_name=name,
            dimensions_map={"FileSystemId": self.file_system_id, **dimensions},
            statistic=statistic,
            period=Duration.minutes(1),
        )

    def _numbered(self, id: str) -> str:
        """The id of this generation's part; the first one's has no number, as it was before there were any."""
        return id if self._generation == 1 else f"{id}{self._generation}"

    def _open_lustre_ports(self) -> None:
        own, clients = self.file_system_security_group, self.client_security_group
        # 988 carries the data, 1018-1023 answer it (FSx user guide, "File system access control with Amazon VPC").
        for port in (ec2.Port.tcp(988), ec2.Port.tcp_range(1018, 1023)):
            for peer, who in ((own, "between file servers"), (clients, "from clients")):
                own.connections.allow_from(peer, port, f"Lustre {who}")
            clients.connections.allow_from(own, port, "Lustre from the file servers")

    @staticmethod
    def _metadata(iops: int | None) -> fsx.CfnFileSystem.MetadataConfigurationProperty:
        if iops is None:
            return fsx.CfnFileSystem.MetadataConfigurationProperty(mode="AUTOMATIC")
        return fsx.CfnFileSystem.MetadataConfigurationProperty(mode="USER_PROVISIONED", iops=iops)

    def _associate(self, association: Association) -> fsx.CfnDataRepositoryAssociation:
        def policy(events: Sequence[str]) -> dict[str, list[str]] | None:
            return {"events": list(events)} if events else None

        name = "".join(part.capitalize() for part in association.path.strip("/").replace("-", "/").split("/"))
        created = fsx.CfnDataRepositoryAssociation(
            self,
            self._numbered(f"{name}Association"),
            file_system_id=self.file_system_id,
            file_system_path=association.path,
            data_repository_path=association.data_repository_path,
            # A new file system takes the place of one whose results are in S3: they are seen again at once.
            batch_import_meta_data_on_create=bool(association.import_events) or self._generation > 1,
            s3={
                key: value
                for key, value in (
                    ("autoImportPolicy", policy(association.import_events)),
                    ("autoExportPolicy", policy(association.export_events)),
                )
                if value
            },
        )
        created.apply_removal_policy(RemovalPolicy.RETAIN)
        return created
