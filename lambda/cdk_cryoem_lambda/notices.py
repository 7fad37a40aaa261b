"""What people are told of an event, and in which words; nothing here asks anybody anything."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .events_out import KINDS, VERSION

Detail = Mapping[str, Any]

# The identity of what is told, where it is less than that of the event: people need not hear of a closed lane again
# because another one came.
_IDENTITY: Mapping[str, tuple[str, ...]] = {"Lanes Changed": ("closed",)}
_LONGEST_NAME = 48
_LONGEST_SUBJECT = 99  # SNS wants fewer than 100
_LONGEST_TITLE = 250
_LONGEST_DESCRIPTION = 8000
_JOB_ENDS: Mapping[str, str] = {
    "COMPLETED": "finished",
    "FAILED": "failed",
    "CANCELLED": "was cancelled",
    "REQUEUED": "was put back into the queue",
    "TIMEOUT": "was stopped at its time limit",
    "DEADLINE": "was stopped at its deadline",
    "OUT_OF_MEMORY": "ran out of memory",
    "NODE_FAIL": "lost its node",
    "BOOT_FAIL": "got no node that starts",
    "PREEMPTED": "was taken off its node",
}
_LEAKS: Mapping[str, str] = {
    "instance": "Instance",
    "live-session": "Live session",
    "file-system": "File system",
}


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What people are told: `subject` alone must do. `key` is the same for each copy of one event."""

    key: str
    event: str
    subject: str
    text: str
    user: str = ""
    project: str = ""

    def email_subject(self) -> str:
        """The subject as SNS takes it from everybody: ASCII, one line, below 100 characters."""
        line = self.subject.encode("ascii", errors="replace").decode()
        return line if len(line) <= _LONGEST_SUBJECT else f"{line[: _LONGEST_SUBJECT - 3]}..."

    def message(self) -> str:
        """The message for each protocol: plain text for e-mail, a custom notification for chat and all others.

        The format is that of Amazon Q Developer in chat applications, formerly AWS Chatbot (its administrator guide,
        "Custom notifications").
        """
        chat = json.dumps(
            {
                "version": "1.0",
                "source": "custom",
                "id": self.key,
                "content": {
                    "title": _for_chat(self.subject)[:_LONGEST_TITLE],
                    "description": _for_chat(self.text)[:_LONGEST_DESCRIPTION],
                },
            },
            ensure_ascii=False,
        )
        return json.dumps({"default": chat, "https": chat, "email": self.text}, ensure_ascii=False)

    def attributes(self) -> dict[str, dict[str, str]]:
        """Message attributes by which subscribers filter: event, and of a job its user and project."""
        given = {"event": self.event, "user": _line(self.user), "project": _line(self.project)}
        # SNS takes no empty value.
        return {name: {"DataType": "String", "StringValue": value} for name, value in given.items() if value}


def notice(detail_type: str, detail: Detail, *, day: str, job_minutes: int) -> Notice | None:
    """What people are told of an event of the platform, None for nothing.

    day: the UTC day of the event. job_minutes: nobody is told of a job that ran for less.
    Errors: KeyError, TypeError or ValueError for a detail that docs/events.schema.json does not allow.
    """
    if detail_type not in _TELL:
        return None
    if detail["version"] != VERSION:
        raise ValueError(f"{detail_type} of version {detail['version']!r}; this is written for version {VERSION}")
    if detail_type == "Job Finished" and float(detail["seconds"]) < job_minutes * 60:
        return None
    told = _TELL[detail_type](detail)
    if told is None:
        return None
    subject, text = told
    return Notice(
        key=key(detail_type, detail, day=day),
        event=detail_type,
        subject=subject,
        text=f"{subject}.\n\n{text}".strip() + "\n",
        user=str(detail.get("user", "")),
        project=str(detail.get("project", "")),
    )


def key(detail_type: str, detail: Detail, *, day: str) -> str:
    """The same for each copy of one event: its type, what identifies it, and the day if it has no time of its own."""
    kind = KINDS[detail_type]
    fields = _IDENTITY.get(detail_type, kind.identity)
    identity = [detail["cluster"], *(_same(detail[field]) for field in fields), *([day] if kind.daily else [])]
    # A name may be longer than what DynamoDB takes as a key.
    return f"{detail_type}#{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}"


