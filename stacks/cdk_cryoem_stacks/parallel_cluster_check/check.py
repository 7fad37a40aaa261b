#!/usr/bin/env python3
"""Check ParallelCluster configurations with ParallelCluster's own code, offline.

    check.py [--json] [--region REGION] [--cluster-name NAME] FILE [FILE ...]

Each FILE is one `ClusterConfiguration`, as YAML or JSON. For each, this script

1. loads it through ParallelCluster's marshmallow schema,
2. runs all of ParallelCluster's validators, with moto answering the AWS calls inside this process,
3. synthesises the CloudFormation template that ParallelCluster would deploy (only if 1 and 2 gave no error),
4. repeats 1 and 2 with every scalar as a string, which is how CloudFormation hands them to a custom resource.

The AWS resources a file names (subnets, security groups, file systems, policies, scripts in S3 ...) are created in
moto first, in the shape a deployment would give them, and reported under the ids the file uses. What is judged is
therefore the configuration, not the network around it: security group rules, DNS settings and routes are always right
here, every named resource exists, and EC2 capacity, IAM conditions and the node bootstrap are not exercised. A capacity
reservation that is named is one that fits the compute resource naming it. Placement groups are not created, so a
configuration naming one is reported as an error. Nothing is fetched over the network; `https://` scripts are reported as
unverified.

It needs an environment of its own, see requirements.txt, and Node: `node` on PATH or $JSII_NODE.

Exit status: 0 no ERROR and no schema error in any file, 1 otherwise, 2 wrong usage or environment.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import dataclasses
import json
import logging
import os
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any, ClassVar
from urllib.error import URLError

# Before boto3, moto or jsii are imported: they read these once.
os.environ.update(
    AWS_ACCESS_KEY_ID="testing",
    AWS_SECRET_ACCESS_KEY="testing",
    AWS_SESSION_TOKEN="testing",
    AWS_EC2_METADATA_DISABLED="true",
    JSII_SILENCE_WARNING_UNTESTED_NODE_VERSION="true",
    JSII_SILENCE_WARNING_DEPRECATED_NODE_VERSION="true",
)
for _variable in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
    os.environ.pop(_variable, None)
warnings.filterwarnings("ignore", category=DeprecationWarning)
warnings.filterwarnings("ignore", message=".*marshmallow.*")

try:
    import boto3
    import yaml
    from marshmallow import ValidationError
    from moto import mock_aws
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.ec2.models import ec2_backends
    from moto.ec2.models.amis import Ami
    from moto.fsx.models import FileSystem, fsx_backends
    from pcluster import utils as pcluster_utils
    from pcluster.aws.aws_api import AWSApi
    from pcluster.aws.aws_resources import CapacityReservationInfo
    from pcluster.aws.common import Cache
    from pcluster.aws.ec2 import Ec2Client
    from pcluster.constants import EBS_ROOT_VOLUME_SIZE_DEFAULT, PRIVATE_OSES, SUPPORTED_ARCHITECTURES, SUPPORTED_OSES
    from pcluster.models.s3_bucket import S3Bucket
    from pcluster.schemas.cluster_schema import ClusterSchema
    from pcluster.templates.cdk_builder import CDKTemplateBuilder
    from pcluster.validators import s3_validators
    from pcluster.validators.common import ValidatorContext
except ImportError as error:
    print(f"{error}: run this in the environment that requirements.txt describes", file=sys.stderr)
    sys.exit(2)

STRINGS_ONLY = " [only when every value is a string]"
VPC_CIDR = "10.0.0.0/16"

Path = tuple[str, ...]
Finding = dict[str, str]


# ---- patches -------------------------------------------------------------------------------------------------------


def patch() -> None:
    """Close the gaps between moto and AWS, and keep ParallelCluster off the network."""
    # moto gives every image a 15 GiB root volume, so a root volume smaller than the official AMI's would pass.
    Ami.block_device_mappings = property(_block_device_mappings)

    # moto refuses a BlockDeviceMapping that names an instance store volume; EC2 takes it.
    run_instances = Ec2Client.run_instances

    def without_instance_store(self: Ec2Client, **kwargs: Any) -> Any:
        mappings = [m for m in kwargs.pop("BlockDeviceMappings", []) if "VirtualName" not in m]
        return run_instances(self, BlockDeviceMappings=mappings, **kwargs)

    Ec2Client.run_instances = without_instance_store

    # moto's file systems have neither a VPC nor network interfaces, which ParallelCluster reads to check the ports.
    describe = FileSystem.to_dict

    def with_network(self: FileSystem) -> dict[str, Any]:
        return {**describe(self), **getattr(self, "network", {})}

    FileSystem.to_dict = with_network

    # moto knows no capacity reservations.
    Ec2Client.describe_capacity_reservations = _describe_capacity_reservations

    # ParallelCluster downloads its list of regions; the copy in the package is the one of its own version.
    regions = resources.files("pcluster").joinpath("resources", "supported-regions").read_text(encoding="utf-8")
    pcluster_utils.retrieve_supported_regions.cache = regions.split("\n")

    # ParallelCluster fetches https:// scripts; the answer would depend on where the check runs.
    s3_validators.urlopen = _refuse_url

    # ParallelCluster keeps a URL's verdict for 10 s without its message: the second run in a process would lose it.
    s3_validators.UrlValidator._validate_async = s3_validators.UrlValidator._validate_async.__wrapped__


def _block_device_mappings(ami: Ami) -> list[dict[str, Any]]:
    ebs = {
        "SnapshotId": ami.ebs_snapshot.id,
        "VolumeSize": EBS_ROOT_VOLUME_SIZE_DEFAULT,
        "DeleteOnTermination": True,
        "VolumeType": "gp3",
    }
    return [{"DeviceName": ami.root_device_name, "Ebs": ebs}]


def _describe_capacity_reservations(self: Ec2Client, capacity_reservation_ids: list[str]) -> list[Any]:
    return [CapacityReservationInfo(World.reservations[reservation]) for reservation in capacity_reservation_ids]


def _refuse_url(url: str) -> None:
    raise URLError("not fetched by this offline check")


# ---- the configuration as a tree -----------------------------------------------------------------------------------


def rebuild(node: Any, leaf: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """Return a copy of `node` with every scalar replaced by `leaf(path, scalar)`; `path` has the keys, no indices."""
    if isinstance(node, dict):
        return {key: rebuild(value, leaf, (*path, str(key))) for key, value in node.items()}
    if isinstance(node, list):
        return [rebuild(value, leaf, path) for value in node]
    return leaf(path, node)


def stringified(config: dict[str, Any]) -> dict[str, Any]:
    """Return `config` as CloudFormation sends it to a custom resource: every scalar is a string."""

    def leaf(_: Path, value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        return value if value is None else str(value)

    return rebuild(config, leaf)


def leaves(config: dict[str, Any]) -> list[tuple[Path, str]]:
    """Return the path and value of every string in `config`, each once, in order."""
    found: dict[tuple[Path, str], None] = {}

    def leaf(path: Path, value: Any) -> Any:
        if isinstance(value, str):
            found[path, value] = None
        return value

    rebuild(config, leaf)
    return list(found)


def subnet_lists(node: Any) -> Iterator[list[str]]:
    """Yield each group of subnets that is used together."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "SubnetId" and isinstance(value, str):
                yield [value]
            elif key == "SubnetIds" and isinstance(value, list):
                yield [subnet for subnet in value if isinstance(subnet, str)]
            else:
                yield from subnet_lists(value)
    elif isinstance(node, list):
        for value in node:
            yield from subnet_lists(value)


