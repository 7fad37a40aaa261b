"""Whether EC2 has the instance types of lanes and head node in the zone where everything is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from .ask import Clients, ask, find
from .check import Check, error, ok, warning
from .places import Site, TypeFacts, instance_types, lanes

NAME = "instance types"

Offered = Mapping[str, frozenset[str]]
"""Zones by instance type."""


def decide(
    subject: str, types: Sequence[str], *, zone: str, offered: Offered, first_is_tried: bool, move: str = ""
) -> Check:
    """How a lane, or the head node, can be had in a zone.

    first_is_tried: the engine starts a node of the first type, dry, and takes its failure for a wrong configuration.
    move: how to go to a zone that has everything, if there is one.
    """
    missing = [t for t in types if zone not in offered.get(t, frozenset())]
    there = [t for t in types if t not in missing]
    if not missing:
        return ok(NAME, subject, f"{', '.join(types)}: in {zone}")
    where = "; ".join(
        f"{t} is in {', '.join(sorted(offered[t]))}" if offered.get(t) else f"{t} is nowhere in the region"
        for t in missing
    )
    if not there:
        return error(NAME, subject, f"none of {', '.join(types)} is in {zone}: {where}", move or "Take other types")
    if types[0] in missing and first_is_tried:
        reason = f"{types[0]} is not in {zone} ({where}), and ParallelCluster tries the first type"
        return error(NAME, subject, reason, move or f"Begin the list with {there[0]}")
    return warning(NAME, subject, f"not all are in {zone}: {where}", move or f"Remove {', '.join(missing)}")


def zones_for_all(groups: Sequence[Sequence[str]], offered: Offered) -> list[str]:
    """Zones with every type, in order."""
    zones = sorted(set().union(*offered.values())) if offered else []
    return [zone for zone in zones if all(zone in offered.get(t, frozenset()) for group in groups for t in group)]


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """Every lane and the head node."""
    if site.zone is None:
        yield warning(NAME, "network.availability_zone", "not checked: the zone is not known", "Name a zone")
        return
    config = site.config
    wanted = [("head_node.instance_type", [config.head_node.instance_type])]
    wanted += [(f"{path}.instance_types ({lane.name})", list(lane.instance_types)) for path, lane in lanes(config)]
    offered = _offered(clients, instance_types(config))
    better = [zone for zone in zones_for_all([types for _, types in wanted], offered) if zone != site.zone]
    move = ""
    if better and not site.has_file_system:
        own = "a subnet of yours in it and " if config.network.vpc_id else ""
        move = f"Take {own}network.availability_zone: {better[0]}, which has every type of this file"
    for subject, types in wanted:
        first = config.engine == "parallelcluster"
        yield decide(subject, types, zone=site.zone, offered=offered, first_is_tried=first, move=move)


def _offered(clients: Clients, types: Sequence[str]) -> Offered:
    def pages() -> dict[str, frozenset[str]]:
        zones: dict[str, set[str]] = defaultdict(set)
        paginator = clients.ec2.get_paginator("describe_instance_type_offerings")
        for page in paginator.paginate(
            LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": list(types)}]
        ):
            for offering in page["InstanceTypeOfferings"]:
                zones[offering["InstanceType"]].add(offering["Location"])
        return {instance_type: frozenset(found) for instance_type, found in zones.items()}

    return ask("ec2:DescribeInstanceTypeOfferings", pages)


def type_facts(clients: Clients, types: Sequence[str]) -> dict[str, TypeFacts]:
    """vCPUs and network cards of each type that the region knows. Errors: Unanswered."""
    facts: dict[str, TypeFacts] = {}
    for instance_type in types:  # one by one: a single unknown name would make EC2 refuse all of them
        found = find(
            "ec2:DescribeInstanceTypes",
            lambda name=instance_type: clients.ec2.describe_instance_types(InstanceTypes=[name]),  # type: ignore[misc]
            missing=("InvalidInstanceType",),
        )
        for info in found["InstanceTypes"] if found else ():
            facts[instance_type] = TypeFacts(
                vcpus=info["VCpuInfo"]["DefaultVCpus"],
                network_cards=info.get("NetworkInfo", {}).get("MaximumNetworkCards", 1),
            )
    return facts
