"""One rule, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .templates import Resource, Templates


@dataclass(frozen=True, slots=True)
class Finding:
    """A resource that breaks a rule, and the property in which it does."""

    resource: Resource
    where: str = "Properties"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """One rule of the pack.

    name: its id without the pack's name. info: what is wrong. explanation: why it matters, and what to do.
    level: an error fails the synthesis, a warning is printed. find: everything in the templates that breaks it.
    """

    name: str
    info: str
    explanation: str
    level: Literal["error", "warning"] = "error"
    find: Callable[[Templates], Iterator[Finding]]
