"""Random systems, with everything that a configuration may say, are stacks: they synthesise, and cdk-nag finds nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import strategies
from random_systems import random_systems

from cdk_cryoem_stacks.config import Config

WANTED = {"parallelcluster": 8, "pcs": 7}
SAID: dict[str, Callable[[Config], int]] = {
    "lanes": lambda system: len(system.all_lanes()),
    "cryosparc": lambda system: system.cryosparc is not None,
    "microscopes": lambda system: len(system.microscopes),
    "permissions_boundary_arn": lambda system: system.permissions_boundary_arn is not None,
    "tags": lambda system: len(system.tags),
}
Templates = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def chosen() -> list[Config]:
    """Those that say most of something."""
    return [system for engine, wanted in WANTED.items() for system in said_most(engine, wanted)]


def said_most(engine: str, wanted: int) -> list[Config]:
    found = [system for system in random_systems("whole_systems", engine, many=25 * wanted) if system.engine == engine]
    chosen = [max(found, key=said) for said in SAID.values()]
    longest = sorted(found, key=lambda system: len(system.model_dump_json()), reverse=True)
    distinct = {system.model_dump_json(): system for system in chosen + longest}
    return list(distinct.values())[:wanted]


@pytest.fixture(scope="module")
def made(chosen: list[Config], synthesise: Callable[..., Templates]) -> list[Templates]:
    """Their templates. Whatever is wrong with one, cdk-nag's findings included, fails here."""
    templates = []
    for system in chosen:
        try:
            templates.append(synthesise(system))
        except Exception as error:
            raise AssertionError(f"{system!r}") from error
    return templates


def configuration(templates: Templates) -> dict[str, Any] | None:
    for resource in templates["cluster"]["Resources"].values():
        if resource["Type"] == "Custom::PclusterCluster":
            found = resource["Properties"]["ClusterConfiguration"]
            assert isinstance(found, dict)
            return found
    return None


def same(synthesised: Any, direct: Any) -> bool:
    """Whether two values are equal, but for what is a reference until deployment."""
    if isinstance(synthesised, dict) and len(synthesised) == 1 and next(iter(synthesised)).startswith(("Ref", "Fn::")):
        return isinstance(direct, str)
    if isinstance(synthesised, dict) and isinstance(direct, dict):
        return synthesised.keys() == direct.keys() and all(same(synthesised[key], direct[key]) for key in direct)
    if isinstance(synthesised, list) and isinstance(direct, list):
        return len(synthesised) == len(direct) and all(map(same, synthesised, direct))
    return bool(synthesised == direct) or (isinstance(synthesised, str) and isinstance(direct, str))


def test_they_are_on_both_engines_and_not_all_small(chosen: list[Config]) -> None:
    assert {engine: sum(system.engine == engine for system in chosen) for engine in WANTED} == WANTED
    most = {property_: max(map(said, chosen)) for property_, said in SAID.items()}
    assert most["lanes"] > 8
    assert most["tags"] > 2
    assert all(most.values()), most


def test_every_one_of_them_is_five_stacks(made: list[Templates]) -> None:
    assert len(made) == sum(WANTED.values())
    for templates in made:
        assert sorted(templates) == ["cluster", "hooks", "ingest", "network", "storage"]
        assert all(len(template["Resources"]) <= 500 for template in templates.values()), "CloudFormation's limit"


def test_what_they_give_parallelcluster_is_what_its_own_code_judged(
    chosen: list[Config], made: list[Templates]
) -> None:
    """tests/engine takes a shorter way to the same configuration."""
    compared = 0
    for system, templates in zip(chosen, made, strict=True):
        found = configuration(templates)
        assert (found is None) is (system.engine == "pcs")
        if found is not None:
            assert same(found, strategies.configuration_of(system)), system.name
            compared += 1
    assert compared >= 5
