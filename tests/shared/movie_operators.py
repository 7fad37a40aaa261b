"""What operators and hooks do in a `World` besides moving movies: by the work functions of the shipped commands, as an administrator.

A command can be killed at any call; then nothing of it happens any more, its `finally` neither.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[2] / "constructs" / "cdk_cryoem" / "head_node" / "lib"))

from botocore.exceptions import ClientError
from fsx_double import KilledError
from movie_files import unsaved, write_result
from movie_ledger import LostError
from movie_world import HEAD_NODE, World

from cdk_cryoem_lambda import file_system_care
from cdk_cryoem_stacks.archive import decide, work
from cdk_cryoem_stacks.archive.bucket import Movies
from cdk_cryoem_stacks.operate import export, land, teardown
from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.find import Storage, System, Target
from cdk_cryoem_stacks.operate.listing import ListedFile
from cdk_cryoem_twin.environment import ACCOUNT, REGION
from cryoem_head import list_files

_BY = "user/anna"
_PROJECTS = "/projects"


def land_or_reopen(world: World) -> None:
    """`cryoem land` or `cryoem reopen`, and what the hooks make of it. Errors: LostError."""
    names = sorted(str(item["sk"]) for item in world.records.items(land.KIND))
    if names:
        _say(world, world.rng.choice(names), world.rng.choice(["landed", "arriving"]))
        world.sweep()


def _say(world: World, name: str, word: Any) -> None:
    item = world.records.item(land.KIND, name)
    assert item is not None
    try:
        decided = land.decide(item, word)
    except Failed:
        # What was announced is not taken back.
        return
    if decided.write:
        land.write(world.records, name, word, by=_BY, at=int(world.now()), reason="")
    world.words[name] = word


# Archive


def archive(world: World) -> None:
    """`cryoem archive` of a dataset that may be, from which somebody may be torn away. Errors: LostError."""
    for name in _in_any_order(world, {str(item["sk"]) for item in world.records.items(land.KIND)}):
        seen = _seen(world, name)
        verdict = decide.may_archive(
            seen.item, seen.receipt, seen.rule, seen.contents, recipe="", without_receipt=False
        )
        if verdict.allowed:
            if name not in world.safe:
                raise LostError(f"{name} may be archived, and no receipt ever called it safe")
            world.finished.add(name)
            with _now_and_then_killed(world) as progress:
                work.finish(world.records, seen, by=_BY, progress=progress)
            return


def undo(world: World) -> None:
    """`cryoem archive --undo` of a dataset that somebody finished."""
    for name in _in_any_order(world, world.finished)[:1]:
        with _now_and_then_killed(world) as progress:
            work.undo(world.records, _seen(world, name), by=_BY, progress=progress)
            world.finished.discard(name)


def restore(world: World) -> None:
    """`cryoem restore` of a dataset of which something is in the archive: everything comes back. Errors: LostError."""
    for name in _in_any_order(world, {key.split("/")[1] for key, _ in world.archive.moved}):
        seen = _seen(world, name)
        if not decide.may_restore(name, seen.item.get("archive"), seen.contents).allowed:
            continue
        with _now_and_then_killed(world) as progress:
            tier = world.rng.choice(["bulk", "standard"])
            work.restore(world.records, seen, tier=tier, days=world.rng.randint(1, 20), by=_BY, progress=progress)
            world.finished.discard(name)
            world.restored += 1
            cold = [
                version
                for version in world.ledger.current_versions()
                if version in world.archive.moved
                and version[0].startswith(seen.movies.prefix)
                and world.archive.copies.get(version, (0.0, 0.0))[1] <= world.now()
            ]
            if cold:
                raise LostError(f"{cold[0]} was asked back from the archive, and does not come")
        return


def _in_any_order(world: World, names: Collection[str]) -> list[str]:
    return world.rng.sample(sorted(names), len(names))


def _seen(world: World, name: str) -> work.Seen:
    """A dataset as the commands look at it."""
    item = world.records.item(land.KIND, name)
    assert item is not None
    movies = Movies(s3=world.operators.s3, bucket=world.ledger.bucket, dataset=name)
    receipt = world.records.item(work.RECEIPT, name)
    with mock.patch.object(work, "time", SimpleNamespace(time=world.now)):
        return work._seen(movies, item, receipt, lambda what, done, of: None)


@contextmanager
def _now_and_then_killed(world: World) -> Iterator[Any]:
    """What is done here may be torn off. Gives a progress, which is told of each object."""
    killed = world.rng.random() < 0.2

    def progress(what: str, done: int, of: int) -> None:
        if killed and done >= of / 2:
            raise KilledError(what)

    with mock.patch.object(work, "time", SimpleNamespace(time=world.now)):
        try:
            yield progress
        except (KilledError, Failed):
            # Failed: somebody else was faster. Either way it is run again one day.
            return


# The file system


def care(world: World) -> None:
    """The hook looks after the file system, and releases by its own plan. Errors: LostError."""
    now, exporting = world.now(), world.fsx.exporting
    with (
        world.as_hook("FileSystemCare", file_system_care, "care") as hook,
        mock.patch.object(file_system_care, "time", SimpleNamespace(time=lambda: now)),
        # There are no queues here, hence no dead letters.
        mock.patch.object(file_system_care, "redrive"),
    ):
        answer = file_system_care.handler({}, None)
        datasets = {str(item["sk"]): item for item in hook.records.datasets()}
    there = {path: (each.imports, each.exports) for path, each in world.file_system.associations.items()}
    # While an export task runs, the automatic export has to be off.
    if there != world.declared and not answer["troubles"] and not exporting:
        raise LostError("an association is not as it was deployed, and nobody is told")
    world.fsx.work_off()
    for name in world.fsx.released.pop(answer["released"], []):
        dataset = name.partition("/")[0]
        latest = _latest(world, dataset)
        if datasets[dataset]["state"] != "landed" or now - latest < hook.after_days * file_system_care.release.DAY:
            raise LostError(f"{name} was released, and its dataset arrives or was used")
        world.released += 1
    world.synchronise()


def _latest(world: World, dataset: str) -> float:
    pages = world.ledger.s3.get_paginator("list_objects_v2").paginate(
        Bucket=world.ledger.bucket, Prefix=f"datasets/{dataset}/"
    )
    return max(each["LastModified"].timestamp() for page in pages for each in page.get("Contents", []))


def tear_down(world: World) -> None:
    """`cryoem teardown`, mostly with --export, which may be killed; then what it says. Errors: LostError."""
    if world.rng.random() < 0.4:
        world.synchronise()
    else:
        write_result(world)
    found = System(
        target=Target(name=world.name, region=REGION),
        account=ACCOUNT,
        table="",
        sweeper="",
        head_node=HEAD_NODE,
    )
    storage = Storage(
        landing_bucket=world.ledger.bucket, results_bucket=world.results_bucket, file_system=world.file_system.id
    )
    if world.rng.random() < 0.7:
        # It refuses while anything arrives.
        for item in world.records.items(land.KIND):
            _say(world, str(item["sk"]), "landed")
        world.sweep()
    for _ in range(2):
        verdict = _verdict(world, found, storage)
        if verdict is None or verdict.refusals:
            return
        if verdict.safe:
            _destroy(world)
            return
        for loss in verdict.lost:
            if not loss.path.startswith("projects/"):
                # Somebody has it elsewhere, or does not want it.
                (world.file_system.root / loss.path).unlink()


def _verdict(world: World, found: System, storage: Storage) -> teardown.Verdict | None:
    tasks = len(world.fsx.tasks)
    world.fsx.calls_left = world.rng.choice([None, None, None, *range(9)])
    try:
        with (
            mock.patch.object(teardown, "file_listing", side_effect=lambda *_, **__: _listing(world)),
            mock.patch.object(teardown, "Records", return_value=world.records),
            mock.patch.object(export, "_EVERY_SECONDS", 0.0),
        ):
            verdict = teardown.look(
                world.operators, found, storage, say=lambda text: None, exports=world.rng.random() < 0.8
            )
    except KilledError:
        world.killed += 1
        return None
    finally:
        world.fsx.calls_left = None
    exports = world.file_system.associations[_PROJECTS].exports
    world.exported += len(world.fsx.tasks) - tasks
    if len(world.fsx.tasks) > tasks and exports != world.declared[_PROJECTS][1]:
        raise LostError("the automatic export was not switched on again")
    return verdict


def _destroy(world: World) -> None:
    """The file system goes, and another is made: results and movies are there again."""
    old = world.file_system
    lost = unsaved(world, old)
    if lost:
        raise LostError(f"{lost[0]} would have been lost, and the file system was said to be safe to destroy")
    results = {path.relative_to(old.projects): path.read_bytes() for path in old.files(old.projects)}
    old.delete()
    world.mount()
    new = world.file_system.projects
    if any(not (new / name).is_file() or (new / name).read_bytes() != content for name, content in results.items()):
        raise LostError("a result is not on the new file system as it was on the old one")
    world.torn_down += 1


def _listing(world: World) -> Iterator[ListedFile]:
    """What the head node's own program says of the file system."""
    root = world.file_system.root
    entries = list_files.listed(root, root=root, checksums=False, states=world.file_system.hsm_states)
    draft = world.share.parent / "listing.gz"
    list_files.write(entries, draft)
    return (ListedFile.parse(line) for line in gzip.decompress(draft.read_bytes()).splitlines())


