"""Capacity that was reserved for a lane: whether it is there, and fits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cdk_cryoem import Capacity, Lane

from .ask import Clients, checked, find
from .check import Check, error, ok, warning
from .places import Site, lanes

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import CapacityReservationTypeDef

NAME = "reservation"
_BOUGHT = "aws:ec2capacityreservation:incrementalRequestedQuantity"


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """The reservation of every lane that names one."""
    for path, lane in lanes(site.config):
        if lane.capacity_reservation_id is None:
            continue

        def fits(path: str = path, lane: Lane = lane, wanted: str = lane.capacity_reservation_id) -> Iterator[Check]:
            answer = find(
                "ec2:DescribeCapacityReservations",
                lambda: clients.ec2.describe_capacity_reservations(CapacityReservationIds=[wanted]),
                missing=("InvalidCapacityReservationId.NotFound",),
            )
            found = answer["CapacityReservations"] if answer else []
            yield from decide(path, lane, found[0] if found else None, zone=site.zone, region=site.region)

        yield from checked(NAME, f"{path}.capacity_reservation_id", fits)


def decide(
    path: str, lane: Lane, found: CapacityReservationTypeDef | None, *, zone: str | None, region: str
) -> Iterator[Check]:
    """Everything in which a reservation does not fit its lane."""
    subject, wanted = f"{path}.capacity_reservation_id ({lane.name})", lane.capacity_reservation_id
    if found is None:
        mend = f"aws ec2 describe-capacity-reservations --region {region}"
        yield error(NAME, subject, f"there is no {wanted} in {region}", mend)
        return
    wrong = False
    for check in _misfits(path, subject, lane, found, zone):
        wrong = True
        yield check
    if not wrong:
        yield ok(NAME, subject, f"{wanted} is active, {_size(found)} x {found.get('InstanceType')} in {zone}")


def _misfits(
    path: str, subject: str, lane: Lane, found: CapacityReservationTypeDef, zone: str | None
) -> Iterator[Check]:
    wanted, state = lane.capacity_reservation_id, found.get("State")
    block = found.get("ReservationType") == "capacity-block"
    if state in ("scheduled", "pending", "payment-pending", "assessing", "delayed"):
        begins = f", begins {found['StartDate']:%Y-%m-%d %H:%M} UTC" if "StartDate" in found else ""
        reason = f"{wanted} is {state}{begins}: the lane has no nodes until then"
        yield warning(NAME, subject, reason, "Deploy the lane when it has begun")
    elif state != "active":
        reason = f"{wanted} is {state}: the lane can have no nodes"
        yield error(NAME, subject, reason, "Name one that is active, or remove it to take what is free")
    instance_type = found.get("InstanceType")
    if instance_type not in lane.instance_types:
        reason = f"{wanted} reserves {instance_type}, the lane has {', '.join(lane.instance_types)}"
        yield error(NAME, subject, reason, f"{path}.instance_types: [{instance_type}]")
    there = found.get("AvailabilityZone")
    if zone is not None and there != zone:
        reason = f"{wanted} is in {there}, file system and nodes in {zone}"
        yield error(NAME, subject, reason, f"A reservation in {zone}")
    if block != (lane.capacity is Capacity.CAPACITY_BLOCK):
        kind = "a Capacity Block" if block else "no Capacity Block"
        mend = f"{path}.capacity: {'capacity-block' if block else 'on-demand'}"
        yield error(NAME, subject, f"{wanted} is {kind}, the lane's capacity is {lane.capacity}", mend)
    if _size(found) < lane.max_nodes:
        # ParallelCluster refuses the cluster for it.
        reason = f"{wanted} reserves {_size(found)}, {path}.max_nodes is {lane.max_nodes}"
        yield error(NAME, subject, reason, f"{path}.max_nodes: {_size(found)}, or reserve more")


def _size(found: CapacityReservationTypeDef) -> int:
    """Instances reserved; a Capacity Block that has not begun says so in a tag only."""
    bought = next((t.get("Value", "0") for t in found.get("Tags", []) if t.get("Key") == _BOUGHT), "0")
    return max(found.get("TotalInstanceCount", 0), int(bought))
