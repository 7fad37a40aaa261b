"""What the hooks write down: datasets, transfers, lanes, jobs, troubles and leaks, in one DynamoDB table.

What changes and what is to be said of it are written in one transaction, under a condition that keeps an older look from
undoing a newer one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from .datasets import Seen, Verdict
from .events_out import PlatformEvent
from .outbox import item_of, items_of

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Item = dict[str, Any]
# Two hooks that add to one total at one moment: DynamoDB cancels one of the two, and botocore does not try it again.
_ATTEMPTS = 5


class Records:
    """The record table. pk is the kind, sk the name within it."""

    def __init__(self, table: str, *, cluster: str, dynamodb: DynamoDBClient) -> None:
        self._table, self._cluster = table, cluster
        self._db = dynamodb

    def dataset(self, name: str) -> Item:
        """What is known of a dataset; empty when nothing is."""
        return self._one("dataset", name)

    def datasets(self) -> Iterator[Item]:
        """All datasets that are known."""
        return self._all("dataset")

    def note_dataset(
        self, name: str, seen: Seen, verdict: Verdict, *, now: float, events: Sequence[PlatformEvent] = ()
    ) -> bool:
        """Write down what was seen by a look that began at `now`; False when that is out of date.

        It is when a later look was written down, when the dataset has landed since, or when an operator has said since
        that it has not.
        """
        landing = verdict.state == "landed" and not verdict.landed_before
        update = "SET objects = :objects, movies = :movies, size_bytes = :bytes, first_at = :first, last_at = :last,"
        update += " looked_at = :now, #state = :state" + ", reason = :reason, landed_at = :now" * landing
        condition = "attribute_not_exists(looked_at) OR (looked_at <= :now"
        condition += "" if verdict.landed_before else " AND #state <> :landed"
        condition += " AND #operator <> :arriving)" if landing else ")"
        values = {
            ":objects": {"N": str(seen.objects)},
            ":movies": {"N": str(seen.movies)},
            ":bytes": {"N": str(seen.bytes)},
            ":first": {"N": str(seen.first_at)},
            ":last": {"N": str(seen.last_at)},
            ":state": {"S": verdict.state},
            ":now": {"N": str(now)},
        }
        values |= {} if verdict.landed_before else {":landed": {"S": "landed"}}
        values |= {":reason": {"S": verdict.reason}, ":arriving": {"S": "arriving"}} if landing else {}
        return self._write(self._update("dataset", name, update, condition, values), events=events)

    def note_gone(self, name: str, *, now: float, events: Sequence[PlatformEvent]) -> bool:
        """Write down that nothing is left of a dataset that was arriving."""
        return self._write(
            self._update(
                "dataset",
                name,
                "SET #state = :gone, objects = :none, movies = :none, size_bytes = :none, looked_at = :now",
                "looked_at <= :now AND #state = :arriving",
                {
                    ":gone": {"S": "gone"},
                    ":arriving": {"S": "arriving"},
                    ":none": {"N": "0"},
                    ":now": {"N": str(now)},
                },
            ),
            events=events,
        )

    def note_processing(self, name: str, *, state: str, events: Sequence[PlatformEvent]) -> bool:
        """Write down once how the recipe of a dataset ended."""
        return self._write(
            self._update(
                "dataset",
                name,
                "SET processing_at = :now, processing = :processing",
                "attribute_not_exists(processing_at)",
                {":now": {"N": str(time.time())}, ":processing": {"S": state}},
            ),
            events=events,
        )

    def note_transfer(
        self,
        task: str,
        *,
        began: float,
        files: int,
        well: bool,
        failed: int = 0,
        execution: str = "",
        includes: str = "",
        scope: str = "",
    ) -> None:
        """Write down how the latest transfer of a microscope went; an older one changes nothing.

        files: how many it copied; failed: how many it could not. well: whether it saw everything and nothing failed.
        execution: its id, by which its report is known. includes: patterns that it was held to, scope: those that
        all runs of the task are; empty for the whole share.
        """
        self._write(
            self._put(
                {
                    "pk": {"S": "transfer"},
                    "sk": {"S": task},
                    "began": {"N": str(began)},
                    "files": {"N": str(files)},
                    "failed": {"N": str(failed)},
                    "well": {"N": str(int(well))},
                    **({"execution": {"S": execution}} if execution else {}),
                    **({"includes": {"S": includes}} if includes else {}),
                    **({"scope": {"S": scope}} if scope else {}),
                },
                condition="attribute_not_exists(pk) OR began <= :began",
                values={":began": {"N": str(began)}},
            )
        )

    def note_job(
        self,
        *,
        job_id: str,
        ended_at: int,
        fields: Mapping[str, str | int | float],
        spent: Mapping[str, Mapping[str, int]],
        events: Sequence[PlatformEvent] = (),
    ) -> bool:
        """Write a finished job down once; True when it was not there.

        spent: what it adds to each total, by the total's name. In one transaction with the job, so that the totals are the
        sums of the jobs, however often a job is told of.
        """
        item = {name: {"S": v} if isinstance(v, str) else {"N": repr(v)} for name, v in fields.items()}
        key = {"pk": {"S": "job"}, "sk": {"S": f"{ended_at:012d}#{job_id}"}}
        added = [self._add("spend", name, amounts) for name, amounts in spent.items()]
        return self._write(self._put({**item, **key}, condition="attribute_not_exists(pk)"), *added, events=events)

    def spend(self, name: str) -> Item:
        """A total; empty when nothing has counted in it."""
        return self._one("spend", name)

    def spends(self, period: str) -> Iterator[Item]:
        """All totals of a month, or those of all times."""
        return self._all("spend", names="begins_with(sk, :period)", period=f"{period}#")

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

    def lanes(self) -> Item:
        """The lanes the head node had when it was last looked at; empty before that."""
        return self._one("lanes", "registered")

    def note_lanes(
        self,
        *,
        manifest: str,
        lanes: Sequence[str],
        kept: Sequence[str],
        closed: Sequence[str],
        now: float,
        events: Sequence[PlatformEvent] = (),
    ) -> bool:
        """Write down which lanes the head node has, of which manifest; an older look changes nothing."""
        item = {
            "pk": {"S": "lanes"},
            "sk": {"S": "registered"},
            "manifest": {"S": manifest},
            "lanes": _texts(lanes),
            "kept": _texts(kept),
            "closed": _texts(closed),
            "looked_at": {"N": str(now)},
        }
        condition = "attribute_not_exists(looked_at) OR looked_at <= :now"
        return self._write(self._put(item, condition=condition, values={":now": {"N": str(now)}}), events=events)

    def wake_until(self) -> float:
        """Until when somebody asked for the head node, 0 for nobody."""
        return float(self._one("request", "wake").get("until", 0))

    def note_once(self, kind: str, name: str, *, fields: Mapping[str, Any], events: Sequence[PlatformEvent]) -> bool:
        """Write down a trouble or a leak that was not known, and what is to be said of it; True when it was not."""
        item = {key: {"S": v} if isinstance(v, str) else {"N": str(v)} for key, v in fields.items()}
        key = {"pk": {"S": kind}, "sk": {"S": name}}
        return self._write(self._put({**item, **key}, condition="attribute_not_exists(pk)"), events=events)

    def note(self, kind: str, name: str, *, fields: Mapping[str, Any]) -> None:
        """Write a whole record, whatever was there: of what one function alone writes."""
        item = {key: {"S": v} if isinstance(v, str) else {"N": str(v)} for key, v in fields.items()}
        self._db.put_item(TableName=self._table, Item={**item, "pk": {"S": kind}, "sk": {"S": name}})

    def known(self, kind: str) -> list[Item]:
        """Troubles or leaks that are written down."""
        return list(self._all(kind))

    def since(self, kind: str, at: float) -> list[Item]:
        """Records of a kind whose names begin with a time (twelve digits) that is not before this one."""
        return list(self._all(kind, names="sk >= :since", since=f"{max(0, int(at)):012d}"))

    def record(self, kind: str, name: str) -> Item:
        """One record; empty when there is none."""
        return self._one(kind, name)

    def note_since(
        self,
        kind: str,
        name: str,
        *,
        fields: Mapping[str, str | int | float],
        before: float | None,
        events: Sequence[PlatformEvent] = (),
    ) -> bool:
        """Write a whole record with a time `looked_at`; False when another look was written down since `before`.

        before: its `looked_at` as it was read, None when there was no record.
        """
        item = {key: {"S": v} if isinstance(v, str) else {"N": repr(v)} for key, v in fields.items()}
        put = self._put(
            {**item, "pk": {"S": kind}, "sk": {"S": name}},
            condition="attribute_not_exists(looked_at)" if before is None else "looked_at = :before",
            values=None if before is None else {":before": {"N": repr(before)}},
        )
        return self._write(put, events=events)

    def forget_digest(self, kind: str, name: str) -> None:
        """Have what a record was made of looked at again."""
        self._write(self._update(kind, name, "SET digest = :none", "digest <> :none", {":none": {"S": ""}}))

    def forget(self, kind: str, name: str) -> None:
        """Remove one that is over."""
        self._db.delete_item(TableName=self._table, Key={"pk": {"S": kind}, "sk": {"S": name}})

    def _put(self, item: Mapping[str, Any], *, condition: str, values: Mapping[str, Any] | None = None) -> Item:
        extra = {"ExpressionAttributeValues": values} if values else {}
        return {"Put": {"TableName": self._table, "Item": item, "ConditionExpression": condition, **extra}}

    def _update(self, kind: str, name: str, update: str, condition: str, values: Mapping[str, Any]) -> Item:
        names = {alias: alias[1:] for alias in ("#state", "#operator") if alias in update + condition}
        return {
            "Update": {
                "TableName": self._table,
                "Key": {"pk": {"S": kind}, "sk": {"S": name}},
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
                **({"ExpressionAttributeNames": names} if names else {}),
            }
        }

    def _add(self, kind: str, name: str, amounts: Mapping[str, int]) -> Item:
        return {
            "Update": {
                "TableName": self._table,
                "Key": {"pk": {"S": kind}, "sk": {"S": name}},
                "UpdateExpression": "ADD " + ", ".join(f"{each} :{each}" for each in amounts),
                "ExpressionAttributeValues": {f":{each}": {"N": str(amount)} for each, amount in amounts.items()},
            }
        }

    def _write(self, *changes: Item, events: Sequence[PlatformEvent] = ()) -> bool:
        """All or nothing; False when a condition does not hold."""
        said = [{"Put": {"TableName": self._table, "Item": item_of(e, cluster=self._cluster)}} for e in events]
        for attempt in range(_ATTEMPTS):
            try:
                self._db.transact_write_items(TransactItems=[*changes, *said])  # type: ignore[list-item]
            except ClientError as error:
                reasons: list[dict[str, Any]] = error.response.get("CancellationReasons", [])  # type: ignore[assignment]
                codes = {reason.get("Code") for reason in reasons}
                if "ConditionalCheckFailed" in codes:
                    return False
                if "TransactionConflict" not in codes or attempt == _ATTEMPTS - 1:
                    raise
            else:
                break
        return True

    def _one(self, kind: str, name: str) -> Item:
        answer = self._db.get_item(
            TableName=self._table, Key={"pk": {"S": kind}, "sk": {"S": name}}, ConsistentRead=True
        )
        return _plain(answer.get("Item", {}))

    def _all(self, kind: str, *, names: str = "", **values: str) -> Iterator[Item]:
        for item in items_of(kind, self._table, dynamodb=self._db, names=names, **values):
            yield _plain(item)


def _texts(names: Sequence[str]) -> Item:
    return {"L": [{"S": name} for name in names]}


def _plain(item: Mapping[str, Any]) -> Item:
    def value(typed: Mapping[str, Any]) -> Any:
        ((kind, raw),) = typed.items()
        if kind == "N":
            return float(raw) if any(c in raw for c in ".eE") else int(raw)
        return [value(each) for each in raw] if kind == "L" else raw

    return {name: value(typed) for name, typed in item.items()}
