"""FSx's API over a LustreDouble, without the emulator: operators and hooks ask it, and a call can be their last one.

What it takes is checked against botocore's model. A task is worked off when somebody looks at it, or when the file system next
synchronises: who started it may be dead by then.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.validate import validate_parameters
from deployed import Json
from lustre_double import LustreDouble

_MODEL = get_session().get_service_model("fsx")
_DAY = 86400.0


class KilledError(BaseException):
    """The process that asked is dead: no `finally` of it does anything any more either."""


class FsxDouble:
    """The account's FSx. now: epoch seconds, for a release. calls_left: how many calls the process makes before it is killed."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.mounted: LustreDouble | None = None
        self.calls_left: int | None = None
        self.tasks: dict[str, Json] = {}
        self.released: dict[str, list[str]] = {}

    def mount(self, file_system: LustreDouble) -> None:
        """This one is the file system from now on; tasks of another are over."""
        self.work_off()
        self.mounted = file_system

    @property
    def exporting(self) -> bool:
        """Whether an export task runs."""
        under_way = [task for task in self.tasks.values() if task["Lifecycle"] in ("PENDING", "EXECUTING")]
        return any(task["Type"] == "EXPORT_TO_REPOSITORY" for task in under_way)

    def work_off(self) -> None:
        """Tasks that nobody waits for end, too."""
        for task in self.tasks.values():
            while task["Lifecycle"] in ("PENDING", "EXECUTING"):
                self._go_on(task)

    # As boto3 has them

    def describe_file_systems(self, **given: Any) -> Json:
        self._called("DescribeFileSystems", given)
        (name,) = given["FileSystemIds"]
        here = self._here()
        if name != here.id:
            raise _error("FileSystemNotFound", "DescribeFileSystems")
        return {"FileSystems": [{"FileSystemId": here.id, "Lifecycle": "AVAILABLE"}]}

    def describe_data_repository_associations(self, **given: Any) -> Json:
        self._called("DescribeDataRepositoryAssociations", given)
        here = self._here()
        return {
            "Associations": [
                {
                    "AssociationId": _id_of(path),
                    "FileSystemId": here.id,
                    "FileSystemPath": path,
                    "Lifecycle": "AVAILABLE",
                    "S3": _rules(each.imports, each.exports),
                }
                for path, each in here.associations.items()
            ]
        }

    def update_data_repository_association(self, **given: Any) -> Json:
        self._called("UpdateDataRepositoryAssociation", given)
        (path,) = (path for path in self._here().associations if _id_of(path) == given["AssociationId"])
        rules = given["S3"]
        if "AutoImportPolicy" in rules:
            self._here().associations[path].imports = frozenset(rules["AutoImportPolicy"]["Events"])
        if "AutoExportPolicy" in rules:
            self._here().switch_export(path, frozenset(rules["AutoExportPolicy"]["Events"]))
        return {}

    def create_data_repository_task(self, **given: Any) -> Json:
        self._called("CreateDataRepositoryTask", given)
        token = given.get("ClientRequestToken")
        same = [task for task in self.tasks.values() if token and task.get("ClientRequestToken") == token]
        if same:
            return {"DataRepositoryTask": same[0]}
        if any(task["Lifecycle"] in ("PENDING", "EXECUTING") for task in self.tasks.values()):
            raise _error("DataRepositoryTaskExecuting", "CreateDataRepositoryTask")
        folders = [f"/{path.partition('/')[0]}" for path in given["Paths"]]
        exporting = any(self._here().associations[folder].exports for folder in folders)
        if given["Type"] == "EXPORT_TO_REPOSITORY" and exporting:
            raise _error("BadRequest", "CreateDataRepositoryTask")
        name = f"task-{len(self.tasks):017}"
        self.tasks[name] = {
            **given,
            "TaskId": name,
            "Lifecycle": "PENDING",
            "CreationTime": datetime.fromtimestamp(self.now(), UTC),
        }
        return {"DataRepositoryTask": self.tasks[name]}

    def describe_data_repository_tasks(self, **given: Any) -> Json:
        self._called("DescribeDataRepositoryTasks", given)
        told = [dict(task) for task in self.tasks.values()]
        for task in self.tasks.values():
            self._go_on(task)
        return {"DataRepositoryTasks": told}

    def _go_on(self, task: Json) -> None:
        if task["Lifecycle"] == "PENDING":
            task["Lifecycle"] = "EXECUTING"
        elif task["Lifecycle"] == "EXECUTING":
            done = sum(self._work(task, path) for path in task["Paths"])
            task |= {"Lifecycle": "SUCCEEDED", "Status": {"TotalCount": done, "SucceededCount": done, "FailedCount": 0}}

    def _work(self, task: Json, path: str) -> int:
        folder, _, below = path.partition("/")
        if task["Type"] == "EXPORT_TO_REPOSITORY":
            return self._here().export(f"/{folder}", below)
        since = task["ReleaseConfiguration"]["DurationSinceLastAccess"]
        released = self._here().release(f"/{folder}", below, idle_seconds=since["Value"] * _DAY, now=self.now())
        self.released.setdefault(task["TaskId"], []).extend(released)
        return len(released)

    def _here(self) -> LustreDouble:
        assert self.mounted is not None
        return self.mounted

    def _called(self, operation: str, given: Json) -> None:
        shape = _MODEL.operation_model(operation).input_shape
        assert shape is not None
        validate_parameters(given, shape)
        if self.calls_left is not None:
            if self.calls_left <= 0:
                raise KilledError(operation)
            self.calls_left -= 1


def _id_of(path: str) -> str:
    return f"dra-{path.strip('/'):0>17}"


def _rules(imports: frozenset[str], exports: frozenset[str]) -> Json:
    both = (("AutoImportPolicy", imports), ("AutoExportPolicy", exports))
    return {name: {"Events": sorted(events)} for name, events in both if events}


def _error(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)
