"""Everything that happens in a `World`, how often, and a run of it by chance."""

from __future__ import annotations

from collections.abc import Callable, Collection
from random import Random

import movie_files as files
import movie_operators as operators
from movie_ledger import LostError
from movie_world import World

Step = Callable[[World], None]
STEPS: dict[Step, int] = {
    World.record: 12,
    World.spoil: 12,
    World.transfer: 8,
    World.transfer_of_a_share_that_changes: 5,
    World.sweep: 3,
    World.receipts: 5,
    World.synchronise: 6,
    World.pass_days: 6,
    files.work_on_file_system: 12,
    files.rebuild: 2,
    files.deploy: 2,
    operators.land_or_reopen: 3,
    operators.archive: 4,
    operators.undo: 1,
    operators.restore: 3,
    operators.care: 4,
    operators.tear_down: 4,
    operators.overwrite: 3,
    operators.attempt: 12,
    operators.delete_the_storage_stack: 1,
}
"""All steps, and how often in a hundred."""


def play(world: World, steps: int, *, often: Collection[Step] = ()) -> list[str]:
    """So many steps by chance, each of them once at least, with a look after each; returns their names.

    The first two let movies land. often: every second step is one of these. Errors: LostError, with the last steps.
    Which steps is decided by the world's seed alone. What a run copies of a share that changes meanwhile is not, nor hence
    everything that is chosen within later steps.
    """
    rng = Random(world.rng.random())
    weights = [STEPS[step] + (100 / len(often) if step in often else 0) for step in STEPS]
    order = [*STEPS, *rng.choices(list(STEPS), weights, k=max(0, steps - len(STEPS) - 2))]
    rng.shuffle(order)
    order = [World.record, World.transfer, *order]
    done: list[str] = []
    for step in order:
        done.append(step.__name__)
        try:
            step(world)
            world.look()
        except LostError as error:
            raise LostError(f"{error}; after {len(done)} steps, the last ones {done[-5:]}") from error
    world.ledger.retrieve()
    return done
