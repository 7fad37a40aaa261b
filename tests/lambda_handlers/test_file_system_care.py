"""The function that looks after the file system: told once while it lasts, released once a day, right when called twice."""

from __future__ import annotations

import ast
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.session import get_session
from botocore.validate import validate_parameters
from fakes import Aws, refusal

from cdk_cryoem_lambda import file_system_care
from cdk_cryoem_lambda.release import DAY

_ROOT = Path(__file__).resolve().parents[2]
_MODEL = get_session().get_service_model("fsx")
ASSOCIATIONS = [
    {"path": "/data", "imports": ["NEW", "CHANGED"], "exports": []},
    {"path": "/projects", "imports": [], "exports": ["NEW", "CHANGED"]},
]
ENVIRONMENT = {
    "FILE_SYSTEM": "fs-0123456789abcdef0",
    "ASSOCIATIONS": json.dumps(ASSOCIATIONS),
    "RELEASE_AFTER_DAYS": "",
    "DEAD_LETTERS": "dead",
}


class FSx:
    """One file system with its associations and tasks; two of anything a page. Requests are held to FSx's own model."""

    def __init__(self) -> None:
        self.state: str | None = "AVAILABLE"
        self.associations: dict[str, dict[str, Any]] = {
            each["path"]: {
                "AssociationId": f"dra-0123456{number}",
                "FileSystemPath": each["path"],
                "Lifecycle": "AVAILABLE",
                "S3": {
                    "AutoImportPolicy": {"Events": each["imports"]},
                    "AutoExportPolicy": {"Events": each["exports"]},
                },
            }
            for number, each in enumerate(ASSOCIATIONS)
        }
        self.tasks: list[dict[str, Any]] = []
        self.tokens: set[str] = set()
        self.busy = False

    def describe_file_systems(self, **given: Any) -> dict[str, Any]:
        self._check("DescribeFileSystems", given)
        assert given["FileSystemIds"] == [ENVIRONMENT["FILE_SYSTEM"]]
        if self.state is None:
            raise ClientError({"Error": {"Code": "FileSystemNotFound", "Message": "no"}}, "DescribeFileSystems")
        return {"FileSystems": [{"Lifecycle": self.state}]}

    def describe_data_repository_associations(self, **given: Any) -> dict[str, Any]:
        return self._page("DescribeDataRepositoryAssociations", "Associations", [*self.associations.values()], given)

    def describe_data_repository_tasks(self, **given: Any) -> dict[str, Any]:
        return self._page("DescribeDataRepositoryTasks", "DataRepositoryTasks", self.tasks, given)

    def create_data_repository_task(self, **given: Any) -> dict[str, Any]:
        self._check("CreateDataRepositoryTask", given)
        if self.busy:
            raise ClientError({"Error": {"Code": "DataRepositoryTaskExecuting", "Message": "no"}}, "Create")
        assert given["ClientRequestToken"] not in self.tokens, "FSx would answer with the task of before"
        self.tokens.add(given["ClientRequestToken"])
        number = f"task-{len(self.tasks):017x}"
        self.tasks.append({"TaskId": number, "Lifecycle": "PENDING", "CreationTime": 0, **given})
        return {"DataRepositoryTask": self.tasks[-1]}

    def _page(self, call: str, key: str, found: list[dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
        self._check(call, given)
        assert given["Filters"] == [{"Name": "file-system-id", "Values": [ENVIRONMENT["FILE_SYSTEM"]]}]
        start = int(given.get("NextToken", "0000"))
        more = {"NextToken": f"{start + 2:04}"} if start + 2 < len(found) else {}
        return {key: found[start : start + 2], **more}

    @staticmethod
    def _check(call: str, given: dict[str, Any]) -> None:
        validate_parameters(given, _MODEL.operation_model(call).input_shape)


@pytest.fixture
def world(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    aws.fsx = FSx()  # type: ignore[assignment]
    file_system_care.care.cache_clear()
    yield aws
    file_system_care.care.cache_clear()


@pytest.fixture
def releasing(world: Aws, monkeypatch: pytest.MonkeyPatch) -> Aws:
    """With release after 14 days, and a dataset that landed 20 days ago."""
    monkeypatch.setenv("RELEASE_AFTER_DAYS", "14")
    landed(world, "krios-1", days=20)
    return world


def landed(world: Aws, name: str, *, days: float) -> None:
    at = {"N": str(world.clock.now - days * DAY)}
    item = {"pk": {"S": "dataset"}, "sk": {"S": name}, "state": {"S": "landed"}, "last_at": at, "landed_at": at}
    world.dynamodb.items["dataset", name] = item


def fsx(world: Aws) -> FSx:
    assert isinstance(world.fsx, FSx)
    return world.fsx


def look(world: Aws, *, later: float = 900) -> dict[str, Any]:
    world.clock.now += later
    return file_system_care.handler({"any": "thing"}, None)


def break_data(world: Aws, state: str = "MISCONFIGURED") -> None:
    fsx(world).associations["/data"] |= {"Lifecycle": state, "FailureDetails": {"Message": "no access to the bucket"}}


def test_what_is_well_is_not_told(world: Aws, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="cryoem"):
        assert look(world) == {"troubles": 0, "released": ""}
    assert world.kinds_said() == []
    assert [vars(line)["file_system_troubles"] for line in caplog.records if "file_system_troubles" in vars(line)] == [
        0
    ]


def test_a_trouble_is_told_once_while_it_lasts_and_again_when_it_comes_back(
    world: Aws, caplog: pytest.LogCaptureFixture
) -> None:
    break_data(world)
    with caplog.at_level(logging.INFO, logger="cryoem"):
        assert [look(world)["troubles"] for _ in range(3)] == [1, 1, 1]
    values = [vars(line)["file_system_troubles"] for line in caplog.records if "file_system_troubles" in vars(line)]
    assert values == [1, 1, 1], "the metric says so as long as it lasts"
    (told,) = world.said("File System Trouble")
    assert (told["path"], told["state"], told["reason"]) == ("/data", "MISCONFIGURED", "no access to the bucket")
    assert world.known("file-system") == ["dra-01234560#MISCONFIGURED"]
    fsx(world).associations["/data"]["Lifecycle"] = "AVAILABLE"
    assert look(world)["troubles"] == 0
    assert world.known("file-system") == []
    break_data(world)
    look(world)
    first, second = world.said("File System Trouble")
    assert first["since"] < second["since"], "another time of trouble is another event"


def test_a_worse_state_is_told_anew(world: Aws) -> None:
    break_data(world)
    look(world)
    break_data(world, "FAILED")
    look(world)
    assert [each["state"] for each in world.said("File System Trouble")] == ["MISCONFIGURED", "FAILED"]
    assert world.known("file-system") == ["dra-01234560#FAILED"]


def test_all_pages_are_read(world: Aws) -> None:
    more = {f"/p{n}": {**fsx(world).associations["/data"], "FileSystemPath": f"/p{n}"} for n in range(5)}
    fsx(world).associations = {**more, **fsx(world).associations}
    assert look(world)["troubles"] == 0


def test_a_file_system_that_is_gone_is_told_and_nothing_is_released(releasing: Aws) -> None:
    fsx(releasing).state = None
    assert look(releasing) == {"troubles": 1, "released": ""}
    assert [each["state"] for each in releasing.said("File System Trouble")] == ["GONE"]


def test_any_other_answer_of_fsx_fails_so_that_it_is_seen(world: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(**given: Any) -> dict[str, Any]:
        raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "DescribeFileSystems")

    monkeypatch.setattr(world.fsx, "describe_file_systems", denied)
    with pytest.raises(ClientError):
        look(world)


def test_nothing_is_released_unless_that_is_wanted(world: Aws) -> None:
    landed(world, "old", days=1000)
    look(world)
    assert fsx(world).tasks == []
    assert world.known("release") == []


def test_a_release_is_one_task_for_what_nobody_used_and_is_written_down(releasing: Aws) -> None:
    landed(releasing, "young", days=3)
    answer = look(releasing)
    (task,) = fsx(releasing).tasks
    assert answer["released"] == task["TaskId"]
    assert task["Type"] == "RELEASE_DATA_FROM_FILESYSTEM"
    assert task["Paths"] == ["data/krios-1"]
    assert task["ReleaseConfiguration"] == {"DurationSinceLastAccess": {"Unit": "DAYS", "Value": 14}}
    record = releasing.record("release", task["TaskId"])
    assert (record["state"], json.loads(record["datasets"])) == ("PENDING", ["krios-1"])
    task |= {"Lifecycle": "SUCCEEDED", "Status": {"SucceededCount": 4321, "FailedCount": 2}}
    look(releasing)
    record = releasing.record("release", task["TaskId"])
    assert (record["state"], record["files"], record["failed"]) == ("SUCCEEDED", 4321, 2)
    assert len(fsx(releasing).tasks) == 1


def test_it_is_released_again_only_when_it_can_be_old_again(releasing: Aws) -> None:
    look(releasing)
    for _ in range(13):
        fsx(releasing).tasks[-1]["Lifecycle"] = "SUCCEEDED"
        look(releasing, later=DAY)
    assert len(fsx(releasing).tasks) == 1
    look(releasing, later=DAY)
    assert len(fsx(releasing).tasks) == 2


def test_a_release_that_failed_is_told_and_tried_again_a_day_later(releasing: Aws) -> None:
    look(releasing)
    fsx(releasing).tasks[0] |= {"Lifecycle": "FAILED", "FailureDetails": {"Message": "3 files"}}
    assert look(releasing, later=DAY)["troubles"] == 1
    (told,) = releasing.said("File System Trouble")
    assert (told["kind"], told["reason"], told["path"]) == ("task", "3 files", "data/krios-1")
    assert [task["Paths"] for task in fsx(releasing).tasks] == [["data/krios-1"]] * 2
    fsx(releasing).tasks[1] |= {"Lifecycle": "SUCCEEDED", "CreationTime": 1}
    assert look(releasing)["troubles"] == 0


def test_while_nodes_are_on_it_waits_for_two_days(releasing: Aws) -> None:
    releasing.ec2.add("i-node", launched=0)
    look(releasing)
    look(releasing, later=DAY)
    assert fsx(releasing).tasks == []
    look(releasing, later=DAY)
    assert len(fsx(releasing).tasks) == 1


def test_with_the_head_node_alone_it_does_not_wait(releasing: Aws) -> None:
    releasing.ec2.add("i-other", of="another cluster")
    look(releasing)
    assert len(fsx(releasing).tasks) == 1


def test_another_task_that_got_in_between_puts_it_off_until_the_next_look(releasing: Aws) -> None:
    fsx(releasing).busy = True
    assert look(releasing)["released"] == ""
    fsx(releasing).busy = False
    assert look(releasing)["released"] != ""


def test_while_an_association_is_not_well_nothing_is_released(releasing: Aws) -> None:
    break_data(releasing)
    look(releasing)
    assert fsx(releasing).tasks == []


def test_the_day_begins_anew_when_there_was_nothing_to_release(world: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELEASE_AFTER_DAYS", "14")
    look(world)
    landed(world, "old", days=20)
    look(world)
    assert fsx(world).tasks == [], "one look a day at all datasets and jobs"
    look(world, later=DAY)
    assert len(fsx(world).tasks) == 1


def test_it_reads_exactly_the_variables_it_is_given() -> None:
    module = ast.parse((_ROOT / "lambda" / "cdk_cryoem_lambda" / "file_system_care.py").read_text())
    read = {
        ast.literal_eval(node.slice)
        for node in ast.walk(module)
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "environment"
    }
    construct = ast.parse((_ROOT / "constructs" / "cdk_cryoem" / "file_system_care.py").read_text())
    given = {
        key.value
        for node in ast.walk(construct)
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and str(key.value).isupper()
    }
    added = {
        ast.literal_eval(node.args[0])
        for node in ast.walk(construct)
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_environment")
    }
    assert added == {"DEAD_LETTERS"}
    assert read == given | added
    assert len(read) == 10


def test_looks_that_failed_are_over_with_the_next_good_one(world: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    world.sqs.put("dead", {}, {"source": "aws.scheduler"})
    described = fsx(world).describe_file_systems

    def throttled(**_: Any) -> dict[str, Any]:
        raise refusal("ThrottlingException", "DescribeFileSystems")

    monkeypatch.setattr(world.fsx, "describe_file_systems", throttled)
    with pytest.raises(ClientError):
        look(world)
    assert world.sqs.visible("dead") == 2
    monkeypatch.setattr(world.fsx, "describe_file_systems", described)
    look(world)
    assert world.sqs.bodies("dead") == []


def test_a_trouble_is_said_also_when_a_release_cannot_begin(releasing: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = {"TaskId": "task-0", "Type": "RELEASE_DATA_FROM_FILESYSTEM", "Lifecycle": "FAILED", "CreationTime": 0}
    fsx(releasing).tasks.append(failed)

    def refused(**_: Any) -> dict[str, Any]:
        raise refusal("IncompatibleParameterError", "CreateDataRepositoryTask")

    monkeypatch.setattr(releasing.fsx, "create_data_repository_task", refused)
    with pytest.raises(ClientError):
        look(releasing)
    assert releasing.kinds_said() == ["File System Trouble"]


def test_after_a_crash_the_same_paths_are_the_same_task_and_others_are_another(releasing: Aws) -> None:
    look(releasing)
    landed(releasing, "krios-2", days=30)
    fsx(releasing).tasks[0]["Lifecycle"] = "SUCCEEDED"
    # Its record and the time of the look were lost.
    releasing.dynamodb.items = {key: item for key, item in releasing.dynamodb.items.items() if key[0] != "release"}
    look(releasing)
    first, second = fsx(releasing).tasks
    assert (first["Paths"], second["Paths"]) == (["data/krios-1"], ["data/krios-2", "data/krios-1"])
    assert first["ClientRequestToken"] != second["ClientRequestToken"]


def test_one_folder_that_is_gone_keeps_the_others_for_no_longer_than_a_day(releasing: Aws) -> None:
    """FSx fails each task with data/krios-1 among its paths."""
    for n in range(2, 80):
        landed(releasing, f"krios-{n}", days=15)
    released: set[str] = set()
    began = releasing.clock.now
    while len(released) < 78 and releasing.clock.now < began + 4 * DAY:
        look(releasing)
        for task in fsx(releasing).tasks:
            if task["Lifecycle"] == "PENDING":
                gone = "data/krios-1" in task["Paths"]
                task |= {"Lifecycle": "FAILED" if gone else "SUCCEEDED", "CreationTime": len(fsx(releasing).tasks)}
                released |= set() if gone else set(task["Paths"])
    assert len(released) == 78
    assert releasing.clock.now - began < 1.5 * DAY
    sizes = [len(task["Paths"]) for task in fsx(releasing).tasks]
    assert sizes[:4] == [79, 20, 5, 2]
    assert len(sizes) <= 16
