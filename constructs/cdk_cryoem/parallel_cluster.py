"""ParallelCluster as the engine: provider, generated configuration, head node, queues, job-completion events."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence

from aws_cdk import Aws, CrossStackReferences, CustomResource, Duration, Names, ReferenceStrength, Stack
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from ._assets import prepare_node_script
from .caps import Cap, records_problems
from .cryosparc import Cryosparc
from .head_node_programs import HeadNodePrograms
from .instances import instance_shapes
from .lane import Lane, lane_set_problems
from .lane_manifest import LaneManifest
from .lustre_store import ILustreStore
from .parallel_cluster_config import ClusterInputs, HeadNode, cluster_configuration
from .parallel_cluster_provider import ParallelClusterProvider
from .problems import Problem, known, require

OPERATING_SYSTEMS = ("ubuntu2204", "ubuntu2404")
"""ParallelCluster's systems with the glibc that cryoSPARC 5 wants and the Python 3.10 that our head node wants."""
LOG_RETENTION_DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1827, 3653)
"""How long CloudWatch can keep logs, in days, as ParallelCluster 3.16 knows it."""
# ParallelCluster allows a node so many.
_MAX_TAGS = 40
_TAG = re.compile(r"[\w .:/=+@-]+")
_NODE_FAILURES = (
    "IamPolicyErrors",
    "InstanceBootstrapTimeoutErrors",
    "OnNodeConfiguredDownloadErrors",
    "OnNodeConfiguredRunErrors",
    "OnNodeStartDownloadErrors",
    "OnNodeStartRunErrors",
    "OtherInstanceLaunchFailures",
    "VcpuLimitErrors",
    "VolumeLimitErrors",
)


