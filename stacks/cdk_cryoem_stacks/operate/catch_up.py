"""`cryoem export`: what an association that stood still left unexported, brought to S3 while people go on working.

Unlike `cryoem teardown --export` it does not mind nodes that are on and datasets that arrive. The price is that files which are
closed while the automatic export is off are exported by nobody until they change again, so they are looked for and told.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import export
from .ask import Failed
from .find import Clients, Storage, System
from .listing import ListedFile, file_listing
from .teardown import SHOWN, objects
from .unsaved import PROJECTS_PREFIX, Loss, losses
from .words import several, size

_PROJECTS = "/projects"
# Clocks of the nodes, of the head node and of this machine.
_CLOCKS_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Waiting:
    """A file that S3 has not as it is. at: when it was last written."""

    loss: Loss
    at: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Done:
    """What was done. missed: files that no export brings by itself; later: those that the automatic one brings.

    exported: whether a task ran. looked: whether the files were looked at, at the end or at all; why_not: why they were not.
    """

    exported: bool
    missed: Sequence[Loss] = ()
    later: int = 0
    looked: bool = True
    why_not: str = ""


def run(
    clients: Clients,
    found: System,
    storage: Storage,
    *,
    say: Callable[[str], None],
    clock: Callable[[], float],
    only_look: bool = False,
) -> Done:
    """Export what is below /projects and not in S3, and look what that left. only_look: export nothing. Errors: Failed."""
    projects = _association(clients, storage.file_system)
    try:
        waiting = _waiting(clients, found, storage, say=say)
    except Failed as problem:
        if only_look:
            raise
        say(f"exporting without a look at the files: {problem}")
        export.export(clients, storage.file_system, projects, say=say)
        return Done(exported=True, looked=False, why_not=str(problem))
    if only_look or not waiting:
        return Done(exported=False, missed=[each.loss for each in waiting])
    say(f"{several(len(waiting), 'file')} below /projects not in S3 as they are")
    export.export(clients, storage.file_system, projects, say=say)
    on_again = clock()
    try:
        left = _waiting(clients, found, storage, say=say)
    except Failed as problem:
        return Done(exported=True, looked=False, why_not=str(problem))
    missed = [each.loss for each in left if not comes_by_itself(each.at, on_again)]
    return Done(exported=True, missed=missed, later=len(left) - len(missed))


def comes_by_itself(at: float, on_again: float) -> bool:
    """Whether the automatic export, on again since then, brings what was last written at a time."""
    return at > on_again + _CLOCKS_SECONDS


def _association(clients: Clients, file_system: str) -> Mapping[str, Any]:
    """The association on /projects. Errors: Failed, when an export cannot run now."""
    there = {str(each["FileSystemPath"]).rstrip("/"): each for each in export.associations(clients, file_system)}
    projects = there.get(_PROJECTS)
    if projects is None:
        raise Failed(f"there is no association on {_PROJECTS}: docs/file-system.md, 'Trouble'")
    if projects["Lifecycle"] != "AVAILABLE":
        raise Failed(
            f"the association on {_PROJECTS} is {projects['Lifecycle']}, not AVAILABLE: docs/file-system.md, 'Trouble'"
        )
    for task in export.tasks(clients, file_system):
        if task["Lifecycle"] in export.RUNNING:
            raise Failed(
                f"the task {task['TaskId']} ({task['Type']}) has not ended, and FSx runs one at a time: wait for it"
            )
    return projects


def _waiting(clients: Clients, found: System, storage: Storage, *, say: Callable[[str], None]) -> list[Waiting]:
    results = objects(clients, storage.results_bucket, PROJECTS_PREFIX)
    last: list[ListedFile] = []

    def remembered(files: Iterable[ListedFile]) -> Iterator[ListedFile]:
        for file in files:
            last[:] = [file]
            yield file

    listed = remembered(file_listing(clients, found, folder="projects", say=say))
    return [Waiting(loss=loss, at=last[0].mtime) for loss in losses(listed, landing={}, results=results)]


def as_text(done: Done) -> str:
    """For people."""
    if not done.looked:
        return f"Exported. Whether all of /projects is in S3 was not looked at: {done.why_not}"
    if not done.missed:
        more = f"; {several(done.later, 'file')} written since, which the automatic export brings" if done.later else ""
        return f"Everything below /projects is in S3, as it is{more}"
    lines = [
        f"{several(len(done.missed), 'file')} ({size(sum(each.size for each in done.missed))}) not in S3 as they are:"
    ]
    shown = itertools.islice(done.missed, SHOWN)
    lines += [f"  {json.dumps(each.path, ensure_ascii=True)}  {size(each.size)}  {each.why}" for each in shown]
    if len(done.missed) > SHOWN:
        lines.append(f"  and {len(done.missed) - SHOWN} more")
    if done.exported:
        lines.append(
            "What was written while the automatic export was off is exported by nobody until it changes again: run this once"
            " more when it is quiet. What FSx could not export has its reason in the task's report and in its log"
        )
    return "\n".join(lines)
