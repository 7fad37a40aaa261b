"""One lane on AWS Parallel Computing Service: launch template, node group, queue."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from aws_cdk import Tags
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_pcs as pcs
from aws_cdk import aws_s3_assets as s3_assets
from constructs import Construct

from ._assets import prepare_node_script
from .lane import Capacity, Lane
from .parallel_cluster_config import SCRATCH_MOUNT
from .pcs_rules import idle_seconds

# The PCS-ready images of AWS have snapshots of 75 GiB, and EC2 makes no smaller volume of one.
_ROOT_VOLUME_GIB = 100
LANE_TAG = "cryoem:lane"
"""On each node, so that the hooks know for which lane it is paid; ParallelCluster has one of its own."""
_PURCHASE_OPTIONS = {
    Capacity.ON_DEMAND: "ONDEMAND",
    Capacity.SPOT: "SPOT",
    Capacity.CAPACITY_BLOCK: "CAPACITY_BLOCK",
}


class PcsLane(Construct):
    """A lane's nodes and its queue on a PCS cluster.

    lane: the lane. cluster_id: the cluster. subnet, security_group_ids: of the nodes. ami_id: image of the nodes.
    instance_profile_arn: PCS takes only those below the path /aws-pcs/. node_script: what a node runs before it takes jobs.
    mount_source: the file system. is_default: jobs that name no queue go here. tags: on instances and volumes.
    longest_hold_minutes: PCS leaves an idle node to the hooks for so long, if the lane's own hold is shorter; default 0.

    No names but the queue's, which is the partition: with another instance type PCS makes a new node group and drops the
    old one, with what runs on it. Costs nothing by itself; each node its price and PCS's fee for managing it.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        lane: Lane,
        cluster_id: str,
        subnet: ec2.ISubnet,
        security_group_ids: list[str],
        ami_id: str,
        instance_profile_arn: str,
        node_script: s3_assets.Asset,
        mount_source: str,
        is_default: bool,
        tags: Mapping[str, str],
        longest_hold_minutes: int = 0,
    ) -> None:
        super().__init__(scope, id)
        self.placement_group: ec2.CfnPlacementGroup | None = None
        # A reservation has its place already, and EC2 finds none of it in another group.
        if lane.has_spread_jobs and lane.capacity_reservation_id is None:
            self.placement_group = ec2.CfnPlacementGroup(self, "PlacementGroup", strategy="cluster")
        self.launch_template: ec2.CfnLaunchTemplate = ec2.CfnLaunchTemplate(
            self,
            "LaunchTemplate",
            launch_template_data=self._launch_template(lane, security_group_ids, tags),
            tag_specifications=[
                ec2.CfnLaunchTemplate.LaunchTemplateTagSpecificationProperty(
                    resource_type="launch-template", tags=[{"key": key, "value": value} for key, value in tags.items()]
                )
            ],
        )
        minutes = str(round(lane.time_limit_hours * 60))
        always_on = lane.capacity is Capacity.CAPACITY_BLOCK
        self.node_group: pcs.CfnComputeNodeGroup = pcs.CfnComputeNodeGroup(
            self,
            "NodeGroup",
            cluster_id=cluster_id,
            ami_id=ami_id,
            custom_launch_template=pcs.CfnComputeNodeGroup.CustomLaunchTemplateProperty(
                template_id=self.launch_template.ref, version=self.launch_template.attr_latest_version_number
            ),
            iam_instance_profile_arn=instance_profile_arn,
            instance_configs=[
                pcs.CfnComputeNodeGroup.InstanceConfigProperty(instance_type=name) for name in lane.instance_types
            ],
            scaling_configuration=pcs.CfnComputeNodeGroup.ScalingConfigurationProperty(
                min_instance_count=lane.max_nodes if always_on else 0, max_instance_count=lane.max_nodes
            ),
            purchase_option=_PURCHASE_OPTIONS[lane.capacity],
            spot_options=(
                pcs.CfnComputeNodeGroup.SpotOptionsProperty(allocation_strategy="price-capacity-optimized")
                if lane.capacity is Capacity.SPOT
                else None
            ),
            subnet_ids=[subnet.subnet_id],
            slurm_configuration=pcs.CfnComputeNodeGroup.SlurmConfigurationProperty(
                scale_down_idle_time_in_seconds=idle_seconds(lane, longest_hold_minutes),
                slurm_custom_settings=[
                    # What the lane's job scripts count with; PCS would take the smallest type's own number.
                    pcs.CfnComputeNodeGroup.SlurmCustomSettingProperty(
                        parameter_name="RealMemory", parameter_value=str(lane.memory_mib)
                    )
                ],
            ),
            node_lifecycle_actions=_lifecycle(lane, node_script, mount_source),
        )
        settings = {"MaxTime": minutes, "DefaultTime": minutes} | ({"Default": "YES"} if is_default else {})
        self.queue: pcs.CfnQueue = pcs.CfnQueue(
            self,
            "Resource",
            cluster_id=cluster_id,
            name=lane.partition,
            compute_node_group_configurations=[
                pcs.CfnQueue.ComputeNodeGroupConfigurationProperty(compute_node_group_id=self.node_group.attr_id)
            ],
            slurm_configuration=pcs.CfnQueue.SlurmConfigurationProperty(
                slurm_custom_settings=[
                    pcs.CfnQueue.SlurmCustomSettingProperty(parameter_name=name, parameter_value=value)
                    for name, value in settings.items()
                ]
            ),
        )
        for key, value in tags.items():
            Tags.of(self).add(key, value)

    def _launch_template(
        self, lane: Lane, security_group_ids: list[str], tags: Mapping[str, str]
    ) -> ec2.CfnLaunchTemplate.LaunchTemplateDataProperty:
        template = ec2.CfnLaunchTemplate
        reservation = lane.capacity_reservation_id
        return template.LaunchTemplateDataProperty(
            metadata_options=template.MetadataOptionsProperty(http_tokens="required", http_put_response_hop_limit=1),
            block_device_mappings=[
                template.BlockDeviceMappingProperty(
                    # The root device of Ubuntu's images, which PCS's installers support.
                    device_name="/dev/sda1",
                    ebs=template.EbsProperty(
                        volume_size=_ROOT_VOLUME_GIB, volume_type="gp3", encrypted=True, delete_on_termination=True
                    ),
                )
            ],
            # EC2 takes security groups either here or with the network interface.
            security_group_ids=None if lane.has_efa else security_group_ids,
            network_interfaces=(
                [
                    template.NetworkInterfaceProperty(
                        device_index=0, network_card_index=0, interface_type="efa", groups=security_group_ids
                    )
                ]
                if lane.has_efa
                else None
            ),
            placement=(
                template.PlacementProperty(group_name=self.placement_group.ref) if self.placement_group else None
            ),
            capacity_reservation_specification=(
                template.CapacityReservationSpecificationProperty(
                    capacity_reservation_target=template.CapacityReservationTargetProperty(
                        capacity_reservation_id=reservation
                    )
                )
                if reservation
                else None
            ),
            instance_market_options=(
                template.InstanceMarketOptionsProperty(market_type="capacity-block")
                if lane.capacity is Capacity.CAPACITY_BLOCK
                else None
            ),
            tag_specifications=[_tagged("instance", {**tags, LANE_TAG: lane.name}), _tagged("volume", tags)],
        )


