"""A status on one page, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import tzinfo
from functools import partial

from .records import Item
from .status import HOURS, Jobs, Status
from .words import moment, several, size, span

OTHERS_SHOWN = 5
"""How many of the datasets that are not arriving are shown: the latest. All that are arriving are."""
_At = Callable[[float], str]


def as_text(status: Status, *, zone: tzinfo | None = None) -> str:
    """The page. zone: of its times; default this machine's."""
    at = partial(moment, zone=zone)
    lines = [f"{status.name} in {status.region}, account {status.account}, {at(status.at)}", ""]
    for title, rows in (
        ("head node", _head_node(status, at)),
        ("requests", _requests(status, at)),
        ("nodes", _nodes(status)),
        ("lanes", _lanes(status, at)),
        ("datasets", _datasets(status, at)),
        ("jobs", _jobs(status)),
        ("leaks", _leaks(status, at)),
    ):
        lines += [f"{title if number == 0 else '':<10} {row}" for number, row in enumerate(rows)]
    return "\n".join(lines)


def _head_node(status: Status, at: _At) -> Iterator[str]:
    node = status.head_node
    kind = f" ({node.type})" if node.type else ""
    since = f" since {at(node.since)}" if node.state == "running" else ""
    yield f"{node.id}{kind}: {node.state}{since}"


def _requests(status: Status, at: _At) -> Iterator[str]:
    if not status.requests:
        yield "none"
    for item in status.requests:
        until = float(item.get("until", 0))
        over = "; over" if until and until <= status.at else ""
        yield (
            f"{item['name']}"
            + (f" until {at(until)}" if until else "")
            + (f", asked by {item['by']}" if item.get("by") else "")
            + (f" at {at(item['at'])}" if item.get("at") else "")
            + over
        )


def _nodes(status: Status) -> Iterator[str]:
    if not status.nodes:
        yield "none is on"
        return
    types = ", ".join(f"{number} x {kind}" for kind, number in sorted(Counter(n.type for n in status.nodes).items()))
    yield f"{len(status.nodes)} on: {types}; the oldest for {span(status.at - status.nodes[0].since)}"


def _lanes(status: Status, at: _At) -> Iterator[str]:
    if status.lanes is None:
        yield "none were registered yet: the head node was never awake"
        return
    since = f"; so since {at(status.lanes['looked_at'])}" if "looked_at" in status.lanes else ""
    yield (", ".join(map(str, status.lanes.get("lanes", []))) or "none") + since
    for title in ("closed", "kept"):
        said = _joined(status.lanes.get(title))
        if said:
            yield f"{title}: {said}"


def _joined(given: object) -> str:
    """Names, or names with a reason each, or a text."""
    if isinstance(given, Mapping):
        return ", ".join(f"{name} ({reason})" if reason else str(name) for name, reason in sorted(given.items()))
    if isinstance(given, list):
        return ", ".join(map(str, given))
    return str(given) if given else ""


def _datasets(status: Status, at: _At) -> Iterator[str]:
    counts = status.dataset_counts
    if not counts:
        yield "none"
        return
    yield ", ".join(
        f"{of_it.datasets} {state} ({several(of_it.movies, 'movie')}, {size(of_it.bytes)})"
        for state, of_it in counts.items()
    )
    arriving = [item for item in status.datasets if item.get("state") == "arriving"]
    others = [item for item in status.datasets if item.get("state") != "arriving"]
    shown = [*_latest(arriving), *_latest(others)[:OTHERS_SHOWN]]
    width = max(len(str(item["name"])) for item in shown)
    for item in shown:
        yield f"{item['name']!s:<{width}}  {_dataset(item, at)}"
    if len(others) > OTHERS_SHOWN:
        yield f"and {len(others) - OTHERS_SHOWN} older ones"


def _latest(items: list[Item]) -> list[Item]:
    return sorted(items, key=lambda item: float(item.get("last_at", 0)), reverse=True)


def _dataset(item: Item, at: _At) -> str:
    parts = [
        f"{item.get('state', 'unknown'):<8}",
        f"{int(item.get('movies', 0)):>6} movies",
        f"{size(int(item.get('size_bytes', 0))):>7}",
    ]
    if item.get("state") == "landed" and "landed_at" in item:
        parts.append(f"landed {at(item['landed_at'])}: {item.get('reason', '')}")
    elif "last_at" in item:
        parts.append(f"last object {at(item['last_at'])}")
    if item.get("processing"):
        parts.append(f"recipe {item['processing']}")
    if "operator" in item:
        why = f": {item['operator_reason']}" if item.get("operator_reason") else ""
        parts.append(f"{item.get('operator_by', 'an operator')} says {item['operator']}{why}")
    return "  ".join(parts)


def _jobs(status: Status) -> Iterator[str]:
    if not status.jobs.jobs:
        yield f"none ended in the last {HOURS} h"
        return
    yield f"in the last {HOURS} h: {_sum(status.jobs)}"
    for kind, groups in (("lane", status.jobs_by_lane), ("project", status.jobs_by_project)):
        for name, of_it in groups.items():
            yield f"{kind:<7} {name:<12} {_sum(of_it)}"


def _sum(jobs: Jobs) -> str:
    parts = [several(jobs.jobs, "job"), f"{jobs.hours:.1f} h", f"{jobs.usd:.2f} USD"]
    parts += [f"{jobs.failed} not completed"] if jobs.failed else []
    parts += [f"{jobs.unpriced} without a price"] if jobs.unpriced else []
    return ", ".join(parts)


def _leaks(status: Status, at: _At) -> Iterator[str]:
    if not status.leaks:
        yield "none"
    for item in status.leaks:
        since = f" since {at(float(item['since']))}" if item.get("since") else ""
        yield f"{item.get('kind', 'leak')}: {item.get('id', item['name'])}{since}"
        if item.get("advice"):
            yield f"-> {item['advice']}"
