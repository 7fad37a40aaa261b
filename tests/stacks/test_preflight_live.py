"""The live part against moto, with one fault at a time: it is found, and nothing else is."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError

sys.path.insert(0, str(Path(__file__).parent))

from preflight_account import (
    AGENT,
    CERTIFICATE,
    NOW,
    OTHER_ZONE,
    REGION,
    RESERVATION,
    ZONE,
    Account,
    answer,
    healthy,
    refuse,
)

from cdk_cryoem_stacks.preflight import quota_codes as codes
from cdk_cryoem_stacks.preflight.check import Check, Level

HERE = "123456789012"  # moto's account


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch) -> Iterator[Account]:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with healthy() as account:
        yield account


def new_network(account: Account) -> None:
    """A system that makes its own network."""
    account.config["network"] = {}


def named(checks: list[Check], name: str) -> list[Check]:
    return [check for check in checks if check.name == name]


def test_a_healthy_account_has_no_finding_with_a_network_of_ones_own_or_a_new_one_and_after_deployment(
    account: Account,
) -> None:
    assert account.wrong() == []
    checks = account.look()
    assert {check.name for check in checks} == {
        "credentials", "zone", "bootstrap", "stacks", "instance types", "vCPU quota", "storage quota", "reservation",
        "image", "subnet", "addresses", "way out", "VPC names", "S3 endpoint", "bucket", "DataSync agent", "secret",
    }  # fmt: skip
    account.storage()
    assert account.wrong() == []
    assert "file system" in {check.name for check in account.look()}
    new_network(account)
    assert account.wrong() == []
    assert len(named(account.look(), "network quota")) == 2


# ---- account ------------------------------------------------------------------------------------------------------


def test_credentials_of_another_account_end_it(account: Account) -> None:
    account.config["account"] = HERE
    assert account.wrong() == []
    account.config["account"] = "111122223333"
    found = account.only()
    assert (found.name, found.level) == ("credentials", Level.ERROR)
    assert "the file says 111122223333" in found.reason
    assert f"account: '{HERE}'" in found.fix
    assert {check.name for check in account.look()} == {"credentials"}


def test_another_region_in_the_environment_is_an_error(account: Account) -> None:
    assert account.wrong(region=REGION) == []
    (found,) = account.wrong(region="eu-west-1")
    assert (found.name, found.subject, found.level) == ("credentials", "region", Level.ERROR)
    assert "export AWS_REGION=us-east-1" in found.fix


def test_expired_credentials_are_an_error_and_nothing_else_is_asked(account: Account) -> None:
    refuse(account.clients.sts, "GetCallerIdentity", "ExpiredToken")
    (found,) = account.look()
    assert found.level is Level.ERROR
    assert "ExpiredToken" in found.reason
    assert "aws sso login" in found.fix


@pytest.mark.parametrize(
    "failure",
    [EndpointConnectionError(endpoint_url="https://sts"), ReadTimeoutError(endpoint_url="https://sts")],
    ids=["unreachable", "timeout"],
)
def test_without_a_network_there_is_one_warning(account: Account, failure: Exception) -> None:
    def fail(request: object) -> str:
        raise failure

    answer(account.clients.sts, "GetCallerIdentity", fail)
    (found,) = account.look()
    assert found.level is Level.WARNING
    assert "had no answer" in found.reason


# ---- CloudFormation -----------------------------------------------------------------------------------------------


def test_an_account_without_bootstrap(account: Account) -> None:
    account.clients.cloudformation.delete_stack(StackName="CDKToolkit")
    found = account.only()
    assert (found.name, found.level) == ("bootstrap", Level.ERROR)
    assert found.fix == f"tools/cdk bootstrap aws://{HERE}/us-east-1"


def test_an_old_bootstrap(account: Account) -> None:
    account.clients.cloudformation.delete_stack(StackName="CDKToolkit")
    account.stack("CDKToolkit", BootstrapVersion="5")
    assert "version 5, needed is 6" in account.only().reason


@pytest.mark.parametrize(
    ("stack", "status", "level", "mend"),
    [
        ("cryoem-cluster", "ROLLBACK_COMPLETE", Level.ERROR, "delete-stack --stack-name cryoem-cluster"),
        ("cryoem-storage", "ROLLBACK_COMPLETE", Level.ERROR, "--no-enable-termination-protection"),
        ("cryoem", "CREATE_FAILED", Level.ERROR, "delete-stack --stack-name cryoem --region us-east-1"),
        ("cryoem-hooks", "UPDATE_ROLLBACK_FAILED", Level.ERROR, "continue-update-rollback --stack-name cryoem-hooks"),
        ("cryoem-hooks", "UPDATE_FAILED", Level.ERROR, "rollback-stack"),
        ("cryoem-ingest", "UPDATE_IN_PROGRESS", Level.WARNING, "describe-stack-events"),
    ],
)
def test_a_stack_that_nothing_can_be_deployed_over(
    account: Account, stack: str, status: str, level: Level, mend: str
) -> None:
    account.stack(stack)
    assert named(account.wrong(), "stacks") == []
    account.status(stack, status)
    (found,) = named(account.wrong(), "stacks")
    assert (found.subject, found.level) == (stack, level)
    assert status in found.reason
    assert mend in found.fix


# ---- zone and instance types --------------------------------------------------------------------------------------


def test_a_zone_that_is_none(account: Account) -> None:
    account.config["network"] = {"availability_zone": "us-east-1z"}
    (found,) = named(account.wrong(), "zone")
    assert "us-east-1z is no zone of us-east-1: us-east-1a, " in found.reason


def test_without_a_zone_the_first_is_expected(account: Account) -> None:
    new_network(account)
    (found,) = named(account.look(), "zone")
    assert f"expected to take {ZONE}" in found.reason


def test_a_file_system_in_another_zone_than_the_nodes(account: Account) -> None:
    account.storage(zone=OTHER_ZONE)
    found = account.only()
    assert (found.name, found.level) == ("zone", Level.ERROR)
    assert found.reason.startswith(f"nodes would be in {ZONE}, the file system is in {OTHER_ZONE}")
    assert found.fix == f"network.availability_zone: {OTHER_ZONE}"


def test_a_type_that_the_zone_does_not_have(account: Account) -> None:
    account.config["network"] = {"availability_zone": "us-east-1f"}  # it has g5 and no g6e, in moto's tables
    account.config["lanes"] = [{"name": "gpu1", "instance_types": ["g5.4xlarge", "g6e.4xlarge"], "gpus": 1}]
    found = account.only()
    assert (found.name, found.level) == ("instance types", Level.WARNING)
    assert found.subject == "lanes[0].instance_types (gpu1)"
    assert found.reason == "not all are in us-east-1f: g6e.4xlarge is in us-east-1a, us-east-1b, us-east-1c, us-east-1d"
    assert found.fix == "Take network.availability_zone: us-east-1a, which has every type of this file"
    account.config["lanes"][0]["instance_types"].reverse()
    assert account.only().level is Level.ERROR
    account.config["lanes"][0]["instance_types"] = ["g6e.4xlarge"]
    assert account.only().level is Level.ERROR
    account.storage(zone="us-east-1f")
    assert account.only().fix == "Take other types", "the file system stays where it is"


# ---- quotas -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "value", "level", "said"),
    [
        (codes.G.code, 512, Level.OK, ""),
        (codes.G.code, 511, Level.WARNING, "not all lanes can be full at once"),
        (codes.G.code, 383, Level.ERROR, "lanes[2].max_nodes (gpu8) 2 x g5.48xlarge (192 vCPUs) = 384"),
        (codes.G_SPOT.code, 128, Level.OK, ""),
        (codes.G_SPOT.code, 0, Level.ERROR, "lanes[1].max_nodes (gpu1-spot) 8 x g5.4xlarge (16 vCPUs) = 128"),
        (codes.STANDARD.code, 132, Level.OK, ""),
        (codes.STANDARD.code, 131, Level.ERROR, "lanes[0].max_nodes (cpu) 4 x m6i.8xlarge"),
        (codes.STANDARD.code, 3, Level.ERROR, "head_node.instance_type 1 x m7i.xlarge (4 vCPUs) = 4"),
    ],
)
def test_a_vcpu_quota(account: Account, code: str, value: int, level: Level, said: str) -> None:
    account.quotas[code] = value
    if level is Level.OK:
        assert account.wrong() == []
        return
    found = account.only()
    assert (found.name, found.level) == ("vCPU quota", level)
    assert f"the quota is {value}" in found.reason
    assert said in found.reason
    assert f"--quota-code {code} --desired-value" in found.fix
    assert f"https://us-east-1.console.aws.amazon.com/servicequotas/home/services/ec2/quotas/{code}" in found.fix


def instance(lifecycle: str | None = None, **tags: str) -> dict[str, Any]:
    made: dict[str, Any] = {"InstanceType": "g5.48xlarge", "CpuOptions": {"CoreCount": 96, "ThreadsPerCore": 2}}
    made["Tags"] = [{"Key": key.replace("_", ":"), "Value": value} for key, value in tags.items()]
    return made | ({"InstanceLifecycle": lifecycle} if lifecycle else {})


def test_what_other_instances_use_counts_and_our_own_does_not(account: Account) -> None:
    account.quotas[codes.G.code] = 700
    ours = [instance(cryoem_system="cryoem"), instance(parallelcluster_cluster="no", cryoem_system="cryoem")]
    # moto's instances have no CpuOptions, so this answer is not moto's.
    instances = [*ours, instance("spot"), instance("capacity-block")]
    answer(account.clients.ec2, "DescribeInstances", {"Reservations": [{"Instances": instances}]})
    assert account.wrong() == []
    answer(account.clients.ec2, "DescribeInstances", {"Reservations": [{"Instances": [instance()]}]})
    found = account.only()
    assert found.level is Level.WARNING
    assert "the quota is 700, of which other instances use 192 now; all lanes full need 512" in found.reason
    assert "--desired-value 704" in found.fix


def test_a_quota_that_is_not_known_is_a_warning(account: Account) -> None:
    del account.quotas[codes.G.code]
    found = account.only()
    assert (found.level, found.subject) == (Level.WARNING, codes.G.name)
    assert codes.G.code in found.reason
    answer(account.clients.service_quotas, "GetAWSDefaultServiceQuota", {"Quota": {"Value": 64.0}})
    assert "the quota is 64" in account.only().reason, "AWS's default is asked for when the account has no own value"


def test_the_file_systems_storage(account: Account) -> None:
    account.quotas[codes.LUSTRE["PERSISTENT_2"].code] = 2400
    assert account.wrong() == []
    account.storage()
    assert account.wrong() == [], "the system's own file system is not somebody else's"
    account.quotas[codes.LUSTRE["PERSISTENT_2"].code] = 2399
    found = account.only()
    assert (found.name, found.level) == ("storage quota", Level.ERROR)
    assert found.reason.startswith("2400 needed, 0 of 2399 GiB in use")
    assert "--service-code fsx" in found.fix


def test_file_systems_of_others(account: Account) -> None:
    account.quotas[codes.LUSTRE["PERSISTENT_2"].code] = 4799
    assert account.wrong() == []
    account.storage()
    account.config["name"] = "second"
    assert account.only().reason.startswith("2400 needed, 2400 of 4799 GiB")


@pytest.mark.parametrize("quota", [codes.VPCS, codes.ADDRESSES], ids=lambda quota: quota.name)
def test_a_new_network_needs_a_vpc_and_an_address(account: Account, quota: codes.Quota) -> None:
    used = 2 if quota is codes.VPCS else 1  # moto's default VPC and ours; the NAT gateway's address
    account.quotas[quota.code] = used
    assert account.wrong() == [], "a network of one's own needs neither"
    new_network(account)
    found = account.only()
    assert (found.name, found.level, found.subject) == ("network quota", Level.ERROR, quota.name)
    account.quotas[quota.code] = used + 1
    assert account.wrong() == []
    account.quotas[quota.code] = used
    account.stack("cryoem-network")
    assert account.wrong() == [], "it has been made"


def test_a_network_without_a_way_out_needs_no_address(account: Account) -> None:
    account.config |= {"engine": "pcs", "pcs": {"ami_id": account.image.id}}
    del account.config["cryosparc"]
    account.quotas[codes.ADDRESSES.code] = 1
    account.config["network"] = {"endpoints": ["all"]}
    assert [found.subject for found in account.wrong()] == [codes.ADDRESSES.name]
    account.config["network"] = {"endpoints": ["all"], "nat": False}
    assert account.wrong() == []


# ---- reservations and images --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({"State": "cancelled"}, Level.ERROR, "is cancelled"),
        ({"State": "expired"}, Level.ERROR, "is expired"),
        (
            {"State": "scheduled", "StartDate": datetime(2027, 1, 2, 11, 30, tzinfo=UTC)},
            Level.WARNING,
            "2027-01-02 11:30",
        ),
        ({"InstanceType": "g6.48xlarge"}, Level.ERROR, "reserves g6.48xlarge, the lane has g5.48xlarge"),
        ({"AvailabilityZone": OTHER_ZONE}, Level.ERROR, f"is in {OTHER_ZONE}, file system and nodes in {ZONE}"),
        ({"ReservationType": "capacity-block"}, Level.ERROR, "is a Capacity Block, the lane's capacity is on-demand"),
        ({"TotalInstanceCount": 1}, Level.ERROR, "reserves 1, lanes[2].max_nodes is 2"),
    ],
)
def test_a_reservation_that_does_not_fit(account: Account, changed: dict[str, Any], level: Level, said: str) -> None:
    account.reservation.update(changed)
    found = account.only()
    assert (found.name, found.subject, found.level) == ("reservation", "lanes[2].capacity_reservation_id (gpu8)", level)
    assert said in found.reason


def test_a_reservation_that_is_not_there(account: Account) -> None:
    refuse(account.clients.ec2, "DescribeCapacityReservations", "InvalidCapacityReservationId.NotFound")
    assert account.only().reason == f"there is no {RESERVATION} in us-east-1"


def test_a_capacity_block_says_its_size_in_a_tag_until_it_begins_and_counts_against_no_vcpu_quota(
    account: Account,
) -> None:
    account.config["lanes"][2] |= {"capacity": "capacity-block", "instance_types": ["p5.48xlarge"]}
    tag = {"Key": "aws:ec2capacityreservation:incrementalRequestedQuantity", "Value": "2"}
    account.reservation |= {"InstanceType": "p5.48xlarge", "ReservationType": "capacity-block", "TotalInstanceCount": 0}
    account.reservation["Tags"] = [tag]
    account.quotas[codes.P.code] = 0
    answer(account.clients.ec2, "DescribeCapacityReservations", {"CapacityReservations": [account.reservation]})
    assert account.wrong() == []
    (found,) = named(account.look(), "addresses")
    assert "88 are needed" in found.reason, "a p5.48xlarge has 32 network cards, each with an address"


def test_no_image_of_parallelcluster(account: Account) -> None:
    account.config["head_node"] = {"operating_system": "ubuntu2404"}
    found = account.only()
    assert (found.name, found.level) == ("image", Level.ERROR)
    assert "aws-parallelcluster-3.16.1-ubuntu-2404-lts-hvm-x86_64-*" in found.reason


def test_an_image_of_that_name_which_is_not_amazons_does_not_count(account: Account) -> None:
    account.image.owner_alias = None
    assert account.only().name == "image"


def test_the_image_of_pcs(account: Account) -> None:
    account.config |= {"engine": "pcs", "pcs": {"ami_id": account.image.id}}
    assert account.wrong() == []
    account.image.architecture = "arm64"
    assert "is for arm64" in account.only().reason
    account.image.state = "pending"
    assert "is pending" in account.only().reason
    account.config["pcs"] = {"ami_id": "ami-0123456789abcdef0"}
    found = account.only()
    assert (found.subject, found.level) == ("pcs.ami_id", Level.ERROR)
    assert "there is no ami-0123456789abcdef0" in found.reason


# ---- network ------------------------------------------------------------------------------------------------------


def test_a_subnet_that_is_not_there(account: Account) -> None:
    account.config["network"]["subnet_id"] = "subnet-0123456789abcdef0"
    (found,) = named(account.wrong(), "subnet")
    assert found.level is Level.ERROR
    assert "describe-subnets" in found.fix


def test_a_subnet_of_another_vpc(account: Account) -> None:
    other = account.clients.ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    account.clients.ec2.modify_vpc_attribute(VpcId=other, EnableDnsHostnames={"Value": True})
    account.config["network"]["vpc_id"] = other
    (found,) = named(account.wrong(), "subnet")
    assert found.fix == f"network.vpc_id: {account.vpc}"


def test_a_subnet_in_another_zone(account: Account) -> None:
    account.config["network"]["availability_zone"] = OTHER_ZONE
    (found,) = named(account.wrong(), "subnet")
    assert found.reason == f"{account.subnet} is in {ZONE}, the file says {OTHER_ZONE}"


def in_subnet(account: Account, cidr: str) -> list[Check]:
    subnet = account.new_subnet(cidr)
    account.clients.ec2.associate_route_table(RouteTableId=account.table, SubnetId=subnet)
    account.config["network"]["subnet_id"] = subnet
    return account.wrong()


def test_a_subnet_with_too_few_addresses(account: Account) -> None:
    # 26: head node 1, file system 3, nodes 4 + 8 + 8 + 2
    assert in_subnet(account, "10.0.2.0/27") == []
    account.config["lanes"][0]["max_nodes"] = 6
    (found,) = account.wrong()
    assert (found.name, found.level) == ("addresses", Level.WARNING), "27 are free, 28 needed with all lanes full"
    (found,) = in_subnet(account, "10.0.3.0/28")
    assert found.level is Level.ERROR
    assert (
        "11 addresses are free: too few for lanes[1].max_nodes (gpu1), lanes[1].max_nodes (gpu1-spot)" in found.reason
    )


def route_to(account: Account, **target: str) -> list[Check]:
    ec2 = account.clients.ec2
    ec2.delete_route(RouteTableId=account.table, DestinationCidrBlock="0.0.0.0/0")
    if target:
        ec2.create_route(RouteTableId=account.table, DestinationCidrBlock="0.0.0.0/0", **target)  # type: ignore[arg-type]
    return account.wrong()


def test_a_subnet_without_a_way_out(account: Account) -> None:
    (found,) = route_to(account)
    assert (found.name, found.level) == ("way out", Level.ERROR)
    assert "no route for 0.0.0.0/0" in found.reason


def test_a_public_subnet(account: Account) -> None:
    gateway = account.clients.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    account.clients.ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=account.vpc)
    (found,) = route_to(account, GatewayId=gateway)
    assert "is public" in found.reason


def test_a_route_to_a_gateway_that_is_gone(account: Account) -> None:
    # moto keeps such a route active.
    gone = {"DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": account.nat, "State": "blackhole"}
    answer(account.clients.ec2, "DescribeRouteTables", {"RouteTables": [{"Routes": [gone]}]})
    assert account.only().reason.endswith(f"goes to {account.nat} that is gone")


def test_a_subnet_without_a_table_of_its_own_has_the_main_one(account: Account) -> None:
    account.config["network"]["subnet_id"] = account.new_subnet("10.0.4.0/24")
    assert account.only().name == "way out"
    (main,) = account.clients.ec2.describe_route_tables(
        Filters=[{"Name": "vpc-id", "Values": [account.vpc]}, {"Name": "association.main", "Values": ["true"]}]
    )["RouteTables"]
    table = main["RouteTableId"]
    account.clients.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=account.nat)
    assert account.wrong() == []


@pytest.mark.parametrize("attribute", ["EnableDnsSupport", "EnableDnsHostnames"])
def test_a_vpc_without_names(account: Account, attribute: str) -> None:
    account.clients.ec2.modify_vpc_attribute(VpcId=account.vpc, **{attribute: {"Value": False}})  # type: ignore[arg-type]
    found = account.only()
    assert (found.name, found.level) == ("VPC names", Level.ERROR)
    assert f"modify-vpc-attribute --vpc-id {account.vpc} --enable-dns-" in found.fix


def test_a_vpc_without_an_s3_endpoint(account: Account) -> None:
    account.clients.ec2.delete_vpc_endpoints(VpcEndpointIds=[account.endpoint])
    found = account.only()
    assert (found.name, found.level) == ("S3 endpoint", Level.WARNING)


# ---- data ---------------------------------------------------------------------------------------------------------


def test_buckets_in_another_region_than_the_file_system(account: Account) -> None:
    account.storage(buckets="eu-central-1")
    found = account.wrong()
    assert [(check.name, check.subject, check.level) for check in found] == [
        ("bucket", "landing", Level.ERROR),
        ("bucket", "results", Level.ERROR),
    ]
    assert "it is in eu-central-1, the file system in us-east-1" in found[0].reason


def test_a_bucket_that_is_gone(account: Account) -> None:
    account.storage()
    boto3.client("s3", region_name=REGION).delete_bucket(Bucket="landing")
    found = account.only()
    assert (found.name, found.subject, found.level) == ("bucket", "landing", Level.ERROR)


def test_a_file_system_that_failed_or_is_gone(account: Account) -> None:
    made = account.storage()
    account.file_systems[made] |= {"Lifecycle": "FAILED", "FailureDetails": {"Message": "no address"}}
    found = account.only()
    assert (found.name, found.level, found.reason) == ("file system", Level.ERROR, "FAILED no address")
    account.file_systems[made]["Lifecycle"] = "CREATING"
    assert account.only().level is Level.WARNING
    del account.file_systems[made]
    assert "it is gone" in account.only().reason


def test_an_agent_that_is_offline_or_not_there(account: Account) -> None:
    account.config["microscopes"] = account.config["microscopes"][:1]
    account.agents[AGENT] = "OFFLINE"
    found = account.only()
    assert (found.name, found.subject, found.level) == ("DataSync agent", "microscopes[0].agent_arn", Level.ERROR)
    assert "is OFFLINE" in found.reason
    del account.agents[AGENT]
    assert account.only().fix == "aws datasync list-agents --region us-east-1"


def test_an_agent_that_the_deployment_makes(account: Account) -> None:
    microscope = account.config["microscopes"][0]
    del microscope["agent_arn"]
    microscope["activation_key"] = "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"
    found = account.only()
    assert (found.level, found.subject) == (Level.WARNING, "microscopes[0].activation_key")
    assert "`cryoem agent HOST --create`" in found.fix


def test_an_agent_that_the_deployment_has_made_keeps_its_key_and_is_looked_at(account: Account) -> None:
    """Who named its ARN instead would have CloudFormation delete it."""
    account.extras()
    assert account.wrong() == []
    (found,) = [each for each in named(account.look(), "DataSync agent") if "[0]" in each.subject]
    assert "is online; it was made of this key, which stays in the file as it is" in found.reason
    account.agents[AGENT] = "OFFLINE"
    del account.config["microscopes"][1]
    found = account.only()
    assert (found.subject, found.level) == ("microscopes[0].activation_key", Level.ERROR)
    assert "is OFFLINE" in found.reason
    assert "--create" not in found.fix
    account.resources[0]["LogicalResourceId"] = "MicroscopeglaciosAgent0A1B2C3D"
    assert account.only().level is Level.WARNING, "that one is another microscope's"


# ---- second copy, groups, load balancer ---------------------------------------------------------------------------


def test_a_second_copy_that_s3_would_not_write(account: Account) -> None:
    account.extras()
    copy = account.config["landing"]["replicate_to"]
    checks = named(account.look(), "second copy")
    assert [each.level for each in checks] == [Level.OK, Level.OK]
    assert "in eu-west-1, versioned; whether the role is let in, only the first object shows" in checks[0].reason
    boto3.client("kms", region_name="eu-west-1").disable_key(KeyId=account.copy_key.rpartition("/")[2])
    found = account.only()
    assert (found.subject, found.level) == ("landing.replicate_to.key_arn", Level.ERROR)
    assert "is Disabled" in found.reason
    copy["key_arn"] = account.copy_key.replace("eu-west-1", "eu-central-1")
    reasons = [each.reason for each in account.wrong()]
    assert any("its key in eu-central-1" in reason for reason in reasons)
    assert any("there is no key" in reason for reason in reasons)
    copy |= {"key_arn": account.copy_key, "bucket_arn": "arn:aws:s3:::nowhere-at-all"}
    assert "there is no bucket nowhere-at-all" in [each.reason for each in account.wrong()]


def test_a_second_copy_without_versions_lock_or_distance(account: Account) -> None:
    account.extras()
    key = boto3.client("kms", region_name=REGION).create_key()["KeyMetadata"]["Arn"]
    account.clients.s3.create_bucket(Bucket="here")
    account.config["landing"]["replicate_to"] = {"bucket_arn": "arn:aws:s3:::here", "key_arn": key}
    assert account.only().reason == "the versioning of here is off: S3 copies nothing"
    account.clients.s3.put_bucket_versioning(Bucket="here", VersioningConfiguration={"Status": "Enabled"})
    assert "here locks no objects, and the landing bucket does" in account.only().reason
    del account.config["landing"]["object_lock_days"]
    found = account.only()
    assert (found.level, "here is in us-east-1, as the landing bucket" in found.reason) == (Level.WARNING, True)


def test_a_second_copy_of_another_account_is_looked_at_from_there(account: Account) -> None:
    account.extras()
    account.config["landing"]["replicate_to"]["account"] = "444455556666"
    account.config["landing"]["replicate_to"]["key_arn"] = account.copy_key.replace(HERE, "444455556666")
    refuse(account.clients.s3, "GetBucketVersioning")
    refuse(account.clients.kms("eu-west-1"), "DescribeKey", "AccessDeniedException")
    wrong = account.wrong()
    assert [(each.subject, each.level) for each in wrong] == [
        ("landing.replicate_to.bucket_arn", Level.WARNING),
        ("landing.replicate_to.key_arn", Level.WARNING),
    ]
    assert all("With credentials of 444455556666: aws s3api get-bucket-versioning" in each.fix for each in wrong)


def test_a_reader_that_is_not_there(account: Account) -> None:
    account.extras()
    arns = account.config["groups"][0]["reader_role_arns"]
    arns[0] = f"arn:aws:iam::{HERE}:role/jones"
    found = account.only()
    assert (found.name, found.subject, found.level) == ("reader role", "groups[0].reader_role_arns[0]", Level.ERROR)
    assert "there is no role jones: S3 refuses" in found.reason
    arns[0] = f"arn:aws:iam::{HERE}:role/smith"
    assert f"the role smith is {account.reader}, not" in account.only().reason
    arns[0] = account.reader.replace(HERE, "444455556666")
    assert "is of another account than the system's" in account.only().reason


@pytest.mark.parametrize(
    ("changed", "level", "said"),
    [
        ({"Status": "PENDING_VALIDATION"}, Level.ERROR, "em.example.org is PENDING_VALIDATION"),
        ({"Status": "EXPIRED"}, Level.ERROR, "no load balancer can be made with it"),
        (
            {"NotAfter": NOW, "RenewalEligibility": "INELIGIBLE"},
            Level.WARNING,
            "ends on 2026-01-02, and ACM does not renew it",
        ),
    ],
)
def test_a_certificate_that_does_not_do(account: Account, changed: dict[str, Any], level: Level, said: str) -> None:
    account.extras()
    account.certificate |= changed
    found = account.only()
    assert (found.name, found.subject, found.level) == ("certificate", "web.certificate_arn", level)
    assert said in found.reason
    account.certificate |= {"Status": "ISSUED", "RenewalEligibility": "ELIGIBLE"}
    assert account.wrong() == []
    answer(account.clients.acm, "DescribeCertificate", lambda request: "ResourceNotFoundException")
    assert "there is no certificate" in account.only().reason


def test_a_login_without_its_secret(account: Account) -> None:
    account.extras()
    page = "https://login.example.org"
    account.config["web"]["login"] = {
        **dict.fromkeys(("issuer", "authorization_endpoint", "token_endpoint", "user_info_endpoint"), page),
        "client_id": "cryosparc",
        "client_secret_arn": account.secret("login"),
    }
    assert account.wrong() == []
    account.clients.secretsmanager.delete_secret(SecretId="login", ForceDeleteWithoutRecovery=True)
    assert account.only().subject == "web.login.client_secret_arn"
    account.config["web"]["certificate_arn"] = CERTIFICATE.replace(REGION, "eu-west-1")
    assert {each.subject for each in account.wrong()} == {"web.login.client_secret_arn", "web.certificate_arn"}


@pytest.mark.parametrize(
    ("which", "subject"),
    [("license", "cryosparc.license_secret_arn"), ("password", "microscopes[1].smb.password_secret_arn")],
)
def test_a_secret_that_is_deleted_or_not_there(account: Account, which: str, subject: str) -> None:
    arn = getattr(account, which)
    account.clients.secretsmanager.delete_secret(SecretId=arn)
    found = account.only()
    assert (found.name, found.subject, found.level) == ("secret", subject, Level.ERROR)
    assert "restore-secret" in found.fix
    account.clients.secretsmanager.delete_secret(SecretId=arn, ForceDeleteWithoutRecovery=True)
    found = account.only()
    assert found.subject == subject
    assert found.reason == f"there is no secret {arn}"
    assert f"create-secret --name {which} " in found.fix


def test_an_arn_of_another_account_is_said_once_the_account_is_known(account: Account) -> None:
    elsewhere = AGENT.replace(HERE, "111122223333")
    account.config["microscopes"][0]["agent_arn"] = elsewhere
    found = account.only()
    assert (found.name, found.subject, found.level) == ("ARNs", "microscopes[0].agent_arn", Level.ERROR)


# ---- no answer ----------------------------------------------------------------------------------------------------

_DENIED = {
    "cloudformation:DescribeStacks": "cloudformation",
    "servicequotas:GetServiceQuota": "service_quotas",
    "fsx:DescribeFileSystems": "fsx",
    "datasync:DescribeAgent": "datasync",
    "secretsmanager:DescribeSecret": "secretsmanager",
    "s3:GetBucketLocation": "s3",
    "ec2:DescribeAvailabilityZones": "ec2",
    "ec2:DescribeCapacityReservations": "ec2",
    "ec2:DescribeImages": "ec2",
    "ec2:DescribeInstanceTypeOfferings": "ec2",
    "ec2:DescribeInstanceTypes": "ec2",
    "ec2:DescribeInstances": "ec2",
    "ec2:DescribeRouteTables": "ec2",
    "ec2:DescribeSubnets": "ec2",
    "ec2:DescribeVpcAttribute": "ec2",
    "ec2:DescribeVpcEndpoints": "ec2",
}


@pytest.mark.parametrize("action", _DENIED)
def test_what_is_not_permitted_is_a_warning_that_names_the_action(account: Account, action: str) -> None:
    account.storage()
    refuse(getattr(account.clients, _DENIED[action]), action.split(":")[1], "AccessDeniedException")
    wrong = account.wrong()
    assert wrong
    assert {check.level for check in wrong} == {Level.WARNING}
    assert all(f"may not {action}" in check.reason and f"Allow {action}" in check.fix for check in wrong)


@pytest.mark.parametrize("code", ["ThrottlingException", "RequestLimitExceeded", "InternalError"])
def test_what_is_not_answered_is_a_warning(account: Account, code: str) -> None:
    refuse(account.clients.ec2, "DescribeImages", code)
    found = account.only()
    assert (found.name, found.level, found.fix) == ("image", Level.WARNING, "Try again later")
    assert code in found.reason


@pytest.mark.parametrize("action", ["ec2:DescribeVpcs", "ec2:DescribeAddresses"])
def test_what_only_a_new_network_asks(account: Account, action: str) -> None:
    new_network(account)
    refuse(account.clients.ec2, action.split(":")[1], "UnauthorizedOperation")
    found = account.only()
    assert found.level is Level.WARNING
    assert f"Allow {action}" in found.fix