# ---- the AWS account the configuration expects ---------------------------------------------------------------------


@dataclasses.dataclass
class World:
    """The moto resources behind one configuration. `made` maps each id in the file to the id moto gave it."""

    region: str
    config: dict[str, Any]
    made: dict[str, str] = dataclasses.field(default_factory=dict)
    reservations: ClassVar[dict[str, dict[str, Any]]] = {}

    def __post_init__(self) -> None:
        """Create everything the configuration names."""
        self.ec2 = boto3.client("ec2", region_name=self.region)
        self.strings = leaves(self.config)
        self._images()
        self._network()
        self._security_groups()
        self._storage()
        self._identity()
        self._objects()
        self._reservations()

    def translated(self) -> dict[str, Any]:
        """Return the configuration with the ids of this world."""
        return rebuild(
            self.config,
            lambda _, value: self.made.get(value, value) if isinstance(value, str) else value,
        )

    def restored(self, message: str) -> str:
        """Return `message` with the ids of the file."""
        for wanted, made in self.made.items():
            message = message.replace(made, wanted)
        return message

    def _values(self, *ends: str, pattern: str) -> list[str]:
        """Return the values of the keys ending in one of `ends`, if ParallelCluster's schema accepts their form."""
        paths = [tuple(end.split(".")) for end in ends]
        return list(
            dict.fromkeys(
                value
                for path, value in self.strings
                if any(path[-len(end) :] == end for end in paths) and re.search(pattern, value)
            )
        )

    def _images(self) -> None:
        backend = ec2_backends[DEFAULT_ACCOUNT_ID][self.region]
        for system in SUPPORTED_OSES:
            if system in PRIVATE_OSES:  # AWS publishes no AMI for these
                continue
            for architecture in SUPPORTED_ARCHITECTURES:
                name = Ec2Client._get_official_image_name_prefix(system, architecture)
                self._image(backend, f"{name}-202601010000", architecture).owner_alias = "amazon"
        system = (self.config.get("Image") or {}).get("Os")
        for image in self._values("CustomAmi", pattern=r"^ami-([0-9a-z]{8}|[0-9a-z]{17})$"):
            name = Ec2Client._get_official_image_name_prefix(system, "x86_64")
            self.made[image] = self._image(backend, f"custom-{name}", "x86_64").id

    @staticmethod
    def _image(backend: Any, name: str, architecture: str) -> Ami:
        image = backend.register_image(name, "made for this check")
        image.architecture = architecture
        image.root_device_type = "ebs"
        image.virtualization_type = "hvm"
        return image

    def _network(self) -> None:
        """Make a VPC with private subnets that reach the internet through a NAT gateway."""
        self.vpc = self.ec2.create_vpc(CidrBlock=VPC_CIDR)["Vpc"]["VpcId"]
        self.ec2.modify_vpc_attribute(VpcId=self.vpc, EnableDnsSupport={"Value": True})
        self.ec2.modify_vpc_attribute(VpcId=self.vpc, EnableDnsHostnames={"Value": True})
        zones = self._zones()

        gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=self.vpc)
        public = self._subnet("10.0.255.0/24", zones[0])
        self._route(public, GatewayId=gateway)
        address = self.ec2.allocate_address(Domain="vpc")["AllocationId"]
        nat = self.ec2.create_nat_gateway(SubnetId=public, AllocationId=address)["NatGateway"]["NatGatewayId"]

        form = re.compile(r"^subnet-([0-9a-z]{8}|[0-9a-z]{17})$")
        groups = [[subnet for subnet in group if form.search(subnet)] for group in subnet_lists(self.config)]
        zone_of: dict[str, str] = {}
        for subnet in dict.fromkeys(subnet for group in groups for subnet in group):
            taken = {zone_of.get(other) for group in groups if subnet in group for other in group}
            zone_of[subnet] = next((zone for zone in zones if zone not in taken), zones[0])
            private = self._subnet(f"10.0.{16 * (len(zone_of) - 1)}.0/20", zone_of[subnet])
            self._route(private, NatGatewayId=nat)
            self.made[subnet] = private
        self.subnets = [self.made[subnet] for subnet in zone_of] or [public]
        self.zone = next(iter(zone_of.values()), zones[0])

    def _zones(self) -> list[str]:
        """Return the availability zones, those that offer most of the configuration's instance types first."""
        names = {zone["ZoneName"]: 0 for zone in self.ec2.describe_availability_zones()["AvailabilityZones"]}
        types = list(dict.fromkeys(value for path, value in self.strings if path[-1] == "InstanceType"))
        pages = self.ec2.get_paginator("describe_instance_type_offerings").paginate(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": types or ["none"]}]
        )
        for page in pages:
            for offering in page["InstanceTypeOfferings"]:
                if offering["Location"] in names:
                    names[offering["Location"]] += 1
        return sorted(names, key=lambda zone: (-names[zone], zone))

    def _subnet(self, cidr: str, zone: str) -> str:
        subnet = self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=zone)
        return subnet["Subnet"]["SubnetId"]

    def _route(self, subnet: str, **target: str) -> None:
        table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **target)
        self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)

    def _security_groups(self) -> None:
        for group in self._values(
            "SecurityGroups",
            "AdditionalSecurityGroups",
            "SecurityGroupIds",
            pattern=r"^sg-([0-9a-z]{8}|[0-9a-z]{17})$",
        ):
            made = self._security_group(group)
            itself = [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": made}]}]
            self.ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=itself)
            self.ec2.authorize_security_group_egress(GroupId=made, IpPermissions=itself)
            self.made[group] = made

    def _security_group(self, name: str, *ports: tuple[int, int]) -> str:
        count = len(self.ec2.describe_security_groups()["SecurityGroups"])
        group = self.ec2.create_security_group(GroupName=f"{name} {count}", Description="made here", VpcId=self.vpc)
        permissions = [
            {"IpProtocol": "tcp", "FromPort": low, "ToPort": high, "IpRanges": [{"CidrIp": VPC_CIDR}]}
            for low, high in ports
        ]
        if permissions:
            self.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=permissions)
        return group["GroupId"]

    def _storage(self) -> None:
        for system in self._values("FsxLustreSettings.FileSystemId", pattern=r"^fs-[0-9a-z]{17}$"):
            self._lustre(system)
        for system in self._values("EfsSettings.FileSystemId", pattern=r"^fs-([0-9a-z]{8}|[0-9a-z]{17})$"):
            efs = boto3.client("efs", region_name=self.region)
            self.made[system] = efs.create_file_system(CreationToken=system, Encrypted=True)["FileSystemId"]
            group = self._security_group(system, (2049, 2049))
            zones: set[str] = set()
            for subnet in self.ec2.describe_subnets(SubnetIds=self.subnets)["Subnets"]:
                if subnet["AvailabilityZone"] not in zones:
                    zones.add(subnet["AvailabilityZone"])
                    efs.create_mount_target(
                        FileSystemId=self.made[system], SubnetId=subnet["SubnetId"], SecurityGroups=[group]
                    )
        form = r"-([0-9a-z]{8}|[0-9a-z]{17})$"
        for volume in self._values("EbsSettings.VolumeId", pattern="^vol" + form):
            self.made[volume] = self.ec2.create_volume(AvailabilityZone=self.zone, Size=100)["VolumeId"]
        for snapshot in self._values("EbsSettings.SnapshotId", pattern="^snap" + form):
            source = self.ec2.create_volume(AvailabilityZone=self.zone, Size=10)["VolumeId"]
            self.made[snapshot] = self.ec2.create_snapshot(VolumeId=source)["SnapshotId"]
        for key in self._values("KmsKeyId", pattern="."):
            self.made[key] = boto3.client("kms", region_name=self.region).create_key()["KeyMetadata"]["KeyId"]

    def _lustre(self, system: str) -> None:
        """Make a Lustre file system in the head node's subnet. It keeps its id: moto's own are too short."""
        subnet = self.subnets[0]
        group = self._security_group(system, (988, 988), (1018, 1023))
        made = boto3.client("fsx", region_name=self.region).create_file_system(
            FileSystemType="LUSTRE",
            StorageCapacity=4800,
            SubnetIds=[subnet],
            SecurityGroupIds=[group],
            LustreConfiguration={"DeploymentType": "PERSISTENT_2", "PerUnitStorageThroughput": 250},
        )["FileSystem"]["FileSystemId"]
        interface = self.ec2.create_network_interface(SubnetId=subnet, Groups=[group])["NetworkInterface"]
        systems = fsx_backends[DEFAULT_ACCOUNT_ID][self.region].file_systems
        systems[system] = systems.pop(made)
        systems[system].file_system_id = system
        systems[system].dns_name = f"{system}.fsx.{self.region}.amazonaws.com"
        systems[system].lustre_configuration["MountName"] = "fsx"
        systems[system].network = {"VpcId": self.vpc, "NetworkInterfaceIds": [interface["NetworkInterfaceId"]]}

    def _reservations(self) -> None:
        """Describe, for each compute resource that names a reservation, one of its type, zone and size."""
        World.reservations.clear()
        for queue in (self.config.get("Scheduling") or {}).get("SlurmQueues") or []:
            for resource in queue.get("ComputeResources") or []:
                reservation = (resource.get("CapacityReservationTarget") or {}).get("CapacityReservationId")
                if reservation:
                    block = queue.get("CapacityType") == "CAPACITY_BLOCK"
                    World.reservations[reservation] = {
                        "CapacityReservationId": reservation,
                        "CapacityReservationArn": f"arn:aws:ec2:{self.region}:{DEFAULT_ACCOUNT_ID}:capacity-reservation/{reservation}",
                        "InstanceType": resource.get("InstanceType"),
                        "InstancePlatform": "Linux/UNIX",
                        "AvailabilityZone": self.zone,
                        "TotalInstanceCount": int(resource.get("MaxCount") or 10),
                        "AvailableInstanceCount": int(resource.get("MaxCount") or 10),
                        "State": "active",
                        "ReservationType": "capacity-block" if block else "default",
                    }

    def _identity(self) -> None:
        iam = boto3.client("iam")
        statement = {"Effect": "Allow", "Action": "s3:ListAllMyBuckets", "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        # AWS's own policies (arn:aws:iam::aws:policy/...) are in moto already: a misspelt one is an error.
        own = r"^arn:[^:]*:iam::\d{12}:"
        for arn in self._values("AdditionalIamPolicies.Policy", "PermissionsBoundary", pattern=own + "policy/"):
            route, name = self._path(arn)
            made = iam.create_policy(PolicyName=name, Path=route, PolicyDocument=policy)
            self.made[arn] = made["Policy"]["Arn"]
        for arn in self._values("InstanceRole", "LambdaFunctionsRole", pattern=own + "role/"):
            route, name = self._path(arn)
            made = iam.create_role(RoleName=name, Path=route, AssumeRolePolicyDocument=policy)
            self.made[arn] = made["Role"]["Arn"]
        for arn in self._values("InstanceProfile", pattern=own + "instance-profile/"):
            route, name = self._path(arn)
            made = iam.create_instance_profile(InstanceProfileName=name, Path=route)["InstanceProfile"]
            iam.create_role(RoleName=f"{name}-role", AssumeRolePolicyDocument=policy)
            iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=f"{name}-role")
            self.made[arn] = made["Arn"]
        for key in self._values("Ssh.KeyName", pattern="."):
            self.ec2.create_key_pair(KeyName=key, KeyType="ed25519")
        for arn in self._values(
            "MungeKeySecretArn", "PasswordSecretArn", pattern=r"^arn:[^:]*:secretsmanager:[^:]*:\d{12}:secret:"
        ):
            secrets = boto3.client("secretsmanager", region_name=self.region)
            value = base64.b64encode(bytes(128)).decode()
            self.made[arn] = secrets.create_secret(Name=arn.rsplit(":", 1)[1], SecretString=value)["ARN"]

    @staticmethod
    def _path(arn: str) -> tuple[str, str]:
        """Return the IAM path and the name in `arn`."""
        route, _, name = arn.split(":", 5)[5].partition("/")[2].rpartition("/")
        return (f"/{route}/" if route else "/"), name

    def _objects(self) -> None:
        s3 = boto3.client("s3", region_name=self.region)
        where = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
        buckets: set[str] = set()

        def bucket(name: str) -> None:
            if name not in buckets:
                buckets.add(name)
                s3.create_bucket(Bucket=name, **({"CreateBucketConfiguration": where} if where else {}))
                s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

        name_form = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
        for name in self._values("S3Access.BucketName", "CustomS3Bucket", pattern=name_form):
            bucket(name)
        for _, value in self.strings:
            name, _, key = value.removeprefix("s3://").partition("/")
            if value.startswith("s3://") and re.search(name_form, name):
                bucket(name)
                if key:
                    s3.put_object(Bucket=name, Key=key, Body=b"#!/bin/bash\n")


