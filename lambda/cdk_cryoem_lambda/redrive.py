"""Dead letters that are events of ours go back to their queue; what is none stays, and keeps the alarm.

A hint fails eight times in about forty minutes when the head node cannot be reached for so long. What it told of is not
always found by a sweep: only a job's event tells what the job had.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .hints import Event, log

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

# Ten messages a call; what is left over is for the next sweep.
_CALLS = 20


def redrive(sqs: SQSClient, *, dead: str, queue: str, parse: Callable[[Event], Any]) -> int:
    """Send back what can be parsed, or drop it where no queue is named; returns how many.

    Sent before it is deleted: who dies in between leaves a duplicate, which a hint may be. IAM: sqs:ReceiveMessage,
    sqs:DeleteMessage and sqs:ChangeMessageVisibility on the dead-letter queue, sqs:SendMessage on the other. Costs: a call
    for ten messages, and two for each.
    """
    moved, staying = 0, []
    for _ in range(_CALLS):
        # Long enough that no message comes twice here; the next sweep sees all again.
        messages = sqs.receive_message(QueueUrl=dead, MaxNumberOfMessages=10, VisibilityTimeout=240).get("Messages", [])
        if not messages:
            break
        for message in messages:
            try:
                parse(json.loads(message["Body"]))
            except Exception:
                log.warning("dead letter %s is no event of ours and stays", message["MessageId"])
                staying.append(message["ReceiptHandle"])
                continue
            moved += 1
            if not queue:
                sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
                continue
            sqs.send_message(QueueUrl=queue, MessageBody=message["Body"])
            sqs.delete_message(QueueUrl=dead, ReceiptHandle=message["ReceiptHandle"])
    # The alarm counts only what can be seen.
    for receipt in staying:
        sqs.change_message_visibility(QueueUrl=dead, ReceiptHandle=receipt, VisibilityTimeout=0)
    if moved:
        log.info("%s dead letters of %s %s", moved, dead, f"went back to {queue}" if queue else "are over")
    return moved
