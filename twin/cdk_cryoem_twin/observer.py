"""Listens to the system that runs: EventBridge's events, the records, Slurm, the nodes' bill. It changes nothing."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import BotoCoreError, ClientError

from .places import Places
from .slurm import controller

_QUEUE = "twin-observer"


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One event as it came over EventBridge. at: epoch seconds."""

    at: float
    source: str
    kind: str
    detail: dict[str, Any]
    resources: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSpan:
    """One life of a node, from the bill. Times in epoch seconds; None for what has not happened."""

    node: str
    lane: str
    launched: float
    ready: float | None
    off: float | None


@dataclass
class Observer:
    """What has been seen so far."""

    places: Places
    make: Callable[[str], Any]
    outputs: dict[str, str]
    events: list[Event] = field(default_factory=list)
    _done: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """Have the platform's bus and the default bus copied to a queue, and read it."""
        sqs, events = self.make("sqs"), self.make("events")
        queue = sqs.create_queue(QueueName=_QUEUE)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        allow = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sqs:SendMessage"}
        policy = {"Version": "2012-10-17", "Statement": [allow | {"Resource": arn}]}
        sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
        for bus, sources in (
            ("default", ["aws.s3", "aws.datasync", "aws.ec2"]),
            (self.outputs["EventBus"], ["cryoem.slurm", "cryoem.platform"]),
        ):
            events.put_rule(Name=_QUEUE, EventBusName=bus, EventPattern=json.dumps({"source": sources}))
            events.put_targets(Rule=_QUEUE, EventBusName=bus, Targets=[{"Id": "observer", "Arn": arn}])
        self._thread = threading.Thread(target=self._listen, args=(queue,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        self._done.set()
        if self._thread:
            self._thread.join(timeout=5)

    def _listen(self, queue: str) -> None:
        sqs = self.make("sqs")
        while not self._done.is_set():
            try:
                received = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            except (BotoCoreError, ClientError):
                # The emulator has gone; whoever waits for an event says so.
                return
            for message in received.get("Messages", []):
                body = json.loads(message["Body"])
                self.events.append(
                    Event(
                        at=datetime.fromisoformat(body["time"].replace("Z", "+00:00")).timestamp(),
                        source=body["source"],
                        kind=body["detail-type"],
                        detail=body["detail"],
                        resources=tuple(body.get("resources", ())),
                    )
                )
                sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])

    def seen(self, source: str, kind: str = "") -> list[Event]:
        """Events of a source, and of a kind if one is named."""
        return [event for event in list(self.events) if event.source == source and kind in ("", event.kind)]

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What the hooks have written down."""
        read = TypeDeserializer().deserialize
        pages = (
            self.make("dynamodb")
            .get_paginator("query")
            .paginate(
                TableName=self.outputs["RecordsTable"],
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": kind}},
            )
        )
        return [{name: read(value) for name, value in item.items()} for page in pages for item in page["Items"]]

    def head_node(self) -> str:
        """State of the head node, from EC2."""
        found = self.make("ec2").describe_instances(InstanceIds=[self.outputs["HeadNode"]])
        return str(found["Reservations"][0]["Instances"][0]["State"]["Name"])

    def objects(self, bucket: str, prefix: str = "") -> list[str]:
        """Keys in a bucket."""
        pages = self.make("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [found["Key"] for page in pages for found in page.get("Contents", [])]

    def queue(self) -> list[tuple[str, str, str, str]]:
        """Slurm's queue: job, name, partition, state."""
        done = subprocess.run(
            ["squeue", "--noheader", "--states", "all", "--format", "%i|%j|%P|%T"],
            env=controller.environment(self.places), capture_output=True, text=True, check=False,
        )  # fmt: skip
        rows = [line.strip().split("|") for line in done.stdout.splitlines()]
        return [(row[0], row[1], row[2], row[3]) for row in rows if len(row) == 4]

    def powered_up(self) -> list[str]:
        """Nodes that Slurm itself does not call powered down."""
        done = subprocess.run(
            ["scontrol", "--oneliner", "show", "nodes"],
            env=controller.environment(self.places), capture_output=True, text=True, check=False,
        )  # fmt: skip
        lines = [line for line in done.stdout.splitlines() if "State=" in line and "+POWERED_DOWN" not in line]
        return [line.split()[0].removeprefix("NodeName=") for line in lines]

    def nodes(self) -> list[NodeSpan]:
        """Every life of every node, from what plays EC2's bill."""
        bill = self.places.slurm / "power.jsonl"
        lines = [json.loads(line) for line in bill.read_text().splitlines()] if bill.exists() else []
        return spans(lines)


def lane_of(node: str) -> str:
    """LANE-dy-nodes-1 with ParallelCluster, LANE-1 with PCS."""
    return re.sub(r"(-(dy|st)-nodes)?-\d+$", "", node)


def spans(lines: Sequence[dict[str, Any]]) -> list[NodeSpan]:
    """Lives of nodes from launch, ready and off entries, in the order of their launches."""
    open_lives: dict[str, dict[str, Any]] = {}
    found: list[NodeSpan] = []

    def close(life: dict[str, Any], off: float | None) -> None:
        found.append(
            NodeSpan(
                node=life["node"],
                lane=lane_of(life["node"]),
                launched=life["launch"],
                ready=life.get("ready"),
                off=off,
            )
        )

    for line in sorted(lines, key=lambda each: float(each["at"])):
        node, event, at = line["node"], line["event"], line["at"]
        if event == "launch":
            open_lives[node] = {"node": node, "launch": at}
        elif node in open_lives and event == "ready":
            open_lives[node]["ready"] = at
        elif node in open_lives and event == "off":
            close(open_lives.pop(node), at)
    for life in open_lives.values():
        close(life, None)
    return sorted(found, key=lambda span: span.launched)