# ---- ParallelCluster -----------------------------------------------------------------------------------------------


def schema_messages(tree: Any, where: str = "") -> list[str]:
    """Return marshmallow's tree of messages as lines."""
    if isinstance(tree, dict):
        lines: list[str] = []
        for key, value in tree.items():
            step = f"[{key}]" if isinstance(key, int) else "" if key == "_schema" else f".{key}" if where else str(key)
            lines += schema_messages(value, where + step)
        return lines
    if isinstance(tree, list):
        return [line for value in tree for line in schema_messages(value, where)]
    return [f"{where or 'configuration'}: {tree}"]


def load(source: dict[str, Any], cluster_name: str) -> tuple[Any, list[str]]:
    """Return the loaded configuration, or None and what the schema says."""
    try:
        return ClusterSchema(cluster_name=cluster_name).load(source), []
    except ValidationError as error:
        return None, schema_messages(error.messages)
    except Exception as error:  # building the objects asks AWS: what it cannot answer ends up here
        return None, [f"configuration: {type(error).__name__}: {error}"]


def validate(cluster: Any) -> list[Finding]:
    """Run every validator on a loaded configuration."""
    try:
        results, stopped = cluster.validate([], ValidatorContext()), []
    except Exception as error:  # ParallelCluster, too, makes this an invalid configuration
        results = cluster._validation_failures
        stopped = [{"level": "ERROR", "type": type(error).__name__, "message": f"validators stopped: {error}"}]
    return unique([{"level": str(r.level), "type": r.validator_type, "message": r.message} for r in results] + stopped)


