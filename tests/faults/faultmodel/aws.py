"""The clients that boto3 gives: each call takes time, may be refused, and may be done without its caller knowing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import WaiterError

from .clockwork import Process
from .table import failed

if TYPE_CHECKING:
    from .site import Site

Item = dict[str, Any]
_PREFIX = "datasets/"


class _Client:
    def __init__(self, site: Site) -> None:
        self._site = site


class DynamoDB(_Client):
    """The record table's calls."""

    def get_item(self, *, Key: Item, ConsistentRead: bool = False, **_: Any) -> Item:
        def effect() -> Item:
            consistent = ConsistentRead or not self._site.dice.chance("stale_read")
            found = self._site.table.get(Key, consistent=consistent)
            return {"Item": dict(found)} if found else {}

        return self._site.call("dynamodb.GetItem", effect)

    def put_item(self, **request: Any) -> None:
        self._write("Put", request, "PutItem")

    def update_item(self, **request: Any) -> Item:
        self._write("Update", request, "UpdateItem")
        return {}

    def delete_item(self, **request: Any) -> None:
        self._write("Delete", request, "DeleteItem")

    def _write(self, kind: str, request: Item, operation: str) -> None:
        self._site.stall("stalled_write")
        self._site.call(f"dynamodb.{operation}", lambda: self._site.table.write(kind, request, operation=operation))

    def transact_write_items(self, *, TransactItems: Sequence[Mapping[str, Any]], **_: Any) -> None:
        self._site.stall("stalled_write")
        self._site.call("dynamodb.TransactWriteItems", lambda: self._site.table.transact(list(TransactItems)))

    def query(
        self,
        *,
        KeyConditionExpression: str,
        ExpressionAttributeValues: Mapping[str, Any],
        ConsistentRead: bool = False,
        ScanIndexForward: bool = True,
        Limit: int = 1000,
        **_: Any,
    ) -> Item:
        def effect() -> Item:
            consistent = ConsistentRead or not self._site.dice.chance("stale_read")
            found = self._site.table.query(
                ExpressionAttributeValues, KeyConditionExpression, consistent=consistent, forward=ScanIndexForward
            )
            return {"Items": found[:Limit], "Count": len(found[:Limit])}

        return self._site.call("dynamodb.Query", effect)

    def get_paginator(self, call: str) -> DynamoDB:
        assert call == "query"
        return self

    def paginate(self, **query: Any) -> Iterator[Item]:
        yield self.query(**query)


class S3(_Client):
    """The landing bucket's listing."""

    def get_paginator(self, call: str) -> S3:
        assert call == "list_objects_v2"
        return self

    def paginate(self, *, Prefix: str, Delimiter: str = "", **_: Any) -> Iterator[Item]:
        site = self._site
        if Delimiter:
            names = site.call("s3.ListObjectsV2", lambda: sorted(n for n, found in site.bucket.items() if found))
            yield {"CommonPrefixes": [{"Prefix": f"{_PREFIX}{name}/"} for name in names]}
            return
        name = Prefix.removeprefix(_PREFIX).removesuffix("/")
        after = ""
        while True:
            page, more = site.call("s3.ListObjectsV2", lambda after=after: self._page(name, after))
            yield (
                {
                    "Contents": [{"Key": key, "Size": size, "LastModified": at} for key, size, at in page],
                    "IsTruncated": more,
                }
                if page
                else {}
            )
            if not more:
                return
            after = page[-1][0]

    def _page(self, name: str, after: str) -> tuple[list[tuple[str, int, datetime]], bool]:
        found = sorted((key, size, at) for key, (size, at) in self._site.bucket.get(name, {}).items() if key > after)
        most = self._site.keys_a_page
        return found[:most], len(found) > most


class EC2(_Client):
    """The head node, and the nodes' instances."""

    def describe_instances(self, *, InstanceIds: Sequence[str] = (), Filters: Sequence[Item] = (), **_: Any) -> Item:
        def effect() -> Item:
            site = self._site
            if InstanceIds:
                assert list(InstanceIds) == [site.head_node.instance_id]
                return {"Reservations": [{"Instances": [site.head_node.described()]}]}
            return {"Reservations": [{"Instances": site.instances()}]}

        return self._site.call("ec2.DescribeInstances", effect)

    def get_paginator(self, call: str) -> EC2:
        assert call == "describe_instances"
        return self

    def paginate(self, **request: Any) -> Iterator[Item]:
        yield self.describe_instances(**request)

    def start_instances(self, *, InstanceIds: Sequence[str]) -> None:
        self._site.call("ec2.StartInstances", self._site.head_node.start)

    def stop_instances(self, *, InstanceIds: Sequence[str]) -> None:
        self._site.call("ec2.StopInstances", self._site.head_node.stop_by_lambda)


