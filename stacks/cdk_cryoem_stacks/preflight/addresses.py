"""Whether a subnet has an address for everything that may be in it at once."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

from ..config import Config
from .check import Check, error, ok, warning
from .places import TypeFacts, lanes

NAME = "addresses"
_RESERVED_BY_AWS = 5
# FSx says that a Lustre file system has several network interfaces, not how many: a metadata server and one server for
# each 1200 GiB is the most that was seen.
_GIB_OF_A_SERVER = 1200


@dataclass(frozen=True, kw_only=True, slots=True)
class Addresses:
    """How many addresses are wanted: by the file system, by the head node, by each lane when it is full."""

    file_system: int
    head_node: int
    lanes: Mapping[str, int]

    @property
    def base(self) -> int:
        """What the deployment itself takes."""
        return self.file_system + self.head_node

    @property
    def total(self) -> int:
        """Everything at once."""
        return self.base + sum(self.lanes.values())

    def __str__(self) -> str:
        made = [f"file system {self.file_system}"] * (self.file_system > 0) + ["head node 1"] * self.head_node
        return ", ".join([*made, *(f"{subject} {nodes}" for subject, nodes in self.lanes.items())])


def wanted(
    config: Config, types: Mapping[str, TypeFacts], *, file_system_is_there: bool, head_node_is_there: bool
) -> Addresses:
    """The addresses that the system wants besides those it has already.

    A node has one for each network card; one of a lane of several types, as many as the type with the fewest.
    """
    cards = {name: facts.network_cards for name, facts in types.items()}
    return Addresses(
        file_system=0 if file_system_is_there else 1 + math.ceil(config.file_system.capacity_gib / _GIB_OF_A_SERVER),
        head_node=0 if head_node_is_there else 1,
        lanes={
            f"{path}.max_nodes ({lane.name})": lane.max_nodes * min(cards.get(t, 1) for t in lane.instance_types)
            for path, lane in lanes(config)
        },
    )


def size(cidr: str) -> int:
    """Addresses of a subnet that can be used."""
    return ip_network(cidr, strict=False).num_addresses - _RESERVED_BY_AWS


def decide(subject: str, free: int, need: Addresses, *, mend: str) -> Iterator[Check]:
    """Free addresses against what is wanted.

    An error when deployment, or with it a lane by itself, has too few; a warning when only all lanes at once have.
    """
    beyond = [lane for lane, nodes in need.lanes.items() if need.base + nodes > free]
    if need.base > free:
        reason = f"{free} addresses are free; file system and head node need {need.base}"
        yield error(NAME, subject, reason, mend)
    elif beyond:
        reason = f"{free} addresses are free: too few for {', '.join(beyond)} ({need}: {need.total})"
        yield error(NAME, subject, reason, f"{mend}, or lower max_nodes")
    elif need.total > free:
        reason = f"{free} addresses are free: not all lanes can be full at once ({need}: {need.total})"
        yield warning(NAME, subject, reason, f"{mend}, or lower max_nodes")
    else:
        yield ok(NAME, subject, f"{free} addresses are free, {need.total} are needed with all lanes full")
