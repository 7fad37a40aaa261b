"""An operator's word on a dataset: that it has landed, or that it has not yet."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .ask import Failed
from .records import Records
from .words import cryoem, listed, moment

KIND = "dataset"
Word = Literal["landed", "arriving"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether the word is to be written, and what to say of it."""

    write: bool
    say: str


def decide(item: Mapping[str, Any], word: Word) -> Decision:
    """What an operator's word means for a dataset that is known. Errors: Failed when the hooks could not obey it."""
    name, state = str(item["sk"]), item.get("state", "arriving")
    if state == "gone":
        raise Failed(f"nothing is left of {name}: all its objects are gone from the landing bucket")
    if state == "landed":
        how = f"landed at {moment(item['landed_at'])}" if "landed_at" in item else "has landed"
        how += f" ({item['reason']})" if item.get("reason") else ""
        if word == "arriving":
            raise Failed(too_late(name, how))
        return Decision(write=False, say=f"{name} {how}: nothing is to be done")
    if item.get("operator") == word:
        by, at = item.get("operator_by", "somebody"), item.get("operator_at")
        return Decision(write=False, say=f"{by} said so already" + (f", at {moment(at)}" if at else ""))
    if word == "landed":
        return Decision(
            write=True, say=f"{name} has landed: the hooks write it down and announce it at their next look"
        )
    return Decision(
        write=True,
        say=f"{name} is arriving until `{cryoem('land', name)}`, however quiet it is; so long the head node stays awake",
    )


def too_late(name: str, how: str) -> str:
    """Why a dataset that has landed stays landed: it is written down and announced in one step."""
    return (
        f"{name} {how} and was announced; that cannot be taken back, since its recipe may have begun. Movies that still"
        " come are copied and counted; when they are there, start the recipe again by hand (docs/operations.md, 'The"
        " sweeper's alarm')"
    )


def write(records: Records, name: str, word: Word, *, by: str, at: int, reason: str) -> None:
    """Write the word down. A dataset's record is never made. Errors: Failed."""
    update = "SET #operator = :operator, operator_by = :by, operator_at = :at"
    update += ", operator_reason = :reason" if reason else " REMOVE operator_reason"
    written = records.update_if(
        KIND,
        name,
        update,
        condition="attribute_exists(pk) AND #state <> :landed",
        # Reserved words of DynamoDB.
        names={"#operator": "operator", "#state": "state"},
        values={
            ":operator": word,
            ":by": by,
            ":at": at,
            ":landed": "landed",
            **({":reason": reason} if reason else {}),
        },
    )
    if not written:
        raise Failed(f"{name} landed at this moment, or its record was deleted: look with `cryoem status`")


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