def unique(findings: list[Finding]) -> list[Finding]:
    """Return `findings` without repetitions, worst first."""
    order = {"ERROR": 0, "WARNING": 1, "INFO": 2}
    kept = list({tuple(finding.values()): finding for finding in findings}.values())
    return sorted(kept, key=lambda finding: order[finding["level"]])


def resource_count(cluster: Any, cluster_name: str) -> int:
    """Synthesise the template and return its number of resources, those of nested stacks included."""
    bucket = S3Bucket(
        service_name=cluster_name,
        stack_name=cluster_name,
        artifact_directory=f"parallelcluster/clusters/{cluster_name}",
    )
    bucket.create_bucket()
    cluster.config_version = "check"
    template, assets = CDKTemplateBuilder().build_cluster_template(cluster, bucket, cluster_name)
    nested = [asset["content"].get("Resources", {}) for asset in assets]
    return len(template["Resources"]) + sum(len(part) for part in nested)


def is_error(finding: Finding) -> bool:
    """Tell whether `finding` makes a configuration unusable."""
    return finding["level"] == "ERROR"


def check(config: dict[str, Any], region: str, cluster_name: str) -> dict[str, Any]:
    """Check one configuration in an AWS account of its own."""
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = region
    with mock_aws(config={"iam": {"load_aws_managed_policies": True}}):
        AWSApi.reset()
        Cache.clear_all()
        world = World(region, config)
        translated = world.translated()
        cluster, schema = load(translated, cluster_name)
        findings = validate(cluster) if cluster else []
        count = 0
        if cluster and not any(map(is_error, findings)):
            try:
                count = resource_count(cluster, cluster_name)
            except Exception as error:  # jsii reports every fault of the Node side as a bare exception
                message = f"{type(error).__name__}: {error}"
                findings.insert(0, {"level": "ERROR", "type": "TemplateSynthesis", "message": message})

        cluster, schema_of_strings = load(stringified(translated), cluster_name)
        findings_of_strings = validate(cluster) if cluster else []
        strings_ok = not schema_of_strings and not any(map(is_error, findings_of_strings))
        schema += [line + STRINGS_ONLY for line in schema_of_strings if line not in schema]
        findings += [
            {**finding, "message": finding["message"] + STRINGS_ONLY}
            for finding in findings_of_strings
            if is_error(finding) and finding not in findings
        ]
    return {
        "schema": [world.restored(line) for line in schema],
        "findings": [{**finding, "message": world.restored(finding["message"])} for finding in findings],
        "template_resources": count,
        "strings_ok": strings_ok,
    }


