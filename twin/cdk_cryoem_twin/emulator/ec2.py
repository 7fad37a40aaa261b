"""EC2: types that the emulator's CloudFormation lacks, and the head node, which is this machine."""

from __future__ import annotations

import os
import subprocess
import sys

from ..environment import Mode
from ..places import places
from .extension import (
    Json,
    client,
    emit,
    instance,
    on_instance_power,
    register_type,
    role_credentials,
)


class _Eip:
    replacing = ("Domain",)

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        made = client("ec2").allocate_address(Domain="vpc")
        return made["PublicIp"], {"AllocationId": made["AllocationId"], "PublicIp": made["PublicIp"]}

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        found = client("ec2").describe_addresses(PublicIps=[physical_id])["Addresses"][0]
        return physical_id, {"AllocationId": found["AllocationId"], "PublicIp": physical_id}

    def delete(self, physical_id: str, props: Json) -> None:
        ec2 = client("ec2")
        for found in ec2.describe_addresses(PublicIps=[physical_id])["Addresses"]:
            ec2.release_address(AllocationId=found["AllocationId"])


class _NatGateway:
    replacing = ("SubnetId", "AllocationId")

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        made = client("ec2").create_nat_gateway(SubnetId=props["SubnetId"], AllocationId=props["AllocationId"])
        name = made["NatGateway"]["NatGatewayId"]
        return name, {"NatGatewayId": name}

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        return physical_id, {"NatGatewayId": physical_id}

    def delete(self, physical_id: str, props: Json) -> None:
        client("ec2").delete_nat_gateway(NatGatewayId=physical_id)


class _SecurityGroupRule:
    replacing = ("GroupId", "IpProtocol", "FromPort", "ToPort", "CidrIp", "SourceSecurityGroupId")

    def __init__(self, way: str) -> None:
        self._way = way

    @staticmethod
    def _permission(props: Json) -> Json:
        found: Json = {"IpProtocol": str(props["IpProtocol"])}
        found |= {port: int(props[port]) for port in ("FromPort", "ToPort") if port in props}
        other = props.get("SourceSecurityGroupId") or props.get("DestinationSecurityGroupId")
        if other:
            found["UserIdGroupPairs"] = [{"GroupId": other, "Description": props.get("Description", "")}]
        if props.get("CidrIp"):
            found["IpRanges"] = [{"CidrIp": props["CidrIp"], "Description": props.get("Description", "")}]
        return found

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        authorize = getattr(client("ec2"), f"authorize_security_group_{self._way}")
        made = authorize(GroupId=props["GroupId"], IpPermissions=[self._permission(props)])
        rules = made.get("SecurityGroupRules") or [{"SecurityGroupRuleId": f"sgr-{os.urandom(8).hex()}"}]
        return rules[0]["SecurityGroupRuleId"], {"Id": rules[0]["SecurityGroupRuleId"]}

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        return physical_id, {"Id": physical_id}

    def delete(self, physical_id: str, props: Json) -> None:
        revoke = getattr(client("ec2"), f"revoke_security_group_{self._way}")
        revoke(GroupId=props["GroupId"], IpPermissions=[self._permission(props)])


def head_node_role() -> str:
    """The role of the head node's instance profile."""
    from ..cluster import Cluster

    return Cluster.load(places()).role_arn


def is_head_node(instance_id: str) -> bool:
    """Whether this instance is the head node and runs."""
    from ..cluster import Cluster

    found = Cluster.load_if_any(places())
    running = instance(instance_id).get("State", {}).get("Name") == "running"
    answers = (places().run / "head.ready").exists()
    return running and answers and found is not None and found.instance_id == instance_id


def execute(instance_id: str, argv: list[str]) -> tuple[int, str, str]:
    """Run a command on the head node, with the credentials of its role."""
    from ..head import head_environment

    environment = head_environment(places(), Mode.load(places()), role_credentials(head_node_role()))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=3600, env=environment, cwd=places().root)
    return done.returncode, done.stdout, done.stderr


def _power(instance_id: str, verb: str) -> None:
    """The head node's processes follow its power state, and EC2 tells EventBridge."""
    from ..cluster import Cluster
    from ..head import head_environment

    found = Cluster.load_if_any(places())
    if found is not None and found.instance_id == instance_id:
        environment = head_environment(places(), Mode.load(places()), role_credentials(found.role_arn))
        command = [sys.executable, "-m", "cdk_cryoem_twin.head", "start" if verb == "start" else "stop"]
        with (places().logs / "head-node.log").open("ab") as log:
            subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
    state = {"start": "running", "stop": "stopped", "terminate": "terminated"}[verb]
    emit("aws.ec2", "EC2 Instance State-change Notification", {"instance-id": instance_id, "state": state})


def register() -> None:
    """Make these types and the head node known."""
    register_type("AWS::EC2::EIP", _Eip())
    register_type("AWS::EC2::NatGateway", _NatGateway())
    register_type("AWS::EC2::SecurityGroupIngress", _SecurityGroupRule("ingress"))
    register_type("AWS::EC2::SecurityGroupEgress", _SecurityGroupRule("egress"))
    on_instance_power(_power)
