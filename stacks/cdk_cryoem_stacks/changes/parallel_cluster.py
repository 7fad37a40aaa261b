"""What ParallelCluster does with a changed ClusterConfiguration: per property, before it is asked.

Pure: two configurations in, changes out. They may come from templates, with references in them and numbers as text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .effect import Change, Effect
from .policies import Entry, Found, Table, Update, parallel_cluster_table
from .rules import effect_of
from .settings import setting_of
from .values import is_reference, key_text, same

# Not in the table: the schema of a custom action's Script takes a Sequence of scripts in its place.
_ALIASES = {"Sequence": "Script"}


def changes(
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    table: Table | None = None,
    *,
    cluster: str = "NAME",
    region: str = "REGION",
) -> list[Change]:
    """Every property that differs, with its effect while the compute fleet runs.

    cluster, region: for the commands that are to be typed.
    """
    table = table or parallel_cluster_table()
    found = list(_section(old, new, table))
    update = Update(old=old, new=new, found=found)
    # ParallelCluster updates only if it sees a change; then it takes the whole new configuration.
    seen = any(not difference.order and difference.policy != "IGNORED" for difference in found)
    made = []
    for difference in found:
        effect = Effect.LIVE if difference.order else effect_of(difference, update)
        if not seen and effect is Effect.LIVE:
            effect = Effect.NOTHING
        path = _path(difference)
        made.append(
            Change(
                path=path,
                old=difference.old,
                new=difference.new,
                effect=effect,
                what_to_do=_what_to_do(difference, effect, update, cluster, region),
                setting=setting_of(path),
            )
        )
    return made


def _section(
    old: Mapping[str, Any] | None, new: Mapping[str, Any] | None, table: Table, above: tuple[str, ...] = ()
) -> Iterator[Found]:
    old, new = old or {}, new or {}
    for key in dict.fromkeys([*new, *old]):
        before, after = old.get(key), new.get(key)
        if same(before, after):
            continue
        place = _place(above, key)
        listed, entry = table.entries.get(f"{place}[]"), table.entries.get(place)
        if (listed or place in table.sections) and not before and not after:
            continue
        if listed and _is_list(before) and _is_list(after):
            yield from _list(before or [], after or [], listed, table, above, key)
        elif entry and place in table.sections and _goes_in(before, after, entry):
            yield from _section(before, after, table, (*above, key))
        else:
            entry = entry or listed or table.entries.get(_place(above, _ALIASES.get(key, key)))
            yield Found(
                sections=above,
                key=key,
                old=before,
                new=after,
                policy=entry.policy if entry else "UNKNOWN",
                by_hand=entry.by_hand if entry else "",
            )


def _place(above: Sequence[str], key: str) -> str:
    """The path in the table: without the keys of items."""
    return ".".join([*(f"{name.partition('[')[0]}[]" if "[" in name else name for name in above), key])


def _is_list(value: object) -> bool:
    return value is None or isinstance(value, list)


def _goes_in(before: object, after: object, entry: Entry) -> bool:
    """Whether a section is looked into; one that comes or goes as a whole is one change, by its own policy."""
    if is_reference(before) or is_reference(after):
        return False
    return bool(before and after) or entry.policy == "IGNORED"


def _list(
    before: Sequence[Any], after: Sequence[Any], entry: Entry, table: Table, above: tuple[str, ...], key: str
) -> Iterator[Found]:
    old = {_key(item, entry): item for item in before}
    new = {_key(item, entry): item for item in after}
    for name, item in new.items():
        if name not in old:
            yield Found(sections=above, key=key, old=None, new=item, policy=entry.policy, item=True, name=name)
        else:
            yield from _section(old[name], item, table, (*above, f"{key}[{name}]"))
    for name, item in old.items():
        if name not in new:
            yield Found(sections=above, key=key, old=item, new=None, policy=entry.policy, item=True, name=name)
    stayed = [name for name in old if name in new]
    moved = [name for name in new if name in old]
    if stayed != moved:
        yield Found(sections=above, key=key, old=stayed, new=moved, policy=entry.policy, order=True)


def _key(item: Any, entry: Entry) -> str:
    return key_text(item.get(entry.key)) if isinstance(item, Mapping) else key_text(item)


def _path(found: Found) -> str:
    return ".".join([*found.sections, f"{found.key}[{found.name}]" if found.item else found.key])


def _what_to_do(found: Found, effect: Effect, update: Update, cluster: str, region: str) -> str:
    if effect is Effect.NOTHING:
        return (
            "ParallelCluster finds no change and updates nothing: it comes with the next change of the cluster"
            " that it does find, and until then everything stays as it is"
        )
    if effect is Effect.DRAINS:
        if update.strategy == "TERMINATE":
            return "Jobs on the nodes concerned are ended (QueueUpdateStrategy TERMINATE)"
        return "Jobs that run end first (DRAIN), then the lane's nodes are replaced"
    if effect is Effect.STOPS_FLEET:
        return stop_commands(cluster, region)
    if effect is Effect.REPLACES_CLUSTER:
        return _new_cluster(found, cluster)
    return ""


def stop_commands(cluster: str, region: str) -> str:
    """What to type around a deployment that wants a stopped fleet."""
    options = f"-n {cluster} -r {region}"
    return (
        "Wait until no job runs (squeue): stopping ends jobs. Then, with pcluster of the cluster's version:\n"
        f"  pcluster update-compute-fleet --status STOP_REQUESTED {options}\n"
        f"  pcluster describe-compute-fleet {options}    # until STOPPED\n"
        "  tools/cdk deploy --all\n"
        f"  pcluster update-compute-fleet --status START_REQUESTED {options}"
    )


def _new_cluster(found: Found, cluster: str) -> str:
    by_hand = (
        "Or leave the file as it was and change the volume in EC2 (aws ec2 modify-volume), which needs no new cluster. "
        if found.by_hand == "volume"
        else ""
    )
    return (
        f"ParallelCluster refuses it. {by_hand}To have it: destroy {cluster}-hooks and {cluster}-cluster and deploy again,"
        " or deploy a system with another name. Kept are file system, buckets, the records table, and cryoSPARC's volume,"
        " which is not attached again by itself; lost is what lies on the head node's root volume, and the queue"
    )