# ---- command line --------------------------------------------------------------------------------------------------


def read(file: str) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file."""
    with open(file, encoding="utf-8") as stream:
        config = pcluster_utils.yaml_load(stream)
    if not isinstance(config, dict):
        raise ValueError("not a mapping")
    return config


def ok(result: dict[str, Any]) -> bool:
    """Tell whether a configuration went through."""
    return not result["schema"] and not any(map(is_error, result["findings"]))


def lines(file: str, result: dict[str, Any]) -> Iterator[str]:
    """Yield `result` for people."""
    yield f"{file}: {'ok' if ok(result) else 'FAILED'}"
    for line in result["schema"]:
        yield f"  SCHEMA   {line}"
    for finding in result["findings"]:
        yield f"  {finding['level']:<8} {finding['type']}: {finding['message']}"
    yield f"  template: {result['template_resources'] or 'no'} resources"
    yield f"  as strings: {'ok' if result['strings_ok'] else 'FAILED'}"


def main() -> int:
    """Check the files on the command line."""
    parser = argparse.ArgumentParser(description="Check ParallelCluster configurations offline.")
    parser.add_argument("files", nargs="+", metavar="FILE", help="a ClusterConfiguration, YAML or JSON")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--region", default="us-east-1", help="for files without Region (default %(default)s)")
    parser.add_argument("--cluster-name", default="cryoem", help="as in the custom resource (default %(default)s)")
    options = parser.parse_args()
    node = os.environ.get("JSII_NODE", "node")
    if not shutil.which(node):
        parser.error(f"{node} not found: put node on PATH or its path in JSII_NODE")

    configs: dict[str, dict[str, Any]] = {}
    for file in options.files:
        try:
            configs[file] = read(file)
        except (OSError, ValueError, yaml.YAMLError) as error:
            parser.error(f"{file}: {error}")

    logging.getLogger("pcluster").addHandler(logging.NullHandler())
    logging.getLogger("pcluster").propagate = False
    asyncio.set_event_loop(asyncio.new_event_loop())
    patch()
    results = {
        file: check(config, str(config.get("Region") or options.region), options.cluster_name)
        for file, config in configs.items()
    }
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        print("\n".join(line for file, result in results.items() for line in lines(file, result)))
    return 0 if all(map(ok, results.values())) else 1


if __name__ == "__main__":
    sys.exit(main())