def _tagged(resource: str, tags: Mapping[str, str]) -> ec2.CfnLaunchTemplate.TagSpecificationProperty:
    return ec2.CfnLaunchTemplate.TagSpecificationProperty(
        resource_type=resource, tags=[{"key": key, "value": value} for key, value in tags.items()]
    )


def _lifecycle(
    lane: Lane, node_script: s3_assets.Asset, mount_source: str
) -> pcs.CfnComputeNodeGroup.NodeLifecycleActionsProperty:
    group = pcs.CfnComputeNodeGroup
    return group.NodeLifecycleActionsProperty(
        stages=group.NodeLifecycleStagesProperty(
            node_bootstrapped=[
                group.NodeLifecycleScriptProperty(
                    name="prepare-node",
                    script_source=group.ScriptSourceProperty(
                        script_location=node_script.s3_object_url,
                        checksum=hashlib.sha256(prepare_node_script().read_bytes()).hexdigest(),
                    ),
                    arguments=[str(lane.gpus), SCRATCH_MOUNT if lane.nvme_gb else "none", mount_source],
                    # A node that reboots has lost its mounts.
                    execution_policy="EVERY_BOOT",
                    # Before any job has seen it; PCS launches another.
                    on_error="TERMINATE",
                )
            ]
        )
    )
