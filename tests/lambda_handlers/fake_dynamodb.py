"""DynamoDB as the hooks see it, in memory: exactly the calls they make, and what would be refused is refused."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from botocore.exceptions import ClientError

Item = dict[str, Any]

# Of DynamoDB's reserved words, those that a record of ours could be tempted to use as a name.
_RESERVED = {
    *(
        "at",
        "begin",
        "bucket",
        "byte",
        "cluster",
        "cost",
        "count",
        "data",
        "date",
        "day",
        "end",
        "first",
        "hour",
        "key",
    ),
    *("last", "location", "minute", "month", "name", "names", "object", "order", "position", "project", "reference"),
    *("region", "second", "session", "size", "source", "start", "state", "status", "storage", "system", "tag", "time"),
    *("timestamp", "total", "ttl", "type", "user", "users", "value", "values", "view", "year", "zone"),
}
_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {"=": operator.eq, "<>": operator.ne, "<=": operator.le}


class DynamoDB:
    """One table with pk and sk, conditions, and numbers as DynamoDB gives them back."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}
        self.writes = 0

    def get_item(self, *, TableName: str, Key: Item, ConsistentRead: bool) -> dict[str, Any]:
        found = self.items.get(_key(Key))
        return {"Item": dict(found)} if found else {}

    def put_item(
        self,
        *,
        TableName: str,
        Item: Item,
        ConditionExpression: str = "",
        ExpressionAttributeValues: Mapping[str, Any] | None = None,
    ) -> None:
        self._require(ConditionExpression, Item, values=ExpressionAttributeValues or {}, names={})
        self.items[_key(Item)] = {name: _checked(typed) for name, typed in Item.items()}
        self.writes += 1

    def delete_item(self, *, TableName: str, Key: Item) -> None:
        if self.items.pop(_key(Key), None) is not None:
            self.writes += 1

    def transact_write_items(self, *, TransactItems: Sequence[Mapping[str, Any]]) -> None:
        """All or nothing. Errors: TransactionCanceledException, which says of each change whether it was to blame."""
        changes = [change for each in TransactItems for change in each.items()]
        keys = [_key(change["Item" if kind == "Put" else "Key"]) for kind, change in changes]
        if len(keys) > 100 or len(set(keys)) < len(keys):
            raise ClientError(
                {"Error": {"Code": "ValidationException", "Message": "one operation for each of 100 items"}},
                "TransactWriteItems",
            )
        reasons = [self._reason(change, key) for (_, change), key in zip(changes, keys, strict=True)]
        if any(reason["Code"] != "None" for reason in reasons):
            codes = ", ".join(reason["Code"] for reason in reasons)
            message = f"Transaction cancelled, please refer cancellation reasons for specific reasons [{codes}]"
            raise ClientError(
                {
                    "Error": {"Code": "TransactionCanceledException", "Message": message},
                    "CancellationReasons": reasons,  # type: ignore[typeddict-unknown-key]
                },
                "TransactWriteItems",
            )
        after = [self._changed(kind, change) for kind, change in changes]
        self.items |= dict(zip(keys, after, strict=True))
        self.writes += len(keys)

    def _reason(self, change: Mapping[str, Any], key: tuple[str, str]) -> dict[str, str]:
        condition = change.get("ConditionExpression", "")
        values, names = change.get("ExpressionAttributeValues", {}), change.get("ExpressionAttributeNames", {})
        used = set(re.findall(r":\w+|#\w+", f"{change.get('UpdateExpression', '')} {condition}"))
        assert used == {*names, *values}, "DynamoDB refuses names and values that no expression uses"
        if not condition or _holds(condition, self.items.get(key, {}), values=values, names=names):
            return {"Code": "None"}
        return {"Code": "ConditionalCheckFailed", "Message": "The conditional request failed"}

    def _changed(self, kind: str, change: Mapping[str, Any]) -> Item:
        if kind == "Put":
            return {name: _checked(typed) for name, typed in change["Item"].items()}
        assert kind == "Update", "the hooks make no other change in a transaction"
        names, values = change.get("ExpressionAttributeNames", {}), change["ExpressionAttributeValues"]
        after = {**self.items.get(_key(change["Key"]), {}), **change["Key"]}
        if change["UpdateExpression"].startswith("ADD "):
            for step in change["UpdateExpression"].removeprefix("ADD ").split(","):
                target, source = step.split()
                there = Decimal(after.get(target, {"N": "0"})["N"])
                after[target] = _checked({"N": str(there + Decimal(values[source]["N"]))})
            return after
        for step in change["UpdateExpression"].removeprefix("SET ").split(","):
            target, _, source = (part.strip() for part in step.partition("="))
            after[_name(target, names)] = _checked(values[source])
        return after

    def query(
        self,
        *,
        TableName: str,
        KeyConditionExpression: str,
        ExpressionAttributeValues: Mapping[str, Any],
        ConsistentRead: bool = False,
        ScanIndexForward: bool = True,
        Limit: int = 1000,
    ) -> dict[str, Any]:
        conditions = ("pk = :pk", "pk = :pk AND sk >= :since", "pk = :pk AND begins_with(sk, :period)")
        assert KeyConditionExpression in conditions
        head = ExpressionAttributeValues.get(":period", {"S": ""})["S"]
        since = ExpressionAttributeValues.get(":since", {"S": ""})["S"]
        keys = sorted(
            key
            for key in self.items
            if key[0] == ExpressionAttributeValues[":pk"]["S"] and key[1] >= since and key[1].startswith(head)
        )
        return {"Items": [dict(self.items[key]) for key in (keys if ScanIndexForward else keys[::-1])[:Limit]]}

    def get_paginator(self, call: str) -> DynamoDB:
        assert call == "query"
        return self

    def paginate(self, **query: Any) -> Iterator[dict[str, Any]]:
        for item in self.query(**query)["Items"]:
            yield {"Items": [item]}
        yield {"Items": []}

    def _require(self, condition: str, item: Item, *, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        there = self.items.get(_key(item), {})
        if condition and not _holds(condition, there, values=values, names=names):
            raise ClientError({"Error": {"Code": "ConditionalCheckFailedException", "Message": condition}}, "PutItem")


def _key(item: Item) -> tuple[str, str]:
    return item["pk"]["S"], item["sk"]["S"]


def _name(written: str, names: Mapping[str, str]) -> str:
    assert written.lower() not in _RESERVED, f"{written} is a reserved word of DynamoDB"
    return names.get(written, written)


def _checked(typed: Mapping[str, Any]) -> Item:
    ((kind, raw),) = typed.items()
    if kind == "N":
        number = Decimal(raw)
        assert number.is_finite(), "DynamoDB knows finite numbers only"
        return {"N": f"{number.normalize():f}"}
    if kind == "S":
        raw.encode()
    return {kind: raw}


def _holds(condition: str, item: Item, *, values: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Terms joined by OR and AND, with one level of brackets; a missing attribute equals and precedes nothing."""
    for inner in re.findall(r"(?<!exists)\(([^()]*(?:\([^()]*\))?[^()]*)\)", condition):
        condition = condition.replace(f"({inner})", str(_holds(inner, item, values=values, names=names)))

    def value(word: str) -> Any:
        typed = values[word] if word.startswith(":") else item.get(_name(word, names))
        if typed is None:
            return None
        ((kind, raw),) = typed.items()
        return Decimal(raw) if kind == "N" else raw

    def term(text: str) -> bool:
        if text in {"True", "False"}:
            return text == "True"
        absent = re.fullmatch(r"attribute_not_exists\((\w+)\)", text)
        if absent:
            return absent[1] not in item
        left, comparison, right = text.split()
        a, b = value(left), value(right)
        return comparison == "<>" if a is None or b is None else _COMPARISONS[comparison](a, b)

    return any(all(term(t.strip()) for t in each.split(" AND ")) for each in condition.split(" OR "))
