"""EC2 instances that CloudFormation makes: the head node of a PCS cluster. Its user data really runs, on this machine."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

from .. import head, systemctl_command
from ..cluster import PCS, Cluster
from ..environment import Mode
from ..places import places
from .extension import Json, client, register_type, role_credentials
from .recorded import Recorded, recorded

_BOOT_SECONDS = 180


class _Instance(Recorded):
    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        self._check(props)
        made = client("ec2").run_instances(
            MinCount=1,
            MaxCount=1,
            ImageId=props["ImageId"],
            InstanceType=props["InstanceType"],
            SubnetId=props["SubnetId"],
            SecurityGroupIds=props["SecurityGroupIds"],
            IamInstanceProfile={"Name": _profile(props)},
            TagSpecifications=[{"ResourceType": "instance", "Tags": props.get("Tags", [])}],
        )["Instances"][0]
        name = made["InstanceId"]
        attributes = {"InstanceId": name, "PrivateIp": made["PrivateIpAddress"]}
        recorded[name] = {"Type": self.type_name, "Properties": props, "Attributes": attributes}
        _boot(name, props)
        return name, attributes

    def delete(self, physical_id: str, props: Json) -> None:
        super().delete(physical_id, props)
        found = Cluster.load_if_any(places())
        if found is not None and found.instance_id == physical_id:
            head.stop(places())
            places().cluster_file.unlink()
        client("ec2").terminate_instances(InstanceIds=[physical_id])


class _Volume(Recorded):
    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        self._check(props)
        made = client("ec2").create_volume(
            AvailabilityZone=props["AvailabilityZone"], Size=int(props["Size"]), VolumeType=props["VolumeType"]
        )
        recorded[made["VolumeId"]] = {"Type": self.type_name, "Properties": props, "Attributes": {}}
        return made["VolumeId"], {"VolumeId": made["VolumeId"]}


def _boot(instance_id: str, props: Json) -> None:
    """cloud-init: the instance's user data, with the credentials of its role; absolute paths lie below the twin's root."""
    here, tags = places(), {tag["Key"]: tag["Value"] for tag in props.get("Tags", [])}
    profile = client("iam").get_instance_profile(InstanceProfileName=_profile(props))["InstanceProfile"]
    script = base64.b64decode(props["UserData"]).decode()
    cluster = Cluster(
        engine=PCS,
        name=tags["cryoem:cluster"],
        instance_id=instance_id,
        role_arn=profile["Roles"][0]["Arn"],
        file_system_id=_file_system_of(script),
        configuration={},
    )
    cluster.save(here)
    for folder in (
        *(here.file_systems / cluster.file_system_id / name for name in ("data", "projects")),
        here.scratch,
        Path(head.root(here)) / "root",
        Path(head.root(here)) / "var" / "log",
        systemctl_command.units(here),
    ):
        folder.mkdir(parents=True, exist_ok=True)
    script = re.sub(r"(?<![\w/.])(/root|/var/log|/etc/systemd/system)\b", rf"{head.root(here)}\1", script)
    environment = head.head_environment(here, Mode.load(here), role_credentials(cluster.role_arn))
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, cwd=here.root, timeout=_BOOT_SECONDS
    )
    if done.returncode:
        raise RuntimeError(f"the head node's user data failed with {done.returncode}: {done.stderr.strip()[-600:]}")
    head.start(here, environment)


def _profile(props: Json) -> str:
    """The instance profile's name; the emulator takes Ref for its ARN."""
    return str(props["IamInstanceProfile"]).rpartition("/")[2]


def _file_system_of(script: str) -> str:
    """What the setup parameter that the user data names says of the file system."""
    parameter = re.search(r'"\$phase" (\S+);', script)
    if parameter is None:
        raise ValueError("the user data names no setup parameter")
    setup = json.loads(client("ssm").get_parameter(Name=parameter[1])["Parameter"]["Value"])
    return str(setup["lustre"]).partition(".")[0]


def register() -> None:
    """Make these types known."""
    register_type("AWS::EC2::Instance", _Instance("AWS::EC2::Instance"))
    register_type("AWS::EC2::Volume", _Volume("AWS::EC2::Volume"))
    register_type("AWS::EC2::PlacementGroup", Recorded("AWS::EC2::PlacementGroup"))