class ParallelCluster(Construct):
    """A Slurm cluster whose GPU nodes exist only while jobs run, made by AWS ParallelCluster from the lanes.

    vpc, subnet: where the head node and the nodes are; the file system's subnet, private, with a way out (NAT).
    lanes: one Slurm queue each.
    file_system: the LustreStore, mounted at /fsx everywhere.
    cluster_name: at most 40 characters; must differ from every stack's name. Default: made from the path.
    head_node: size of the head node.
    provider_service_token: a ParallelClusterProvider made elsewhere. Default: one of its own.
    version: ParallelCluster's version. operating_system: default ubuntu2204.
    idle_backstop_minutes: an idle node goes after this even if no hook ever acts; default 10. No lane can hold a node
        longer. It is one value for all lanes, and to change it the fleet must be stopped.
    event_bus: where job events go. Default: a new bus.
    recipes: a folder of processing recipes for the head node. Default: none.
    cryosparc: cryoSPARC to install on the head node. Default: none, RELION only.
    backup_bucket: where cryoSPARC's database goes every night, below backups/. Default: nowhere.
    stages: the lane of a processing stage, where another than the table's is wanted.
    caps: what a month, a project or a dataset may cost. records: the table of records (`RecordsTable.table`, the same that
        LaneHooks gets), which the head node needs to keep hard ones. Default: none.
    head_node_security_groups: on the head node besides the file system's, such as CryosparcWeb's; changed while it runs.
    permissions_boundary: on every role that ParallelCluster makes. log_retention_days: default 180.

    Made besides the cluster: the lane manifest, a secret with the password of the hooks' cryoSPARC user (0.40 USD a
    month), policies for the head node and the nodes. Costs: the head node, all the time unless stopped; nodes while they
    run; ParallelCluster's dashboard, alarms, metrics and hosted zone, about 5.40 USD a month.
    IAM to deploy: iam:PassRole for the provider, cloudformation:*, and what ParallelCluster's documentation lists.
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
        cluster_name: str | None = None,
        head_node: HeadNode | None = None,
        provider_service_token: str | None = None,
        version: str = "3.16.1",
        operating_system: str = "ubuntu2204",
        idle_backstop_minutes: int = 10,
        event_bus: events.IEventBus | None = None,
        recipes: str | None = None,
        cryosparc: Cryosparc | None = None,
        backup_bucket: s3.IBucket | None = None,
        stages: Mapping[str, str] | None = None,
        caps: Sequence[Cap] = (),
        records: dynamodb.ITable | None = None,
        head_node_security_groups: Sequence[ec2.ISecurityGroup] = (),
        permissions_boundary: iam.IManagedPolicy | None = None,
        log_retention_days: int = 180,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, id)
        head_node = head_node or HeadNode()
        name = cluster_name or Names.unique_resource_name(self, max_length=32, separator="-").lower()
        require(
            f"ParallelCluster {id!r}",
            [
                *lane_set_problems([lane.name for lane in lanes]),
                *records_problems(caps, given=records is not None),
                *backstop_problems(lanes, idle_backstop_minutes),
                *cluster_problems(
                    cluster_name=name,
                    stack_name=Stack.of(self).stack_name,
                    operating_system=operating_system,
                    head_node=head_node,
                    log_retention_days=log_retention_days,
                ),
                *tag_problems(tags or {}),
            ],
        )
        self.cluster_name: str = name
        self.lanes: tuple[Lane, ...] = tuple(lanes)
        self.partitions: Mapping[str, str] = {lane.name: lane.partition for lane in lanes}
        self.vpc: ec2.IVpc = vpc

        self.provider: ParallelClusterProvider | None = None
        if provider_service_token is None:
            self.provider = ParallelClusterProvider(self, "Provider", version=version)
            provider_service_token = self.provider.service_token
        self.event_bus: events.IEventBus = event_bus or events.EventBus(self, "EventBus")
        self.lane_manifest: LaneManifest = LaneManifest(
            self,
            "LaneManifest",
            cluster_name=name,
            lanes=lanes,
            stages=stages,
            license_tokens=cryosparc.license_tokens if cryosparc else None,
            caps=caps,
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
        )
        self.node_script: s3_assets.Asset = s3_assets.Asset(self, "NodeScript", path=str(prepare_node_script()))
        self.head_node_policy: iam.ManagedPolicy = self._policy("HeadNodePolicy", "head")
        self.programs.grant_use(self.head_node_policy)
        self.node_policy: iam.ManagedPolicy = self._policy("NodePolicy", "node")
        self.node_policy.add_statements(
            iam.PolicyStatement(
                actions=["s3:GetObject"],
                resources=[self.node_script.bucket.arn_for_objects(self.node_script.s3_object_key)],
            )
        )

        configuration = cluster_configuration(
            lanes=lanes,
            head_node=head_node,
            idle_backstop_minutes=idle_backstop_minutes,
            inputs=ClusterInputs(
                region=Stack.of(self).region,
                operating_system=operating_system,
                subnet_id=subnet.subnet_id,
                compute_subnet_id=subnet.subnet_id,
                client_security_group_id=file_system.client_security_group.security_group_id,
                file_system_id=file_system.file_system_id,
                policy_arn=self.head_node_policy.managed_policy_arn,
                node_policy_arn=self.node_policy.managed_policy_arn,
                session_manager_policy_arn=f"arn:{Aws.PARTITION}:iam::aws:policy/AmazonSSMManagedInstanceCore",
                trampoline_url=self.programs.trampoline.s3_object_url,
                setup_parameter=self.programs.setup.parameter_name,
                node_script_url=self.node_script.s3_object_url,
                tags={"cryoem:cluster": name, **(tags or {})},
                log_retention_days=log_retention_days,
                permissions_boundary_arn=permissions_boundary.managed_policy_arn if permissions_boundary else None,
                head_node_security_group_ids=[group.security_group_id for group in head_node_security_groups],
            ),
        )
        # Never service_timeout or any other property: the provider hands every one on as an argument and breaks.
        self.cluster: CustomResource = CustomResource(
            self,
            "Resource",
            service_token=provider_service_token,
            resource_type="Custom::PclusterCluster",
            properties={"ClusterName": name, "ClusterConfiguration": configuration, "DeletionPolicy": "Delete"},
        )
        # Another cluster has another head node, which an import of its id would forbid.
        CrossStackReferences.of(self.cluster).produce(ReferenceStrength.WEAK)
        # It needs these while it is made and while it goes, and names none of them: the way out of the subnet, the
        # rules of the Lustre ports, the associations.
        self.cluster.node.add_dependency(subnet.internet_connectivity_established)
        if isinstance(file_system, Construct):
            self.cluster.node.add_dependency(file_system)

    @property
    def generation(self) -> str:
        """Another one with another head node, which comes with another cluster only."""
        return self.cluster_name

    @property
    def head_node_instance_id(self) -> str:
        """The head node's EC2 instance."""
        return self.cluster.get_att_string("headNode.instanceId")

    @property
    def instance_tag(self) -> tuple[str, str]:
        """ParallelCluster's own."""
        return "parallelcluster:cluster-name", self.cluster_name

    def metric_failed_nodes(self) -> cloudwatch.IMetric:
        """Nodes that did not come up, in five minutes: they did not boot, or their script failed.

        ParallelCluster closes a lane after ten of them, and says so to nobody.
        """
        metrics: Mapping[str, cloudwatch.IMetric] = {
            name[0].lower() + name[1:]: cloudwatch.Metric(
                namespace="ParallelCluster",
                metric_name=name,
                dimensions_map={"ClusterName": self.cluster_name},
                statistic="Sum",
                period=Duration.minutes(5),
            )
            for name in _NODE_FAILURES
        }
        return cloudwatch.MathExpression(
            expression=" + ".join(f"FILL({name}, 0)" for name in metrics),
            using_metrics=metrics,
            label="Nodes that did not come up",
            period=Duration.minutes(5),
        )

    def metric_lost_job_records(self) -> None:
        """None is lost: the head node keeps the records of finished jobs until they are sent."""

    def _policy(self, id: str, kind: str) -> iam.ManagedPolicy:
        """A policy of the cluster's own for its head node or nodes.

        The provider may attach only policies whose names begin with parallelcluster, hence the one physical name.
        """
        unique = Names.unique_resource_name(self, max_length=60, separator="-").lower()
        return iam.ManagedPolicy(
            self,
            id,
            managed_policy_name=f"parallelcluster-{unique}-{kind}-{Aws.REGION}",
            description=f"What a cryo-EM cluster's {kind} may do beyond what ParallelCluster gives it",
        )


