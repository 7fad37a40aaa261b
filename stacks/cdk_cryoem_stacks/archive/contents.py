"""What the landing bucket holds of a dataset, object by object and in sums. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ARCHIVED_CLASSES = ("DEEP_ARCHIVE", "GLACIER")
"""Storage classes whose objects cannot be read before they are restored."""
DAY = 86400
_DEFAULT_SMALLEST = 128 * 1024
"""Smaller objects are not moved unless a lifecycle says otherwise (S3 user guide, "Transitioning objects")."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """The current version of an object. at: when it was made, epoch seconds; restored_until: of its restored copy."""

    key: str
    size: int
    storage_class: str
    at: float
    restoring: bool = False
    restored_until: float | None = None

    @property
    def archived(self) -> bool:
        """Whether it is in the archive, with a readable copy or without."""
        return self.storage_class in ARCHIVED_CLASSES

    def readable(self, now: float) -> bool:
        """Whether S3 would hand it out."""
        return not self.archived or (self.restored_until is not None and self.restored_until > now)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """The bucket's rule that moves finished objects: so many days after they were made, from so many bytes on."""

    days: int
    smallest: int = _DEFAULT_SMALLEST

    def moves(self, held: Held) -> bool:
        """Whether a finished object will be moved."""
        return not held.archived and held.size >= self.smallest

    def due(self, held: Held) -> float:
        """When it may be moved. S3 rounds up to midnight UTC (S3 user guide, "Lifecycle configuration elements")."""
        return math.ceil((held.at + self.days * DAY) / DAY) * DAY


def rule_of(lifecycle: Mapping[str, Any], prefix: str, *, tag: str, value: str) -> Rule | None:
    """The rule of a bucket's lifecycle that sends objects with this tag, below this prefix, to Deep Archive.

    The soonest, when there are several. A rule that asks for another tag, or for none, is not meant.
    """
    varies = lifecycle.get("TransitionDefaultMinimumObjectSize") == "varies_by_storage_class"
    found = []
    for rule in lifecycle.get("Rules", ()):
        given = rule.get("Filter") or {}
        both = given.get("And") or {}
        tags = both.get("Tags") or ([given["Tag"]] if given.get("Tag") else [])
        below = both.get("Prefix") or given.get("Prefix") or rule.get("Prefix") or ""
        if rule.get("Status") != "Enabled" or not prefix.startswith(below):
            continue
        if [(each["Key"], each["Value"]) for each in tags] != [(tag, value)]:
            continue
        # S3 answers 0 where a rule with several conditions names no size: its default holds then.
        more = int(both.get("ObjectSizeGreaterThan", given.get("ObjectSizeGreaterThan", 0)))
        smallest = more + 1 if more else 0 if varies else _DEFAULT_SMALLEST
        found += [
            Rule(days=int(move["Days"]), smallest=smallest)
            for move in rule.get("Transitions", ())
            if move.get("StorageClass") == "DEEP_ARCHIVE" and "Days" in move
        ]
    return min(found, key=lambda rule: rule.days, default=None)


def held(listed: Mapping[str, Any]) -> Held:
    """An object as ListObjectsV2 tells of it. Of one that was never restored it tells no restore status."""
    status = listed.get("RestoreStatus") or {}
    until = status.get("RestoreExpiryDate")
    return Held(
        key=listed["Key"],
        size=int(listed["Size"]),
        storage_class=listed.get("StorageClass", "STANDARD"),
        at=listed["LastModified"].timestamp(),
        restoring=bool(status.get("IsRestoreInProgress")),
        restored_until=until.timestamp() if until else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Sum:
    """How many files, and how many bytes."""

    files: int = 0
    bytes: int = 0


def total(objects: Iterable[Held]) -> Sum:
    """Their sum."""
    files = size = 0
    for each in objects:
        files += 1
        size += each.size
    return Sum(files=files, bytes=size)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contents:
    """A dataset in sums.

    moves: what the rule will move once it is finished (nothing without a rule). archived: what has been moved; of that
    restoring has a copy on its way, and restored one that can be read, the first of them until `restored_until`.
    """

    all: Sum
    moves: Sum
    archived: Sum
    restoring: Sum
    restored: Sum
    restored_until: float | None

    @property
    def stays(self) -> Sum:
        """What is too small to be moved."""
        return Sum(
            files=self.all.files - self.moves.files - self.archived.files,
            bytes=self.all.bytes - self.moves.bytes - self.archived.bytes,
        )


def sum_up(objects: Sequence[Held], rule: Rule | None, *, now: float) -> Contents:
    """A dataset in sums, as it is now."""
    archived = [each for each in objects if each.archived]
    restored = [each for each in archived if each.readable(now)]
    return Contents(
        all=total(objects),
        moves=total(each for each in objects if rule is not None and rule.moves(each)),
        archived=total(archived),
        restoring=total(each for each in archived if each.restoring),
        restored=total(restored),
        restored_until=min((each.restored_until for each in restored if each.restored_until), default=None),
    )
