"""vCPU quotas, decided: what all lanes need when they are full, against what the account may have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cdk_cryoem import Capacity

from .check import Check, error, ok, warning
from .places import Site, lanes
from .quota_codes import Quota, quota_of

NAME = "vCPU quota"
_HEAD_NODE = "head_node.instance_type"


@dataclass(frozen=True, kw_only=True, slots=True)
class Need:
    """What the head node or one lane wants of a quota.

    subject: the property that says how many. only: every type it may be counts against this quota.
    """

    subject: str
    nodes: int
    instance_type: str
    vcpus: int
    only: bool = True

    @property
    def total(self) -> int:
        """vCPUs when it is full."""
        return self.nodes * self.vcpus

    def __str__(self) -> str:
        return f"{self.subject} {self.nodes} x {self.instance_type} ({self.vcpus} vCPUs) = {self.total}"


def needs(site: Site) -> tuple[dict[Quota, list[Need]], list[Check]]:
    """What is needed of each quota, and a warning for each type that cannot be counted."""
    by_quota: dict[Quota, list[Need]] = defaultdict(list)
    uncounted: list[Check] = []
    for subject, nodes, types, spot in _wanted(site):
        largest: dict[Quota, Need] = {}
        for instance_type in types:
            quota, facts = quota_of(instance_type, spot=spot), site.types.get(instance_type)
            if quota is None or facts is None:
                what = "quota" if quota is None else "vCPU count"
                reason = f"not checked: no {what} is known of {instance_type}"
                uncounted.append(warning(NAME, subject, reason, "Look at the EC2 quotas of Service Quotas"))
                continue
            need = Need(subject=subject, nodes=nodes, instance_type=instance_type, vcpus=facts.vcpus)
            if quota not in largest or largest[quota].vcpus < need.vcpus:
                largest[quota] = need
        for quota, need in largest.items():
            by_quota[quota].append(replace(need, only=len(largest) == 1))
    return dict(by_quota), uncounted


def _wanted(site: Site) -> Iterator[tuple[str, int, Sequence[str], bool]]:
    yield _HEAD_NODE, 1, [site.config.head_node.instance_type], False
    for path, lane in lanes(site.config):
        if lane.capacity is not Capacity.CAPACITY_BLOCK:  # a quota of its own, when it is bought
            spot = lane.capacity is Capacity.SPOT
            yield f"{path}.max_nodes ({lane.name})", lane.max_nodes, lane.instance_types, spot


def decide(quota: Quota, wanted: Sequence[Need], *, value: int, others: int, region: str) -> Check:
    """How a quota stands. `others`: vCPUs of it that instances of nobody's lanes use now.

    An error when the head node, or with it a lane by itself, cannot be had; a warning when only all lanes at once cannot.
    """
    total = sum(need.total for need in wanted)
    base = sum(need.total for need in wanted if need.subject == _HEAD_NODE)
    beyond = [need for need in wanted if need.only and (0 if need.subject == _HEAD_NODE else base) + need.total > value]
    more = quota.raise_to(region, total + others)
    mend = more if all(need.subject == _HEAD_NODE for need in wanted) else f"{more}; or lower max_nodes"
    if beyond:
        asked = "; ".join(map(str, beyond))
        return error(NAME, quota.name, f"the quota is {value}: too little for {asked}. All full: {total}", mend)
    if total > value:
        listed = " + ".join(map(str, wanted))
        reason = f"the quota is {value}: not all lanes can be full at once, some wait: {listed}; together {total}"
        return warning(NAME, quota.name, reason, mend)
    if total + others > value:
        reason = f"the quota is {value}, of which other instances use {others} now; all lanes full need {total}"
        return warning(NAME, quota.name, reason, mend)
    return ok(NAME, quota.name, f"the quota is {value}, all lanes full need {total}")
