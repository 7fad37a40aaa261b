"""Section `network` of the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from cdk_cryoem import Problem
from cdk_cryoem.private_network import STANDARD_ENDPOINTS, cidr_problems, endpoint_names, endpoint_problems

from .config_sections import Section, report

_WITHOUT_NAT = (*STANDARD_ENDPOINTS, "ec2", "pcs")
"""What head node and nodes of PCS call while they boot and run (AWS PCS user guide, *interface endpoint*)."""


class NetworkConfig(Section):
    """The network: a new one (in availability_zone, if given), or yours (vpc_id, subnet_id and availability_zone)."""

    cidr: str = Field(default="10.20.0.0/16", pattern=r"^\d+\.\d+\.\d+\.\d+/(1[6-9]|2[0-4])$")
    nat: bool = Field(
        default=True, description="A way out to the internet; without it AWS is reached by endpoints alone"
    )
    endpoints: list[str] = Field(
        default_factory=list,
        description="Interface endpoints: standard, all, or names of services; 7.30 USD a month each",
    )
    vpc_id: str | None = Field(default=None, pattern=r"^vpc-[0-9a-f]{8,17}$")
    subnet_id: str | None = Field(
        default=None, pattern=r"^subnet-[0-9a-f]{8,17}$", description="A private subnet with NAT"
    )
    availability_zone: str | None = Field(
        default=None,
        description="Where file system, head node and nodes are, for example us-east-1b; default: the first zone",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        report(cidr_problems(self.cidr))
        given = {name: getattr(self, name) for name in ("vpc_id", "subnet_id", "availability_zone")}
        if (self.vpc_id or self.subnet_id) and not all(given.values()):
            missing = next(name for name, value in given.items() if not value)
            report([Problem(property=missing, value=None, allowed="vpc_id, subnet_id and availability_zone together")])
        report([*endpoint_problems(self.endpoints), *self._not_ours()])
        return self

    def _not_ours(self) -> Iterator[Problem]:
        if self.vpc_id is None:
            return
        if self.endpoints:
            yield Problem(
                property="endpoints",
                value=self.endpoints,
                allowed="nothing beside vpc_id",
                fix="Nothing is made in a network that is yours: make them there",
            )
        if not self.nat:
            yield Problem(
                property="nat",
                value=False,
                allowed="nothing beside vpc_id",
                fix="Your network's routes say whether there is a way out; `cryoem preflight` looks at them",
            )


def way_out_problems(network: NetworkConfig, *, engine: str, has_cryosparc: bool) -> Iterator[Problem]:
    """What of a system cannot be without a way out to the internet."""
    if network.nat:
        return
    if engine == "parallelcluster":
        yield Problem(
            property="network.nat",
            value=False,
            allowed="true with parallelcluster",
            fix="Its head node gets Python packages from PyPI while it boots, and its image is not yours to put them into",
        )
        return
    if has_cryosparc:
        yield Problem(
            property="network.nat",
            value=False,
            allowed="true with a section cryosparc",
            fix="cryoSPARC is installed from get.cryosparc.com and asks there for its licence",
        )
    missing = [name for name in _WITHOUT_NAT if name not in endpoint_names(network.endpoints)]
    if missing:
        yield Problem(
            property="network.endpoints",
            value=network.endpoints,
            allowed=f"with nat: false at least {', '.join(_WITHOUT_NAT)}",
            fix=f"Add {', '.join(missing)}: nodes reach AWS by endpoints alone",
        )


def way_out_warnings(network: NetworkConfig) -> list[str]:
    """What is allowed without a way out and needs more than this file."""
    if network.nat:
        return []
    return [
        "network.nat is false: the head node installs Python packages when it boots, so the image must bring them and"
        " say so in /etc/pip.conf (docs/network.md)"
    ]
