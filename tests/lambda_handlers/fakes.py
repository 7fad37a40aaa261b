"""AWS as the hooks see it, in memory: exactly the calls they make, and what would be refused is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import WaiterError
from fake_dynamodb import DynamoDB

Document = Callable[[dict[str, str]], Mapping[str, Any]]

# As in the lane manifest.
LANES: list[dict[str, Any]] = [
    {
        "name": name,
        "partition": name,
        "gpus": gpus,
        "vcpus": 48,
        "memory_mib": 186_777,
        "max_nodes": 4,
        "nodes_per_job": 1,
        "cache_gb": 3800,
        "memory_multiplier": 2.0,
        "time_limit_minutes": 2880,
        "hold_minutes": hold,
        "always_on": False,
        "usd_per_hour": 4.0,
    }
    for name, gpus, hold in (("cpu", 0, 0), ("gpu4", 4, 0), ("live", 1, 30))
]


class Clock:
    """Stands for the module `time`."""

    def __init__(self, now: float) -> None:
        self.now = now

    def time(self) -> float:
        return self.now


class S3:
    """A bucket's listing, two keys a page. Versions of objects do not show in a listing, nor here."""

    def __init__(self) -> None:
        self.objects: dict[str, tuple[int, float]] = {}

    def put(self, key: str, *, size: int = 10, at: float = 0.0) -> None:
        self.objects[key] = (size, at)

    def get_paginator(self, call: str) -> S3:
        assert call == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str, Delimiter: str = "") -> Iterator[dict[str, Any]]:
        assert Bucket == "landing"
        if Delimiter:
            below = (key.removeprefix(Prefix) for key in self.objects if key.startswith(Prefix))
            folders = sorted({rest.split(Delimiter)[0] for rest in below if Delimiter in rest})
            yield {"CommonPrefixes": [{"Prefix": f"{Prefix}{folder}{Delimiter}"} for folder in folders]}
            return
        found = [
            {"Key": key, "Size": size, "LastModified": datetime.fromtimestamp(at, UTC)}
            for key, (size, at) in sorted(self.objects.items())
            if key.startswith(Prefix)
        ]
        for start in range(0, len(found), 2):
            yield {"Contents": found[start : start + 2]}
        if not found:
            yield {}


class EC2:
    """One instance. Starting and stopping take no time here."""

    def __init__(self) -> None:
        self.state = "running"
        self.launched = 0.0
        self.calls: list[str] = []

    def describe_instances(self, *, InstanceIds: list[str]) -> dict[str, Any]:
        assert InstanceIds == ["i-head"]
        if self.state == "gone":
            return {"Reservations": []}
        instance = {"State": {"Name": self.state}, "LaunchTime": datetime.fromtimestamp(self.launched, UTC)}
        return {"Reservations": [{"Instances": [instance]}]}

    def start_instances(self, *, InstanceIds: list[str]) -> None:
        self.calls.append("start")
        self.state = "running"

    def stop_instances(self, *, InstanceIds: list[str]) -> None:
        self.calls.append("stop")
        self.state = "stopped"


class CommandError(Exception):
    """What a document raises that ends as Failed: the words are its standard error."""


class SSM:
    """Parameters, and documents that are Python functions from parameters to what they print."""

    def __init__(self) -> None:
        self.parameters: dict[str, str] = {}
        self.documents: dict[str, Document] = {}
        self.sent: list[tuple[str, dict[str, str]]] = []
        self._answers: dict[str, Any] = {}

    def get_parameter(self, *, Name: str) -> dict[str, Any]:
        return {"Parameter": {"Value": self.parameters[Name]}}

    def send_command(
        self,
        *,
        DocumentName: str,
        InstanceIds: list[str],
        Parameters: Mapping[str, list[str]],
        TimeoutSeconds: int,
    ) -> dict[str, Any]:
        assert InstanceIds == ["i-head"]
        assert 30 <= TimeoutSeconds <= 2592000, "what SSM takes"
        parameters = {name: value for name, (value,) in Parameters.items()}
        self.sent.append((DocumentName, parameters))
        try:
            printed = self.documents[DocumentName](parameters)
            answer = {"Status": "Success", "StandardOutputContent": json.dumps(printed), "StandardErrorContent": ""}
        except CommandError as error:
            answer = {"Status": "Failed", "StandardOutputContent": "", "StandardErrorContent": f"{error}\n"}
        command = f"command-{len(self.sent)}"
        self._answers[command] = answer
        return {"Command": {"CommandId": command}}

    def get_waiter(self, name: str) -> SSM:
        assert name == "command_executed"
        return self

    def wait(self, *, CommandId: str, InstanceId: str, WaiterConfig: Mapping[str, int]) -> None:
        answer = self._answers[CommandId]
        if answer["Status"] != "Success":
            raise WaiterError(name="CommandExecuted", reason="terminal failure state", last_response=answer)

    def get_command_invocation(self, *, CommandId: str, InstanceId: str) -> dict[str, Any]:
        answer: dict[str, Any] = self._answers[CommandId]
        return answer

    def verbs(self) -> list[str]:
        """The documents that were run, in order."""
        return [document for document, _ in self.sent]


