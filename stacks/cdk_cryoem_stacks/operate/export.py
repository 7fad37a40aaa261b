"""An export of everything that is not in the results bucket yet, by a data repository task of FSx.

The automatic export and an export task cannot run at the same time (FSx for Lustre user guide, "Exporting changes to the
data repository"), so the automatic one is switched off for so long, and on again whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from .ask import Failed, ask
from .find import Clients
from .words import span

RUNNING = ("PENDING", "EXECUTING", "CANCELING")
"""States of a task that has not ended."""
_EVERY_SECONDS = 15.0
_SETTLING_SECONDS = 15 * 60.0


def associations(clients: Clients, file_system: str) -> list[Mapping[str, Any]]:
    """All associations of a file system. Errors: Failed."""
    return _pages(
        "fsx:DescribeDataRepositoryAssociations",
        clients.fsx.describe_data_repository_associations,
        "Associations",
        file_system,
    )


def tasks(clients: Clients, file_system: str) -> list[Mapping[str, Any]]:
    """The tasks of a file system that FSx remembers. Errors: Failed."""
    return _pages(
        "fsx:DescribeDataRepositoryTasks",
        clients.fsx.describe_data_repository_tasks,
        "DataRepositoryTasks",
        file_system,
    )


ON = {"Events": ["NEW", "CHANGED"]}
"""What is exported by itself, as LustreStore makes it."""


def export(
    clients: Clients,
    file_system: str,
    association: Mapping[str, Any],
    *,
    say: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Export all that changed below one association's folder, and wait for it. Errors: Failed."""
    name, folder = association["AssociationId"], str(association["FileSystemPath"]).strip("/")
    found: Mapping[str, Any] = association.get("S3", {})
    off = {**found, "AutoExportPolicy": {"Events": []}}
    # An export before this one may have ended between off and on.
    rules = found if found.get("AutoExportPolicy", {}).get("Events") else {**found, "AutoExportPolicy": ON}
    say(f"the automatic export of /{folder} is switched off for the export task")
    try:
        _change(clients, name, off)
        _settle(clients, file_system, name, clock, pause)
        made = ask(
            "fsx:CreateDataRepositoryTask",
            lambda: clients.fsx.create_data_repository_task(
                Type="EXPORT_TO_REPOSITORY", FileSystemId=file_system, Paths=[folder], Report={"Enabled": False}
            ),
        )["DataRepositoryTask"]
        _wait(clients, file_system, made["TaskId"], say, clock, pause)
    finally:
        _change(clients, name, rules)
        say(f"the automatic export of /{folder} is on again")
    _settle(clients, file_system, name, clock, pause)


def _change(clients: Clients, name: str, rules: Mapping[str, Any]) -> None:
    ask(
        "fsx:UpdateDataRepositoryAssociation",
        lambda: clients.fsx.update_data_repository_association(AssociationId=name, S3=rules),  # type: ignore[arg-type]
    )


def _settle(
    clients: Clients, file_system: str, name: str, clock: Callable[[], float], pause: Callable[[float], None]
) -> None:
    began = clock()
    while True:
        state = next(
            (str(a["Lifecycle"]) for a in associations(clients, file_system) if a["AssociationId"] == name), ""
        )
        if state == "AVAILABLE":
            return
        if state != "UPDATING" or clock() - began >= _SETTLING_SECONDS:
            raise Failed(
                f"the association {name} is {state or 'gone'}, and was to be AVAILABLE: look at it in the console"
            )
        pause(_EVERY_SECONDS)


def _wait(
    clients: Clients,
    file_system: str,
    name: str,
    say: Callable[[str], None],
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> None:
    began = clock()
    while True:
        task = next((each for each in tasks(clients, file_system) if each["TaskId"] == name), None)
        if task is None:
            raise Failed(f"FSx knows no task {name} any more")
        status = task.get("Status", {})
        done, failed = status.get("SucceededCount", 0), status.get("FailedCount", 0)
        counted = f"{done} of {status.get('TotalCount', '?')} files" + (f", {failed} failed" if failed else "")
        if task["Lifecycle"] not in RUNNING:
            if task["Lifecycle"] == "SUCCEEDED":
                say(f"exported: {counted}, in {span(clock() - began)}")
                return
            told = (task.get("FailureDetails") or {}).get("Message", "FSx does not say why")
            raise Failed(f"the export {name} is {task['Lifecycle']} ({counted}): {told}")
        say(f"export {name}: {task['Lifecycle'].lower()}, {counted}, {span(clock() - began)}")
        pause(_EVERY_SECONDS)


def _pages(action: str, call: Any, key: str, file_system: str) -> list[Mapping[str, Any]]:
    """All pages of a call that boto3 has no paginator for."""
    found: list[Mapping[str, Any]] = []
    more: dict[str, str] = {}
    while True:
        answer: Mapping[str, Any] = ask(
            action,
            lambda more=more: call(Filters=[{"Name": "file-system-id", "Values": [file_system]}], **more),  # type: ignore[misc]
        )
        found += answer[key]
        if not answer.get("NextToken"):
            return found
        more = {"NextToken": answer["NextToken"]}
