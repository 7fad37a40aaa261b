"""What the head node lists, as `cryoem` reads it: Systems Manager and S3 are stubs that take what botocore's models allow."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.find import System, Target
from cdk_cryoem_stacks.operate.listing import ListedFile, escaped, file_listing

LINES: list[dict[str, Any]] = [
    {
        "path": "data/d/a b\n.mrc",
        "kind": "file",
        "size": 6,
        "mtime": 1.5,
        "hsm": ["exists", "archived"],
        "sha256": "ab",
    },
    {"path": "data/d/\udce9", "kind": "file", "size": 0, "mtime": 2, "hsm": []},
    {"path": "data/d/x", "kind": "folder", "size": 0, "mtime": 0.0, "hsm": None, "error": "Permission denied"},
]
SYSTEM = System(
    target=Target(name="cryoem", region="us-east-1"),
    account="1",
    table="t",
    sweeper="s",
    head_node="i-1",
    outputs={"ListFilesDocument": "ListFiles"},
)


class HeadNode:
    """EC2, Systems Manager and S3 of a head node that answers; `answers` come before its last."""

    def __init__(self) -> None:
        self.state, self.online = "running", True
        self.answers: list[str] = ["InvocationDoesNotExist", "Pending", "InProgress"]
        self.end: dict[str, str] = {"Status": "Success", "StandardErrorContent": ""}
        self.sent: list[dict[str, list[str]]] = []

    def send_command(
        self, *, DocumentName: str, InstanceIds: list[str], TimeoutSeconds: int, Parameters: dict[str, list[str]]
    ) -> dict[str, Any]:
        assert (DocumentName, InstanceIds) == ("ListFiles", ["i-1"])
        if not self.online:
            raise ClientError({"Error": {"Code": "InvalidInstanceId"}}, "SendCommand")
        self.sent.append(Parameters)
        return {"Command": {"CommandId": "c"}}

    def get_command_invocation(self, *, CommandId: str, InstanceId: str) -> dict[str, str]:
        status = self.answers.pop(0) if self.answers else self.end["Status"]
        if status == "InvocationDoesNotExist":
            raise ClientError({"Error": {"Code": status}}, "GetCommandInvocation")
        if status != self.end["Status"]:
            return {"Status": status, "StandardOutputContent": "", "StandardErrorContent": ""}
        (key,) = self.sent[-1]["Key"]
        printed = json.dumps({"files": 3, "bucket": "results", "key": f"listings/{key}.jsonl.gz"})
        return {"StandardOutputContent": printed, **self.end}

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        (key,) = self.sent[-1]["Key"]
        assert (Bucket, Key) == ("results", f"listings/{key}.jsonl.gz")
        return {"Body": io.BytesIO(gzip.compress("".join(f"{json.dumps(line)}\n" for line in LINES).encode()))}

    def describe_instances(self, *, InstanceIds: list[str]) -> dict[str, Any]:
        found = {"State": {"Name": self.state}, "LaunchTime": 0}
        return {"Reservations": [{"Instances": [found]}]}

    def describe_instance_information(self, **_: Any) -> dict[str, Any]:
        return {"InstanceInformationList": []}


class Watch:
    """A clock that only pauses move."""

    def __init__(self) -> None:
        self.now = 0.0

    def pause(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def head_node() -> HeadNode:
    return HeadNode()


@pytest.fixture
def ask(head_node: HeadNode) -> Callable[..., list[ListedFile]]:
    def call(folder: str = "data/d", **more: Any) -> list[ListedFile]:
        clients: Any = SimpleNamespace(ec2=head_node, ssm=head_node, s3=head_node)
        watch = Watch()
        given = {"clock": lambda: watch.now, "pause": watch.pause, "say": lambda text: None, **more}
        return list(file_listing(clients, given.pop("system", SYSTEM), folder=folder, **given))

    return call


def test_every_line_is_a_file_whatever_its_name(head_node: HeadNode, ask: Callable[..., list[ListedFile]]) -> None:
    archived = frozenset(("exists", "archived"))
    assert ask() == [
        ListedFile(path="data/d/a b\n.mrc", kind="file", size=6, mtime=1.5, hsm=archived, sha256="ab"),
        ListedFile(path="data/d/\udce9", kind="file", size=0, mtime=2.0, hsm=frozenset()),
        ListedFile(path="data/d/x", kind="folder", size=0, mtime=0.0, error="Permission denied"),
    ]
    (sent,) = head_node.sent
    assert (sent["Folder"], sent["Checksums"]) == (["data/d"], ["no"])
    ask(checksums=True)
    assert head_node.sent[1]["Checksums"] == ["yes"]
    assert head_node.sent[1]["Key"] != sent["Key"]


def test_folders_with_odd_names_are_escaped() -> None:
    assert escaped("data/em-1_a.b") == "data/em-1_a.b"
    assert escaped(".") == "."
    assert escaped("data/é ~%\n'$(x)") == "data/%C3%A9%20%7E%25%0A%27%24%28x%29"
    assert escaped("data/\udce9") == "data/%E9"


def test_what_is_waited_for_is_said(head_node: HeadNode, ask: Callable[..., list[ListedFile]]) -> None:
    head_node.answers += ["InProgress"] * 30
    said: list[str] = []
    ask(say=said.append)
    assert said[0].startswith("the head node lists data/d: ")
    assert 2 <= len(said) <= 12


def refusal(ask: Callable[..., list[ListedFile]], **more: Any) -> str:
    with pytest.raises(Failed) as refused:
        ask(**more)
    return str(refused.value)


def test_a_head_node_that_sleeps_is_said_to(head_node: HeadNode, ask: Callable[..., list[ListedFile]]) -> None:
    head_node.state = "stopped"
    assert refusal(ask) == "the head node is stopped, and only it sees the file system: cryoem wake"
    assert not head_node.sent
    head_node.state, head_node.online = "running", False
    assert refusal(ask) == "the head node runs, and takes no commands yet: cryoem wake --wait"


def test_what_the_head_node_says_against_it_is_said(head_node: HeadNode, ask: Callable[..., list[ListedFile]]) -> None:
    words = "list-files: 3 files, 1 bytes\nlist-files: there is no folder 'data/d' in /fsx\nfailed to run commands: exit status 78"
    head_node.end = {"Status": "Failed", "StandardErrorContent": words}
    assert refusal(ask) == "the head node did not list 'data/d': there is no folder 'data/d' in /fsx"
    head_node.end = {"Status": "TimedOut", "StandardErrorContent": ""}
    assert refusal(ask) == "the head node did not list 'data/d': TimedOut"
    head_node.end = {"Status": "Success", "StandardErrorContent": "", "StandardOutputContent": "hello"}
    assert refusal(ask) == "list-files printed 'hello', no JSON"


def test_it_is_not_waited_for_for_ever(head_node: HeadNode, ask: Callable[..., list[ListedFile]]) -> None:
    head_node.answers += ["InProgress"] * 100
    assert refusal(ask, seconds=60.0).startswith("the head node has not listed 'data/d' after 1 min (command c)")


def test_a_system_of_an_earlier_version_has_no_such_document(ask: Callable[..., list[ListedFile]]) -> None:
    old = System(target=SYSTEM.target, account="1", table="t", sweeper="s", head_node="i-1")
    assert refusal(ask, system=old).startswith("the stack cryoem-hooks has no output ListFilesDocument")
