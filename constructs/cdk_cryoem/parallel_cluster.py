"""ParallelCluster as the engine: provider, generated configuration, head node, queues, job-completion events."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aws_cdk import Aws, CustomResource, Names, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from ._assets import NOT_SHIPPED, head_node_root
from .instances import instance_shapes
from .lane import Lane, lane_set_problems
from .lane_manifest import LaneManifest
from .lustre_store import ILustreStore
from .parallel_cluster_config import ClusterInputs, HeadNode, cluster_configuration
from .parallel_cluster_provider import ParallelClusterProvider
from .problems import Problem, known, require

OPERATING_SYSTEMS = ("ubuntu2204", "ubuntu2404")
"""ParallelCluster's systems with the glibc that cryoSPARC 5 wants and the Python 3.10 that our head node wants."""


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

    Made besides the cluster: the lane manifest, a secret with the password of the hooks' cryoSPARC user (0.40 USD a
    month), a policy for the head node. Costs: the head node, all the time unless stopped; nodes while they run.
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
        tags: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, id)
        head_node = head_node or HeadNode()
        name = cluster_name or Names.unique_resource_name(self, max_length=32, separator="-").lower()
        require(
            f"ParallelCluster {id!r}",
            [
                *lane_set_problems([lane.name for lane in lanes]),
                *backstop_problems(lanes, idle_backstop_minutes),
                *cluster_problems(
                    cluster_name=name,
                    stack_name=Stack.of(self).stack_name,
                    operating_system=operating_system,
                    head_node_type=head_node.instance_type,
                ),
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
        self.lane_manifest: LaneManifest = LaneManifest(self, "LaneManifest", cluster_name=name, lanes=lanes)
        self.cryosparc_login: secretsmanager.Secret = secretsmanager.Secret(
            self,
            "CryosparcLogin",
            description="The cryoSPARC user that registers lanes and starts processing",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template='{"email":"hooks@cryoem.invalid"}',
                generate_string_key="password",
                exclude_punctuation=True,
                password_length=40,
            ),
        )
        self.scripts: s3_assets.Asset = s3_assets.Asset(
            self, "Scripts", path=str(head_node_root()), exclude=NOT_SHIPPED
        )
        self.trampoline: s3_assets.Asset = s3_assets.Asset(
            self, "Trampoline", path=str(head_node_root() / "trampoline.sh")
        )
        self.recipes: s3_assets.Asset | None = (
            s3_assets.Asset(self, "Recipes", path=recipes, exclude=NOT_SHIPPED) if recipes else None
        )
        self.setup: ssm.StringParameter = ssm.StringParameter(
            self,
            "Setup",
            description="What the head node's trampoline script installs, and the names it is told",
            string_value=Stack.of(self).to_json_string(
                {
                    "scripts": self.scripts.s3_object_url,
                    "recipes": self.recipes.s3_object_url if self.recipes else "none",
                    "cluster": name,
                    "event_bus": self.event_bus.event_bus_name,
                    "manifest_parameter": self.lane_manifest.parameter_name,
                    "cryosparc_secret": self.cryosparc_login.secret_arn,
                }
            ),
        )
        self.head_node_policy: iam.ManagedPolicy = self._head_node_policy()

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
                session_manager_policy_arn=f"arn:{Aws.PARTITION}:iam::aws:policy/AmazonSSMManagedInstanceCore",
                trampoline_url=self.trampoline.s3_object_url,
                setup_parameter=self.setup.parameter_name,
                tags={"cryoem:cluster": name, **(tags or {})},
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
        # It needs these while it is made and while it goes, and names none of them: the way out of the subnet, the
        # rules of the Lustre ports, the associations.
        self.cluster.node.add_dependency(subnet.internet_connectivity_established)
        if isinstance(file_system, Construct):
            self.cluster.node.add_dependency(file_system)

    @property
    def head_node_instance_id(self) -> str:
        """The head node's EC2 instance."""
        return self.cluster.get_att_string("headNode.instanceId")

    def _head_node_policy(self) -> iam.ManagedPolicy:
        """What the head node may do beyond what ParallelCluster gives it.

        The provider may attach only policies whose names begin with parallelcluster, hence the one physical name.
        """
        unique = Names.unique_resource_name(self, max_length=60, separator="-").lower()
        policy = iam.ManagedPolicy(
            self,
            "HeadNodePolicy",
            managed_policy_name=f"parallelcluster-{unique}-{Aws.REGION}",
            description="Head node: send job events, read the lane manifest, its scripts and the cryoSPARC login",
        )
        policy.add_statements(
            iam.PolicyStatement(actions=["events:PutEvents"], resources=[self.event_bus.event_bus_arn]),
            iam.PolicyStatement(
                actions=["ssm:GetParameter"],
                resources=[self.lane_manifest.parameter.parameter_arn, self.setup.parameter_arn],
            ),
            iam.PolicyStatement(actions=["secretsmanager:GetSecretValue"], resources=[self.cryosparc_login.secret_arn]),
            iam.PolicyStatement(
                actions=["s3:GetObject"],
                resources=[
                    asset.bucket.arn_for_objects(asset.s3_object_key)
                    for asset in (self.scripts, self.trampoline, self.recipes)
                    if asset is not None
                ],
            ),
        )
        return policy


def backstop_problems(lanes: Sequence[Lane], idle_backstop_minutes: int) -> list[Problem]:
    """What is wrong with the cluster's one idle time, given what the lanes want to hold."""
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
        if lane.hold_minutes > idle_backstop_minutes
    ]


def cluster_problems(
    *, cluster_name: str, stack_name: str, operating_system: str, head_node_type: str
) -> list[Problem]:
    """Everything wrong with a cluster's own values, apart from its lanes."""
    found: list[Problem] = []
    if known(cluster_name):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", cluster_name):
            found.append(
                Problem(
                    property="cluster_name",
                    value=cluster_name,
                    allowed="a lower-case letter, then lower-case letters, digits or dashes, 40 characters at most",
                )
            )
        if known(stack_name) and cluster_name == stack_name:
            found.append(
                Problem(
                    property="cluster_name",
                    value=cluster_name,
                    allowed="a name that no stack has",
                    fix="ParallelCluster makes a stack of its own with the cluster's name",
                )
            )
    if known(operating_system) and operating_system not in OPERATING_SYSTEMS:
        found.append(
            Problem(
                property="operating_system",
                value=operating_system,
                allowed=", ".join(OPERATING_SYSTEMS),
                fix="cryoSPARC 5 needs glibc 2.28 and the head node's programs Python 3.10; ParallelCluster has dropped alinux2",
            )
        )
    shape = instance_shapes().get(head_node_type)
    if shape is not None and (shape.vcpus < 4 or shape.memory_gib < 16):
        found.append(
            Problem(
                property="head_node.instance_type",
                value=head_node_type,
                allowed="4 vCPUs and 16 GiB or more",
                fix="cryoSPARC's master needs them; m7i.xlarge is the smallest of its family that has them",
            )
        )
    return found
