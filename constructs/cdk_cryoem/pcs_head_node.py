"""The head node of a PCS cluster: an instance of its own, since PCS keeps Slurm's controller to itself."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import CfnTag, Duration, Fn, RemovalPolicy, Size, Stack, Tags
from aws_cdk import aws_cloudwatch as cloudwatch
from aws_cdk import aws_cloudwatch_actions as cloudwatch_actions
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from constructs import Construct

from .head_node_programs import HeadNodePrograms
from .parallel_cluster_config import HeadNode
from .runbooks import with_runbook

CLUSTER_TAG = "cryoem:cluster"
# cloud-init runs it on the first boot only, so what takes long and may fail is a unit, which systemd starts again after a
# boot too. It never changes: a change would stop and start the instance.
_USER_DATA = """#!/bin/bash
cat >/root/cryoem-bootstrap.sh <<'SCRIPT'
#!/bin/bash
export HOME=/root AWS_REGION={region} AWS_DEFAULT_REGION={region}
for phase in install configure; do
    until aws s3 cp --quiet {trampoline} /root/trampoline.sh && bash /root/trampoline.sh "$phase" {setup}; do
        sleep 30
    done
done >>/var/log/cryoem-bootstrap.log 2>&1
SCRIPT
cat >/etc/systemd/system/cryoem-bootstrap.service <<'UNIT'
[Unit]
Description=Install the head node's programs
Wants=network-online.target
After=network-online.target
ConditionPathExists=!/opt/cryoem/etc/setup.json

[Service]
Type=exec
ExecStart=/bin/bash /root/cryoem-bootstrap.sh

[Install]
WantedBy=multi-user.target
UNIT
systemctl daemon-reload
systemctl enable --now cryoem-bootstrap.service
"""


class PcsHeadNode(Construct):
    """A small private instance with Slurm's client (sackd), cryoSPARC and RELION; its database is on a volume that stays.

    Session Manager is the only way in. EC2 moves it to new hardware when the old one fails. It attaches the data volume
    itself when it boots, and waits while another has it: so an instance can be replaced, which an attachment made by
    CloudFormation does not survive. Stopping and starting keeps everything.

    cluster_name: only the instance with this tag may take the volume. subnet, security_group_ids, ami_id: where and what
    it is. head_node: its size. role: what it may do. programs: what it runs.
    tags: on the instance.

    Costs: the instance while it runs; its root disk always (gp3, 0.08 USD per GiB a month).
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        subnet: ec2.ISubnet,
        security_group_ids: list[str],
        ami_id: str,
        head_node: HeadNode,
        role: iam.Role,
        programs: HeadNodePrograms,
        tags: Mapping[str, str],
    ) -> None:
        super().__init__(scope, id)
        self.instance_profile: iam.InstanceProfile = iam.InstanceProfile(self, "InstanceProfile", role=role)
        self.instance: ec2.CfnInstance = ec2.CfnInstance(
            self,
            "Resource",
            image_id=ami_id,
            instance_type=head_node.instance_type,
            subnet_id=subnet.subnet_id,
            security_group_ids=security_group_ids,
            iam_instance_profile=self.instance_profile.instance_profile_name,
            metadata_options=ec2.CfnInstance.MetadataOptionsProperty(
                http_tokens="required", http_put_response_hop_limit=1
            ),
            block_device_mappings=[
                ec2.CfnInstance.BlockDeviceMappingProperty(
                    # The root device of Ubuntu's images, which PCS's installers support.
                    device_name="/dev/sda1",
                    ebs=ec2.CfnInstance.EbsProperty(
                        volume_size=head_node.root_volume_gib,
                        volume_type="gp3",
                        encrypted=True,
                        delete_on_termination=True,
                    ),
                )
            ],
            monitoring=True,
            propagate_tags_to_volume_on_creation=True,
            user_data=Fn.base64(
                _USER_DATA.format(
                    region=Stack.of(self).region,
                    trampoline=programs.trampoline.s3_object_url,
                    setup=programs.setup.parameter_name,
                )
            ),
            tags=[CfnTag(key="Name", value=f"{cluster_name} head node")],
        )
        # It fetches its programs when it boots.
        self.instance.node.add_dependency(role)
        for key, value in tags.items():
            Tags.of(self.instance).add(key, value)
        self.recovery_alarm: cloudwatch.Alarm = cloudwatch.Alarm(
            self,
            "RecoveryAlarm",
            metric=cloudwatch.Metric(
                namespace="AWS/EC2",
                metric_name="StatusCheckFailed_System",
                dimensions_map={"InstanceId": self.instance.ref},
                statistic="Maximum",
                period=Duration.minutes(1),
            ),
            threshold=1,
            evaluation_periods=2,
            comparison_operator=cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
            treat_missing_data=cloudwatch.TreatMissingData.MISSING,
            alarm_description=with_runbook(
                self, "The hardware under the head node has failed; EC2 moves it to another host", "head-node-hardware"
            ),
        )
        self.recovery_alarm.add_alarm_action(cloudwatch_actions.Ec2Action(cloudwatch_actions.Ec2InstanceAction.RECOVER))


def data_volume(scope: Construct, id: str, *, cluster_name: str, subnet: ec2.ISubnet, gib: int) -> ec2.Volume:
    """The volume of cryoSPARC's database: encrypted, retained when everything else goes."""
    volume = ec2.Volume(
        scope,
        id,
        availability_zone=_zone_of(subnet),
        size=Size.gibibytes(gib),
        volume_type=ec2.EbsDeviceVolumeType.GP3,
        encrypted=True,
        removal_policy=RemovalPolicy.RETAIN,
    )
    Tags.of(volume).add("Name", f"{cluster_name} cryoSPARC")
    Tags.of(volume).add(CLUSTER_TAG, cluster_name)
    return volume


def _zone_of(subnet: ec2.ISubnet) -> str:
    """The zone in which the subnet really is; what the CDK knows of a new one is which of the account's zones, by number."""
    made = subnet.node.default_child
    return made.attr_availability_zone if isinstance(made, ec2.CfnSubnet) else subnet.availability_zone
