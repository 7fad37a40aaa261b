"""The comparisons of a dataset for people."""

from __future__ import annotations

import json
from collections.abc import Iterator

from .verify import STATUSES, Seen
from .words import moment, several, size

MOST_NAMES = 20
"""How many names of each kind are shown; --json has all."""


def as_text(seen: Seen) -> str:
    """For people."""
    document = seen.receipt.document
    lines = [
        f"{seen.dataset}: {several(int(document['files']), 'file')}, {size(float(document['bytes']))};"
        f" receipt of {moment(float(document['made_at']))}: {'complete' if seen.receipt.complete else 'not complete'}",
        *(f"  because {reason}" for reason in document["reasons"]),
        "",
        f"{'':12}{''.join(f'{status:>12}' for status in STATUSES)}",
    ]
    for way in seen.ways:
        counts = "".join(f"{way.count(status):>12,}" for status in STATUSES) if way.verdicts is not None else ""
        lines.append(f"{way.name:12}{counts}  {way.note}")
    for way in seen.ways:
        for status in STATUSES[1:]:
            bad = [each for each in way.verdicts or () if each.status == status]
            if bad:
                lines += ["", f"{status}, {way.name}:"]
                lines += [f"  {shown(each.path)}  ({shown(each.reason)})" for each in bad[:MOST_NAMES]]
                if len(bad) > MOST_NAMES:
                    lines.append(f"  and {len(bad) - MOST_NAMES} more (--json has all)")
    return "\n".join([*lines, "", *_said(seen)])


def _said(seen: Seen) -> Iterator[str]:
    """The last lines: what is on the file system, which can be had again from the bucket, and what that is worth."""
    way = seen.file_system
    if way is not None:
        bad = len(way.verdicts or ()) - way.count("verified")
        yield (
            "The file system has it as the manifest does"
            if way.good
            else (
                f"The file system has {several(bad, 'file')} otherwise or not compared; that says nothing of the microscope disk"
            )
        )
    left_out = sum(len(each.left_out) for each in seen.ways)
    if left_out:
        yield f"{several(left_out, 'file')} of the share are in no manifest, because patterns leave them there: purge what it lists"
    said = (
        "safe to purge from the microscope disk" if seen.safe_to_purge else "NOT safe to purge from the microscope disk"
    )
    yield f"{seen.dataset} is {said}"


def shown(name: str) -> str:
    """A name on one line that a terminal shows: what is not printable is escaped, as in JSON."""
    return name if name.isprintable() else json.dumps(name)
