"""What each of ParallelCluster's update policies says of a change while the compute fleet runs.

Each rule says what the policy's condition in pcluster/config/update_policy.py says; a test asks that code, too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .effect import Effect
from .policies import Found, Update
from .values import canonical, is_reference, same

# Defaults and lists of ParallelCluster's code (constants.py, update_policy.py, update_policy_utils.py of 3.16.1).
_DEFAULTS = {"MaxCount": 10, "MinCount": 0}
_LIVE_STORAGE = ("Efs", "FsxLustre", "FsxOntap", "FsxOpenZfs", "FileCache")
_OWNED_ELSEWHERE = ("VolumeId", "FileSystemId", "FileCacheId")
_LIVE_CHEF_ATTRIBUTES = {
    "cluster.slurm.reconfigure_timeout",
    "cluster.cluster_readiness_check_enabled",
    "cluster.cluster_readiness_check_ignore_failure",
}


def effect_of(found: Found, update: Update) -> Effect:
    """What a difference does while the compute fleet runs. An unknown policy is refused, as ParallelCluster's is."""
    rule = _RULES.get(found.policy)
    return rule(found, update) if rule else Effect.REPLACES_CLUSTER


def _stop_or(allowed: bool, effect: Effect = Effect.LIVE) -> Effect:
    return effect if allowed else Effect.STOPS_FLEET


def _queue_update_strategy(found: Found, update: Update) -> Effect:
    return _stop_or(found.in_queues and update.drains, Effect.DRAINS)


def _resize(found: Found, update: Update) -> Effect:
    if found.comes and (found.in_queues or found.key == "SlurmQueues"):
        return Effect.LIVE
    if found.key == "MaxCount" and _growth(found) >= 0:
        return Effect.LIVE
    if found.key == "MinCount":
        beside = [other for other in update.found if other.sections == found.sections and other.key == "MaxCount"]
        if any(_growth(other) >= _growth(found) for other in beside):
            return Effect.LIVE
    # DRAIN is not enough to take nodes out of Slurm's configuration; TERMINATE is.
    return _stop_or(update.strategy == "TERMINATE", Effect.DRAINS)


def _growth(found: Found) -> int:
    """How much a count grows. A reference's value is not known here: as if it shrank."""
    if is_reference(found.old) or is_reference(found.new):
        return -1
    default = _DEFAULTS[found.key]
    old, new = (default if value is None else int(value) for value in (found.old, found.new))
    return new - old


def _compute_fleet_stop_on_remove(found: Found, update: Update) -> Effect:
    return _stop_or(found.comes and (found.in_queues or found.key == "SlurmQueues"))


def _managed_placement_group(found: Found, update: Update) -> Effect:
    if _has_managed_group(found, update.old) and not _has_managed_group(found, update.new):
        return Effect.STOPS_FLEET
    return _queue_update_strategy(found, update)


def _has_managed_group(found: Found, configuration: Mapping[str, Any]) -> bool:
    queue = _item(found, "SlurmQueues", (configuration.get("Scheduling") or {}).get("SlurmQueues"))
    resource = _item(found, "ComputeResources", queue.get("ComputeResources"))
    chosen: Mapping[str, Any] = next(
        (group for section in (resource, queue) if (group := (section.get("Networking") or {}).get("PlacementGroup"))),
        {},
    )
    # ParallelCluster takes any text for yes, and CloudFormation sends it "false" as text.
    return bool(canonical(chosen.get("Enabled"))) and not (chosen.get("Name") or chosen.get("Id"))


def _item(found: Found, name: str, items: Sequence[Mapping[str, Any]] | None) -> Mapping[str, Any]:
    for section in found.sections:
        if section.startswith(f"{name}["):
            wanted = section.removeprefix(f"{name}[").removesuffix("]")
            return next((item for item in items or () if item.get("Name") == wanted), {})
    return {}


