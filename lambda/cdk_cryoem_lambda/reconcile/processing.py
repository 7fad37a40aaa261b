"""Processing: the recipe runs, or has run, on every dataset that has landed."""

from __future__ import annotations

import re
import time

from ..datasets import waits_for_recipe
from ..events_out import ProcessingEnded
from ..head_node import CommandFailed
from ..hints import log
from ..world import World

# What the head node's documents accept as a name.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PATIENCE_SECONDS = 60
_ENDED = ("finished", "failed", "refused")


def reconcile(w: World) -> None:
    """Start what has not been started. Errors: CommandFailed after all were tried, if one could not be asked for."""
    recipe = w.settings.recipe
    if not recipe:
        return
    waiting = [item for item in w.records.datasets() if waits_for_recipe(item)]
    if not waiting or not w.head_node.running:
        return
    unasked: list[str] = []
    began = time.monotonic()
    for item in waiting:
        name = str(item["sk"])
        if not NAME.fullmatch(name):
            _note(w, name, "refused", "its name has characters that no command may carry; rename the folder")
            continue
        wanted = {"Dataset": name, "Recipe": recipe, "Objects": str(item["objects"])}
        try:
            answer = w.head_node.run(w.settings.start_processing_document, wanted)
        except CommandFailed as error:
            # The others need not wait for it; unless the head node takes long to say no, and then the next sweep does.
            unasked.append(f"{name}: {error}")
            if time.monotonic() - began > _PATIENCE_SECONDS:
                break
            continue
        log.info("processing of %s: %s", name, answer["state"])
        # Until it has ended, each sweep asks again: a recipe that died with the head node is started anew.
        if answer["state"] in _ENDED:
            _note(w, name, answer["state"], str(answer.get("reason", "")))
    if unasked:
        raise CommandFailed("; ".join(unasked))


def _note(w: World, name: str, state: str, reason: str) -> None:
    log.info("processing of %s has ended: %s %s", name, state, reason)
    ended = ProcessingEnded(dataset=name, recipe=w.settings.recipe, state=state, reason=reason)  # type: ignore[arg-type]
    w.records.note_processing(name, state=state, events=[ended])
