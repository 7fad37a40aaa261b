"""AWS Parallel Computing Service as the engine: its controller, a queue and a node group a lane, a head node of ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from aws_cdk import ArnFormat, CrossStackReferences, Names, ReferenceStrength, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_logs as logs
from aws_cdk import aws_pcs as pcs
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from ._assets import prepare_node_script
from .caps import Cap, records_problems
from .cryosparc import Cryosparc
from .head_node_programs import HeadNodePrograms
from .lane import Lane, lane_set_problems
from .lane_manifest import LaneManifest
from .lustre_store import ILustreStore
from .parallel_cluster import head_node_problems, name_problems
from .parallel_cluster_config import HeadNode
from .pcs_head_node import CLUSTER_TAG, PcsHeadNode, data_volume
from .pcs_lane import PcsLane
from .pcs_logs import PcsLogs
from .pcs_rules import pcs_problems
from .problems import known, require

_USER = "ubuntu"


class Pcs(Construct):
    """A Slurm cluster whose controller AWS runs, with GPU nodes that exist only while jobs run.

    vpc, subnet: where the head node and the nodes are; the file system's subnet, private, with a way out (NAT).
    lanes: one queue and one node group each. file_system: the LustreStore, mounted at /fsx everywhere.
    ami_id: image of head node and nodes: Ubuntu with PCS's agent and its Slurm of this version, the NVIDIA driver, the
        Lustre client, the SSM agent and the AWS CLI. docs/pcs.md says how to have it built.
    cluster_name: default made from the path. head_node: size of the head node.
    slurm_version: 25.11. size: SMALL (default, 32 nodes), MEDIUM or LARGE.
    event_bus, recipes, cryosparc, backup_bucket, stages, caps, records, head_node_security_groups, tags: as for ParallelCluster.
    longest_hold_minutes: longest_minutes of the hooks' Waiting, if they have one: PCS takes idle nodes five minutes after
        that, or after the lane's own hold. Default 0. log_retention: default six months.

    Costs: the controller all the time (SMALL: recalled as 0.60 USD an hour, not confirmed), the head node unless it is
    stopped, nodes while they run, and PCS's fee for each. IAM to deploy: pcs:*, and what CloudFormation's schema lists
    for AWS::PCS::Cluster, ComputeNodeGroup and Queue (ec2:CreateFleet, ec2:RunInstances, ec2:CreateNetworkInterface,
    iam:PassRole, iam:CreateServiceLinkedRole, secretsmanager:CreateSecret and reading ec2:Describe*).
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        vpc: ec2.IVpc,
        subnet: ec2.ISubnet,
        lanes: Sequence[Lane],
        file_system: ILustreStore,
        ami_id: str,
        cluster_name: str | None = None,
        head_node: HeadNode | None = None,
        slurm_version: str = "25.11",
        size: str = "SMALL",
        event_bus: events.IEventBus | None = None,
        recipes: str | None = None,
        cryosparc: Cryosparc | None = None,
        backup_bucket: s3.IBucket | None = None,
        stages: Mapping[str, str] | None = None,
        caps: Sequence[Cap] = (),
        records: dynamodb.ITable | None = None,
        head_node_security_groups: Sequence[ec2.ISecurityGroup] = (),
        longest_hold_minutes: int = 0,
        log_retention: logs.RetentionDays = logs.RetentionDays.SIX_MONTHS,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, id)
        head_node = head_node or HeadNode()
        name = cluster_name or Names.unique_resource_name(self, max_length=32, separator="-").lower()
        require(
            f"Pcs {id!r}",
            [
                *lane_set_problems([lane.name for lane in lanes]),
                *records_problems(caps, given=records is not None),
                *(name_problems(name) if known(name) else ()),
                *head_node_problems(head_node),
                *pcs_problems(
                    lanes=lanes,
                    size=size,
                    slurm_version=slurm_version,
                    ami_id=ami_id,
                    mount_source=file_system.mount_source,
                    root_volume_gib=head_node.root_volume_gib,
                    remote_desktop_from=head_node.remote_desktop_from,
                ),
            ],
        )
        assert file_system.mount_source is not None
        all_tags = {CLUSTER_TAG: name, **(tags or {})}
        self.cluster_name: str = name
        self.lanes: tuple[Lane, ...] = tuple(lanes)
        self.partitions: Mapping[str, str] = {lane.name: lane.partition for lane in lanes}
        self.vpc: ec2.IVpc = vpc
        self.event_bus: events.IEventBus = event_bus or events.EventBus(self, "EventBus")
        self.lane_manifest: LaneManifest = LaneManifest(
            self,
            "LaneManifest",
            cluster_name=name,
            lanes=lanes,
            stages=stages,
            license_tokens=cryosparc.license_tokens if cryosparc else None,
            caps=caps,
            # PCS switches it off on every node (PCS user guide, "Configuring hardware topology").
            hyper_threading=False,
        )
        self.security_group: ec2.SecurityGroup = ec2.SecurityGroup(
            self, "SecurityGroup", vpc=vpc, description="Controller, head node and nodes of the Slurm cluster"
        )
        # Slurm's daemons call each other on ports of their own choice (PCS user guide, security group requirements).
        self.security_group.add_ingress_rule(self.security_group, ec2.Port.all_traffic(), "Within the cluster")
        if any(lane.has_efa for lane in lanes):
            # What an adapter sends has no address, so the rule that lets everything out to 0.0.0.0/0 is none for it.
            ec2.CfnSecurityGroupEgress(
                self,
                "AdapterEgress",
                group_id=self.security_group.security_group_id,
                destination_security_group_id=self.security_group.security_group_id,
                ip_protocol="-1",
                description="Elastic Fabric Adapters within the cluster",
            )
        # Not called Resource: CloudFormation changes no resource's type, and ParallelCluster has that id where a system
        # goes from one engine to the other.
        self.cluster: pcs.CfnCluster = pcs.CfnCluster(
            self,
            "PcsCluster",
            size=size,
            scheduler=pcs.CfnCluster.SchedulerProperty(type="SLURM", version=slurm_version),
            networking=pcs.CfnCluster.NetworkingProperty(
                subnet_ids=[subnet.subnet_id], security_group_ids=[self.security_group.security_group_id]
            ),
            slurm_configuration=pcs.CfnCluster.SlurmConfigurationProperty(
                slurm_custom_settings=[
                    pcs.CfnCluster.SlurmCustomSettingProperty(
                        parameter_name="SelectTypeParameters", parameter_value="CR_CPU_Memory"
                    )
                ]
            ),
            tags=all_tags,
        )
        self.logs: PcsLogs = PcsLogs(
            self,
            "Logs",
            cluster_name=name,
            cluster_arn=self.cluster.attr_arn,
            event_bus=self.event_bus,
            retention=log_retention,
        )
        self.node_script: s3_assets.Asset = s3_assets.Asset(self, "NodeScript", path=str(prepare_node_script()))
        self.node_role: iam.Role = self._node_role()
        self.instance_profile: iam.InstanceProfile = iam.InstanceProfile(
            self, "InstanceProfile", role=self.node_role, path="/aws-pcs/"
        )
        security_group_ids = [
            self.security_group.security_group_id,
            file_system.client_security_group.security_group_id,
        ]
        self.lane_resources: Mapping[str, PcsLane] = {
            lane.name: PcsLane(
                self,
                f"Lane-{lane.name}",
                lane=lane,
                cluster_id=self.cluster.attr_id,
                subnet=subnet,
                security_group_ids=security_group_ids,
                ami_id=ami_id,
                instance_profile_arn=self.instance_profile.instance_profile_arn,
                node_script=self.node_script,
                mount_source=file_system.mount_source,
                is_default=lane is lanes[0],
                tags=all_tags,
                longest_hold_minutes=longest_hold_minutes,
            )
            for lane in lanes
        }
        self.data_volume: ec2.Volume = data_volume(
            self, "DataVolume", cluster_name=name, subnet=subnet, gib=head_node.cryosparc_volume_gib
        )
        self.programs: HeadNodePrograms = HeadNodePrograms(
            self,
            "Programs",
            cluster_name=name,
            event_bus=self.event_bus,
            lane_manifest=self.lane_manifest,
            recipes=recipes,
            cryosparc=cryosparc,
            backup_bucket=backup_bucket,
            records=records,
            settings={
                "slurm_bin": f"/opt/aws/pcs/scheduler/slurm-{slurm_version}/bin",
                "user": _USER,
                "pcs_cluster": self.cluster.attr_id,
                "data_volume": self.data_volume.volume_id,
                "lustre": file_system.mount_source,
            },
        )
        self.head_node_role: iam.Role = self._head_node_role()
        self.head_node: PcsHeadNode = PcsHeadNode(
            self,
            "HeadNode",
            cluster_name=name,
            subnet=subnet,
            security_group_ids=[
                *security_group_ids,
                *(group.security_group_id for group in head_node_security_groups),
            ],
            ami_id=ami_id,
            head_node=head_node,
            role=self.head_node_role,
            programs=self.programs,
            tags=all_tags,
        )
        places = [place for place in (subnet.subnet_id, subnet.availability_zone) if known(place)]
        self.generation: str = " ".join([ami_id, str(head_node.root_volume_gib), *places])
        # Another image makes another instance, which an import of its id would forbid.
        CrossStackReferences.of(self.head_node.instance).produce(ReferenceStrength.WEAK)
        # Needed while nodes come and while they go, and named nowhere: the way out of the subnet, the Lustre ports.
        self.node.add_dependency(subnet.internet_connectivity_established)
        if isinstance(file_system, Construct):
            self.node.add_dependency(file_system)

    @property
    def head_node_instance_id(self) -> str:
        """The head node's EC2 instance."""
        return self.head_node.instance.ref

    @property
    def instance_tag(self) -> tuple[str, str]:
        """Of the launch templates, and of the head node."""
        return CLUSTER_TAG, self.cluster_name

    def metric_failed_nodes(self) -> cloudwatch.IMetric:
        """Nodes that were wanted and did not come up, in five minutes."""
        return self.logs.metric_failed_nodes()

    def metric_lost_job_records(self) -> cloudwatch.IMetric:
        """Finished jobs whose record could not become an event, so that they are not priced."""
        return self.logs.metric_lost_job_records()

    def _node_role(self) -> iam.Role:
        role = iam.Role(
            self,
            "NodeRole",
            path="/aws-pcs/",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("AmazonSSMManagedInstanceCore")],
            description="Nodes of the Slurm cluster; PCS takes only roles below this path",
        )
        # The action knows no resources (AWS PCS user guide, "IAM instance profiles").
        role.add_to_policy(iam.PolicyStatement(actions=["pcs:RegisterComputeNodeGroupInstance"], resources=["*"]))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["s3:GetObject"],
                resources=[self.node_script.bucket.arn_for_objects(self.node_script.s3_object_key)],
            )
        )
        return role

    def _head_node_role(self) -> iam.Role:
        role = iam.Role(
            self,
            "HeadNodeRole",
            assumed_by=iam.ServicePrincipal("ec2.amazonaws.com"),
            managed_policies=[iam.ManagedPolicy.from_aws_managed_policy_name("AmazonSSMManagedInstanceCore")],
            description="Head node of the Slurm cluster",
        )
        stack = Stack.of(self)
        self.programs.grant_use(role)
        role.add_to_policy(iam.PolicyStatement(actions=["pcs:GetCluster"], resources=[self.cluster.attr_arn]))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["secretsmanager:GetSecretValue"],
                # Slurm's key, which PCS makes and names (PCS user guide, "Cluster secrets").
                resources=[
                    stack.format_arn(
                        service="secretsmanager",
                        resource="secret",
                        resource_name=f"pcs!slurm-secret-{self.cluster.attr_id}-*",
                        arn_format=ArnFormat.COLON_RESOURCE_NAME,
                    )
                ],
            )
        )
        volume = stack.format_arn(service="ec2", resource="volume", resource_name=self.data_volume.volume_id)
        role.add_to_policy(iam.PolicyStatement(actions=["ec2:AttachVolume"], resources=[volume]))
        role.add_to_policy(
            iam.PolicyStatement(
                actions=["ec2:AttachVolume"],
                # Its own id is not known before it is there.
                resources=[stack.format_arn(service="ec2", resource="instance", resource_name="*")],
                conditions={"StringEquals": {f"aws:ResourceTag/{CLUSTER_TAG}": self.cluster_name}},
            )
        )
        return role
