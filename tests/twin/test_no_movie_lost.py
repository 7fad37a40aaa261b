"""Whatever the system does, and whoever tries what: every version of every movie that has landed can be read as it was.

Sequences are by chance and by seed: MOVIES_SEED=7 MOVIES_STEPS=2000 plays others than those of `make test`. What is real here and
what is played is said in tests/shared/movie_world.py.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import movie_files as files
import movie_operators as operators
import pytest
import second_copy
from botocore.exceptions import ClientError
from emulated import Emulator, System, emulator
from movie_ledger import LostError
from movie_steps import STEPS, Step, play
from movie_world import World

from cdk_cryoem_lambda import datasets as hook_datasets
from cdk_cryoem_lambda import file_system, release
from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.archive import decide, work
from cdk_cryoem_stacks.archive.bucket import Movies
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load
from cdk_cryoem_stacks.operate import export, teardown

pytestmark = pytest.mark.twin

_CHECKOUT = Path(__file__).resolve().parents[2]
_TWIN = _CHECKOUT / "twin"
_SEEDS = [int(os.environ["MOVIES_SEED"])] if "MOVIES_SEED" in os.environ else [7]
_STEPS = int(os.environ.get("MOVIES_STEPS", "100"))
# Of the system; a word that is nowhere else in its templates, so that copies of them can be given another.
_NAME = "safeguarded"
_KEPT_DAYS = 365
_ARCHIVE: list[Step] = [World.receipts, World.pass_days, operators.archive]
Stacks = dict[str, Any]


class Synthesised(NamedTuple):
    """Templates by their stacks' names, and which of them have termination protection (storage, and so on)."""

    stacks: Stacks
    protected: set[str]


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulator]:
    with pytest.MonkeyPatch.context() as patch, emulator(_CHECKOUT / ".twin-test-movies", patch) as running:
        yield running


def _synthesise(folder: Path, *, generation: int, allowed: Sequence[str] = (), **landing: Any) -> Synthesised:
    """A system to whose movies everything can happen. No recipe starts: nobody would say that it has ended.

    generation: of the file system; the very first shows no results. allowed: the first of the two keys of deletion.
    """
    given = load(_TWIN / "cryoem.yaml").model_dump(exclude_unset=True)
    config = Config.model_validate(
        {
            **given,
            "name": _NAME,
            "landing": {**given.get("landing", {}), **landing, "replicate_to": second_copy.settings(f"{_NAME}-second")},
            "file_system": {"generation": generation, "release_after_days": 3},
            "deletion": {"allowed": list(allowed)},
            "processing": None,
        }
    )
    app = make_app(outdir=str(folder))
    build(app, config, config_folder=_TWIN)
    made = app.synth().stacks
    protected = {stack.stack_name.removeprefix(f"{_NAME}-") for stack in made if stack.termination_protection}
    return Synthesised({stack.stack_name: stack.template for stack in made}, protected)


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    return _synthesise(tmp_path_factory.mktemp("one"), generation=2, noncurrent_days=_KEPT_DAYS, archive_after_days=3)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Synthesised:
    """The same system, configured otherwise; the file's key of deletion is there, and the other one is not."""
    return _synthesise(
        tmp_path_factory.mktemp("other"),
        generation=3,
        allowed=["file_system", "results", "landing"],
        noncurrent_days=300,
        archive_after_days=5,
    )


@pytest.fixture(scope="module")
def stacks(synthesised: Synthesised) -> Stacks:
    return synthesised.stacks


@pytest.fixture(scope="module")
def make_world(
    emulated: Emulator, synthesised: Synthesised, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., World]:
    def make(
        stacks: Stacks, *, seed: int = 1, other: Stacks | None = None, protected: Collection[str] | None = None
    ) -> World:
        share = emulated.places.share / "10.0.0.5" / "krios"
        if share.exists():
            shutil.rmtree(share)
        share.mkdir(parents=True)
        system = System(emulated, stacks, protected=synthesised.protected if protected is None else protected)
        system.deploy()
        return World(system, Random(seed), share=share, file_systems=tmp_path_factory.mktemp("fsx"), other_stacks=other)

    return make


@pytest.fixture(scope="module")
def world(synthesised: Synthesised, other: Synthesised, make_world: Callable[..., World]) -> World:
    return make_world(synthesised.stacks, other=other.stacks)


@pytest.mark.parametrize("seed", _SEEDS)
def test_every_version_of_every_landed_movie_stays_retrievable(world: World, seed: int) -> None:
    world.rng, refused = Random(seed), world.refused
    done = Counter(play(world, _STEPS))
    print(f"seed {seed}: {_happened(world)}, {dict(done)}")
    assert world.refused > refused
    assert set(done) == {step.__name__ for step in STEPS}, "some kind of step was not played"


def test_there_was_something_to_lose(world: World) -> None:
    """Of everything that can happen something did; what chance left out until then is played until it does."""
    for _ in range(10):
        if all(_happened(world).values()):
            break
        play(world, 30, often=[*_ARCHIVE, operators.restore, operators.tear_down])
    assert all(_happened(world).values())


