"""What is wrong with a file of prices, each with its line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing that is wrong: file, line, column, the value got, what is allowed, and how to fix it."""

    file: str
    line: int
    property: str
    value: object
    allowed: str
    fix: str = ""

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}: {self.property}: got {self.value!r}, allowed: {self.allowed}"
        return f"{text}. {self.fix}" if self.fix else text


class PriceFileError(Exception):
    """Everything that is wrong with a file of prices."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in faults))
