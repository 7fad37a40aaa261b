"""Something has happened that people want to know: they are told, once, through an SNS topic.

A message that is told and not written down is told again. Nothing is written down as told before SNS has it: a mail that
comes twice is better than one that never comes.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from .hints import Event, log, work_off
from .notices import Notice, notice

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sns import SNSClient

# Longer than SNS can take to answer (see _told), shorter than the time over which a message is tried.
_LEASE_SECONDS = 120
_REMEMBERED_SECONDS = 30 * 24 * 3600
_TOLD = "told"


class BeingToldElsewhere(Exception):
    """Another copy of the event is being told at this moment; this one comes again to see whether it was."""


@dataclass(frozen=True)
class Told:
    """What people have been told, in the record table: pk "told", sk the notice's key, gone after 30 days."""

    table: str
    topic: str
    dynamodb: DynamoDBClient
    sns: SNSClient

    def tell(self, notice: Notice) -> bool:
        """Publish a notice unless it is written down as told; True when it was published.

        Errors: BeingToldElsewhere while another holds it; whatever SNS or DynamoDB say, after which it can be told at once.
        """
        if not self._lease(notice.key):
            return False
        try:
            self.sns.publish(
                TopicArn=self.topic,
                Subject=notice.email_subject(),
                MessageStructure="json",
                Message=notice.message(),
                MessageAttributes=notice.attributes(),  # type: ignore[arg-type]
            )
        except Exception:
            self._write(notice.key, leased_until=0.0)
            raise
        self._write(notice.key, told_at=time.time())
        return True

    def _lease(self, key: str) -> bool:
        """Whether it is ours to tell. A lease that has run out is that of a function that died."""
        now = time.time()
        try:
            self.dynamodb.put_item(
                TableName=self.table,
                Item=self._item(key, leased_until=now + _LEASE_SECONDS),
                ConditionExpression="attribute_not_exists(pk) OR leased_until <= :now",
                ExpressionAttributeValues={":now": {"N": str(now)}},
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            at = {"pk": {"S": _TOLD}, "sk": {"S": key}}
            found = self.dynamodb.get_item(TableName=self.table, Key=at, ConsistentRead=True)
            if "told_at" in found.get("Item", {}):
                return False
            raise BeingToldElsewhere(key) from error
        return True

    def _write(self, key: str, **times: float) -> None:
        self.dynamodb.put_item(TableName=self.table, Item=self._item(key, **times))

    @staticmethod
    def _item(key: str, **times: float) -> dict[str, Any]:
        times["expires_at"] = int(time.time()) + _REMEMBERED_SECONDS
        return {"pk": {"S": _TOLD}, "sk": {"S": key}, **{name: {"N": str(at)} for name, at in times.items()}}


@functools.cache
def told() -> Told:
    """The real one, made once for a warm function. It gives up on SNS well before its lease ends."""
    impatient = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 3, "mode": "standard"})
    return Told(
        table=os.environ["RECORDS_TABLE"],
        topic=os.environ["TOPIC"],
        dynamodb=boto3.client("dynamodb", config=impatient),
        sns=boto3.client("sns", config=impatient),
    )


def handler(batch: Mapping[str, Any], context: object) -> dict[str, Any]:
    """Entry point."""
    return work_off(batch, parse=parse, act=act)


def parse(event: Event) -> Notice | None:
    """What an event of the platform's bus gives people to know."""
    return notice(
        event["detail-type"],
        event["detail"],
        # 2026-03-17T09:30:00Z
        day=event["time"][:10],
        job_minutes=int(os.environ["JOB_MINUTES"]),
    )


def act(notices: Sequence[Notice | None]) -> None:
    """Tell them all; those that could not be told do not keep the others. Errors: RuntimeError naming these."""
    w = told()
    failed: list[str] = []
    for each in notices:
        if each is None:
            continue
        try:
            if w.tell(each):
                log.info("told: %s", each.subject)
        except Exception as error:
            log.exception("not told: %s", each.subject)
            failed.append(f"{each.key}: {type(error).__name__}")
    if failed:
        raise RuntimeError(f"{len(failed)} notices were not told and come again: {'; '.join(failed)}")
