"""Queue messages in; what cannot be worked off goes back to the queue, message by message."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

log = logging.getLogger("cryoem")
log.setLevel(logging.INFO)

Event = Mapping[str, Any]
T = TypeVar("T")


def work_off(
    batch: Mapping[str, Any], *, parse: Callable[[Event], T], act: Callable[[Sequence[T]], None]
) -> dict[str, Any]:
    """Parse every message of an SQS batch, act on all of them at once, and say which must come again.

    A message that cannot be parsed fails alone. If `act` raises, all others come again: a hint may be looked at twice.
    """
    failed: list[str] = []
    hints: list[T] = []
    parsed: list[str] = []
    for record in batch["Records"]:
        try:
            hints.append(parse(json.loads(record["body"])))
        except (ValueError, KeyError, TypeError):
            log.exception("message %s is no event of ours; it goes to the dead-letter queue", record["messageId"])
            failed.append(record["messageId"])
        else:
            parsed.append(record["messageId"])
    if hints:
        try:
            act(hints)
        except Exception:
            log.exception("these hints will be looked at again: %s", parsed)
            failed += parsed
    return {"batchItemFailures": [{"itemIdentifier": message} for message in failed]}