def backstop_problems(lanes: Sequence[Lane], idle_backstop_minutes: int) -> list[Problem]:
    """What is wrong with the cluster's one idle time, given what the lanes want to hold."""
    if not known(idle_backstop_minutes):
        return []
    # ParallelCluster accepts 0 and then powers nodes down that are about to get a job.
    if not 1 <= idle_backstop_minutes <= 24 * 60:
        return [Problem(property="idle_backstop_minutes", value=idle_backstop_minutes, allowed="1 to 1440")]
    return [
        Problem(
            property=f"lane {lane.name}.hold_minutes",
            value=lane.hold_minutes,
            allowed=f"0 to {idle_backstop_minutes}, the cluster's idle_backstop_minutes",
            fix="Raise idle_backstop_minutes, which needs a stopped fleet on a cluster that is there",
        )
        for lane in lanes
        if known(lane.hold_minutes) and lane.hold_minutes > idle_backstop_minutes
    ]


def cluster_problems(
    *,
    cluster_name: str,
    stack_name: str,
    operating_system: str,
    head_node: HeadNode,
    log_retention_days: int = 180,
) -> Iterator[Problem]:
    """Everything wrong with a cluster's own values, apart from its lanes."""
    if known(cluster_name):
        yield from name_problems(cluster_name)
        if known(stack_name) and cluster_name == stack_name:
            yield Problem(
                property="cluster_name",
                value=cluster_name,
                allowed="a name that no stack has",
                fix="ParallelCluster makes a stack of its own with the cluster's name",
            )
    if known(operating_system) and operating_system not in OPERATING_SYSTEMS:
        yield Problem(
            property="operating_system",
            value=operating_system,
            allowed=", ".join(OPERATING_SYSTEMS),
            fix="cryoSPARC 5 needs glibc 2.28 and the head node's programs Python 3.10; ParallelCluster has dropped alinux2",
        )
    yield from head_node_problems(head_node)
    if head_node.remote_desktop_from is not None and known(head_node.remote_desktop_from):
        yield from _desktop_problems(head_node.remote_desktop_from)
    yield from retention_problems(log_retention_days)


