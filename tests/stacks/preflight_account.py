"""An account in moto that has everything a system needs, and ways to break it.

moto knows neither EC2's and FSx's quotas, nor DataSync's agents, nor capacity reservations, and its file systems have no
state: these answers are put before moto's, checked against botocore's service model, as botocore's Stubber does it.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.validate import validate_parameters
from moto import mock_aws
from moto.cloudformation.models import cloudformation_backends
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ec2.models import ec2_backends

from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.preflight import live, quota_codes
from cdk_cryoem_stacks.preflight.ask import Clients
from cdk_cryoem_stacks.preflight.check import Check, Level
from cdk_cryoem_stacks.preflight.images import official_name

REGION, ZONE, OTHER_ZONE = "us-east-1", "us-east-1a", "us-east-1b"
RESERVATION = "cr-0a1b2c3d4e5f60718"
AGENT = f"arn:aws:datasync:{REGION}:{DEFAULT_ACCOUNT_ID}:agent/agent-0123456789abcdef0"
COPY = "second-copy-of-movies"
CERTIFICATE = f"arn:aws:acm:{REGION}:{DEFAULT_ACCOUNT_ID}:certificate/01234567-89ab-cdef-0123-456789abcdef"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
Answer = Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any] | str]


def answer(client: Any, operation: str, said: Answer) -> None:
    """What AWS says to an operation: a response, or by a function of the JSON request; a text is an error code."""
    service = client.meta.service_model.service_id.hyphenize()
    if operation not in _said(client):
        client.meta.events.register_first(
            f"before-call.{service}.{operation}", lambda params, **_: _answered(client, operation, params)
        )
    _said(client)[operation] = said


def refuse(client: Any, operation: str, code: str = "AccessDenied") -> None:
    """Let an operation end with an error."""
    answer(client, operation, lambda request: code)


def _said(client: Any) -> dict[str, Answer | None]:
    said: dict[str, Answer | None] = client.__dict__.setdefault("_said", {})
    return said


def _answered(client: Any, operation: str, params: Mapping[str, Any]) -> tuple[AWSResponse, Mapping[str, Any]] | None:
    said = _said(client)[operation]
    if said is None:
        return None  # moto's turn
    if callable(said):
        body = params["body"]
        found = said(json.loads(body) if isinstance(body, bytes) and body.startswith(b"{") else {})
    else:
        found = said
    if isinstance(found, str):
        return AWSResponse(params["url"], 400, {}, None), _error(found)  # type: ignore[arg-type]
    validate_parameters(dict(found), client.meta.service_model.operation_model(operation).output_shape)
    return AWSResponse(params["url"], 200, {}, None), {**found, "ResponseMetadata": {}}  # type: ignore[arg-type]


def _error(code: str) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": f"User is not told more than {code}"}, "ResponseMetadata": {}}


class Account:
    """The healthy account. Attributes may be changed before `look`."""

    def __init__(self) -> None:
        self.clients = _clients()
        self.quotas = {
            quota.code: 100_000 for quota in vars(quota_codes).values() if isinstance(quota, quota_codes.Quota)
        }
        self.quotas |= {quota.code: 100_000 for quota in quota_codes.LUSTRE.values()}
        self.agents: dict[str, str] = {AGENT: "ONLINE"}
        self.file_systems: dict[str, dict[str, Any]] = {}
        self.certificate: dict[str, Any] = {"DomainName": "em.example.org", "Status": "ISSUED"}
        self.resources: list[dict[str, Any]] = []
        self.reservation: dict[str, Any] = {
            "CapacityReservationId": RESERVATION,
            "State": "active",
            "InstanceType": "g5.48xlarge",
            "AvailabilityZone": ZONE,
            "TotalInstanceCount": 2,
            "ReservationType": "default",
        }
        self._network()
        self._image()
        self.license = self.secret("license")
        self.password = self.secret("password")
        self.stack("CDKToolkit", BootstrapVersion="30")
        self._stubs()
        self.config: dict[str, Any] = {
            "name": "cryoem",
            "region": REGION,
            "network": {"vpc_id": self.vpc, "subnet_id": self.subnet, "availability_zone": ZONE},
            "microscopes": [
                {"name": "krios", "nfs": {"host": "10.0.0.5", "path": "/krios"}, "agent_arn": AGENT},
                {
                    "name": "glacios",
                    "smb": {"host": "10.0.0.6", "path": "/g", "user": "u", "password_secret_arn": self.password},
                    "agent_arn": AGENT,
                },
            ],
            "cryosparc": {"license_secret_arn": self.license},
            "lanes": [
                {"name": "cpu", "instance_types": ["m6i.8xlarge", "m7i.8xlarge"], "max_nodes": 4},
                {"name": "gpu1", "instance_types": ["g5.4xlarge"], "gpus": 1, "max_nodes": 8, "spot_twin": True},
                {
                    "name": "gpu8",
                    "instance_types": ["g5.48xlarge"],
                    "gpus": 8,
                    "max_nodes": 2,
                    "capacity_reservation_id": RESERVATION,
                },
            ],
        }

    def look(self, *, region: str | None = None) -> list[Check]:
        """Every check of the live part."""
        config = Config.model_validate(self.config)
        return [check for group in live.look(self.clients, config, region=region) for check in group.checks]

    def wrong(self, *, region: str | None = None) -> list[Check]:
        """The checks that are not ok."""
        return [check for check in self.look(region=region) if check.level is not Level.OK]

    def become(self, key: str, secret: str) -> None:
        """Look with other credentials from now on."""
        self.clients = Clients.of(boto3.Session(key, secret), REGION)
        self._stubs()

    def only(self) -> Check:
        """The one check that is not ok."""
        wrong = self.wrong()
        assert len(wrong) == 1, "\n".join(map(str, wrong))
        return wrong[0]

    def secret(self, name: str) -> str:
        """The ARN of a new secret."""
        return self.clients.secretsmanager.create_secret(Name=name, SecretString="x")["ARN"]

    def stack(self, name: str, **outputs: str) -> None:
        """A stack with outputs, which makes nothing of interest."""
        template = {
            "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}},
            "Outputs": {key: {"Value": value} for key, value in outputs.items()},
        }
        self.clients.cloudformation.create_stack(StackName=name, TemplateBody=json.dumps(template))

    def status(self, name: str, status: str) -> None:
        """The status of a stack, which moto's API never makes wrong."""
        stacks = cloudformation_backends[DEFAULT_ACCOUNT_ID][REGION].stacks
        (stack,) = (stack for stack in stacks.values() if stack.name == name)
        stack.status = status

    def extras(self) -> None:
        """What a file may have besides: a second copy in another region, a group, the load balancer, an agent made of a key."""
        elsewhere = "eu-west-1"
        s3 = boto3.client("s3", region_name=elsewhere)
        s3.create_bucket(
            Bucket=COPY, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}, ObjectLockEnabledForBucket=True
        )
        self.copy_key = boto3.client("kms", region_name=elsewhere).create_key()["KeyMetadata"]["Arn"]
        iam = boto3.client("iam", region_name=REGION)
        self.reader = iam.create_role(RoleName="smith", Path="/labs/", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        made = {"LogicalResourceId": "MicroscopekriosAgent0A1B2C3D", "PhysicalResourceId": AGENT}
        self.resources = [
            made | {"ResourceType": "AWS::DataSync::Agent", "ResourceStatus": "CREATE_COMPLETE", "Timestamp": NOW}
        ]
        self.config |= {
            "landing": {
                "object_lock_days": 30,
                "replicate_to": {"bucket_arn": f"arn:aws:s3:::{COPY}", "key_arn": self.copy_key},
            },
            "groups": [{"name": "smith", "datasets": ["smith_*"], "reader_role_arns": [self.reader]}],
            "web": {
                "certificate_arn": CERTIFICATE,
                "allowed_from": ["10.0.0.0/8"],
                "subnet_ids": [self.subnet, self.new_subnet("10.0.2.0/24", OTHER_ZONE)],
            },
        }
        del self.config["microscopes"][0]["agent_arn"]
        self.config["microscopes"][0]["activation_key"] = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"

    def storage(self, *, zone: str = ZONE, buckets: str = REGION) -> str:
        """The storage stack, its buckets and its file system; its id."""
        subnet = self.subnet if zone == ZONE else self.new_subnet("10.0.9.0/24", zone)
        made = "fs-0123456789abcdef0"
        self.file_systems[made] = {
            "FileSystemId": made,
            "Lifecycle": "AVAILABLE",
            "StorageCapacity": 2400,
            "SubnetIds": [subnet],
            "LustreConfiguration": {"DeploymentType": "PERSISTENT_2"},
        }
        s3 = boto3.client("s3", region_name=buckets)
        for name in ("landing", "results"):
            if buckets == "us-east-1":
                s3.create_bucket(Bucket=name)
            else:
                s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": buckets})
        self.stack("cryoem-storage", LandingBucket="landing", ResultsBucket="results", FileSystemId=made)
        return made

    def new_subnet(self, cidr: str, zone: str = ZONE) -> str:
        """A subnet in the VPC."""
        made = self.clients.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr, AvailabilityZone=zone)
        return made["Subnet"]["SubnetId"]

    def _network(self) -> None:
        ec2 = self.clients.ec2
        self.vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        ec2.modify_vpc_attribute(VpcId=self.vpc, EnableDnsHostnames={"Value": True})
        self.subnet, public = self.new_subnet("10.0.0.0/24"), self.new_subnet("10.0.1.0/24")
        address = ec2.allocate_address(Domain="vpc")["AllocationId"]
        self.nat = ec2.create_nat_gateway(SubnetId=public, AllocationId=address)["NatGateway"]["NatGatewayId"]
        self.table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=self.table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=self.nat)
        ec2.associate_route_table(RouteTableId=self.table, SubnetId=self.subnet)
        service = f"com.amazonaws.{REGION}.s3"
        made = ec2.create_vpc_endpoint(VpcId=self.vpc, ServiceName=service, VpcEndpointType="Gateway")
        self.endpoint = made["VpcEndpoint"]["VpcEndpointId"]

    def _image(self) -> None:
        name = official_name("ubuntu2204").replace("*", "202601010000")
        self.image = ec2_backends[DEFAULT_ACCOUNT_ID][REGION].register_image(name=name)
        self.image.owner_alias = "amazon"

    def _stubs(self) -> None:
        def quota(request: Mapping[str, Any]) -> Mapping[str, Any] | str:
            code = request["QuotaCode"]
            return {"Quota": {"QuotaCode": code, "Value": float(self.quotas[code])}} if code in self.quotas else _NONE

        def agent(request: Mapping[str, Any]) -> Mapping[str, Any] | str:
            status = self.agents.get(request["AgentArn"])
            return {"AgentArn": request["AgentArn"], "Status": status} if status else "InvalidRequestException"

        def file_systems(request: Mapping[str, Any]) -> Mapping[str, Any] | str:
            wanted = request.get("FileSystemIds", list(self.file_systems))
            if not set(wanted) <= set(self.file_systems):
                return "FileSystemNotFound"
            return {"FileSystems": [self.file_systems[name] for name in wanted]}

        def resources(request: Mapping[str, Any]) -> Mapping[str, Any] | str:
            return {"StackResources": self.resources} if self.resources else "ValidationError"

        answer(self.clients.acm, "DescribeCertificate", lambda request: {"Certificate": self.certificate})
        answer(self.clients.cloudformation, "DescribeStackResources", resources)
        answer(self.clients.fsx, "DescribeFileSystems", file_systems)
        answer(self.clients.service_quotas, "GetServiceQuota", quota)
        answer(self.clients.service_quotas, "GetAWSDefaultServiceQuota", lambda request: _NONE)
        answer(self.clients.datasync, "DescribeAgent", agent)
        reservations = {"CapacityReservations": [self.reservation]}
        answer(self.clients.ec2, "DescribeCapacityReservations", reservations)


_NONE = "NoSuchResourceException"


@functools.cache
def _clients() -> Clients:
    """Made once: botocore reads megabytes for them. moto takes them over whenever it is on."""
    return Clients.of(boto3.Session("testing", "testing"), REGION)


@contextmanager
def healthy() -> Iterator[Account]:
    """The healthy account, while moto stands for AWS."""
    with mock_aws():
        yield Account()
    made = [getattr(_clients(), field.name) for field in dataclasses.fields(Clients) if field.name != "kms"]
    for client in (*made, _clients().kms("eu-west-1")):
        said = _said(client)
        said.update(dict.fromkeys(said))
