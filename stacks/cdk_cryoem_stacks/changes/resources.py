"""What CloudFormation does with the changed resources of one stack."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from . import advice, protection
from .effect import Change, Effect
from .parallel_cluster import changes as cluster_changes
from .replacements import GONE, differences, effect_in_place
from .settings import setting_of_resource
from .values import same, show

Template = Mapping[str, Any]
Resource = Mapping[str, Any]
CLUSTER = "Custom::PclusterCluster"
_CONFIGURATION = "ClusterConfiguration"
# It comes with every synthesis and means nothing to what is deployed.
_METADATA = "AWS::CDK::Metadata"


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """The changes of one stack, and the logical ids of what CloudFormation makes anew."""

    changes: list[Change]
    replaced: set[str]
    """Not what goes: nothing refers to it any more."""


def resource_changes(old: Template, new: Template, *, stack: str = "STACK") -> Found:
    """Everything that differs between the resources of two templates of one stack. stack: its name, for commands."""
    found = Found(changes=[], replaced=set())
    before, after = _resources(old), _resources(new)
    lanes = {**_lanes(before), **_lanes(after)}
    coming = [resource for name, resource in after.items() if name not in before]
    for name in dict.fromkeys([*after, *before]):
        if name not in before:
            kind = after[name]["Type"]
            setting = f"lanes {lanes[name]}" if name in lanes else ""
            found.changes.append(Change(path=name, old=None, new=kind, effect=Effect.LIVE, setting=setting))
        elif name not in after or before[name]["Type"] != after[name]["Type"]:
            ends = protection.of_resource(name, before[name], stack=stack, coming=coming)
            found.changes.append(_gone(name, before[name], after.get(name), lanes.get(name, ""), ends))
        elif before[name]["Type"] == CLUSTER:
            found.changes.extend(_cluster(name, _properties(before[name]), _properties(after[name])))
        else:
            for change, replaces in _resource(name, before[name], after[name], lanes.get(name, ""), stack):
                found.changes.append(change)
                if replaces:
                    found.replaced.add(name)
    return found


def _resources(template: Template) -> dict[str, Resource]:
    resources = template.get("Resources") or {}
    return {name: resource for name, resource in resources.items() if resource["Type"] != _METADATA}


def _properties(resource: Resource) -> dict[str, Any]:
    return dict(resource.get("Properties") or {})


def _lanes(resources: Mapping[str, Resource]) -> dict[str, str]:
    """The lanes of PCS's resources: a queue has its name, a node group its queue's, a launch template its node group's."""
    lanes: dict[str, str] = {}
    for name, resource in resources.items():
        properties = _properties(resource)
        if resource["Type"] != "AWS::PCS::Queue" or not isinstance(properties.get("Name"), str):
            continue
        lanes[name] = properties["Name"]
        for group in properties.get("ComputeNodeGroupConfigurations") or []:
            group_name = str((group["ComputeNodeGroupId"].get("Fn::GetAtt") or [""])[0])
            lanes[group_name] = lanes[name]
            template = _properties(resources.get(group_name, {})).get("CustomLaunchTemplate") or {}
            lanes[str((template.get("TemplateId") or {}).get("Ref", ""))] = lanes[name]
    return lanes


def _gone(name: str, old: Resource, new: Resource | None, lane: str, ends: protection.Verdict | None) -> Change:
    effect = ends.effect if ends else GONE.get(old["Type"], Effect.LIVE)
    text = ends.what_to_do if ends else advice.gone(effect, old.get("DeletionPolicy", "Delete"))
    if new is not None:
        text = f"CloudFormation refuses another type under the same name. {text}".strip()
    return Change(
        path=name,
        old=old["Type"],
        new=new["Type"] if new else None,
        effect=effect,
        what_to_do=text,
        setting=f"lanes {lane}" if lane else ends.setting if ends else "",
    )


def _resource(name: str, old: Resource, new: Resource, lane: str, stack: str) -> Iterator[tuple[Change, bool]]:
    """Its changes, each with whether it makes CloudFormation replace the resource."""
    kind = new["Type"]
    for attribute in ("DeletionPolicy", "UpdateReplacePolicy"):
        before, after = (side.get(attribute, "Delete") for side in (old, new))
        if before != after:
            text = f"Counts when {name} goes"
            yield Change(path=f"{name}.{attribute}", old=before, new=after, effect=Effect.LIVE, what_to_do=text), False
    for difference in differences(_opened(_properties(old)), _opened(_properties(new))):
        effect, says = effect_in_place(kind, difference)
        effect, text = advice.in_place(kind, difference, effect, says, new.get("UpdateReplacePolicy", "Delete"))
        replaces = says in ("schema", "cdk", "maybe")
        setting = setting_of_resource(kind, difference.path, lane=lane)
        ends = protection.of_property(kind, difference)
        if ends is None and replaces:
            ends = protection.replaced(kind, name, old, stack=stack)
        if ends is not None and ends.effect.rank > effect.rank:
            effect, text, setting = ends.effect, ends.what_to_do, setting or ends.setting
        change = Change(
            path=f"{name}.{difference.path}",
            old=difference.old,
            new=difference.new,
            effect=effect,
            what_to_do=text,
            setting=setting,
        )
        yield change, replaces


def _opened(properties: dict[str, Any]) -> dict[str, Any]:
    """An SSM parameter with JSON in it, as what it says: the lane manifest."""
    value = properties.get("Value")
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return {**properties, "Value": json.loads(value)}
        except ValueError:
            return properties
    return properties


def _cluster(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Change]:
    for prop in dict.fromkeys([*after, *before]):
        if prop == _CONFIGURATION or same(before.get(prop), after.get(prop)):
            continue
        refused = prop in ("ClusterName", "ServiceToken")
        text = f"CloudFormation refuses another {prop}. {advice.LOSSES[Effect.REPLACES_CLUSTER]}" if refused else ""
        yield Change(
            path=f"{name}.{prop}",
            old=before.get(prop),
            new=after.get(prop),
            effect=Effect.REPLACES_CLUSTER if refused else Effect.LIVE,
            what_to_do=text,
            setting="name" if prop == "ClusterName" else "",
        )
    old, new = (dict(side.get(_CONFIGURATION) or {}) for side in (before, after))
    yield from cluster_changes(old, new, cluster=show(after.get("ClusterName")), region=show(new.get("Region")))
