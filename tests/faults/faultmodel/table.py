"""DynamoDB: one table with pk and sk, conditions, updates and transactions. Expressions are compiled once."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

Item = dict[str, Any]
Test = Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, str]], Any]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[()=<>,+-]|[#:\w.]+)")
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_STALE_SECONDS = 1.0


def failed(code: str, operation: str, **more: Any) -> ClientError:
    """What boto3 raises."""
    return ClientError({"Error": {"Code": code, "Message": f"{operation}: {code}"}, **more}, operation)  # type: ignore[arg-type]


class _Parser:
    """Condition and update expressions (DynamoDB developer guide, Expressions)."""

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        assert "".join(self._tokens) == re.sub(r"\s", "", text), f"not understood: {text}"
        self._at = 0

    def done(self) -> bool:
        return self._at >= len(self._tokens)

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self, expected: str = "") -> str:
        token = self._tokens[self._at]
        assert not expected or token == expected, f"{expected} expected, {token} found"
        self._at += 1
        return str(token)

    def condition(self) -> Test:
        terms = [self._conjunction()]
        while self.peek() == "OR":
            self.take()
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else lambda i, v, n: any(term(i, v, n) for term in terms)

    def _conjunction(self) -> Test:
        terms = [self._negation()]
        while self.peek() == "AND":
            self.take()
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else lambda i, v, n: all(term(i, v, n) for term in terms)

    def _negation(self) -> Test:
        if self.peek() == "NOT":
            self.take()
            inner = self._negation()
            return lambda i, v, n: not inner(i, v, n)
        return self._comparison()

    def _comparison(self) -> Test:
        token = self.peek()
        if token == "(":
            self.take()
            inner = self.condition()
            self.take(")")
            return inner
        if token in ("attribute_exists", "attribute_not_exists", "begins_with", "contains"):
            return self._function()
        left = self.operand()
        sign = self.take()
        if sign == "BETWEEN":
            low = self.operand()
            self.take("AND")
            high = self.operand()
            return lambda i, v, n: (
                _holds("<=", low(i, v, n), left(i, v, n)) and _holds("<=", left(i, v, n), high(i, v, n))
            )
        if sign == "IN":
            self.take("(")
            among = [self.operand()]
            while self.peek() == ",":
                self.take()
                among.append(self.operand())
            self.take(")")
            return lambda i, v, n: any(_holds("=", left(i, v, n), each(i, v, n)) for each in among)
        right = self.operand()
        return lambda i, v, n: _holds(sign, left(i, v, n), right(i, v, n))

    def _function(self) -> Test:
        name = self.take()
        self.take("(")
        subject = self.take()
        second: Test | None = None
        if self.peek() == ",":
            self.take()
            second = self.operand()
        self.take(")")
        if name.startswith("attribute"):
            wanted = name == "attribute_exists"
            return lambda i, v, n: (n.get(subject, subject) in i) is wanted
        assert second is not None
        argument = second
        read = _operand(subject)
        if name == "begins_with":
            return lambda i, v, n: (
                (found := read(i, v, n)) is not None and str(found[1]).startswith(argument(i, v, n)[1])
            )
        return lambda i, v, n: (found := read(i, v, n)) is not None and argument(i, v, n)[1] in found[1]

    def operand(self) -> Test:
        """A value, an attribute, if_not_exists, or a sum of two."""
        first = self._simple()
        if self.peek() not in ("+", "-"):
            return first
        sign = 1 if self.take() == "+" else -1
        second = self._simple()
        return lambda i, v, n: ("N", first(i, v, n)[1] + sign * second(i, v, n)[1])

    def _simple(self) -> Test:
        token = self.take()
        if token != "if_not_exists":
            return _operand(token)
        self.take("(")
        attribute = _operand(self.take())
        self.take(",")
        other = self.operand()
        self.take(")")
        return lambda i, v, n: found if (found := attribute(i, v, n)) is not None else other(i, v, n)


def _operand(token: str) -> Test:
    if token.startswith(":"):
        return lambda i, v, n: _value(v[token])
    return lambda i, v, n: _value(i.get(n.get(token, token)))


def _value(typed: Mapping[str, Any] | None) -> tuple[str, Any] | None:
    if typed is None:
        return None
    ((kind, raw),) = typed.items()
    return (kind, float(raw)) if kind == "N" else (kind, raw)


def _holds(sign: str, a: tuple[str, Any] | None, b: tuple[str, Any] | None) -> bool:
    if sign == "<>":
        return a != b
    # What is missing, or of another type, neither equals nor precedes anything.
    return a is not None and b is not None and a[0] == b[0] and _COMPARE[sign](a[1], b[1])


@functools.cache
def _condition(text: str) -> Test:
    parser = _Parser(text)
    found = parser.condition()
    assert parser.done(), f"not understood: {text}"
    return found


@functools.cache
def _update(text: str) -> list[tuple[str, str, Test | None, str]]:
    """(SET, attribute, operand, its token if it is one), (REMOVE, attribute, None, "")."""
    parser, steps, clause = _Parser(text), [], ""
    while not parser.done():
        if parser.peek() in ("SET", "REMOVE", "ADD"):
            clause = parser.take()
        elif parser.peek() == ",":
            parser.take()
        target = parser.take()
        if clause == "SET":
            parser.take("=")
            single = parser.peek() if parser.peek().startswith(":") else ""
            steps.append((clause, target, parser.operand(), single))
        elif clause == "REMOVE":
            steps.append((clause, target, None, ""))
        else:
            steps.append((clause, target, parser.operand(), ""))
    return steps


class Table:
    """The records. Every call is a method of its name with an underscore less; `now` decides what a stale read sees."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self.kinds: dict[str, dict[str, Item]] = {}
        self._before: dict[tuple[str, str], tuple[float, Item | None]] = {}

    def find(self, kind: str, name: str) -> Item | None:
        return self.kinds.get(kind, {}).get(name)

    def get(self, key: Item, *, consistent: bool) -> Item | None:
        pk, sk = key["pk"]["S"], key["sk"]["S"]
        found = self.find(pk, sk)
        return found if consistent else self._stale(pk, sk, found)

    def query(self, values: Mapping[str, Any], condition: str, *, consistent: bool, forward: bool) -> list[Item]:
        pk = values[":pk"]["S"]
        found = self.kinds.get(pk, {})
        if not consistent:
            older = {sk: self._stale(pk, sk, item) for sk, item in found.items()}
            found = {sk: item for sk, item in older.items() if item is not None}
        names = sorted(found, reverse=not forward)
        if condition.replace(" ", "") == "pk=:pk":
            return [found[sk] for sk in names]
        test = _condition(condition)
        return [found[sk] for sk in names if test(found[sk], values, {})]

    def write(self, kind: str, request: Mapping[str, Any], *, operation: str) -> None:
        """PutItem, UpdateItem, DeleteItem."""
        if not self._allowed(kind, request):
            raise failed("ConditionalCheckFailedException", operation)
        self._apply(kind, request)

    def transact(self, requests: list[Mapping[str, Any]]) -> None:
        """All or nothing."""
        changes = [next(iter(request.items())) for request in requests]
        keys = [_key(kind, request) for kind, request in changes]
        if len(set(keys)) != len(keys) or len(keys) > 100:
            raise failed("ValidationException", "TransactWriteItems")
        allowed = [self._allowed(kind, request) for kind, request in changes]
        if not all(allowed):
            reasons = [{"Code": "None" if each else "ConditionalCheckFailed"} for each in allowed]
            raise failed("TransactionCanceledException", "TransactWriteItems", CancellationReasons=reasons)
        for kind, request in changes:
            if kind != "ConditionCheck":
                self._apply(kind, request)

    def items(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Names and records of a kind without DynamoDB's types."""
        for name, item in sorted(self.kinds.get(kind, {}).items()):
            yield name, {key: plain(typed) for key, typed in item.items()}

    def _allowed(self, kind: str, request: Mapping[str, Any]) -> bool:
        condition = request.get("ConditionExpression")
        if not condition:
            return True
        pk, sk = _key(kind, request)
        return bool(
            _condition(condition)(
                self.find(pk, sk) or {},
                request.get("ExpressionAttributeValues") or {},
                request.get("ExpressionAttributeNames") or {},
            )
        )

    def _apply(self, kind: str, request: Mapping[str, Any]) -> None:
        pk, sk = _key(kind, request)
        there = self.kinds.setdefault(pk, {})
        before = there.get(sk)
        self._before[pk, sk] = (self._clock.now, before)
        if kind == "Delete":
            there.pop(sk, None)
        elif kind == "Put":
            there[sk] = dict(request["Item"])
        else:
            names, values = request.get("ExpressionAttributeNames") or {}, request.get("ExpressionAttributeValues")
            old = before or {}
            new = {**old, **request["Key"]}
            for clause, target, operand, single in _update(request["UpdateExpression"]):
                name = names.get(target, target)
                if clause == "REMOVE":
                    new.pop(name, None)
                    continue
                assert operand is not None
                assert values is not None
                if clause == "SET":
                    new[name] = values[single] if single else _typed(operand(old, values, names))
                else:
                    had = _value(old.get(name))
                    new[name] = _typed(("N", (had[1] if had else 0.0) + operand(old, values, names)[1]))
            there[sk] = new

    def _stale(self, pk: str, sk: str, found: Item | None) -> Item | None:
        written = self._before.get((pk, sk))
        return written[1] if written and self._clock.now - written[0] < _STALE_SECONDS else found


def _key(kind: str, request: Mapping[str, Any]) -> tuple[str, str]:
    key = request["Item"] if kind == "Put" else request["Key"]
    return key["pk"]["S"], key["sk"]["S"]


def _typed(value: tuple[str, Any] | None) -> Item:
    assert value is not None, "an operand that is not there"
    return {"N": repr(value[1])} if value[0] == "N" else {value[0]: value[1]}


def plain(typed: Mapping[str, Any]) -> Any:
    """A value without its type; numbers as float."""
    ((kind, raw),) = typed.items()
    if kind == "N":
        return float(raw)
    return [plain(each) for each in raw] if kind == "L" else raw
