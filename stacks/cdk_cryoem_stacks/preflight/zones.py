"""The one availability zone of file system, head node and nodes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..config import Config
from .ask import Clients, ask, find
from .check import Check, error, ok, warning

NAME = "zone"
_PROPERTY = "network.availability_zone"


def zones(clients: Clients) -> dict[str, str]:
    """State of each availability zone of the region, in order. Errors: Unanswered."""

    def answer() -> dict[str, str]:
        found = clients.ec2.describe_availability_zones()["AvailabilityZones"]
        return {z["ZoneName"]: z.get("State", "available") for z in sorted(found, key=lambda z: z["ZoneName"])}

    return ask("ec2:DescribeAvailabilityZones", answer)


def file_system_zone(clients: Clients, file_system: str) -> str | None:
    """Where a file system is, if it is there. Errors: Unanswered."""
    answer = find(
        "fsx:DescribeFileSystems",
        lambda: clients.fsx.describe_file_systems(FileSystemIds=[file_system]),
        missing=("FileSystemNotFound",),
    )
    subnets = [subnet for system in answer["FileSystems"] for subnet in system.get("SubnetIds", [])] if answer else []
    return subnet_zone(clients, subnets[0]) if subnets else None


def subnet_zone(clients: Clients, subnet: str) -> str | None:
    """Where a subnet is, if it is there. Errors: Unanswered."""
    answer = find(
        "ec2:DescribeSubnets",
        lambda: clients.ec2.describe_subnets(SubnetIds=[subnet]),
        missing=("InvalidSubnetID.NotFound",),
    )
    return answer["Subnets"][0]["AvailabilityZone"] if answer else None


def first_zone(clients: Clients, names: Sequence[str]) -> str | None:
    """The zone that CloudFormation takes when none is named: the first with a default subnet, else the first.

    Errors: Unanswered.
    """

    def with_default_subnet() -> set[str]:
        only = [{"Name": "default-for-az", "Values": ["true"]}]
        return {s["AvailabilityZone"] for s in clients.ec2.describe_subnets(Filters=only)["Subnets"]}  # type: ignore[arg-type]

    usual = ask("ec2:DescribeSubnets", with_default_subnet)
    return next((name for name in names if name in usual or not usual), None)


def decide(config: Config, *, states: Mapping[str, str], zone: str | None, file_system: str | None) -> Iterator[Check]:
    """The zone that was named, or is taken. `file_system`: the zone of the one that is there."""
    wanted = config.network.availability_zone
    if wanted is not None and wanted not in states:
        listed = ", ".join(states) or "none that these credentials see"
        yield error(
            NAME,
            _PROPERTY,
            f"{wanted} is no zone of {config.region}: {listed}",
            f"{_PROPERTY}: {next(iter(states), '')}",
        )
    elif wanted is not None and states[wanted] != "available":
        yield error(NAME, _PROPERTY, f"{wanted} is {states[wanted]}", "Take another zone")
    elif file_system is not None and wanted is not None and file_system != wanted:
        reason = f"nodes would be in {wanted}, the file system is in {file_system}: traffic between zones is slow and paid for"
        yield error(NAME, _PROPERTY, reason, f"{_PROPERTY}: {file_system}")
    elif zone is None:
        yield warning(NAME, _PROPERTY, "not checked: no zone is named, and none was found", "Name one")
    elif wanted is None and file_system is None:
        yield ok(NAME, _PROPERTY, f"none is named; CloudFormation is expected to take {zone} for file system and nodes")
    else:
        yield ok(NAME, _PROPERTY, f"file system, head node and nodes in {zone}")
