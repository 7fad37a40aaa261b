"""What the checks need to know of system, account and region, besides the configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from cdk_cryoem import Lane, instance_shapes

from ..config import Config


@dataclass(frozen=True, kw_only=True, slots=True)
class TypeFacts:
    """What is counted of an instance type."""

    vcpus: int
    network_cards: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Stack:
    """A CloudFormation stack that is there."""

    status: str
    outputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Site:
    """Where the system goes, as far as it could be found out.

    zone: where file system, head node and nodes are or will be; None when nobody knows. stacks: those of this system
    that are there, None when nobody could find out. types: facts of the instance types of lanes and head node.
    """

    config: Config
    account: str
    zone: str | None = None
    stacks: Mapping[str, Stack] | None = field(default_factory=dict)
    types: Mapping[str, TypeFacts] = field(default_factory=dict)

    @property
    def region(self) -> str:
        """The region of the configuration."""
        return self.config.region

    @property
    def has_file_system(self) -> bool:
        """Whether the file system is there, which cannot go to another zone."""
        return self.output("storage", "FileSystemId") is not None

    def output(self, stack: str, name: str) -> str | None:
        """An output of a stack of this system, if the stack is there."""
        found = (self.stacks or {}).get(f"{self.config.name}-{stack}")
        return found.outputs.get(name) if found else None

    def is_deployed(self, stack: str) -> bool | None:
        """Whether a stack of this system is there; None when nobody knows."""
        return None if self.stacks is None else f"{self.config.name}-{stack}" in self.stacks


def lanes(config: Config) -> Iterator[tuple[str, Lane]]:
    """Every lane with its place in the file; a spot twin has that of the lane it is a twin of."""
    for number, section in enumerate(config.lanes):
        for lane in section.lanes():
            yield f"lanes[{number}]", lane


def instance_types(config: Config) -> list[str]:
    """Every instance type that the configuration names, each once."""
    found = [config.head_node.instance_type, *(t for _, lane in lanes(config) for t in lane.instance_types)]
    return list(dict.fromkeys(found))


def known_types(config: Config) -> dict[str, TypeFacts]:
    """What our own table says of the types, for when AWS does not say."""
    shapes = instance_shapes()
    return {t: TypeFacts(vcpus=shapes[t].vcpus) for t in instance_types(config) if t in shapes}


def console(region: str) -> str:
    """AWS's console in a region."""
    if region.startswith("cn-"):
        return f"https://{region}.console.amazonaws.cn"
    if region.startswith("us-gov-"):
        return f"https://{region}.console.amazonaws-us-gov.com"
    return f"https://{region}.console.aws.amazon.com"
