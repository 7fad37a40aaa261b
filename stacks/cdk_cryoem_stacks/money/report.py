"""`cryoem cost` and `cryoem cap` as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from .bill import Bill
from .limits import Limit
from .spending import ALWAYS, Nodes, Spending, Total

_SHOWN = 20


def cost_text(seen: Spending, limits: Sequence[Limit]) -> str:
    """One page."""
    period = "since the first job" if seen.month == ALWAYS else f"jobs that ended in {seen.month} (UTC)"
    lines = [f"{_usd(seen.total.usd)} USD, {period}: {_jobs(seen.total)}"]
    for kind, names in seen.by.items():
        lines += ["", kind.upper(), *_rows(names, datasets=seen.datasets if kind == "project" else ())]
    if seen.nodes is not None:
        lines += ["", "NODES", *_nodes(seen.nodes)]
    if limits:
        lines += ["", "CAPS", *cap_rows(limits)]
    lines += ["", "At the lanes' list prices; storage, transfer and head node are not in it (`cryoem plan` has them)."]
    return "\n".join(lines)


def _rows(names: dict[str, Total] | object, *, datasets: Sequence[str]) -> Iterator[str]:
    assert isinstance(names, dict)
    width = max((len(name or "(none)") for name in names), default=0)
    for name, total in list(names.items())[:_SHOWN]:
        mark = "  dataset" if name in datasets else ""
        yield f"  {name or '(none)':<{width}}  {_usd(total.usd):>12} USD  {_jobs(total)}{mark}"
    if len(names) > _SHOWN:
        rest = list(names.values())[_SHOWN:]
        yield f"  and {len(rest)} more: {_usd(sum(each.usd for each in rest))} USD; --json has all"


def _nodes(nodes: Nodes) -> Iterator[str]:
    yield f"  paid for      {_usd(nodes.paid_usd):>12} USD"
    yield f"  boot and idle {_usd(nodes.idle_usd):>12} USD  with what jobs left free of their nodes, and jobs that still run"
    for lane, usd in nodes.idle_by_lane.items():
        yield f"    {lane or '(no lane)':<12}{_usd(usd):>12} USD"
    if nodes.pbr is not None:
        yield f"  PBR           {nodes.pbr:>12.2f}      paid GPU-seconds / used ones; 1.0 is perfect"
    yield f"  head node     {nodes.head_node_hours:>12.1f} h on"
    if nodes.unpriced:
        yield f"  {nodes.unpriced} nodes are of no lane and have no price"


def cap_rows(limits: Iterable[Limit]) -> Iterator[str]:
    """A line each."""
    rows = sorted(limits, key=lambda each: (-each.spent_usd / each.limit_usd, each.scope))
    width = max((len(each.scope) for each in rows), default=0)
    for each in rows[:_SHOWN]:
        share = 100 * each.spent_usd / each.limit_usd
        kind = "hard" if each.hard else "soft"
        yield (
            f"  {each.scope:<{width}}  {_usd(each.spent_usd):>12} of {_usd(each.limit_usd):>12} USD  {share:3.0f} %  {kind}, {each.period}"
        )
        if each.raised is not None:
            until = datetime.fromtimestamp(float(each.raised["until"]), UTC)
            yield f"  {'':<{width}}  raised by {each.raised['by']} until {until:%Y-%m-%d %H:%M} UTC: {each.raised['reason']}"
    if len(rows) > _SHOWN:
        yield f"  and {len(rows) - _SHOWN} more, less of which is spent; --json has all"


def bill_text(seen: Spending, bill: Bill | None) -> str:
    """What AWS says beside what the meter says."""
    if bill is None:
        return "Cost Explorer knows nothing of this month yet."
    if not bill.by_service:
        return (
            "Cost Explorer has nothing with the tag cryoem:system: activate it in the billing console; it takes a day."
        )
    state = ", estimated" if bill.estimated else ""
    lines = ["", f"BILLED{state}", *(f"  {usd:>12,.2f} USD  {service}" for service, usd in bill.by_service.items())]
    ours = seen.nodes.paid_usd if seen.nodes is not None else seen.total.usd
    lines.append(
        f"  EC2 {bill.compute_usd:,.2f} USD (head node too) beside {ours:,.2f} USD of nodes at list price: spot, savings"
        " plans and taxes make the difference, and Cost Explorer is a day late"
    )
    return "\n".join(lines)


def _jobs(total: Total) -> str:
    parts = [f"{total.jobs} job{'' if total.jobs == 1 else 's'}", f"{total.seconds / 3600:,.1f} h"]
    if total.gpu_seconds:
        parts.append(f"{total.gpu_seconds / 3600:,.1f} GPU-hours")
    if total.unpriced:
        parts.append(f"{total.unpriced} without a price")
    return ", ".join(parts)


def _usd(value: float) -> str:
    return f"{value:,.2f}"