class Command:
    """A run command. known_at: from when on SSM admits that there is one. swift: nothing was drawn against it.
    nothing_before: until then its caller cannot learn anything new."""

    def __init__(self, name: str, known_at: float, *, swift: bool) -> None:
        self.name, self.known_at, self.swift = name, known_at, swift
        self.status, self.output, self.errors = "Pending", "", ""
        self.shown_at = self.nothing_before = 0.0
        self.process: Process | None = None


class SSM(_Client):
    """Parameters and Run Command."""

    def get_parameter(self, *, Name: str, **_: Any) -> Item:
        return self._site.call("ssm.GetParameter", lambda: {"Parameter": {"Value": self._site.parameters[Name]}})

    def send_command(
        self,
        *,
        DocumentName: str,
        InstanceIds: Sequence[str],
        TimeoutSeconds: int,
        Parameters: Mapping[str, Sequence[str]] | None = None,
        **_: Any,
    ) -> Item:
        assert list(InstanceIds) == [self._site.head_node.instance_id]
        given = {name: value[0] for name, value in (Parameters or {}).items()}
        return self._site.call("ssm.SendCommand", lambda: self._send(DocumentName, given, TimeoutSeconds))

    def _send(self, document: str, given: dict[str, str], timeout: float) -> Item:
        site = self._site
        dice, clock = site.dice, site.clock
        if not site.head_node.on or (not site.head_node.agent and dice.random.random() < 0.5):
            raise failed("InvalidInstanceId", "SendCommand")
        fate = next((f for f in ("command_lost", "command_late", "command_slow") if dice.chance(f)), "")
        known_at = clock.now + (dice.random.uniform(0.1, 2) if dice.chance("unknown_at_first") else 0)
        command = Command(site.new_id("c"), known_at, swift=not fate and site.head_node.agent)
        site.commands[command.name] = command
        begins = clock.now + dice.random.uniform(0.1, 0.8)
        if fate == "command_late":
            begins = clock.now + dice.random.uniform(5, timeout)
        command.nothing_before = clock.now + timeout if fate == "command_lost" else begins
        clock.at(clock.now + timeout, self._undelivered, command)
        site.trace("command %s: %s %s%s", command.name, document, given, f" ({fate})" if fate else "")
        if dice.chance("aimed") or (document == "stop-head-node" and dice.chance("aimed")):
            clock.at(clock.now + dice.random.uniform(0, begins - clock.now + 0.3), site.aim, document, given)
        if fate != "command_lost":
            slow = dice.random.uniform(60, 400) if fate == "command_slow" else 0.0
            command.nothing_before = begins + slow
            if command.swift:
                self._begin(command, document, given, begins, slow)
            else:
                clock.at(begins, self._when_there, command, document, given, slow)
        return {"Command": {"CommandId": command.name}}

    def _when_there(self, command: Command, document: str, given: dict[str, str], slow: float) -> None:
        """The agent takes it once it is there, unless it has expired."""
        site = self._site
        if command.status != "Pending":
            return
        if site.head_node.agent:
            self._begin(command, document, given, site.clock.now, slow)
        else:
            site.clock.at(site.clock.now + 5, self._when_there, command, document, given, slow)

    def _begin(self, command: Command, document: str, given: dict[str, str], when: float, slow: float) -> None:
        site = self._site
        process = site.program_process(document)
        command.process = process

        def body() -> None:
            if not site.head_node.agent:
                return
            command.status = "InProgress"
            status, out, err = site.programs.run(process, document, given)
            command.shown_at = site.clock.now + slow
            command.status, command.output, command.errors = status, out[:24000], err[-24000:]
            site.trace("command %s: %s %s%s", command.name, status, out[:300].strip(), err[-300:].strip())

        def whole() -> None:
            try:
                body()
            finally:
                if command.status == "InProgress":
                    # It died; the agent tells later, or never, when the machine went too.
                    command.status, command.shown_at = "Failed", site.clock.now + 30

        site.clock.start(when, process, whole)

    def _undelivered(self, command: Command) -> None:
        if command.status == "Pending":
            command.status = "TimedOut"

    def get_command_invocation(self, *, CommandId: str, InstanceId: str, **_: Any) -> Item:
        def effect() -> Item:
            site = self._site
            command = site.commands[CommandId]
            if site.clock.now < command.known_at:
                raise failed("InvocationDoesNotExist", "GetCommandInvocation")
            ended = command.status not in ("Pending", "InProgress") and site.clock.now >= command.shown_at
            process = site.clock.current
            if process is not None:
                process.attributes["polled"] = None if ended else command
            return {
                "Status": command.status if ended or command.status == "Pending" else "InProgress",
                "StatusDetails": command.status,
                "StandardOutputContent": command.output if ended else "",
                "StandardErrorContent": command.errors if ended else "",
            }

        return self._site.call("ssm.GetCommandInvocation", effect)

    def get_waiter(self, name: str) -> SSM:
        assert name == "command_executed"
        return self

    def wait(self, *, CommandId: str, InstanceId: str, WaiterConfig: Mapping[str, int]) -> None:
        last: Item = {}
        for _ in range(WaiterConfig["MaxAttempts"]):
            try:
                last = self.get_command_invocation(CommandId=CommandId, InstanceId=InstanceId)
            except Exception as error:
                if "InvocationDoesNotExist" not in str(error):
                    raise
            if last.get("Status") == "Success":
                return
            if last.get("Status") in ("Failed", "TimedOut", "Cancelled"):
                raise WaiterError(name="CommandExecuted", reason="terminal failure state", last_response=last)
            self._site.sleep(WaiterConfig["Delay"])
        raise WaiterError(name="CommandExecuted", reason="Max attempts exceeded", last_response=last)


