"""Lanes: cryoSPARC and RELION have exactly those of the manifest, and those that jobs still use."""

from __future__ import annotations

import json
import time

from ..events_out import LanesChanged
from ..hints import log
from ..world import World

# refresh-programs comes first, which may have to fetch them; a master that starts answers late. Twice that is below the
# functions' ten minutes.
_SECONDS = 240


def reconcile(w: World) -> None:
    """Compare, and give the head node those that it lacks. Nothing to do while it sleeps."""
    if not w.head_node.running:
        log.info("head node is not running; lanes wait until it is")
        return
    now = time.time()
    fingerprint, _ = w.manifest()
    document, fenced = w.settings.register_lanes_document, {"ManifestSha256": fingerprint}
    has = w.head_node.run(document, {"Mode": "show", **fenced}, seconds=_SECONDS)
    if has["registered"] != has["wanted"]:
        now = time.time()
        has = w.head_node.run(document, {"Mode": "converge", **fenced}, seconds=_SECONDS)
        log.info("lanes: %s", json.dumps(has["changes"]))
    known = w.records.lanes()
    # One whose last job went just now is still to be removed, by the next look.
    lanes = sorted(name for name in has["registered"] if name in has["wanted"])
    kept, closed = has.get("kept", []), has.get("closed", [])
    before = [known.get(name, []) for name in ("lanes", "kept", "closed")]
    changed = LanesChanged(
        manifest=fingerprint,
        lanes=tuple(lanes),
        set=tuple(has["changes"].get("set", ())),
        removed=tuple(has["changes"].get("removed", ())),
        kept=tuple(kept),
        closed=tuple(closed),
    )
    if changed.set or changed.removed or before != [lanes, kept, closed]:
        w.records.note_lanes(manifest=fingerprint, lanes=lanes, kept=kept, closed=closed, now=now, events=[changed])
    elif known.get("manifest") != fingerprint:
        w.records.note_lanes(manifest=fingerprint, lanes=lanes, kept=kept, closed=closed, now=now)
