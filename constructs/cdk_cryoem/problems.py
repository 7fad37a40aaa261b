"""What is wrong with a value, in the words of the person who typed it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aws_cdk import Token


@dataclass(frozen=True, kw_only=True, slots=True)
class Problem:
    """One finding: the property as typed, the value got, what is allowed, and how to fix it."""

    property: str
    value: object
    allowed: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.property}: got {self.value!r}, allowed: {self.allowed}"
        return f"{text}. {self.fix}" if self.fix else text

    def under(self, prefix: str) -> Problem:
        """The same problem, seen from the object that holds the property."""
        path = f"{prefix}.{self.property}" if self.property else prefix
        return Problem(property=path, value=self.value, allowed=self.allowed, fix=self.fix)


class CryoEmError(ValueError):
    """Every problem of one construct or value object, reported at once."""

    def __init__(self, subject: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(f"{subject}: " + "; ".join(str(problem) for problem in self.problems))


def require(subject: str, problems: Iterable[Problem]) -> None:
    """Raise a CryoEmError naming all problems, or return when there are none."""
    found = list(problems)
    if found:
        raise CryoEmError(subject, found)


def known(value: object) -> bool:
    """Whether a value is there and is not a CDK token, so that it may be checked now."""
    if isinstance(value, float) and not math.isfinite(value):
        return True  # jsii cannot carry NaN and infinity; asking about one ends its process
    return value is not None and not Token.is_unresolved(value)
