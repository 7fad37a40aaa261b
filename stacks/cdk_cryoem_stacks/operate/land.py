"""An operator's word on a dataset: that it has landed, or that it has not yet."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .ask import Failed
from .records import Records
from .words import listed, moment

KIND = "dataset"
Word = Literal["landed", "arriving"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether the word is to be written, and what to say of it."""

    write: bool
    say: str


def decide(item: Mapping[str, Any], word: Word) -> Decision:
    """What an operator's word means for a dataset that is known. Errors: Failed when it comes too late."""
    name, state, said = str(item["sk"]), item.get("state", "arriving"), item.get("operator")
    if "announced_at" in item:
        since = moment(item["announced_at"])
        if word == "arriving":
            raise Failed(too_late(name, since))
        return Decision(write=False, say=f"{name} has landed already: announced at {since} ({item.get('reason', '')})")
    if said == word:
        by, at = item.get("operator_by", "somebody"), item.get("operator_at")
        return Decision(write=False, say=f"{by} said so already" + (f", at {moment(at)}" if at else ""))
    if word == "landed":
        if state == "landed" and said is None:
            return Decision(write=False, say=f"{name} has landed already ({item.get('reason', '')})")
        return Decision(write=True, say=f"{name} has landed: the hooks announce it at their next look")
    return Decision(write=True, say=f"{name} is arriving until `cryoem land {name}`, however quiet it is")


def too_late(name: str, since: str) -> str:
    """Why a dataset that was announced stays landed."""
    return (
        f"{name} was announced as landed at {since}; that cannot be taken back, since its recipe may have begun."
        " Movies that still come are copied and counted; start the recipe again by hand when they are there"
        " (docs/operations.md, 'The sweeper's alarm')"
    )


def write(records: Records, name: str, word: Word, *, by: str, at: int, reason: str) -> None:
    """Write the word down. A dataset's record is never made. Errors: Failed."""
    update = "SET #operator = :operator, operator_by = :by, operator_at = :at"
    update += ", operator_reason = :reason" if reason else " REMOVE operator_reason"
    written = records.update_if(
        KIND,
        name,
        update,
        condition="attribute_exists(pk)" + (" AND attribute_not_exists(announced_at)" if word == "arriving" else ""),
        # A reserved word of DynamoDB.
        names={"#operator": "operator"},
        values={":operator": word, ":by": by, ":at": at, **({":reason": reason} if reason else {})},
    )
    if not written:
        raise Failed(
            f"{name} was announced as landed, or its record deleted, at this moment: look with `cryoem status`"
        )


def unknown(name: str, known: Iterable[str]) -> str:
    """What to say of a dataset that no record is of."""
    names = sorted(known)
    lower = name.lower()
    near = [each for each in names if lower in each.lower() or each.lower() in lower]
    near += [each for each in difflib.get_close_matches(name, names, n=5, cutoff=0.6) if each not in near]
    if near:
        return f"there is no dataset {name}. Did you mean {listed(near)}?"
    if not names:
        return f"there is no dataset {name}: no object of any dataset was seen yet"
    return f"there is no dataset {name}, and none of such a name; `cryoem status --json` has the {len(names)} there are"
