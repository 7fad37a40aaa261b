"""Which quota a thing counts against.

Names and codes: AWS General Reference, "Amazon EC2 instance type quotas", and the FSx quotas of Service Quotas. P5 has a
spot quota of its own; on demand all P instances share one. Capacity Blocks have quotas of their own, which count when
one is bought, so their lanes appear in none of these.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .places import console


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """A quota of Service Quotas."""

    service: str
    code: str
    name: str
    unit: str = "vCPUs"

    def page(self, region: str) -> str:
        """Its page in the console."""
        return f"{console(region)}/servicequotas/home/services/{self.service}/quotas/{self.code}"

    def request(self, region: str, value: int) -> str:
        """The command that asks for more."""
        return (
            f"aws service-quotas request-service-quota-increase --service-code {self.service} "
            f"--quota-code {self.code} --desired-value {value} --region {region}"
        )

    def raise_to(self, region: str, value: int) -> str:
        """Both ways to ask for more."""
        return f"{self.request(region, value)}, or in the console: {self.page(region)}"


def _ec2(code: str, name: str) -> Quota:
    return Quota(service="ec2", code=code, name=name)


G = _ec2("L-DB2E81BA", "Running On-Demand G and VT instances")
P = _ec2("L-417A185B", "Running On-Demand P instances")
STANDARD = _ec2("L-1216C47A", "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances")
X = _ec2("L-7295265B", "Running On-Demand X instances")
G_SPOT = _ec2("L-3819A6DF", "All G and VT Spot Instance Requests")
P4_SPOT = _ec2("L-7212CCBC", "All P4, P3 and P2 Spot Instance Requests")
P5_SPOT = _ec2("L-C4BD4855", "All P5 Spot Instance Requests")
STANDARD_SPOT = _ec2("L-34B43A08", "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests")
X_SPOT = _ec2("L-E3A00192", "All X Spot Instance Requests")
ADDRESSES = Quota(service="ec2", code="L-0263D0A3", name="EC2-VPC Elastic IPs", unit="addresses")
VPCS = Quota(service="vpc", code="L-F678F1CE", name="VPCs per Region", unit="VPCs")
LUSTRE = {
    "PERSISTENT_2": Quota(service="fsx", code="L-8F1B9C74", name="Lustre Persistent_2 storage capacity", unit="GiB"),
    "SCRATCH_2": Quota(service="fsx", code="L-AD2FC696", name="Lustre Scratch storage capacity", unit="GiB"),
}
"""By deployment type."""

# The letters before the generation; im4gn and is4gen are of the I family.
_STANDARD_LETTERS = frozenset({"a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"})
_FAMILIES = {"g": (G, G_SPOT), "gr": (G, G_SPOT), "vt": (G, G_SPOT), "x": (X, X_SPOT)}


def quota_of(instance_type: str, *, spot: bool) -> Quota | None:
    """The quota that the vCPUs of a type count against; None for one of a family that is not known here."""
    found = re.match(r"([a-z]+)(\d+)", instance_type)
    if found is None:
        return None
    letters, generation = found.group(1), int(found.group(2))
    if letters == "p" and generation <= 5:
        return P if not spot else P5_SPOT if generation == 5 else P4_SPOT
    if letters == "p" and not spot:
        return P
    if letters in _STANDARD_LETTERS:
        return STANDARD_SPOT if spot else STANDARD
    on_demand_and_spot = _FAMILIES.get(letters)
    return None if on_demand_and_spot is None else on_demand_and_spot[spot]