# Who tries what


def overwrite(world: World) -> None:
    """An administrator puts something else in a movie's place: a version more, and none less."""
    if world.ledger.landed:
        key, _ = world.rng.choice(sorted(world.ledger.landed))
        content = world.rng.randbytes(10)
        world.ledger.note(key, content)
        world.client("administrator").put_object(Bucket=world.ledger.bucket, Key=key, Body=content)


def attempt(world: World) -> None:
    """Somebody tries to delete, or to make deletion possible."""
    if not world.ledger.landed:
        return
    s3 = world.client(world.rng.choice([*sorted(world.people), "administrator", "fsx"]))
    key, version = world.rng.choice(sorted(world.ledger.landed))
    both = {"Objects": [{"Key": key}, {"Key": key, "VersionId": version}]}
    expire = {"Rules": [{"ID": "x", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
    verb, arguments = world.rng.choice(
        [
            (s3.delete_object, {"Key": key}),
            (s3.delete_object, {"Key": key, "VersionId": version}),
            (s3.delete_objects, {"Delete": both}),
            (s3.delete_bucket, {}),
            (s3.delete_bucket_policy, {}),
            (s3.put_bucket_policy, {"Policy": json.dumps({"Version": "2012-10-17", "Statement": []})}),
            (s3.put_bucket_versioning, {"VersioningConfiguration": {"Status": "Suspended"}}),
            (s3.put_bucket_lifecycle_configuration, {"LifecycleConfiguration": expire}),
            (s3.delete_bucket_replication, {}),
        ]
    )
    try:
        verb(Bucket=world.ledger.bucket, **arguments)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("AccessDenied", "BucketNotEmpty"):
            raise
        world.refused += 1


def delete_the_storage_stack(world: World) -> None:
    """An administrator deletes the stack of the buckets, which is protected from it. Errors: LostError."""
    (stack,) = (name for name in world.system.stacks if name.endswith("-storage"))
    try:
        world.operators.cloudformation.delete_stack(StackName=stack)
    except ClientError as error:
        if "TerminationProtection" not in str(error):
            raise
        world.refused += 1
        return
    raise LostError("nothing protects the stack of the buckets from its deletion")
