"""The receipt as it is written beside a dataset, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .receipts import Receipt

VERSION = 1


def document(
    made: Receipt, *, cluster: str, made_at: float, manifest: Mapping[str, Any], landed_at: float | None
) -> dict[str, Any]:
    """Its JSON. manifest: where the manifest is, and its checksum."""
    held_to = " that a pattern of included names and" if made.included else ""
    said = (
        f"Every file of this dataset that was on the share at looked_at and{held_to} that no pattern of left_out names is in the"
        " landing bucket and verified: it is safe to purge what the manifest lists from the microscope disk."
        if made.complete
        else "NOT safe to purge from the microscope disk: see reasons."
    )
    return {
        "version": VERSION,
        "dataset": made.dataset,
        "cluster": cluster,
        "complete": made.complete,
        "statement": said,
        "reasons": list(made.reasons),
        "files": made.files,
        "movies": made.movies,
        "bytes": made.bytes,
        **made.counts,
        "examples": list(made.examples),
        "left_out": list(made.left_out),
        "included": list(made.included),
        "landed_at": landed_at,
        "last_at": made.last_at,
        "looked_at": made.looked_at,
        "made_at": made_at,
        "manifest": dict(manifest),
    }