class Events:
    """Takes events, or refuses them."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.refusing = False

    def put_events(self, *, Entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        if self.refusing:
            return {"FailedEntryCount": len(Entries), "Entries": [{"ErrorCode": "ThrottlingException"}] * len(Entries)}
        self.taken += [{**entry, "Detail": json.loads(entry["Detail"])} for entry in Entries]
        return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"}] * len(Entries)}


class SQS:
    """Remembers when messages were asked to come again."""

    def __init__(self) -> None:
        self.again: dict[str, int] = {}

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        self.again[ReceiptHandle] = VisibilityTimeout


class DataSync:
    """Executions by ARN."""

    def __init__(self) -> None:
        self.executions: dict[str, dict[str, Any]] = {}

    def describe_task_execution(self, *, TaskExecutionArn: str) -> dict[str, Any]:
        return self.executions[TaskExecutionArn]


@dataclass
class Aws:
    """All of it, with a clock."""

    clock: Clock = field(default_factory=lambda: Clock(1_800_000_000.0))
    s3: S3 = field(default_factory=S3)
    dynamodb: DynamoDB = field(default_factory=DynamoDB)
    ec2: EC2 = field(default_factory=EC2)
    ssm: SSM = field(default_factory=SSM)
    events: Events = field(default_factory=Events)
    sqs: SQS = field(default_factory=SQS)
    datasync: DataSync = field(default_factory=DataSync)

    def client(self, service: str) -> Any:
        """boto3.client"""
        return getattr(self, service)

    def record(self, kind: str, name: str) -> dict[str, Any]:
        """A record without DynamoDB's types: text, and numbers as float."""
        plain = {"S": str, "N": float, "L": list}
        item = self.dynamodb.items[kind, name]
        return {field: plain[kind](raw) for field, typed in item.items() for kind, raw in typed.items()}


def batch(*bodies: object) -> dict[str, Any]:
    """An SQS batch of these events; text goes in as it is. Message ids are m0, m1, .."""
    return {
        "Records": [
            {
                "messageId": f"m{n}",
                "receiptHandle": f"r{n}",
                "body": body if isinstance(body, str) else json.dumps(body),
                "attributes": {"ApproximateReceiveCount": "1"},
            }
            for n, body in enumerate(bodies)
        ]
    }


def failed(answer: Mapping[str, Any]) -> list[str]:
    """Ids of the messages that come again."""
    return [failure["itemIdentifier"] for failure in answer["batchItemFailures"]]


def object_created(key: str) -> dict[str, Any]:
    """What S3 sends through EventBridge."""
    return {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "landing"}, "object": {"key": key, "size": 10}},
    }


def job_event(job_id: int = 7, *, end: int = 1_799_999_000, **changes: object) -> dict[str, Any]:
    """What the head node sends for a job: by default one GPU of four for an hour."""
    detail = {
        "version": 1,
        "cluster": "cryo",
        "job_id": str(job_id),
        "name": "class2d",
        "user": "ada",
        "partition": "gpu4",
        "state": "COMPLETED",
        "exit_code": "0:0",
        "submit": end - 4000,
        "start": end - 3600,
        "end": end,
        "nodes": "gpu4-dy-node-1",
        "node_count": 1,
        "tres": "cpu=12,mem=48G,node=1,billing=12,gres/gpu=1",
        "project": "spike",
        **changes,
    }
    return {"source": "cryoem.slurm", "detail-type": "Slurm Job State Change", "detail": detail}