class Events(_Client):
    """PutEvents, which may take some entries and refuse others."""

    def put_events(self, *, Entries: Sequence[Mapping[str, Any]]) -> Item:
        assert 0 < len(Entries) <= 10
        return self._site.call("events.PutEvents", lambda: self._take(Entries))

    def _take(self, entries: Sequence[Mapping[str, Any]]) -> Item:
        site = self._site
        answers: list[Item] = []
        for entry in entries:
            if site.dice.chance("refused"):
                answers.append({"ErrorCode": "InternalFailure", "ErrorMessage": "try again"})
                continue
            detail = json.loads(entry["Detail"])
            about = ("job", detail["job_id"]) if entry["Source"] == "cryoem.slurm" else None
            site.bus.accept(entry["Source"], entry["DetailType"], detail, about=about)
            answers.append({"EventId": site.new_id("e")})
        return {"FailedEntryCount": sum("ErrorCode" in answer for answer in answers), "Entries": answers}


class SQS(_Client):
    """What hooks do with their own queues, and the sweeper with dead letters."""

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:
        def effect() -> None:
            queue, dead = self._queue(QueueUrl)
            if dead:
                queue.show_dead(ReceiptHandle, VisibilityTimeout)
            else:
                queue.change_visibility(ReceiptHandle, VisibilityTimeout)

        self._site.call("sqs.ChangeMessageVisibility", effect)

    def send_message(self, *, QueueUrl: str, MessageBody: str, DelaySeconds: int = 0, **_: Any) -> Item:
        assert 0 <= DelaySeconds <= 900, "what SQS takes"

        def effect() -> Item:
            queue, dead = self._queue(QueueUrl)
            assert not dead
            queue.put(MessageBody, after=float(DelaySeconds), about=about_of(MessageBody))
            return {"MessageId": "m"}

        return self._site.call("sqs.SendMessage", effect)

    def receive_message(
        self, *, QueueUrl: str, MaxNumberOfMessages: int = 1, VisibilityTimeout: int = 30, **_: Any
    ) -> Item:
        assert 1 <= MaxNumberOfMessages <= 10

        def effect() -> Item:
            queue, dead = self._queue(QueueUrl)
            assert dead
            found = queue.receive_dead(MaxNumberOfMessages, VisibilityTimeout)
            return {"Messages": found} if found else {}

        return self._site.call("sqs.ReceiveMessage", effect)

    def delete_message(self, *, QueueUrl: str, ReceiptHandle: str) -> None:
        self._site.call("sqs.DeleteMessage", lambda: self._queue(QueueUrl)[0].delete_dead(ReceiptHandle))

    def _queue(self, url: str) -> tuple[Any, bool]:
        kind, _, name = url.partition("/")
        return self._site.queues[name], kind == "dead"


def about_of(body: str) -> object:
    """What a message tells of, if it is a job's end."""
    try:
        document = json.loads(body)
        return ("job", document["detail"]["job_id"]) if document["source"] == "cryoem.slurm" else None
    except (ValueError, KeyError, TypeError):
        return None


class DataSync(_Client):
    """Executions of tasks."""

    def describe_task(self, *, TaskArn: str) -> Item:
        return self._site.call("datasync.DescribeTask", lambda: {"TaskArn": TaskArn})

    def describe_task_execution(self, *, TaskExecutionArn: str) -> Item:
        return self._site.call("datasync.DescribeTaskExecution", lambda: self._site.executions[TaskExecutionArn])


class FSx(_Client):
    """One file system, the one that is in use."""

    def describe_file_systems(self, **_: Any) -> Item:
        tags = [{"Key": "cryoem:system", "Value": "cryo"}]
        found = {"FileSystemId": "fs-1", "CreationTime": datetime.fromtimestamp(0, UTC), "Tags": tags}
        return self._site.call("fsx.DescribeFileSystems", lambda: {"FileSystems": [found]})

    def get_paginator(self, call: str) -> FSx:
        assert call == "describe_file_systems"
        return self

    def paginate(self, **_: Any) -> Iterator[Item]:
        yield self.describe_file_systems()
