"""Data goes only with both keys, and then only what the first names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aws_cdk.assertions import Annotations, Match

from cdk_cryoem import CryoEmError
from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.config_storage import DELETABLE
from cdk_cryoem_stacks.deletion import Keys
from cdk_cryoem_stacks.flags import DELETE_CONTEXT
from cdk_cryoem_stacks.system import Stacks

HOLDING = ("AWS::S3::Bucket", "AWS::S3::BucketPolicy", "AWS::KMS::Key", "AWS::IAM::Role", "AWS::FSx::FileSystem",
           "AWS::FSx::DataRepositoryAssociation")  # fmt: skip
Built = tuple[Stacks, bool, dict[str, Any]]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Callable[[tuple[str, ...], str | None], Built]:
    """Stacks, termination protection and template of the storage stack, of a system with these keys."""
    made: dict[tuple[tuple[str, ...], str | None], Built] = {}

    def of(allowed: tuple[str, ...], given: str | None) -> Built:
        if (allowed, given) not in made:
            app = make_app(outdir=str(tmp_path_factory.mktemp("keys")))
            if given is not None:
                app.node.set_context(DELETE_CONTEXT, given)
            config = Config.model_validate({"name": "em", "deletion": {"allowed": list(allowed)}})
            stacks = build(app, config, config_folder=Path())
            stack = app.synth().get_stack_by_name("em-storage")
            made[allowed, given] = (stacks, bool(stack.termination_protection), stack.template)
        return made[allowed, given]

    return of


def going(template: dict[str, Any]) -> set[str]:
    """Logical ids of what holds data and goes with the stack."""
    return {
        name.rstrip("0123456789ABCDEF")
        for name, resource in template["Resources"].items()
        if resource["Type"] in HOLDING and resource.get("DeletionPolicy") != "Retain" and "AccessLogsPolicy" not in name
    }


@pytest.mark.parametrize("keys", [((), None), (DELETABLE, None)], ids=["no key", "the file's alone"])
def test_without_the_second_key_nothing_goes_and_the_stack_is_protected(
    built: Callable[..., Built], keys: tuple[tuple[str, ...], str | None]
) -> None:
    _, protected, template = built(*keys)
    assert protected
    assert going(template) == set()


@pytest.mark.parametrize(
    ("allowed", "gone"),
    [
        (("landing",), {"LandingZoneLanding"}),
        (("results",), {"LandingZoneResults"}),
        (("file_system",), {"FileSystem", "FileSystemDataAssociation", "FileSystemProjectsAssociation"}),
    ],
)
def test_with_both_keys_just_that_goes(built: Callable[..., Built], allowed: tuple[str, ...], gone: set[str]) -> None:
    _, protected, template = built(allowed, "em")
    assert not protected
    assert going(template) == gone
    assert all(
        resource["UpdateReplacePolicy"] == "Retain"
        for resource in template["Resources"].values()
        if resource["Type"] in HOLDING and "UpdateReplacePolicy" in resource
    ), "what is replaced by a change is kept"


def test_a_landing_bucket_that_may_go_is_still_not_emptied_by_anybody(built: Callable[..., Built]) -> None:
    _, _, template = built(("landing",), "em")
    assert not [r for r in template["Resources"].values() if r["Type"].startswith("Custom::")]
    (policy,) = [
        r["Properties"]["PolicyDocument"]["Statement"]
        for name, r in template["Resources"].items()
        if name.startswith("LandingZoneLandingPolicy")
    ]
    (denied,) = [s for s in policy if s.get("Sid") == "NobodyDeletesMovies"]
    assert "cfn-exec-role" not in str(denied)
    (stays,) = [s for s in policy if s.get("Sid") == "TheBucketStays"]
    assert "cfn-exec-role" in str(stays), "S3 deletes an empty bucket for a deployment, and no other"


@pytest.mark.parametrize(
    ("allowed", "given", "said"),
    [
        (["file_system"], "other", r"-c cryoem:delete: got 'other', allowed: em"),
        ([], "em", r"deletion\.allowed: got \[\], allowed: some of file_system, results, landing.*first is missing"),
        ([], "other", r"-c cryoem:delete: got 'other'"),
    ],
)
def test_a_second_key_that_fits_nothing_ends_the_synthesis(allowed: list[str], given: str, said: str) -> None:
    app = make_app()
    app.node.set_context(DELETE_CONTEXT, given)
    config = Config.model_validate({"name": "em", "deletion": {"allowed": allowed}})
    with pytest.raises(CryoEmError, match=said):
        build(app, config, config_folder=Path())


def test_the_synthesis_and_the_check_say_which_key_is_missing(built: Callable[..., Built]) -> None:
    stacks, _, _ = built(DELETABLE, None)
    missing = "second key is missing (-c cryoem:delete=em at a deployment)"
    Annotations.from_stack(stacks.storage).has_warning(
        "*", Match.string_like_regexp(r"second key is missing \(-c cryoem:delete=em at a deployment\)")
    )
    config = Config.model_validate({"name": "em", "deletion": {"allowed": ["results"]}})
    (warning,) = [warning for warning in config.warnings() if "delet" in warning]
    assert warning == f"deletion.allowed names results, and nothing can be deleted: the {missing}"


def test_both_keys_are_announced(built: Callable[..., Built]) -> None:
    stacks, _, _ = built(("file_system",), "em")
    Annotations.from_stack(stacks.storage).has_warning(
        "*", Match.string_like_regexp("deleting em-storage deletes file_system")
    )


@pytest.mark.parametrize("allowed", [[], ["landing"], list(DELETABLE)])
@pytest.mark.parametrize("given", [None, "", "em", "other", "True"])
def test_the_decision(allowed: list[str], given: str | None) -> None:
    keys = Keys(system="em", allowed=allowed, given=given)
    assert keys.deletable == (set(allowed) if given == "em" else set())
    assert bool(list(keys.problems())) is (given is not None and (given != "em" or not allowed))
    assert (keys.warning() is None) is (not allowed)