def retention_problems(log_retention_days: int) -> Iterator[Problem]:
    """What is wrong with how long logs are kept."""
    if known(log_retention_days) and log_retention_days not in LOG_RETENTION_DAYS:
        yield Problem(
            property="log_retention_days",
            value=log_retention_days,
            allowed=", ".join(map(str, LOG_RETENTION_DAYS)),
        )


def name_problems(cluster_name: str) -> Iterator[Problem]:
    """What is wrong with a cluster's name."""
    # ParallelCluster's API takes no name of one letter.
    if not re.fullmatch(r"[a-z][a-z0-9-]{1,39}", cluster_name):
        yield Problem(
            property="cluster_name",
            value=cluster_name,
            allowed="a lower-case letter, then lower-case letters, digits or dashes, 2 to 40 characters",
        )


def head_node_problems(head_node: HeadNode) -> Iterator[Problem]:
    """What is wrong with the head node's size and its volumes."""
    shape = instance_shapes().get(head_node.instance_type)
    if shape is not None and (shape.vcpus < 4 or shape.memory_gib < 16):
        yield Problem(
            property="head_node.instance_type",
            value=head_node.instance_type,
            allowed="4 vCPUs and 16 GiB or more",
            fix="cryoSPARC's master needs them; m7i.xlarge is the smallest of its family that has them",
        )
    # The images need 45 GiB, and ParallelCluster knows no gp3 volume above 16 TiB.
    for prop in ("root_volume_gib", "cryosparc_volume_gib"):
        value = getattr(head_node, prop)
        if known(value) and not 50 <= value <= 16384:
            yield Problem(property=f"head_node.{prop}", value=value, allowed="50 to 16384")


def tag_problems(tags: Mapping[str, str], *, reserved: Sequence[str] = (), others: int = 2) -> Iterator[Problem]:
    """What is wrong with tags that every resource is to carry.

    reserved: beginnings of keys that are taken. others: how many more there will be; default that of the cluster and that of
    ParallelCluster's provider.
    """
    if len(tags) > _MAX_TAGS - others:
        yield Problem(
            property="tags",
            value=len(tags),
            allowed=f"{_MAX_TAGS - others} at most",
            fix="AWS takes 50, of which ParallelCluster and this system need the others",
        )
    taken = ("aws:", "parallelcluster:", *reserved)
    for key, value in tags.items():
        if known(key) and (not _TAG.fullmatch(key) or len(key) > 128 or key.lower().startswith(taken)):
            yield Problem(
                property="tags",
                value=key,
                allowed=f"keys of 1 to 128 letters, digits, spaces and _.:/=+-@ that do not begin with {', '.join(taken)}",
            )
        if known(value) and (not _TAG.fullmatch(value) or len(value) > 256):
            yield Problem(property=f"tags.{key}", value=value, allowed="1 to 256 letters, digits, spaces and _.:/=+-@")


def _desktop_problems(cidr: str) -> Iterator[Problem]:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError:
        network = None
    # Half of all addresses is as open as all of them; the largest private network is a /8. ParallelCluster takes no
    # other way of writing one.
    if network is None or network.prefixlen < 8 or str(network) != cidr:
        yield Problem(
            property="head_node.remote_desktop_from",
            value=cidr,
            allowed="a range of addresses such as 10.0.0.0/8 or 203.0.113.7/32, never all of them",
            fix="Name the network of your VPN or campus",
        )