def _happened(world: World) -> dict[str, int]:
    return {
        "versions": len(world.ledger.landed),
        "datasets safe": len(world.safe),
        "attempts refused": world.refused,
        "movies in the archive": len(world.archive.moved),
        "restores": world.restored,
        "released": world.released,
        "commands killed": world.killed,
        "export tasks": world.exported,
        "file systems torn down": world.torn_down,
    }


def test_a_replaced_version_is_kept_for_the_days_that_are_promised_and_no_longer(
    stacks: Stacks, make_world: Callable[..., World]
) -> None:
    """The one way in which a version ends: it was replaced, and so many days are over."""
    world = make_world(_renamed(stacks, "replaced"))
    ledger = world.ledger
    world.record()
    world.transfer()
    ledger.look()
    before = set(ledger.landed)
    operators.overwrite(world)
    ledger.look()
    assert ledger.days_to_the_first_expiration() == _KEPT_DAYS
    ledger.live_for(_KEPT_DAYS - 0.1)
    ledger.look()
    ledger.retrieve()
    ledger.live_for(0.2)
    with pytest.raises(LostError, match=r"^1 versions are gone"):
        ledger.look()
    assert {key for key, _ in before} == set(ledger.current())


# What each of these does to the templates, and what is noticed then.
def _no_deny(stacks: Stacks) -> None:
    for policy in _of_type(stacks, "AWS::S3::BucketPolicy"):
        document = policy["PolicyDocument"]
        document["Statement"] = [s for s in document["Statement"] if s.get("Sid") != "NobodyDeletesMovies"]


def _no_protection(stacks: Stacks) -> None:
    for policy in _of_type(stacks, "AWS::S3::BucketPolicy"):
        document = policy["PolicyDocument"]
        document["Statement"] = [
            s for s in document["Statement"] if s.get("Sid") != "OnlyDeploymentsChangeTheProtection"
        ]


def _exports_deletions(stacks: Stacks) -> None:
    for association in _of_type(stacks, "AWS::FSx::DataRepositoryAssociation"):
        association["S3"]["AutoExportPolicy"] = {"Events": ["DELETED"]}


def _exports_deletions_and_no_deny(stacks: Stacks) -> None:
    _exports_deletions(stacks)
    _no_deny(stacks)


def _expires(stacks: Stacks) -> None:
    for bucket in _of_type(stacks, "AWS::S3::Bucket"):
        bucket["LifecycleConfiguration"]["Rules"].append({"Id": "x", "Status": "Enabled", "ExpirationInDays": 30})


def _archives_everything(stacks: Stacks) -> None:
    for bucket in _of_type(stacks, "AWS::S3::Bucket"):
        for rule in bucket["LifecycleConfiguration"]["Rules"]:
            rule.pop("TagFilters", None)


def _copies_some(stacks: Stacks) -> None:
    for rule in _replication(stacks):
        rule["Filter"] = {"Prefix": "datasets/day-0001/"}


def _file_system_goes_with_an_update(stacks: Stacks) -> None:
    for template in stacks.values():
        for resource in template["Resources"].values():
            if resource["Type"] == "AWS::FSx::FileSystem":
                del resource["DeletionPolicy"]


@pytest.mark.parametrize(
    ("number", "spoil", "often", "noticed"),
    [
        (1, _no_deny, [operators.attempt], "a delete marker hides|versions are gone"),
        (2, _no_protection, [operators.attempt], "another policy|no policy|keeps no versions|no second copy"),
        (3, _exports_deletions, [files.work_on_file_system], "only its policy kept the bucket"),
        (4, _exports_deletions_and_no_deny, [files.work_on_file_system], "a delete marker hides|versions are gone"),
        (5, _expires, [World.pass_days], "a delete marker hides"),
        (6, _archives_everything, [World.pass_days], "and nobody finished its dataset"),
        (7, _copies_some, [], "no second copy"),
        (8, _file_system_goes_with_an_update, [files.deploy], "went with the file system that an update took away"),
    ],
)
def test_a_system_that_can_lose_a_movie_is_found_out(
    stacks: Stacks,
    other: Synthesised,
    make_world: Callable[..., World],
    number: int,
    spoil: Callable[[Stacks], None],
    often: list[Step],
    noticed: str,
) -> None:
    spoiled, too = (_renamed(each, f"spoiled{number}") for each in (stacks, other.stacks))
    spoil(spoiled)
    spoil(too)
    with pytest.raises(LostError, match=noticed):
        play(make_world(spoiled, other=too if files.deploy in often else None), 300, often=often)


def _no_operator(judge: Callable[..., Any]) -> Callable[..., Any]:
    return lambda seen, **given: judge(seen, **{**given, "operator": None})


