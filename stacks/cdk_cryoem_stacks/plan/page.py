"""A plan as a page for people, and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from .calibration import Dataset
from .chance import CONFIDENCE
from .choose import Chosen, hours, usd
from .edit import Change
from .nodes import Placed
from .planning import Answer
from .search import Plan
from .totals import Line
from .work import Range

_ROWS = 12
_BAR = 24


def text(answer: Answer, change: Change, patch: str, *, file: str) -> str:
    """The whole page."""
    request = answer.request
    lines = [dataset_text(request.dataset), f"{request.config.name} in {request.prices.region}, {file}", ""]
    if answer.as_is is not None:
        lines += [f"As {file} has it", *_steps(answer.as_is), ""]
    else:
        lines += [f"As {file} has it: {answer.unfit}", ""]
    if answer.as_is is None or _nodes(answer.as_is) != _nodes(answer.chosen):
        lines += [_title(answer), *_steps(answer.chosen), ""]
    else:
        lines += [f"{_title(answer)}: that is it", ""]
    lines += [*_dataset(answer), "", *_month(answer), ""]
    lines += [*_frontier(answer), ""]
    lines += [*_change(answer, change, patch, file), ""]
    if answer.remarks:
        lines += ["Look at", *(f"  - {remark}" for remark in answer.remarks), ""]
    lines += ["Assumed", *(f"  - {assumption}" for assumption in answer.assumptions), ""]
    lines += ["Prices (USD, list, without tax)", *(f"  - {each}" for each in prices_used(answer))]
    return "\n".join(lines)


def dataset_text(dataset: Dataset) -> str:
    """A dataset in one line."""
    name = f"{dataset.name}: {dataset.title}" if dataset.title else dataset.name
    return (
        f"{name}, {dataset.movies:,} movies, {dataset.gb / 1000:.3g} TB, {dataset.particles:,} particles of"
        f" {dataset.box} pixels"
    )


def _title(answer: Answer) -> str:
    request = answer.request
    what = "Cheapest"
    if request.deadline_hours is not None:
        what = f"Cheapest within {request.deadline_hours:g} h"
    elif request.budget_usd is not None:
        what = f"Fastest for {request.budget_usd:g} USD"
    where = "any instance type" if request.any_type else "the lanes of the file"
    more = ", on spot capacity" if request.spot and request.any_type else ", spot lanes too" if request.spot else ""
    return f"{what}, with {where}{more}" + (", at the slowest and dearest" if request.sure else "")


def _nodes(chosen: Chosen) -> list[tuple[str, str, bool]]:
    return [(placed.node.lane, placed.node.shape.instance_type, placed.node.spot) for placed in chosen]


def _steps(chosen: Chosen) -> Iterator[str]:
    yield f"  {'step':<26} {'lane':<10} {'node':<15} {'hours':>19} {'USD':>24}"
    for placed in chosen:
        name = placed.node.shape.instance_type + (" spot" if placed.node.spot else "")
        yield (
            f"  {placed.work.step.title:<26} {placed.node.lane:<10} {name:<15} {_range(placed.hours, 1):>19}"
            f" {_range(placed.usd, 2):>24}"
        )
    yield f"  {'GPU nodes':<53} {_range(hours(chosen), 1):>19} {_range(usd(chosen), 2):>24}"


def _range(value: Range, digits: int) -> str:
    if value.exact:
        return f"{value.likely:,.{digits}f}"
    return f"{value.likely:,.{digits}f} ({value.low:,.{digits}f} to {value.high:,.{digits}f})"


def _dataset(answer: Answer) -> Iterator[str]:
    yield "A dataset"
    yield f"  {'GPU nodes':<28} {_range(answer.node_usd, 2):>28} USD"
    yield from _lines(answer.dataset_lines)
    yield f"  {'together':<28} {_range(answer.each, 2):>28} USD"


def _month(answer: Answer) -> Iterator[str]:
    request = answer.request
    yield f"A month with {request.per_month:g} datasets"
    yield from _lines(answer.month_lines)
    label = f"{request.per_month:g} datasets"
    yield f"  {label:<28} {_range(answer.each * request.per_month, 2):>28} USD"
    yield f"  {'together':<28} {_range(answer.month, 2):>28} USD"
    by_kind = "; ".join(f"{kind} {value.likely:,.2f}" for kind, value in month_by_kind(answer).items())
    yield f"  of which {by_kind}"
    if request.per_month:
        share = answer.month * (1 / request.per_month)
        yield f"  {'a dataset and its share':<28} {_range(share, 2):>28} USD"
    if request.grant_usd is not None and answer.paid is not None:
        paid = answer.paid
        yield ""
        yield f"A year for {request.grant_usd:,.0f} USD pays for"
        yield f"  {paid.likely:>6} datasets as is likely"
        yield f"  {paid.confident:>6} datasets with {CONFIDENCE:.0%} confidence"
        yield f"  {paid.least:>6} datasets with everything at the highest of its range"
        if not paid.likely:
            yield "  The system alone takes that much of a year's budget, or a dataset costs more than the rest"


def month_by_kind(answer: Answer) -> dict[str, Range]:
    """A month with its datasets: compute, transfer, storage and what else there is."""
    count = answer.request.per_month
    found = {"compute": answer.node_usd * count}
    for lines, times in ((answer.dataset_lines, count), (answer.month_lines, 1.0)):
        for line in lines:
            found[line.kind] = found.get(line.kind, Range.of(0.0)) + line.usd * times
    return found


def _lines(lines: Sequence[Line]) -> Iterator[str]:
    for line in lines:
        label = f"{line.kind}: {line.what}"
        yield f"  {label:<28} {_range(line.usd, 2):>28} USD  {line.how}"


def _frontier(answer: Answer) -> Iterator[str]:
    shown = thinned(answer.plans)
    dearest = max(plan.usd for plan in shown)
    yield f"Nobody is both faster and cheaper than these {len(answer.plans)}" + (
        f", of which {len(shown)} are shown" if len(shown) < len(answer.plans) else ""
    )
    yield f"  {'hours':>7} {'USD':>10}"
    for plan in shown:
        bar = "#" * max(1, round(plan.usd / dearest * _BAR))
        yield f"  {plan.hours:>7.1f} {plan.usd:>10.2f}  {bar:<{_BAR}}  {nodes_text(plan.choices)}"


def thinned(plans: Sequence[Plan[Chosen]]) -> Sequence[Plan[Chosen]]:
    """At most so many of a frontier, its ends among them, spread over it."""
    if len(plans) <= _ROWS:
        return plans
    return [plans[round(number * (len(plans) - 1) / (_ROWS - 1))] for number in range(_ROWS)]


def nodes_text(choices: Sequence[Chosen]) -> str:
    """Which steps are on which nodes, in few words."""
    by_node: dict[str, list[str]] = {}
    for placed in (placed for chosen in choices for placed in chosen):
        name = placed.node.shape.instance_type + (" spot" if placed.node.spot else "")
        by_node.setdefault(name, []).append(placed.work.step.name)
    return "; ".join(f"{name}: {', '.join(steps)}" for name, steps in by_node.items())


def _change(answer: Answer, change: Change, patch: str, file: str) -> Iterator[str]:
    if answer.request.spot and any(placed.node.spot for placed in answer.chosen) and answer.request.any_type:
        yield f"For spot capacity write `capacity: spot` (or `spot_twin: true`) to a lane in {file}; the rest:"
    if not change:
        yield f"Nothing is to be changed in {file}"
        return
    yield f"To change in {file} (--write does it)"
    yield from (f"  {line}" for line in patch.splitlines())
    for name in change.single():
        yield f"  Lane {name!r} then has one type: while EC2 has none of it, the lane is closed. No other of its size is near in price"


def prices_used(answer: Answer) -> list[str]:
    """Every price that a plan is made of, with region and date."""
    nodes = {
        f"{placed.node.shape.instance_type}: {placed.node.usd_per_hour:g} an hour ({placed.node.price})"
        for placed in [*answer.chosen, *(answer.as_is or ())]
    }
    lines = {f"{line.what}: {line.price}" for line in [*answer.dataset_lines, *answer.month_lines]}
    return sorted(nodes) + sorted(lines)


def document(answer: Answer, change: Change, patch: str, *, file: str) -> dict[str, Any]:
    """The same as JSON's own values."""
    request = answer.request
    dataset = request.dataset
    return {
        "dataset": {
            "name": dataset.name,
            "movies": dataset.movies,
            "gb": dataset.gb,
            "particles": dataset.particles,
            "box": dataset.box,
        },
        "system": request.config.name,
        "region": request.prices.region,
        "file": file,
        "asked": {
            "deadline_hours": request.deadline_hours,
            "budget_usd": request.budget_usd,
            "any": request.any_type,
            "spot": request.spot,
            "sure": request.sure,
            "per_month": request.per_month,
            "keep_months": request.keep_months,
            "grant_usd": request.grant_usd,
        },
        "as_is": None if answer.as_is is None else _chosen(answer.as_is),
        "chosen": _chosen(answer.chosen),
        "dataset_costs": [_line(line) for line in answer.dataset_lines],
        "month_costs": [_line(line) for line in answer.month_lines],
        "dataset_usd": _three(answer.each),
        "month_usd": _three(answer.month),
        "month_usd_by_kind": {kind: _three(value) for kind, value in month_by_kind(answer).items()},
        "datasets_a_year": None if answer.paid is None else dataclasses.asdict(answer.paid),
        "frontier": [
            {"hours": round(plan.hours, 3), "usd": round(plan.usd, 2), "nodes": nodes_text(plan.choices)}
            for plan in answer.plans
        ],
        "changes": {
            "lanes": {name: list(types) for name, types in change.types.items()},
            "stages": dict(change.stages),
            "patch": patch,
        },
        "remarks": list(answer.remarks),
        "assumptions": list(answer.assumptions),
        "prices": prices_used(answer),
    }


def _chosen(chosen: Chosen) -> dict[str, Any]:
    return {
        "steps": [_step(placed) for placed in chosen],
        "hours": _three(hours(chosen)),
        "usd": _three(usd(chosen)),
    }


def _step(placed: Placed) -> dict[str, Any]:
    return {
        "step": placed.work.step.name,
        "stage": placed.work.step.stage,
        "lane": placed.node.lane,
        "instance_type": placed.node.shape.instance_type,
        "spot": placed.node.spot,
        "usd_per_hour": placed.node.usd_per_hour,
        "price": placed.node.price,
        "hours": _three(placed.hours),
        "usd": _three(placed.usd),
    }


def _line(line: Line) -> dict[str, Any]:
    return {"kind": line.kind, "what": line.what, "usd": _three(line.usd), "how": line.how, "price": line.price}


def _three(value: Range) -> dict[str, float]:
    return {"low": round(value.low, 3), "likely": round(value.likely, 3), "high": round(value.high, 3)}
