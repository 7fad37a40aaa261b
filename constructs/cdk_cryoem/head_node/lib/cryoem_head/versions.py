"""Versions of cryoSPARC: which can be installed, and which comes after which."""

from __future__ import annotations

import re
from typing import Tuple

from .outcome import Refused


def parse(text: str) -> Tuple[int, int, int]:
    """5.0.6 and v5.0.6, as numbers."""
    found = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)", text.strip())
    if not found:
        raise Refused(f"{text!r} is no version of cryoSPARC; an exact one is needed, for example 5.0.6")
    return int(found[1]), int(found[2]), int(found[3])


def supported(text: str) -> str:
    """The version without its v, if it is one that can be installed here."""
    number = parse(text)
    if number[:2] != (4, 7) and number[0] != 5:
        raise Refused(f"cryoSPARC {text} cannot be installed: 5.x and 4.7.x can")
    return ".".join(map(str, number))


def is_five(version: str) -> bool:
    """Whether the version has the interface that came with 5.0."""
    return parse(version)[0] >= 5
