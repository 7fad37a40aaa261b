"""Events that are still to be said: written down together with what they tell of, removed once EventBridge has them.

Whoever dies in between leaves the event here, and the next hook or sweep says it. So an event is said at least once, and
of two that say the same only one waits.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .events_out import SOURCE, PlatformEvent

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient

_KIND = "outbox"
_BATCH = 10  # PutEvents takes ten entries at most


def item_of(event: PlatformEvent, *, cluster: str) -> dict[str, Any]:
    """The record of an event that waits; the same event always has the same key."""
    detail = event.detail(cluster=cluster)
    identity = json.dumps([detail.get(name) for name in event.identity], sort_keys=True)
    return {
        "pk": {"S": _KIND},
        "sk": {"S": f"{event.detail_type}#{hashlib.sha256(identity.encode()).hexdigest()[:32]}"},
        "detail_type": {"S": event.detail_type},
        "detail": {"S": json.dumps(detail, ensure_ascii=False, allow_nan=False)},
        "written_at": {"N": str(time.time())},
    }


def items_of(
    kind: str, table: str, *, dynamodb: DynamoDBClient, names: str = "", **values: str
) -> Iterator[Mapping[str, Any]]:
    """All records of a kind, with DynamoDB's types. names: a condition on their names, with its values."""
    pages = dynamodb.get_paginator("query").paginate(
        TableName=table,
        KeyConditionExpression=f"pk = :pk AND {names}" if names else "pk = :pk",
        ExpressionAttributeValues={":pk": {"S": kind}, **{f":{name}": {"S": value} for name, value in values.items()}},
        ConsistentRead=True,
    )
    for page in pages:
        yield from page["Items"]


class Outbox:
    """The events that wait in the record table."""

    def __init__(
        self, table: str, *, cluster: str, event_bus: str, dynamodb: DynamoDBClient, events: EventBridgeClient
    ) -> None:
        self._table, self._cluster, self._bus = table, cluster, event_bus
        self._db, self._events = dynamodb, events

    def put(self, event: PlatformEvent) -> None:
        """Write down an event that belongs to no change of a record: of something that was done elsewhere."""
        self._db.put_item(TableName=self._table, Item=item_of(event, cluster=self._cluster))

    def flush(self) -> int:
        """Say all that waits; returns how many. Errors: RuntimeError if EventBridge did not take one; it stays."""
        said, refused = 0, []
        waiting = sorted(
            items_of(_KIND, self._table, dynamodb=self._db), key=lambda item: float(item["written_at"]["N"])
        )
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            answer = self._events.put_events(
                Entries=[
                    {
                        "EventBusName": self._bus,
                        "Source": SOURCE,
                        "DetailType": item["detail_type"]["S"],
                        "Detail": item["detail"]["S"],
                    }
                    for item in batch
                ]
            )
            for item, entry in zip(batch, answer["Entries"], strict=True):
                if "EventId" not in entry:
                    said_of_it = f"{entry.get('ErrorCode')} {entry.get('ErrorMessage', '')}".strip()
                    refused.append(f"{item['detail_type']['S']}: {said_of_it}")
                    continue
                self._db.delete_item(TableName=self._table, Key={"pk": item["pk"], "sk": item["sk"]})
                said += 1
        if refused:
            raise RuntimeError(f"EventBridge did not take {len(refused)} events: {'; '.join(refused)[:800]}")
        return said
