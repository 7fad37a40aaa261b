"""Section `network` of the file."""

from __future__ import annotations

from ipaddress import IPv4Network
from typing import Self

from pydantic import Field, model_validator

from cdk_cryoem import Problem

from .config_sections import Section, report


class NetworkConfig(Section):
    """The network: a new one (in availability_zone, if given), or yours (vpc_id, subnet_id and availability_zone)."""

    cidr: str = Field(default="10.20.0.0/16", pattern=r"^\d+\.\d+\.\d+\.\d+/(1[6-9]|2[0-4])$")
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
        try:
            IPv4Network(self.cidr, strict=False)
        except ValueError:
            report(
                [Problem(property="cidr", value=self.cidr, allowed="four numbers up to 255 and a size of /16 to /24")]
            )
        given = {name: getattr(self, name) for name in ("vpc_id", "subnet_id", "availability_zone")}
        if (self.vpc_id or self.subnet_id) and not all(given.values()):
            missing = next(name for name, value in given.items() if not value)
            report([Problem(property=missing, value=None, allowed="vpc_id, subnet_id and availability_zone together")])
        return self
