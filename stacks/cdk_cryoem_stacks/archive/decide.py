"""In which state a dataset is, and whether it may be archived or restored. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ..operate.words import cryoem, moment, several
from .contents import Contents, Rule

State = Literal["active", "finished", "archived", "restoring", "restored"]
STATE_TAG, FINISHED = "cryoem-state", "finished"
"""The tag of objects that may be moved, as `cdk_cryoem.landing_zone` has it: the CDK need not be imported for it."""
COMPLETE = "safe"
"""State of a receipt that proves every file: the microscope's disk may be purged."""
MOST_TAGS = 10
"""S3 takes no more on an object."""


def state_of(item: Mapping[str, Any], contents: Contents) -> State:
    """What a dataset is: what S3 has of it, and where that leaves a choice, what its record says was asked for."""
    word = item.get("archive")
    archived = contents.archived.files
    if not archived:
        return "finished" if word == "finished" else "active"
    if contents.restored.files == archived:
        return "restored"
    # Of copies that are over nothing is left to see; a record that speaks of them is older than that.
    if contents.restoring.files or (word == "restoring" and "archive_pending" in item) or contents.restored.files:
        return "restoring"
    return "finished" if word == "finished" and contents.moves.files else "archived"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether something may be done: why not, and what to know before it is."""

    refusals: Sequence[str]
    warnings: Sequence[str]

    @property
    def allowed(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.refusals


def may_archive(
    item: Mapping[str, Any],
    receipt: Mapping[str, Any] | None,
    rule: Rule | None,
    contents: Contents,
    *,
    recipe: str | None,
    without_receipt: bool,
) -> Verdict:
    """Whether a dataset may be archived. recipe: what starts on landed datasets; None when that is not known."""
    name = str(item["sk"])
    refusals, warnings = [], []
    if item.get("state") != "landed":
        refusals.append(
            f"{name} is {item.get('state', 'arriving')}, not landed; `{cryoem('land', name)}` says it is complete"
        )
    if recipe and "processing_at" not in item:
        refusals.append(f"the recipe {recipe} has not ended on {name}: it would lose the movies it reads")
    if recipe is None:
        warnings.append(f"without the configuration file nobody can tell whether a recipe still runs on {name}")
    if item.get("archive") == "restoring" and contents.archived.files:
        warnings.append(
            f"{name} was restored by {item.get('archive_by', 'somebody')}; its copies stay for their days, and nobody can"
            " tell here whether they are in use"
        )
    if rule is None:
        refusals.append(
            "the landing bucket has no rule that moves finished datasets: set landing.archive_after_days in the"
            " configuration file and deploy NAME-storage"
        )
    elif not contents.moves.files:
        what = (
            "all that is large enough is in the archive" if contents.archived.files else "it has no file large enough"
        )
        refusals.append(f"nothing of {name} would move: {what}")
    problem = _receipt_problem(item, receipt)
    if problem:
        told = f"{problem}: that all of it arrived is not proven"
        if without_receipt:
            warnings.append(told)
        else:
            refusals.append(
                f"{told}. `{cryoem('verify', name)}` says what is wrong; --without-receipt archives it as it is"
            )
    return Verdict(refusals=refusals, warnings=warnings)


def _receipt_problem(item: Mapping[str, Any], receipt: Mapping[str, Any] | None) -> str:
    name = item["sk"]
    if receipt is None:
        return f"{name} has no receipt"
    if receipt.get("state") != COMPLETE:
        why = f" ({receipt['reasons']})" if receipt.get("reasons") else ""
        return f"the receipt of {name} is not complete: {receipt.get('state', 'unknown')}{why}"
    if float(item.get("last_at", 0)) > float(receipt.get("dataset_last_at", 0)):
        return f"the receipt of {name} is older than its last file ({moment(float(item['last_at']))})"
    return ""


def may_restore(name: str, word: str | None, contents: Contents) -> Verdict:
    """Whether there is anything to restore."""
    if contents.archived.files:
        return Verdict(refusals=(), warnings=())
    if not contents.all.files:
        return Verdict(refusals=[f"the landing bucket has nothing of {name}"], warnings=())
    if word == FINISHED:
        waits = f"it waits to be moved: `{cryoem('archive', name, '--undo')}` keeps it where it is"
        return Verdict(refusals=[f"nothing of {name} is in the archive yet; {waits}"], warnings=())
    files = several(contents.all.files, "file")
    return Verdict(refusals=[f"nothing of {name} is in the archive: all {files} can be read"], warnings=())


def tags_with(tags: Sequence[Mapping[str, Any]], value: str | None) -> list[dict[str, str]] | None:
    """An object's tags with its state set to a value, or without a state for None; None when they are so already.

    Tags of others stay as they are. Errors: ValueError when S3 would not take one more.
    """
    others = [{"Key": each["Key"], "Value": each["Value"]} for each in tags if each["Key"] != STATE_TAG]
    now = next((each["Value"] for each in tags if each["Key"] == STATE_TAG), None)
    if now == value:
        return None
    if value is None:
        return others
    if len(others) >= MOST_TAGS:
        raise ValueError(f"it has {MOST_TAGS} tags of others, and S3 takes no more")
    return [*others, {"Key": STATE_TAG, "Value": value}]
