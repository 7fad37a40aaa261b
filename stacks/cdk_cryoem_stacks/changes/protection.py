"""Changes that CloudFormation makes in place, and that end something all the same: versions, a second copy, a way out.

Pure: a resource or a property of it in, effect and words out.
"""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .effect import Effect
from .replacements import GONE, Difference
from .values import canonical, same

_LOAD_BALANCER = "AWS::ElasticLoadBalancingV2::LoadBalancer"
_NAT = "AWS::EC2::NatGateway"
_AGENT = "AWS::DataSync::Agent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a change ends. setting: the property of cryoem.yaml that it comes from."""

    effect: Effect
    what_to_do: str
    setting: str = ""


def of_property(kind: str, difference: Difference) -> Verdict | None:
    """What a changed property ends; None when nothing."""
    if kind != "AWS::S3::Bucket":
        return None
    if difference.path.startswith("LifecycleConfiguration"):
        return _lifecycle(difference)
    if difference.path.startswith("ReplicationConfiguration"):
        return _replication(difference)
    if difference.path.startswith("ObjectLockConfiguration"):
        return _lock(difference)
    return None


def of_resource(
    name: str, resource: Mapping[str, Any], *, stack: str, coming: Sequence[Mapping[str, Any]]
) -> Verdict | None:
    """What ends with a resource that goes; None when nothing is to be said here. coming: the resources that are new."""
    kind = resource["Type"]
    if kind == _LOAD_BALANCER and _is_protected(resource):
        return Verdict(effect=Effect.LEAVES_BEHIND, what_to_do=_load_balancer(name, stack), setting="web")
    if kind == _NAT and all(other["Type"] != _NAT for other in coming):
        return Verdict(
            effect=Effect.CUTS_OFF,
            what_to_do=(
                "Head node and nodes reach nothing beyond AWS's endpoints from then on: no package index, no licence"
                " server, no programs that a job downloads. docs/network.md, 'Without a way out', has what that takes:"
                " look that the image brings it before you deploy"
            ),
            setting="network.nat",
        )
    if kind == _AGENT:
        return Verdict(effect=Effect.CUTS_OFF, what_to_do=_AGENT_GOES, setting="microscopes activation_key")
    kept = resource.get("DeletionPolicy", "Delete") != "Delete"
    if GONE.get(kind) is Effect.REPLACES_STORAGE and kept and all(other["Type"] != kind for other in coming):
        return Verdict(
            effect=Effect.LEAVES_BEHIND,
            what_to_do="It stays, with its data and its cost, but is no part of the system any more; nothing takes its place",
        )
    return None


def replaced(kind: str, name: str, resource: Mapping[str, Any], *, stack: str) -> Verdict | None:
    """What is left where CloudFormation makes another in the place of a resource."""
    if kind == _LOAD_BALANCER and _is_protected(resource):
        return Verdict(effect=Effect.LEAVES_BEHIND, what_to_do=_load_balancer(name, stack), setting="web")
    if kind == _AGENT:
        return Verdict(effect=Effect.CUTS_OFF, what_to_do=_AGENT_GOES, setting="microscopes activation_key")
    return None


_AGENT_GOES = (
    "CloudFormation deletes the agent that it made of the old key; its machine answers nobody any more and has to be set up"
    " anew. Leave the key in the file as it is, however old, unless the microscope goes or has another agent by now"
)


def _is_protected(resource: Mapping[str, Any]) -> bool:
    attributes = (resource.get("Properties") or {}).get("LoadBalancerAttributes") or []
    return any(
        each.get("Key") == "deletion_protection.enabled" and canonical(each.get("Value")) == "true"
        for each in attributes
    )


def _load_balancer(name: str, stack: str) -> str:
    # CloudFormation tries three times to delete what is gone from a template, then goes on without it (AWS re:Post, "Why
    # is my stack stuck in UPDATE_COMPLETE_CLEANUP_IN_PROGRESS").
    query = "StackResourceDetail.PhysicalResourceId"
    return "\n".join(
        [
            "Its deletion protection is on, so the deployment ends without deleting it: it stays, with its cost and its"
            " security groups, where nothing finds it any more. Before you deploy, switch that off:",
            "  aws elbv2 modify-load-balancer-attributes --attributes Key=deletion_protection.enabled,Value=false \\",
            f"    --load-balancer-arn $(aws cloudformation describe-stack-resource --stack-name {shlex.quote(stack)} \\",
            f"      --logical-resource-id {name} --query {query} --output text)",
        ]
    )


def _lifecycle(difference: Difference) -> Verdict | None:
    old, new = (_days(side, difference.path.rpartition(".")[2]) for side in (difference.old, difference.new))
    shorter = [scope for scope, days in new.items() if days < old.get(scope, days if scope else math.inf)]
    if not shorter:
        return None
    scope = shorter[0]
    before = f"{old[scope]} days" if scope in old else "kept for good until now"
    where = f" below {scope}" if scope else ""
    return Verdict(
        effect=Effect.ENDS_PROTECTION,
        what_to_do=(
            f"Within a day S3 deletes every replaced or deleted version{where} that is older than {new[scope]} days"
            f" (before: {before}), and none of them comes back. What you may want back, copy first"
        ),
        setting="landing.noncurrent_days",
    )


def _days(value: Any, name: str, scope: str = "") -> dict[str, int]:
    """After how many days versions that are not current go, by the prefix that a rule is for."""
    if name == "NoncurrentDays":
        return {scope: int(str(canonical(value)))} if str(canonical(value)).isdecimal() else {}
    found: dict[str, int] = {}
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        scope = str(value.get("Prefix") or scope)
        inner = value.items()
    elif isinstance(value, list):
        inner = (("", each) for each in value)
    for key, each in inner:
        for where, days in _days(each, key, scope).items():
            found[where] = min(days, found.get(where, days))
    return found


def _replication(difference: Difference) -> Verdict | None:
    if difference.old is None:
        return None
    ends = difference.new is None and difference.path.count(".") == 0
    if not ends and not re.search(r"(Destination|Bucket|Rules|Rules\[\d+\]|Status)$", difference.path):
        return None
    text = (
        "From then on no movie is copied to the second bucket; an account or region that is lost takes new movies with it"
        if ends
        else "From then on movies are copied to where it says now, those of before are not: docs/data-protection.md has the"
        " batch job that copies them"
    )
    return Verdict(
        effect=Effect.ENDS_PROTECTION,
        what_to_do=f"{text}. What the second bucket has stays there, with its cost",
        setting="landing.replicate_to",
    )


def _lock(difference: Difference) -> Verdict | None:
    old, new = str(canonical(difference.old)), str(canonical(difference.new))
    if not difference.path.endswith(".Days") or same(old, new) or not (old.isdecimal() and new.isdecimal()):
        return None
    if int(new) >= int(old):
        return None
    return Verdict(
        effect=Effect.ENDS_PROTECTION,
        what_to_do=f"What comes from then on is locked for {new} days, not {old}; what is there keeps its lock",
        setting="landing.object_lock_days",
    )
