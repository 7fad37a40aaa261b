"""What nodes were paid for, as the records say it, held against when they were really on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .site import Site


def wrong(site: Site, *, patience: float) -> Iterator[tuple[str, str]]:
    """Kind and text of each violation. patience: within it a node that is on must have been seen, after the last fault.

    The model's EC2 shows no instance that has ended, so that a life is known until the last look that saw it: never longer
    than it was.
    """
    now, slurm = site.clock.now, site.slurm
    on = {(f"i-{node.name}", int(node.on_since)): node.on_since for node in slurm.nodes if node.paid}
    seen = {}
    for _, item in site.table.items("node-life"):
        if item["kind"] == "head-node":
            continue
        life = (str(item["instance_id"]), int(item["from"]))
        seen[life] = item
        end = now if life in on else slurm.lives.get(life)
        if end is None:
            yield "life of no node", f"{life[0]} since {life[1]}"
        elif item["until"] > max(end, life[1] + 60):
            yield "paid for longer than it was on", f"{life[0]}: {item['until'] - end:.0f} s"
    for life, since in on.items() if site.sweeps.regular else ():
        if now - since <= patience:
            continue
        if life not in seen or now - seen[life]["until"] > patience or seen[life]["over"]:
            yield "a node that is on is not paid for", f"{life[0]} for {now - since:.0f} s"
