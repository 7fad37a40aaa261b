"""Findings say what was typed, what was got, what is allowed and how to fix it."""

from __future__ import annotations

import math

import pytest
from aws_cdk import Aws, Token

from cdk_cryoem import CryoEmError, Problem
from cdk_cryoem.problems import known, require


def test_a_problem_names_property_value_and_what_is_allowed() -> None:
    assert str(Problem(property="capacity_gib", value=1024, allowed="1200")) == "capacity_gib: got 1024, allowed: 1200"


def test_a_fix_follows_when_there_is_one() -> None:
    assert str(Problem(property="a", value="x", allowed="y", fix="Do z")) == "a: got 'x', allowed: y. Do z"


@pytest.mark.parametrize(("inner", "path"), [("name", "lanes[0].name"), ("", "lanes[0]")])
def test_a_problem_is_seen_from_the_object_that_holds_it(inner: str, path: str) -> None:
    problem = Problem(property=inner, value=1, allowed="2", fix="3").under("lanes[0]")
    assert problem == Problem(property=path, value=1, allowed="2", fix="3")


def test_require_raises_all_problems_at_once() -> None:
    problems = [Problem(property=name, value=0, allowed="1") for name in ("a", "b")]
    with pytest.raises(CryoEmError, match=r"^thing: a: got 0, allowed: 1; b: got 0, allowed: 1$") as caught:
        require("thing", iter(problems))
    assert caught.value.problems == tuple(problems)
    assert isinstance(caught.value, ValueError)


def test_require_returns_without_problems() -> None:
    require("thing", [])


@pytest.mark.parametrize("value", [0, "", "x", 1.5, False, math.nan, math.inf, -math.inf])
def test_plain_values_are_known(value: object) -> None:
    assert known(value)


@pytest.mark.parametrize(
    "value",
    [None, Aws.REGION, Token.as_number({"Ref": "Number"}), Token.as_list({"Ref": "List"}), f"a-{Aws.ACCOUNT_ID}"],
    ids=["none", "text", "number", "list", "part of a text"],
)
def test_nothing_and_tokens_are_not_known(value: object) -> None:
    assert not known(value)
