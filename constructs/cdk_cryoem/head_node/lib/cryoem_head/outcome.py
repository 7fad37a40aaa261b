"""How the programs around cryoSPARC end: done, refused until a person changes something, or to be tried again later.

What they say never holds a secret that they were told.
"""

from __future__ import annotations

import hashlib
import json
import sys
import urllib.parse
from typing import Any, Callable, Dict, List

FAILED, TEMPORARY_FAILURE, REFUSED = 1, 75, 78
"""Exit statuses; the last two as in sysexits.h (EX_TEMPFAIL, EX_CONFIG)."""


class Refused(Exception):
    """It cannot be done as it is asked for; trying again changes nothing."""


class Later(Exception):
    """It cannot be done now, and nothing is wrong."""


class Mask:
    """Takes secrets out of what is printed: as they are, in a URL, and hashed as cryoSPARC's client sends them."""

    def __init__(self) -> None:
        self._secrets: List[str] = []

    def add(self, secret: str) -> str:
        """Never print it from now on."""
        if secret:
            self._secrets += [secret, urllib.parse.quote(secret), hashlib.sha256(secret.encode()).hexdigest()]
            self._secrets.sort(key=len, reverse=True)
        return secret

    def __call__(self, text: str) -> str:
        """The text without them."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def say(program: str, text: str, mask: Mask) -> None:
    """A line for the log."""
    print(f"{program}: {mask(text)}", file=sys.stderr, flush=True)


def end(program: str, work: Callable[[], Dict[str, Any]], mask: Mask) -> None:
    """Do the work, print its document, and end with the status that says how it went."""
    try:
        document = work()
    except Refused as error:
        say(program, str(error), mask)
        sys.exit(REFUSED)
    except Later as error:
        say(program, str(error), mask)
        sys.exit(TEMPORARY_FAILURE)
    except Exception as error:
        # Without a traceback: it could hold what a command or a server was told.
        say(program, f"{type(error).__name__}: {error}", mask)
        sys.exit(FAILED)
    print(mask(json.dumps(document)), flush=True)