def _managed_fsx(found: Found, update: Update) -> Effect:
    kept = _managed_file_systems(update.old) & _managed_file_systems(update.new)
    if kept:
        return Effect.REPLACES_CLUSTER
    if found.in_queues and isinstance(found.old, list) and not update.drains:
        new = canonical(found.new or [])
        assert isinstance(new, list)
        return _stop_or(all(canonical(value) in new for value in found.old))
    return _queue_update_strategy(found, update)


def _managed_file_systems(configuration: Mapping[str, Any]) -> set[Any]:
    return {
        storage.get("Name")
        for storage in configuration.get("SharedStorage") or []
        if storage.get("StorageType") == "FsxLustre" and "FileSystemId" not in (storage.get("FsxLustreSettings") or {})
    }


def _shared_storage(found: Found, update: Update) -> Effect:
    item = found.old if found.new is None else found.new
    if not found.item:
        # ParallelCluster 3.16.1 stumbles over a mount directory that changes while anything runs.
        return Effect.STOPS_FLEET
    if any(value and value.get("MountDir") in ("home", "/home") for value in (found.old, found.new)):
        return Effect.REPLACES_CLUSTER
    kind = item.get("StorageType")
    ours = any(name in (item.get(f"{kind}Settings") or {}) for name in _OWNED_ELSEWHERE)
    if ours and kind in _LIVE_STORAGE:
        return Effect.LIVE
    return _stop_or(update.drains and not update.has_login_nodes, Effect.DRAINS)


def _login_nodes(found: Found, update: Update) -> Effect:
    return _stop_or(not update.has_login_nodes or (found.comes and found.key == "Pools"))


def _unless_isolated_region(found: Found, update: Update) -> Effect:
    isolated = str(update.new.get("Region") or "").startswith("us-iso")
    return Effect.REPLACES_CLUSTER if isolated else Effect.LIVE


def _extra_chef_attributes(found: Found, update: Update) -> Effect:
    changed = _different_leaves(_json(found.old), _json(found.new))
    return Effect.LIVE if changed <= _LIVE_CHEF_ATTRIBUTES else Effect.REPLACES_CLUSTER


def _json(text: Any) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _different_leaves(old: Any, new: Any, path: str = "") -> set[str]:
    if isinstance(old, dict) or isinstance(new, dict):
        sides = [side if isinstance(side, dict) else {} for side in (old, new)]
        names = {**sides[0], **sides[1]}
        return {
            leaf
            for name in names
            for leaf in _different_leaves(sides[0].get(name), sides[1].get(name), f"{path}.{name}".lstrip("."))
        }
    return set() if same(old, new) else {path}


_RULES: Mapping[str, Callable[[Found, Update], Effect]] = {
    "SUPPORTED": lambda found, update: Effect.LIVE,
    "IGNORED": lambda found, update: Effect.LIVE,
    "SUPPORTED_UNLESS_ADC": _unless_isolated_region,
    "EXTRA_CHEF_ATTRIBUTES": _extra_chef_attributes,
    "QUEUE_UPDATE_STRATEGY": _queue_update_strategy,
    "RESIZE_UPDATE_STRATEGY_ON_REMOVE": _resize,
    "MANAGED_PLACEMENT_GROUP": _managed_placement_group,
    "MANAGED_FSX": _managed_fsx,
    "SHARED_STORAGE_UPDATE_POLICY": _shared_storage,
    "COMPUTE_FLEET_STOP": lambda found, update: Effect.STOPS_FLEET,
    "COMPUTE_FLEET_STOP_ON_REMOVE": _compute_fleet_stop_on_remove,
    "COMPUTE_AND_LOGIN_NODES_STOP": lambda found, update: Effect.STOPS_FLEET,
    "LOGIN_NODES_STOP": _login_nodes,
    "LOGIN_NODES_POOLS_UPDATE_POLICY": _login_nodes,
    "LOGIN_NODES_POOL_STOP": _login_nodes,
    "READ_ONLY_RESOURCE_BUCKET": lambda found, update: Effect.REPLACES_CLUSTER,
    "UNSUPPORTED": lambda found, update: Effect.REPLACES_CLUSTER,
}
POLICIES = frozenset(_RULES)
"""The policies that have a rule here."""
