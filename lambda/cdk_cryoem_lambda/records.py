"""What the hooks write down: datasets, transfers, lanes and jobs, in one DynamoDB table."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from .datasets import Seen, Verdict

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]


class Records:
    """The record table. pk is the kind, sk the name within it."""

    def __init__(self, table: str, *, dynamodb: DynamoDBClient) -> None:
        self._table = table
        self._db = dynamodb

    def dataset(self, name: str) -> Item:
        """What is known of a dataset; empty when nothing is."""
        answer = self._db.get_item(
            TableName=self._table, Key={"pk": {"S": "dataset"}, "sk": {"S": name}}, ConsistentRead=True
        )
        return _plain(answer.get("Item", {}))

    def datasets(self) -> Iterator[Item]:
        """All datasets that are known."""
        return self._all("dataset")

    def note_dataset(self, name: str, seen: Seen, verdict: Verdict, *, now: float) -> None:
        """Write down what was seen by a look that began at `now`.

        A look that is older than what is written down changes nothing, nor does one that unlands what has landed.
        """
        landed = verdict.state == "landed"
        try:
            self._db.update_item(
                TableName=self._table,
                Key={"pk": {"S": "dataset"}, "sk": {"S": name}},
                UpdateExpression=(
                    "SET objects = :objects, movies = :movies, size_bytes = :bytes, first_at = :first, last_at = :last,"
                    " looked_at = :now, #state = :state"
                    + (", reason = if_not_exists(reason, :reason), landed_at = if_not_exists(landed_at, :now)" * landed)
                ),
                ConditionExpression=(
                    "attribute_not_exists(looked_at) OR (looked_at <= :now"
                    + " AND #state <> :landed" * (not landed)
                    + ")"
                ),
                ExpressionAttributeNames={"#state": "state"},
                ExpressionAttributeValues={
                    ":objects": {"N": str(seen.objects)},
                    ":movies": {"N": str(seen.movies)},
                    ":bytes": {"N": str(seen.bytes)},
                    ":first": {"N": str(seen.first_at)},
                    ":last": {"N": str(seen.last_at)},
                    ":state": {"S": verdict.state},
                    ":now": {"N": str(now)},
                    **({":reason": {"S": verdict.reason}} if landed else {":landed": {"S": "landed"}}),
                },
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def mark_dataset(self, name: str, field: str, *, now: float | None = None) -> None:
        """Write down that something was done for a dataset (announced_at, processing_at)."""
        self._db.update_item(
            TableName=self._table,
            Key={"pk": {"S": "dataset"}, "sk": {"S": name}},
            UpdateExpression="SET #field = if_not_exists(#field, :now)",
            ExpressionAttributeNames={"#field": field},
            ExpressionAttributeValues={":now": {"N": str(now or time.time())}},
        )

    def note_transfer(self, task: str, *, began: float, files: int) -> None:
        """Write down how the latest transfer of a microscope went; an older one changes nothing."""
        self._put_unless(
            {"pk": {"S": "transfer"}, "sk": {"S": task}, "began": {"N": str(began)}, "files": {"N": str(files)}},
            condition="attribute_not_exists(pk) OR began <= :began",
            values={":began": {"N": str(began)}},
        )

    def empty_transfers(self, tasks: tuple[str, ...]) -> list[float | None]:
        """For each microscope: when its latest transfer began, if that found nothing new."""
        latest = {item["sk"]: item for item in self._all("transfer")}
        return [
            float(latest[task]["began"]) if task in latest and int(latest[task]["files"]) == 0 else None
            for task in tasks
        ]

    def note_job(self, *, job_id: str, ended_at: int, fields: Mapping[str, str | int | float]) -> bool:
        """Write a finished job down once; True when it was not there."""
        item = {name: {"S": v} if isinstance(v, str) else {"N": repr(v)} for name, v in fields.items()}
        key = {"pk": {"S": "job"}, "sk": {"S": f"{ended_at:012d}#{job_id}"}}
        return self._put_unless({**item, **key}, condition="attribute_not_exists(pk)")

    def jobs(self) -> Iterator[Item]:
        """All finished jobs, in the order of their ends."""
        return self._all("job")

    def last_job_ended_at(self) -> float:
        """When the last job ended, 0 when none has."""
        answer = self._db.query(
            TableName=self._table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": "job"}},
            ScanIndexForward=False,
            Limit=1,
        )
        return float(answer["Items"][0]["sk"]["S"].partition("#")[0]) if answer["Items"] else 0.0

    def note_lanes(self, *, manifest: str, lanes: list[str], now: float) -> None:
        """Write down which lanes the head node has, of which manifest."""
        self._db.put_item(
            TableName=self._table,
            Item={
                "pk": {"S": "lanes"},
                "sk": {"S": "registered"},
                "manifest": {"S": manifest},
                "lanes": {"L": [{"S": lane} for lane in lanes]},
                "at": {"N": str(now)},
            },
        )

    def _put_unless(self, item: Mapping[str, Any], *, condition: str, values: Mapping[str, Any] | None = None) -> bool:
        try:
            extra: dict[str, Any] = {"ExpressionAttributeValues": values} if values else {}
            self._db.put_item(TableName=self._table, Item=item, ConditionExpression=condition, **extra)
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def _all(self, kind: str) -> Iterator[Item]:
        pages = self._db.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": kind}},
            ConsistentRead=True,
        )
        for page in pages:
            for item in page["Items"]:
                yield _plain(item)


def _plain(item: Mapping[str, Any]) -> Item:
    def value(typed: Mapping[str, Any]) -> Any:
        ((kind, raw),) = typed.items()
        if kind == "N":
            return float(raw) if any(c in raw for c in ".eE") else int(raw)
        return [value(each) for each in raw] if kind == "L" else raw

    return {name: value(typed) for name, typed in item.items()}