def _whatever_happened(plan: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(datasets: Any, **given: Any) -> Any:
        landed = [{**item, "state": "landed"} for item in datasets]
        return plan(landed, **{**given, "after_days": 0})

    return mutant


def _one_in_two(ask: Callable[..., Any]) -> Callable[..., Any]:
    calls = count()
    return lambda *given, **more: ask(*given, **more) if next(calls) % 2 else "on its way"


def _only_off(change: Callable[..., Any]) -> Callable[..., Any]:
    def mutant(clients: Any, name: str, rules: Any) -> None:
        if not rules["AutoExportPolicy"]["Events"]:
            change(clients, name, rules)

    return mutant


@pytest.mark.parametrize(
    ("number", "of", "name", "mutant", "often", "noticed"),
    [
        (
            1,
            hook_datasets,
            "judge",
            _no_operator,
            [operators.land_or_reopen],
            "somebody said that .* is (arriving|landed)",
        ),
        (2, release, "plan", _whatever_happened, [operators.care, World.pass_days], "its dataset arrives or was used"),
        (3, decide, "_receipt_problem", lambda _: lambda *_: "", [operators.archive], "no receipt ever called it safe"),
        (4, work, "undo", lambda _: lambda *_, **__: 0, [*_ARCHIVE, operators.undo], "and nobody finished its"),
        (5, Movies, "restore", _one_in_two, [*_ARCHIVE, operators.restore], "and does not come"),
        (6, teardown, "losses", lambda _: lambda *_, **__: [], [operators.tear_down], "would have been lost"),
        (7, export, "_change", _only_off, [operators.tear_down], "was not switched on again"),
        (8, file_system, "_difference", lambda _: lambda *_: "", [operators.tear_down, operators.care], "is told"),
    ],
)
def test_a_program_that_can_lose_something_is_found_out(
    stacks: Stacks,
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    of: Any,
    name: str,
    mutant: Callable[..., Any],
    often: list[Step],
    noticed: str,
) -> None:
    monkeypatch.setattr(of, name, mutant(getattr(of, name)))
    world = make_world(_renamed(stacks, f"mutant{number}"))
    with pytest.raises(LostError, match=noticed):
        play(world, 300, often=often)


def _everything_goes_with_its_stack(stacks: Stacks) -> None:
    for template in stacks.values():
        for resource in template["Resources"].values():
            resource.pop("DeletionPolicy", None)


def test_deleting_the_stacks_deletes_no_movie_while_one_key_is_missing(
    other: Synthesised, make_world: Callable[..., World]
) -> None:
    """Also of somebody who has lifted the termination protection before."""
    assert other.protected == {"storage"}
    for name, spoil in (("deleted1", None), ("deleted2", _everything_goes_with_its_stack)):
        deleted = _renamed(other.stacks, name)
        if spoil is not None:
            spoil(deleted)
        world = make_world(deleted, protected=other.protected)
        world.record()
        world.transfer()
        world.look()
        operators.delete_the_storage_stack(world)
        world.system.delete()
        if spoil is not None:
            # The emulator's CloudFormation deletes a bucket that is not empty; S3 would refuse that.
            with pytest.raises(ClientError, match="NoSuchBucket"):
                world.look()
            return
        world.look()
        world.ledger.retrieve()
        (key, _), *_ = sorted(world.ledger.landed)
        with pytest.raises(ClientError, match="AccessDenied"):
            world.client("administrator").delete_object(Bucket=world.ledger.bucket, Key=key)


def test_what_break_glass_deletes_here_stays_in_the_second_copy(
    stacks: Stacks, make_world: Callable[..., World]
) -> None:
    for name, status in (("glass1", "Disabled"), ("glass2", "Enabled")):
        broken = _renamed(stacks, name)
        for rule in _replication(broken):
            rule["DeleteMarkerReplication"]["Status"] = status
        world = make_world(broken)
        world.record()
        world.transfer()
        world.look()
        s3, bucket = world.ledger.s3, world.ledger.bucket
        (key, version), *_ = sorted(world.ledger.landed)
        # As root, whom nothing stops in the emulator.
        s3.delete_bucket_policy(Bucket=bucket)
        s3.delete_object(Bucket=bucket, Key=key)
        s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
        with pytest.raises(LostError, match="a delete marker hides"):
            world.ledger.look()
        if status == "Disabled":
            world.second.look(world.ledger)
        else:
            with pytest.raises(LostError, match="a delete marker hides the second copy"):
                world.second.look(world.ledger)


def _renamed(stacks: Stacks, name: str) -> Stacks:
    """A copy that can be deployed beside the original."""
    renamed: Stacks = json.loads(json.dumps(stacks).replace(_NAME, name))
    return renamed


def _replication(stacks: Stacks) -> list[dict[str, Any]]:
    (bucket,) = (each for each in _of_type(stacks, "AWS::S3::Bucket") if "ReplicationConfiguration" in each)
    rules: list[dict[str, Any]] = bucket["ReplicationConfiguration"]["Rules"]
    return rules


def _of_type(stacks: Stacks, kind: str) -> list[dict[str, Any]]:
    every = (resource for template in stacks.values() for resource in template["Resources"].values())
    found = [resource["Properties"] for resource in every if resource["Type"] == kind]
    assert found, kind
    return found
