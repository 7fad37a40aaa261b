"""AWS as the hooks see it, in memory: exactly the calls they make, and what would be refused is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError
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

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


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
    """The head node, and what other instances the account has. Starting takes no time here; nobody may stop one."""

    def __init__(self) -> None:
        self.state = "running"
        self.launched = 0.0
        self.calls: list[str] = []
        self.others: list[dict[str, Any]] = []

    def add(
        self,
        name: str,
        *,
        ip: str = "",
        launched: float = 0.0,
        state: str = "running",
        of: str = "cryo",
        lane: str = "",
    ) -> None:
        """Another instance, by default one of the cluster that runs."""
        self.others.append(_instance(name, state=state, launched=launched, of=of, ip=ip, lane=lane))

    def describe_instances(self, *, InstanceIds: list[str]) -> dict[str, Any]:
        assert InstanceIds == ["i-head"]
        return {"Reservations": [{"Instances": [each]} for each in self._head()]}

    def get_paginator(self, call: str) -> EC2:
        assert call == "describe_instances"
        return self

    def paginate(self, *, Filters: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
        wanted = {each["Name"]: each["Values"] for each in Filters}
        states = wanted.pop("instance-state-name", None)
        ((tag, values),) = wanted.items()
        for each in [*self._head(), *self.others]:
            tags = {f"tag:{given['Key']}": given["Value"] for given in each["Tags"]}
            if (states is None or each["State"]["Name"] in states) and tags.get(tag) in values:
                yield {"Reservations": [{"Instances": [each]}]}
        yield {"Reservations": []}

    def start_instances(self, *, InstanceIds: list[str]) -> None:
        assert InstanceIds == ["i-head"]
        self.calls.append("start")
        self.state = "running"

    def _head(self) -> list[dict[str, Any]]:
        return [] if self.state == "gone" else [_instance("i-head", state=self.state, launched=self.launched)]


def _instance(
    name: str, *, state: str, launched: float, of: str = "cryo", ip: str = "", lane: str = ""
) -> dict[str, Any]:
    address = {"PrivateIpAddress": ip, "PrivateDnsName": f"ip-{ip.replace('.', '-')}.ec2.internal"} if ip else {}
    return {
        "InstanceId": name,
        "InstanceType": "g5.12xlarge",
        "State": {"Name": state},
        "LaunchTime": datetime.fromtimestamp(launched, UTC),
        "Tags": [
            {"Key": "parallelcluster:cluster-name", "Value": of},
            *([{"Key": "parallelcluster:queue-name", "Value": lane}] if lane else []),
        ],
        **address,
    }


class FSx:
    """File systems, one a page."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []

    def add(self, name: str, *, system: str = "", created: float = 0.0) -> None:
        """A file system; `system` is the tag that ours have."""
        tags = [{"Key": "Name", "Value": name}, *([{"Key": "cryoem:system", "Value": system}] if system else [])]
        self.found.append({"FileSystemId": name, "CreationTime": datetime.fromtimestamp(created, UTC), "Tags": tags})

    def get_paginator(self, call: str) -> FSx:
        assert call == "describe_file_systems"
        return self

    def paginate(self) -> Iterator[dict[str, Any]]:
        for each in self.found:
            yield {"FileSystems": [each]}


class CommandError(Exception):
    """What a document raises that ends as Failed: the words are its standard error."""


class SSM:
    """Parameters, and documents that are Python functions from parameters to what they print.

    A command is not there when it is first asked after, then under way, then it has ended.
    """

    def __init__(self, ec2: EC2) -> None:
        self.parameters: dict[str, str] = {}
        self.documents: dict[str, Document] = {}
        self.sent: list[tuple[str, dict[str, str]]] = []
        # Documents that do what they do, but of which no answer comes.
        self.mute: set[str] = set()
        # What is answered before the end.
        self.polls: tuple[str, ...] = ("InvocationDoesNotExist", "InProgress")
        self._ec2 = ec2
        self._answers: dict[str, list[dict[str, Any]]] = {}

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
        if self._ec2.state != "running":
            raise refusal("InvalidInstanceId", "SendCommand")
        parameters = {name: value for name, (value,) in Parameters.items()}
        self.sent.append((DocumentName, parameters))
        try:
            printed = self.documents[DocumentName](parameters)
            answer = {"Status": "Success", "StandardOutputContent": json.dumps(printed), "StandardErrorContent": ""}
        except CommandError as error:
            answer = {"Status": "Failed", "StandardOutputContent": "", "StandardErrorContent": f"{error}\n"}
        if DocumentName in self.mute:
            answer = _under_way("InProgress")
        command = f"command-{len(self.sent)}"
        self._answers[command] = [*map(_under_way, self.polls), answer]
        return {"Command": {"CommandId": command}}

    def get_command_invocation(self, *, CommandId: str, InstanceId: str) -> dict[str, Any]:
        answers = self._answers[CommandId]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer["Status"] == "InvocationDoesNotExist":
            raise refusal("InvocationDoesNotExist", "GetCommandInvocation")
        return answer

    def verbs(self) -> list[str]:
        """The documents that were run, in order."""
        return [document for document, _ in self.sent]


def _under_way(status: str) -> dict[str, Any]:
    return {"Status": status, "StandardOutputContent": "", "StandardErrorContent": ""}


def refusal(code: str, operation: str) -> ClientError:
    """What boto3 raises when AWS does not do as it is told."""
    return ClientError({"Error": {"Code": code, "Message": code}}, operation)


