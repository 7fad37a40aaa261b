"""Decisions about the file system: what is wrong with it and its associations. Pure functions of what FSx says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Described = Mapping[str, Any]
_PAGE = "docs/file-system.md, 'Trouble'"
_BAD = {
    "MISCONFIGURED": "FSx can mend it once its cause is gone",
    "MISCONFIGURED_UNAVAILABLE": "nobody can use it until its cause is gone",
    "FAILED": "FSx cannot mend it",
    "DELETING": "somebody deletes it, with everything on it that is not in S3",
}
RUNNING = ("PENDING", "EXECUTING", "CANCELING")
"""States of a data repository task that has not ended."""


@dataclass(frozen=True)
class Expected:
    """An association as it was deployed: a folder, and which events pass between it and S3."""

    path: str
    imports: frozenset[str]
    exports: frozenset[str]

    @classmethod
    def parse(cls, text: str) -> tuple[Expected, ...]:
        """All of them from the function's environment."""
        return tuple(
            cls(path=each["path"], imports=frozenset(each["imports"]), exports=frozenset(each["exports"]))
            for each in json.loads(text)
        )


@dataclass(frozen=True)
class Trouble:
    """Something that a person has to mend. state: FSx's own word, or GONE or CHANGED. reason: FSx's own words."""

    kind: Literal["file-system", "association", "task"]
    id: str
    path: str
    state: str
    reason: str
    advice: str

    @property
    def name(self) -> str:
        """Its key among the records; another state is another trouble."""
        return f"{self.id}#{self.state}"


def troubles(
    *,
    file_system_id: str,
    file_system: Described | None,
    associations: Iterable[Described],
    tasks: Iterable[Described],
    expected: Sequence[Expected],
) -> list[Trouble]:
    """All that is wrong. file_system: None when FSx knows it no longer; then nothing else is judged."""
    if file_system is None:
        advice = f"movies and exported results are in S3: {_PAGE} has the restore"
        return [_of_file_system(file_system_id, "GONE", "FSx knows no such file system", advice)]
    state = str(file_system["Lifecycle"])
    found = []
    if state in _BAD:
        advice = f"{_BAD[state]}: open it in the FSx console; {_PAGE}"
        found.append(_of_file_system(file_system_id, state, _failure(file_system), advice))
    tasks, there = list(tasks), {str(each["FileSystemPath"]).rstrip("/"): each for each in associations}
    exporting = any(task["Type"] == "EXPORT_TO_REPOSITORY" and task["Lifecycle"] in RUNNING for task in tasks)
    for wanted in expected:
        each = there.get(wanted.path)
        trouble = _missing(file_system_id, wanted) if each is None else _of_association(each, wanted, exporting)
        if trouble is not None:
            found.append(trouble)
    return found + _of_release(tasks)


def over(known: Iterable[Mapping[str, object]], found: Iterable[Trouble]) -> list[str]:
    """Names of troubles that were written down and are over."""
    still = {trouble.name for trouble in found}
    return sorted(name for item in known if (name := str(item["sk"])) not in still)


def _of_file_system(name: str, state: str, reason: str, advice: str) -> Trouble:
    return Trouble(kind="file-system", id=name, path="/", state=state, reason=reason, advice=advice)


def _missing(file_system_id: str, wanted: Expected) -> Trouble:
    return Trouble(
        kind="association",
        id=f"{file_system_id}{wanted.path}",
        path=wanted.path,
        state="GONE",
        reason=f"the file system has no association on {wanted.path}",
        advice=f"somebody deleted it; {_effect(wanted)}. {_PAGE} says how to make it again",
    )


def _of_association(each: Described, wanted: Expected, exporting: bool) -> Trouble | None:
    name, state = str(each["AssociationId"]), str(each["Lifecycle"])
    if state in _BAD:
        return Trouble(
            kind="association",
            id=name,
            path=wanted.path,
            state=state,
            reason=_failure(each),
            advice=(
                f"{_effect(wanted)}. Mostly bucket, bucket policy or key no longer let FSx in: mend that, then catch up"
                f" with what came meanwhile; {_PAGE}"
            ),
        )
    changed = _difference(each, wanted)
    # An export task cannot run beside the automatic export: who starts one turns that off for so long.
    if state != "AVAILABLE" or not changed or (exporting and wanted.exports):
        return None
    return Trouble(
        kind="association",
        id=name,
        path=wanted.path,
        state="CHANGED",
        reason=changed,
        advice=f"it was deployed otherwise; {_PAGE} has the command that sets it right",
    )


def _effect(wanted: Expected) -> str:
    if wanted.exports:
        return f"what is written below {wanted.path} is on the file system alone"
    return f"new movies do not appear below {wanted.path}"


def _difference(each: Described, wanted: Expected) -> str:
    rules = each.get("S3", {})
    parts = []
    for verb, policy, events in (
        ("imports", "AutoImportPolicy", wanted.imports),
        ("exports", "AutoExportPolicy", wanted.exports),
    ):
        now = frozenset(rules.get(policy, {}).get("Events", []))
        if now != events:
            parts.append(f"it {verb} {_said(now)}, and should {_said(events)}")
    return "; ".join(parts)


def _said(events: Iterable[str]) -> str:
    return ", ".join(sorted(events)) or "nothing"


def _of_release(tasks: Iterable[Described]) -> list[Trouble]:
    """The latest release, if it failed: a later one that succeeds ends the trouble."""
    releases = sorted(
        (task for task in tasks if task["Type"] == "RELEASE_DATA_FROM_FILESYSTEM" and task["Lifecycle"] not in RUNNING),
        key=lambda task: task["CreationTime"],
    )
    if not releases or releases[-1]["Lifecycle"] != "FAILED":
        return []
    last = releases[-1]
    return [
        Trouble(
            kind="task",
            id=str(last["TaskId"]),
            path=", ".join(map(str, last.get("Paths", []))) or "/",
            state="FAILED",
            reason=_failure(last),
            advice=f"nothing is lost, the space is not free: it is tried again in smaller parts; {_PAGE}",
        )
    ]


def _failure(described: Described) -> str:
    return str((described.get("FailureDetails") or {}).get("Message") or "FSx does not say why")