def duration(seconds: float) -> str:
    """3 h 07 min, 42 min, 48 s."""
    if seconds < 60:
        return f"{int(seconds)} s"
    minutes = int(seconds // 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def money(usd: float) -> str:
    """$9.32; what is below a cent says so."""
    return "less than $0.01" if 0 < usd < 0.01 else f"${usd:,.2f}"


def size(count: float) -> str:
    """1.9 TB, in powers of ten as disks and prices are."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def job_name(name: str) -> str:
    """A job as its owner knows it: cryoSPARC's numbers, or the name it was given."""
    cryosparc = re.fullmatch(r"cryosparc_(P\d+)_(J\d+)", name)
    return f"{cryosparc[1]} {cryosparc[2]} (cryoSPARC)" if cryosparc else _short(name)


def _job(detail: Detail) -> tuple[str, str]:
    # "CANCELLED by 1001", "COMPLETING+"
    state = re.split(r"[ +]", str(detail["state"]))[0]
    ended = _JOB_ENDS.get(state, f"ended as {_short(state)}")
    usd = f", {money(float(detail['usd']))}" if "usd" in detail else ""
    seconds = float(detail["seconds"])
    name = job_name(str(detail["name"])) or _short(detail["job_id"])
    started, submitted = float(detail["started_at"]), float(detail["submitted_at"])
    waited = duration(started - submitted) if started >= submitted > 0 else ""
    return f"Your job {name} {ended}: {duration(seconds)}{usd} ({_short(str(detail['lane']))})", _lines(
        {
            "Slurm job": str(detail["job_id"]),
            "User": str(detail["user"]),
            "Project": str(detail["project"]),
            "State": str(detail["state"]),
            "Nodes": str(detail["nodes"]),
            "GPUs, CPUs": f"{float(detail['gpus']):g}, {float(detail['cpus']):g}",
            "Waited": waited,
        }
    )


def _landed(detail: Detail) -> tuple[str, str]:
    movies = int(detail["movies"])
    counted = f"{movies:,} movie{'' if movies == 1 else 's'}, {size(float(detail['bytes']))}"
    return f"Dataset {_short(detail['dataset'])} has landed: {counted}", _lines(
        {
            "Dataset": detail["dataset"],
            "Objects": f"{int(detail['objects']):,}",
            "At": _utc(detail["landed_at"]),
            "Because": detail["reason"],
        }
    )


def _safe(detail: Detail) -> tuple[str, str]:
    counted = f"{int(detail['files']):,} files, {size(float(detail['bytes']))}"
    return f"Dataset {_short(detail['dataset'])} is safe to purge from the microscope disk: {counted}", _lines(
        {
            "Dataset": detail["dataset"],
            "Movies": f"{int(detail['movies']):,}",
            "Manifest": detail["manifest"],
            "At": _utc(detail["safe_at"]),
        }
    )


def _not_safe(detail: Detail) -> tuple[str, str]:
    found = (f"{int(detail[name]):,} {name}" for name in ("verified", "unverified", "different", "missing", "unknown"))
    return f"Dataset {_short(detail['dataset'])} is NOT safe to purge from the microscope disk", _lines(
        {
            "Dataset": detail["dataset"],
            "Because": "; ".join(detail["reasons"]),
            "Files": ", ".join(found),
            "Such as": ", ".join(detail["examples"]),
            "What to do": f"cryoem verify {detail['dataset']}; docs/receipts.md, 'Not safe'",
        }
    )


def _transfer(detail: Detail) -> tuple[str, str]:
    return f"A transfer from the microscope failed: {_short(detail['reason'])}", _lines(
        {
            "Task": detail["task"],
            "Run": detail.get("execution", ""),
            "Since": _utc(detail["since"]),
            "Reason": detail["reason"],
            "What to do": "docs/ingest.md, 'Nothing comes'",
        }
    )


def _processing(detail: Detail) -> tuple[str, str]:
    said = {"finished": "has finished on", "failed": "failed on", "refused": "was not started on"}
    recipe, dataset = _short(detail["recipe"]), _short(detail["dataset"])
    return f"Recipe {recipe} {said[detail['state']]} dataset {dataset}", _lines(
        {"Dataset": detail["dataset"], "Recipe": detail["recipe"], "Reason": detail["reason"]}
    )


def _lanes(detail: Detail) -> tuple[str, str] | None:
    closed = list(detail["closed"])
    if not closed:
        return None
    lanes = f"Lane {_short(closed[0])} is" if len(closed) == 1 else f"Lanes {', '.join(map(_short, closed))} are"
    return f"{lanes} closed", _lines(
        {
            "Effect": "jobs wait there until somebody opens the partition again",
            "What to do": "docs/operations.md, 'A lane does not open'",
        }
    )


def _node(detail: Detail) -> tuple[str, str]:
    return f"Node {_short(detail['node'])} of lane {_short(detail['lane'])} failed", _lines(
        {"Node": detail["node"], "Since": _utc(detail["since"]), "Reason": detail["reason"]}
    )


def _backup(detail: Detail) -> tuple[str, str]:
    return "The backup of cryoSPARC's database failed", _lines({"At": _utc(detail["at"]), "Reason": detail["reason"]})


def _leak(detail: Detail) -> tuple[str, str]:
    usd = f", {money(float(detail['usd_per_hour']))} an hour" if "usd_per_hour" in detail else ""
    return f"{_LEAKS[detail['kind']]} {_short(detail['id'])} costs money for nothing{usd}", _lines(
        {"Id": detail["id"], "Since": _utc(detail["since"]), "What to do": detail["advice"]}
    )


def _cap(detail: Detail) -> tuple[str, str]:
    whose = f"{_short(detail['cap'])} of {_short(detail['project'])}" if detail["project"] else _short(detail["cap"])
    spent, limit = money(float(detail["spent_usd"])), money(float(detail["limit_usd"]))
    effect = "jobs that could exceed it are held in the queue" if detail["hard"] else "nothing is held"
    return f"Cap {whose}: {spent} of {limit} spent", _lines(
        {
            "Counts": detail["period"] if detail["period"] != "always" else "everything there ever was",
            "Reached": f"{detail['percent']} %",
            "Effect": effect,
            "What to do": f"`cryoem cost` shows what it was spent on; `cryoem cap raise {detail['cap']}` gives it more",
        }
    )


def _trouble(detail: Detail) -> tuple[str, str]:
    what = {"file-system": "File system", "association": "The association on", "task": "The release of"}[detail["kind"]]
    name = detail["id"] if detail["kind"] == "file-system" else detail["path"]
    return f"{what} {_short(name)} is {_short(detail['state'].lower())}", _lines(
        {
            "Id": detail["id"],
            "Since": _utc(detail["since"]),
            "FSx says": detail["reason"],
            "What to do": detail["advice"],
        }
    )


_TELL: Mapping[str, Callable[[Detail], tuple[str, str] | None]] = {
    "Dataset Landed": _landed,
    "Dataset Safe": _safe,
    "Dataset Not Safe": _not_safe,
    "Transfer Failed": _transfer,
    "Processing Ended": _processing,
    "Job Finished": _job,
    "Lanes Changed": _lanes,
    "Node Failed": _node,
    "Backup Failed": _backup,
    "Cost Leak Found": _leak,
    "Spend Cap Reached": _cap,
    "File System Trouble": _trouble,
}
TOLD = tuple(_TELL)
"""Kinds of events of which people are told."""


def _same(value: Any) -> Any:
    """A value as it is the same in each copy: 7 and 7.0 are one number, and the order of a list says nothing."""
    if isinstance(value, list):
        return sorted((_same(each) for each in value), key=json.dumps)
    return float(value) if isinstance(value, int | float) else value


def _utc(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(float(at), UTC):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        # No time of this world; the rest is worth telling.
        return str(at)


def _line(text: object) -> str:
    """A text on one line and without control characters, which SNS refuses."""
    return " ".join("".join(c if c.isprintable() else " " for c in str(text)).split())


def _lines(given: Mapping[str, str]) -> str:
    width = max(map(len, given)) + 2
    return "\n".join(f"{name:{width}}{_line(value)}" for name, value in given.items() if value)


def _short(name: str) -> str:
    """A name on one line; of a long one the middle is left out, because both its ends tell it from others."""
    line = _line(name)
    half = (_LONGEST_NAME - 3) // 2
    return line if len(line) <= _LONGEST_NAME else f"{line[:half]}...{line[-half:]}"


def _for_chat(text: str) -> str:
    """Names are people's own: in a chat they must neither call a whole channel nor be links."""
    plain = text.replace("<", "(").replace(">", ")").replace("@", "(at)")
    return plain.replace("](", "] (")