class Events:
    """Takes events, or refuses all of them, or those of some kinds."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.refusing = False
        self.refused_kinds: set[str] = set()

    def put_events(self, *, Entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        assert 1 <= len(Entries) <= 10, "what EventBridge takes"
        answers: list[dict[str, str]] = []
        for entry in Entries:
            if self.refusing or entry["DetailType"] in self.refused_kinds:
                answers.append({"ErrorCode": "ThrottlingException"})
                continue
            self.taken.append({**entry, "Detail": json.loads(entry["Detail"])})
            answers.append({"EventId": "e"})
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}


@dataclass
class Message:
    """A message of a queue. Times in epoch seconds."""

    body: str
    visible_at: float
    receives: int = 0


class SQS:
    """Queues by address, and when messages that Lambda holds were asked to come again."""

    def __init__(self, clock: Clock) -> None:
        self.again: dict[str, int] = {}
        self.queues: dict[str, dict[str, Message]] = {}
        self._clock, self._sent = clock, 0

    def put(self, queue: str, *bodies: object) -> None:
        """Messages that can be received at once; text goes in as it is."""
        for body in bodies:
            self.send_message(QueueUrl=queue, MessageBody=body if isinstance(body, str) else json.dumps(body))

    def bodies(self, queue: str) -> list[str]:
        """What waits in a queue."""
        return [message.body for message in self.queues.get(queue, {}).values()]

    def visible(self, queue: str) -> int:
        """What CloudWatch shows, and alarms look at."""
        return sum(message.visible_at <= self._clock.now for message in self.queues.get(queue, {}).values())

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        assert 0 <= VisibilityTimeout <= 43200, "what SQS takes"
        name, _, receives = ReceiptHandle.partition("/")
        message = self.queues.get(QueueUrl, {}).get(name)
        if message is None:
            self.again[ReceiptHandle] = VisibilityTimeout
        elif str(message.receives) == receives:
            message.visible_at = self._clock.now + VisibilityTimeout

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0) -> dict[str, Any]:
        assert 0 <= DelaySeconds <= 900, "what SQS takes"
        self._sent += 1
        queue = self.queues.setdefault(QueueUrl, {})
        queue[f"s{self._sent}"] = Message(MessageBody, self._clock.now + DelaySeconds)
        return {"MessageId": f"s{self._sent}"}

    def receive_message(self, *, QueueUrl: str, MaxNumberOfMessages: int, VisibilityTimeout: int) -> dict[str, Any]:
        assert 1 <= MaxNumberOfMessages <= 10, "what SQS takes"
        now = self._clock.now
        queue = self.queues.get(QueueUrl, {})
        found = [name for name, message in queue.items() if message.visible_at <= now][:MaxNumberOfMessages]
        for name in found:
            queue[name].receives += 1
            queue[name].visible_at = now + VisibilityTimeout
        answers = [
            {"MessageId": name, "ReceiptHandle": f"{name}/{queue[name].receives}", "Body": queue[name].body}
            for name in found
        ]
        return {"Messages": answers} if answers else {}

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:
        self.queues[QueueUrl].pop(ReceiptHandle.partition("/")[0], None)


class DataSync:
    """Executions by ARN."""

    def __init__(self) -> None:
        self.executions: dict[str, dict[str, Any]] = {}
        self.includes: list[dict[str, str]] = []
        self.excludes: list[dict[str, str]] = []
        self.state: dict[str, str] = {"Status": "AVAILABLE"}

    def describe_task(self, *, TaskArn: str) -> dict[str, Any]:
        return {"TaskArn": TaskArn, "Includes": self.includes, "Excludes": self.excludes, **self.state}

    def describe_task_execution(self, *, TaskExecutionArn: str) -> dict[str, Any]:
        return self.executions[TaskExecutionArn]


@dataclass
class Aws:
    """All of it, with a clock."""

    clock: Clock = field(default_factory=lambda: Clock(1_800_000_000.0))
    s3: S3 = field(default_factory=S3)
    dynamodb: DynamoDB = field(default_factory=DynamoDB)
    ec2: EC2 = field(default_factory=EC2)
    events: Events = field(default_factory=Events)
    datasync: DataSync = field(default_factory=DataSync)
    fsx: FSx = field(default_factory=FSx)
    ssm: SSM = field(init=False)
    sqs: SQS = field(init=False)

    def __post_init__(self) -> None:
        self.ssm = SSM(self.ec2)
        self.sqs = SQS(self.clock)

    def client(self, service: str) -> Any:
        """boto3.client"""
        return getattr(self, service)

    def record(self, kind: str, name: str) -> dict[str, Any]:
        """A record without DynamoDB's types: text, and numbers as float."""
        plain = {"S": str, "N": float, "L": list}
        item = self.dynamodb.items[kind, name]
        return {field: plain[kind](raw) for field, typed in item.items() for kind, raw in typed.items()}

    def said(self, kind: str) -> list[dict[str, Any]]:
        """Details of the events of a kind that EventBridge took."""
        return [event["Detail"] for event in self.events.taken if event["DetailType"] == kind]

    def kinds_said(self) -> list[str]:
        """Kinds of all events that EventBridge took, in order."""
        return [event["DetailType"] for event in self.events.taken]

    def waiting(self) -> list[str]:
        """Kinds of the events in the outbox."""
        return sorted(item["detail_type"]["S"] for (pk, _), item in self.dynamodb.items.items() if pk == "outbox")

    def known(self, kind: str) -> list[str]:
        """Names of the records of a kind."""
        return sorted(name for pk, name in self.dynamodb.items if pk == kind)


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
