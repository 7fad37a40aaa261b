"""Queue messages in; what cannot be worked off goes back to the queue, message by message."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import boto3

log = logging.getLogger("cryoem")
log.setLevel(logging.INFO)

Event = Mapping[str, Any]
T = TypeVar("T")


def work_off(
    batch: Mapping[str, Any], *, parse: Callable[[Event], T], act: Callable[[Sequence[T]], None]
) -> dict[str, Any]:
    """Parse every message of an SQS batch, act on all of them at once, and say which must come again.

    A message that cannot be parsed fails alone. If `act` raises, all others come again: a hint may be looked at twice.
    What comes again does so after 15 seconds, then 30, 60 and so on: a head node that boots answers after a minute.
    """
    failed: list[Mapping[str, Any]] = []
    hints: list[T] = []
    parsed: list[Mapping[str, Any]] = []
    for record in batch["Records"]:
        try:
            hints.append(parse(json.loads(record["body"])))
        except Exception:
            log.exception("message %s is no event of ours; it goes to the dead-letter queue", record["messageId"])
            failed.append(record)
        else:
            parsed.append(record)
    if hints:
        try:
            act(hints)
        except Exception:
            log.exception("%s hints will be looked at again", len(parsed))
            failed += parsed
    _soon(failed)
    return {"batchItemFailures": [{"itemIdentifier": record["messageId"]} for record in failed]}


def retry_seconds(receive_count: int) -> int:
    """When a message that failed for the n-th time may be seen again."""
    return int(min(15 * 2 ** (receive_count - 1), 720))


def _soon(failed: Sequence[Mapping[str, Any]]) -> None:
    queue = os.environ.get("QUEUE_URL")
    if not failed or not queue:
        return
    sqs = boto3.client("sqs")
    for record in failed:
        sqs.change_message_visibility(
            QueueUrl=queue,
            ReceiptHandle=record["receiptHandle"],
            VisibilityTimeout=retry_seconds(int(record["attributes"]["ApproximateReceiveCount"])),
        )
