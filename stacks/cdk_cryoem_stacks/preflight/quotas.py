"""Service Quotas, asked: vCPUs, file system storage, VPCs and elastic addresses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from . import vcpus
from .ask import Clients, Unanswered, ask, checked, find
from .check import Check, error, ok, warning
from .places import Site
from .quota_codes import ADDRESSES, LUSTRE, VPCS, Quota, quota_of

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import InstanceTypeDef


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """Every quota that the system counts against."""
    by_quota, uncounted = vcpus.needs(site)
    yield from uncounted
    others: Mapping[Quota, int] = {}
    try:
        others = used_by_others(_running(clients), site.config.name)
    except Unanswered as problem:
        yield warning(vcpus.NAME, "what other instances use", str(problem), problem.fix)
    for quota, wanted in by_quota.items():

        def stands(quota: Quota = quota, wanted: list[vcpus.Need] = wanted) -> Iterator[Check]:
            value = value_of(clients, quota)
            yield vcpus.decide(quota, wanted, value=value, others=others.get(quota, 0), region=site.region)

        yield from checked(vcpus.NAME, quota.name, stands)
    yield from checked("storage quota", "file_system.capacity_gib", lambda: _storage(clients, site))
    if site.config.network.vpc_id is None and site.is_deployed("network") is False:
        yield from checked("network quota", VPCS.name, lambda: _vpcs(clients, site))
        if site.config.network.nat:
            yield from checked("network quota", ADDRESSES.name, lambda: _addresses(clients, site))


def value_of(clients: Clients, quota: Quota) -> int:
    """A quota's value: the account's own, or AWS's default. Errors: Unanswered."""
    own = find(
        "servicequotas:GetServiceQuota",
        lambda: clients.service_quotas.get_service_quota(ServiceCode=quota.service, QuotaCode=quota.code),
        missing=("NoSuchResourceException",),
    )
    if own is not None:
        return int(own["Quota"]["Value"])
    default = find(
        "servicequotas:GetAWSDefaultServiceQuota",
        lambda: clients.service_quotas.get_aws_default_service_quota(ServiceCode=quota.service, QuotaCode=quota.code),
        missing=("NoSuchResourceException",),
    )
    if default is None:
        raise Unanswered(f"not checked: Service Quotas does not know {quota.code} in this region", "Ask AWS support")
    return int(default["Quota"]["Value"])


def used_by_others(instances: Iterable[InstanceTypeDef], name: str) -> dict[Quota, int]:
    """vCPUs of each quota that running instances use which are not of the system called `name`."""
    used: dict[Quota, int] = defaultdict(int)
    for instance in instances:
        tags = {tag["Key"]: tag["Value"] for tag in instance.get("Tags", [])}
        if name in (tags.get("parallelcluster:cluster-name"), tags.get("cryoem:system")):
            continue
        lifecycle = instance.get("InstanceLifecycle")
        quota = quota_of(instance["InstanceType"], spot=lifecycle == "spot")
        if quota is not None and lifecycle != "capacity-block":
            cpus = instance.get("CpuOptions", {})
            used[quota] += cpus.get("CoreCount", 0) * cpus.get("ThreadsPerCore", 1)
    return dict(used)


def decide(quota: Quota, subject: str, *, name: str, needed: int, used: int, value: int, region: str) -> Check:
    """Whether what is made at deployment, all at once, still fits into a quota."""
    if used + needed <= value:
        return ok(name, subject, f"{needed} needed, {used} of {value} {quota.unit} in use")
    reason = f"{needed} needed, {used} of {value} {quota.unit} in use ({quota.name})"
    return error(name, subject, reason, quota.raise_to(region, used + needed))


def _running(clients: Clients) -> Iterable[InstanceTypeDef]:
    def pages() -> list[InstanceTypeDef]:
        states = {"Name": "instance-state-name", "Values": ["pending", "running"]}
        return [
            instance
            for page in clients.ec2.get_paginator("describe_instances").paginate(Filters=[states])  # type: ignore[list-item]
            for reservation in page["Reservations"]
            for instance in reservation.get("Instances", [])
        ]

    return ask("ec2:DescribeInstances", pages)


def _storage(clients: Clients, site: Site) -> Iterator[Check]:
    wanted = site.config.file_system
    quota, own = LUSTRE[wanted.deployment_type], site.output("storage", "FileSystemId")
    value = value_of(clients, quota)

    def of_this_kind() -> int:
        return sum(
            system["StorageCapacity"]
            for page in clients.fsx.get_paginator("describe_file_systems").paginate()
            for system in page["FileSystems"]
            if system.get("LustreConfiguration", {}).get("DeploymentType") == wanted.deployment_type
            and system["FileSystemId"] != own
        )

    used = ask("fsx:DescribeFileSystems", of_this_kind)
    yield decide(
        quota,
        f"file_system.capacity_gib {wanted.capacity_gib}",
        name="storage quota",
        needed=wanted.capacity_gib,
        used=used,
        value=value,
        region=site.region,
    )


def _vpcs(clients: Clients, site: Site) -> Iterator[Check]:
    used = len(ask("ec2:DescribeVpcs", lambda: clients.ec2.describe_vpcs()["Vpcs"]))
    value = value_of(clients, VPCS)
    yield decide(VPCS, VPCS.name, name="network quota", needed=1, used=used, value=value, region=site.region)


def _addresses(clients: Clients, site: Site) -> Iterator[Check]:
    used = len(ask("ec2:DescribeAddresses", lambda: clients.ec2.describe_addresses()["Addresses"]))
    value = value_of(clients, ADDRESSES)
    yield decide(ADDRESSES, ADDRESSES.name, name="network quota", needed=1, used=used, value=value, region=site.region)
