"""What a dataset's record keeps of its archive: what was asked for, by whom, when, and whether that is done.

Attributes: archive (active, finished, restoring), archive_by, archive_at (epoch seconds), archive_pending (1 while objects
are still being marked or asked for), archive_tier and archive_days of a restore.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from ..operate.ask import Failed
from ..operate.land import KIND
from ..operate.records import Records

Word = Literal["active", "finished", "restoring"]


def begin(records: Records, item: Mapping[str, Any], word: Word, *, by: str, at: float, **more: str | int) -> None:
    """Write down what begins, if nothing has changed since the record was read. Errors: Failed."""
    values: dict[str, Any] = {":word": word, ":by": by, ":at": at, ":pending": 1}
    values |= {f":{name}": value for name, value in more.items()}
    update = "SET #archive = :word, archive_by = :by, #at = :at, archive_pending = :pending"
    update += "".join(f", archive_{name} = :{name}" for name in more)
    conditions = ["attribute_exists(pk)", "#state = :state"]
    values[":state"] = item["state"]
    if "archive_at" in item:
        conditions.append("#at = :before")
        values[":before"] = item["archive_at"]
    else:
        conditions.append("attribute_not_exists(#at)")
    if "last_at" in item:
        conditions.append("last_at = :last")
        values[":last"] = item["last_at"]
    _write(records, str(item["sk"]), update, " AND ".join(conditions), values)


def end(records: Records, name: str, *, at: float) -> None:
    """Write down that what began at that moment is done. Errors: Failed when something else has begun since."""
    _write(records, name, "REMOVE archive_pending", "#at = :at", {":at": at})


def _write(records: Records, name: str, update: str, condition: str, values: Mapping[str, Any]) -> None:
    # Two are reserved words of DynamoDB, which refuses names that are not used, and none at all.
    whole = {"#archive": "archive", "#state": "state", "#at": "archive_at"}
    names = {alias: given for alias, given in whole.items() if alias in update + condition}
    if not records.update_if(KIND, name, update, condition=condition, names=names, values=dict(values)):
        raise Failed(
            f"{name} changed at this moment: a file came, or somebody else archives or restores it. Look with `cryoem"
            " archive --list`, then run it again"
        )
