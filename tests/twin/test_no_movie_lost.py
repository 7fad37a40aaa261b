"""Whatever the system does, and whoever tries what: every version of every movie that has landed can be read as it was.

Sequences are by chance and by seed: MOVIES_SEED=7 MOVIES_STEPS=2000 plays others than those of `make test`. What is real here and
what is played is said in tests/shared/movie_world.py.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import second_copy
from emulated import Emulator, System, emulator
from movie_ledger import LostError
from movie_steps import STEPS, play
from movie_world import World

from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_file import load

pytestmark = pytest.mark.twin

_CHECKOUT = Path(__file__).resolve().parents[2]
_TWIN = _CHECKOUT / "twin"
_SEEDS = [int(os.environ["MOVIES_SEED"])] if "MOVIES_SEED" in os.environ else [1, 4, 7]
_STEPS = int(os.environ.get("MOVIES_STEPS", "100"))
# Of the system; a word that is nowhere else in its templates, so that copies of them can be given another.
_NAME = "safeguarded"
_KEPT_DAYS = 365
Stacks = dict[str, Any]


class Synthesised(NamedTuple):
    """Templates by their stacks' names, and which of them have termination protection (storage, and so on)."""

    stacks: Stacks
    protected: set[str]


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulator]:
    with pytest.MonkeyPatch.context() as patch, emulator(_CHECKOUT / ".twin-test-movies", patch) as running:
        yield running


def _synthesise(folder: Path, *, generation: int, **landing: Any) -> Synthesised:
    """A system of which nothing is left out that can happen to movies. No recipe starts: nobody would say that it has ended.

    generation: of the file system; the first one of all shows no results, for there can be none.
    """
    given = load(_TWIN / "cryoem.yaml").model_dump(exclude_unset=True)
    config = Config.model_validate(
        {
            **given,
            "name": _NAME,
            "landing": {**given.get("landing", {}), **landing, "replicate_to": second_copy.settings(f"{_NAME}-second")},
            "file_system": {"generation": generation, "release_after_days": 3},
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
    """The same system, configured otherwise."""
    return _synthesise(tmp_path_factory.mktemp("other"), generation=3, noncurrent_days=300, archive_after_days=5)


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
    happened = {
        "versions": len(world.ledger.landed),
        "datasets safe": len(world.safe),
        "attempts refused": world.refused - refused,
        "movies in the archive": len(world.archive.moved),
        "restores": world.restored,
        "released": world.released,
        "commands killed": world.killed,
        "file systems torn down": world.torn_down,
    }
    print(f"seed {seed}: {happened}, {dict(done)}")
    assert world.refused > refused
    assert set(done) == {step.__name__ for step in STEPS}, "some kind of step was not played"
    if seed == _SEEDS[-1] and "MOVIES_STEPS" not in os.environ:
        assert all(happened.values()), f"something never happened: {happened}"


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
    world.overwrite()
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


@pytest.mark.parametrize(
    ("number", "spoil", "noticed"),
    [
        (1, _no_deny, "a delete marker hides|versions are gone"),
        (2, _no_protection, "another policy|keeps no versions"),
        (3, _exports_deletions, "only its policy kept the bucket"),
        (4, _exports_deletions_and_no_deny, "a delete marker hides|versions are gone"),
        (5, _expires, "a delete marker hides"),
    ],
)
def test_a_system_that_can_lose_a_movie_is_found_out(
    stacks: Stacks, make_world: Callable[..., World], number: int, spoil: Callable[[Stacks], None], noticed: str
) -> None:
    spoiled = _renamed(stacks, f"spoiled{number}")
    spoil(spoiled)
    with pytest.raises(LostError, match=noticed):
        play(make_world(spoiled), 400)


def _renamed(stacks: Stacks, name: str) -> Stacks:
    """A copy that can be deployed beside the original."""
    renamed: Stacks = json.loads(json.dumps(stacks).replace(_NAME, name))
    return renamed


def _of_type(stacks: Stacks, kind: str) -> list[dict[str, Any]]:
    every = (resource for template in stacks.values() for resource in template["Resources"].values())
    found = [resource["Properties"] for resource in every if resource["Type"] == kind]
    assert found, kind
    return found
