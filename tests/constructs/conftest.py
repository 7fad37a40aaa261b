"""Stacks as an external user has them: no feature flags, no fixed account, no fixed region."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from aws_cdk import App, Stack


@pytest.fixture(scope="session")
def new_stack() -> Callable[[str], Stack]:
    """A function that makes a stack in an app of its own."""

    def make(name: str = "Test") -> Stack:
        return Stack(App(analytics_reporting=False), name)

    return make


@pytest.fixture
def stack(new_stack: Callable[[str], Stack]) -> Stack:
    return new_stack("Test")
