"""The hooks' table of records, as far as operators read and write it. pk is the kind, sk the name within it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .ask import ask, find
from .find import Clients

Item = dict[str, Any]


class Records:
    """The table of one system. All methods: Errors: Failed."""

    def __init__(self, clients: Clients, table: str) -> None:
        self._clients = clients
        self._table = table

    def item(self, kind: str, name: str) -> Item | None:
        """One record, or None."""
        answer = ask(
            "dynamodb:GetItem",
            lambda: self._clients.dynamodb.get_item(TableName=self._table, Key=_key(kind, name), ConsistentRead=True),
        )
        return plain(answer["Item"]) if "Item" in answer else None

    def items(self, kind: str, *, since: str = "") -> list[Item]:
        """Every record of a kind, by name; with `since` those whose name is not before it."""
        condition, values = "pk = :pk", {":pk": {"S": kind}}
        if since:
            condition, values = f"{condition} AND sk >= :since", {**values, ":since": {"S": since}}

        def read() -> list[Item]:
            pages = self._clients.dynamodb.get_paginator("query").paginate(
                TableName=self._table,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
            )
            return [plain(item) for page in pages for item in page["Items"]]

        return ask("dynamodb:Query", read)

    def last(self, kind: str) -> Item | None:
        """The record of a kind with the last name, or None."""
        answer = ask(
            "dynamodb:Query",
            lambda: self._clients.dynamodb.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": {"S": kind}},
                ScanIndexForward=False,
                Limit=1,
            ),
        )
        return plain(answer["Items"][0]) if answer["Items"] else None

    def put_if(self, item: Item, *, condition: str, names: Mapping[str, str], values: Item) -> bool:
        """Write a whole record if the condition holds; whether it did."""
        done = find(
            "dynamodb:PutItem",
            lambda: self._clients.dynamodb.put_item(
                TableName=self._table,
                Item=typed(item),
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=typed(values),
            ),
            unless=("ConditionalCheckFailedException",),
        )
        return done is not None

    def update_if(
        self, kind: str, name: str, update: str, *, condition: str, names: Mapping[str, str], values: Item
    ) -> bool:
        """Change a record if the condition holds; whether it did."""
        done = find(
            "dynamodb:UpdateItem",
            lambda: self._clients.dynamodb.update_item(
                TableName=self._table,
                Key=_key(kind, name),
                UpdateExpression=update,
                ConditionExpression=condition,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=typed(values),
            ),
            unless=("ConditionalCheckFailedException",),
        )
        return done is not None

    def delete(self, kind: str, name: str) -> Item | None:
        """Delete a record; what it was, None when there was none."""
        answer = ask(
            "dynamodb:DeleteItem",
            lambda: self._clients.dynamodb.delete_item(
                TableName=self._table, Key=_key(kind, name), ReturnValues="ALL_OLD"
            ),
        )
        return plain(answer["Attributes"]) if answer.get("Attributes") else None


def typed(item: Item) -> dict[str, Any]:
    """Texts and numbers as DynamoDB writes them."""
    return {name: {"S": value} if isinstance(value, str) else {"N": repr(value)} for name, value in item.items()}


def plain(item: Mapping[str, Any]) -> Item:
    """What DynamoDB writes as Python's own values. Sets become sorted lists."""
    return {name: _value(value) for name, value in item.items()}


def _value(given: Mapping[str, Any]) -> Any:
    ((kind, raw),) = given.items()
    if kind == "N":
        return _number(raw)
    if kind == "L":
        return [_value(each) for each in raw]
    if kind == "M":
        return plain(raw)
    if kind == "SS":
        return sorted(raw)
    return None if kind == "NULL" else raw


def _number(raw: str) -> int | float:
    return float(raw) if any(c in raw for c in ".eE") else int(raw)


def _key(kind: str, name: str) -> dict[str, Any]:
    return typed({"pk": kind, "sk": name})
