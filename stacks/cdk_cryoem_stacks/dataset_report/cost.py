"""The sections of the page about money: what ran where, what it cost, what it would have cost on other lanes. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..operate.words import listed, several
from . import figures, names
from .markup import Column, Html, hours, join, name, safe, spread, table, tag, usd
from .model import Elsewhere, Group, Lane, LaneTotal, Report, Sum
from .others import NO_GPU


def sections(report: Report) -> Iterator[tuple[str, str, Sequence[Html]]]:
    """Id, title and content of each."""
    if not report.jobs:
        yield "ran", "What ran where", [tag("p", "No job of this dataset has ended, so that nothing has a price.")]
        return
    yield "ran", "What ran where", list(_ran(report))
    yield "price", "What it cost", list(_price(report))
    yield "elsewhere", "What it would have cost on other lanes", list(_elsewhere(report))


# --- what ran where ---------------------------------------------------------------------------------------------------


def _ran(report: Report) -> Iterator[Html]:
    total = report.total
    columns = [Column(head="Stage"), Column(head="Lane")]
    columns += [Column(head=head, number=True) for head in ("Jobs", "Waited", "Ran", "GPU time", "USD")]
    colour = figures.colours(report)
    most = max(group.sum.usd for group in report.stages) or 1.0
    rows = [
        (
            join([name(group.name), tag("small", group.title)]),
            join([_lane(lane, colour[lane]) for lane in group.lanes], " "),
            _count(group),
            hours(group.sum.wait),
            hours(group.sum.seconds),
            hours(group.sum.gpu_seconds) if group.sum.gpu_seconds else "none",
            _bar(group.sum, most),
        )
        for group in report.stages
    ]
    foot = (
        "All",
        "",
        str(total.jobs),
        hours(total.wait),
        hours(total.seconds),
        hours(total.gpu_seconds),
        usd(total.usd),
    )
    yield table("Stages in the order in which a dataset goes through them", columns, rows, foot=foot)


def _lane(lane: str, colour: int) -> Html:
    return tag("span", name(lane or "none"), class_=f"lane k{colour}")


def _count(group: Group) -> Html:
    troubles = []
    if group.sum.failed:
        troubles.append(f"{group.sum.failed} failed")
    if group.sum.repeats:
        troubles.append(several(group.sum.repeats, "repeat"))
    return join([str(group.sum.jobs), tag("small", ", ".join(troubles)) if troubles else ""])


def _bar(total: Sum, most: float) -> Html:
    filled = tag("i", style=f"width:{total.usd / most * 100:.1f}%")
    return join([_usd(total), tag("span", filled, class_="part", aria_hidden="true")])


def _usd(total: Sum) -> str:
    return usd(None if total.unpriced == total.jobs else total.usd)


# --- what it cost -----------------------------------------------------------------------------------------------------


def _price(report: Report) -> Iterator[Html]:
    total = report.total
    colour = figures.colours(report)
    if total.usd:
        parts = [
            tag("i", class_=f"k{colour[group.name]}", style=f"width:{group.sum.usd / total.usd * 100:.2f}%")
            for group in report.lanes
            if group.sum.usd
        ]
        yield tag("div", *parts, class_="split", aria_hidden="true")
    shapes = {lane.name: lane for lane in report.shapes}
    columns = [Column(head="Lane"), Column(head="Node")]
    columns += [Column(head=head, number=True) for head in ("Jobs", "Ran", "USD", "Part")]
    rows = [
        (
            _lane(group.name, colour[group.name]),
            _node(shapes.get(group.name)),
            str(group.sum.jobs),
            hours(group.sum.seconds),
            _usd(group.sum),
            _part(group.sum.usd, total.usd),
        )
        for group in report.lanes
    ]
    foot = ("All", "", str(total.jobs), hours(total.seconds), usd(total.usd), "100%" if total.usd else "")
    yield table("Each job: its run time x the price of a node then x the part of the node that it kept from others. The prices of nodes here are those of now", columns, rows, foot=foot)  # fmt: skip
    yield tag("h3", "Waiting and idling")
    yield from _waiting(report)
    if len(report.users) > 1:
        yield from _people(report)


def _part(value: float, whole: float) -> str:
    part = value / whole if whole else 0.0
    return "less than 1%" if 0 < part < 0.005 else f"{part:.0%}"


def _node(lane: Lane | None) -> Html:
    if lane is None:
        return safe("no lane of the system now")
    price = f"{lane.usd_per_hour:g} USD an hour" + (f" ({lane.price_of})" if lane.price_of else "")
    return join([lane.instance_type or several(lane.gpus, "GPU"), tag("small", price)])


def _waiting(report: Report) -> Iterator[Html]:
    total, idle = report.total, report.idle
    mean = total.wait / total.jobs
    yield tag(
        "p",
        f"Waiting costs nothing: the jobs waited {hours(total.wait)} together, {hours(mean)} each on average, {hours(total.longest_wait)}"
        " at most. That a node boots for a job is in it.",
    )
    if idle is None:
        yield tag("p", "What its nodes cost while they booted and stood idle is not known here; it is in no sum above.")
        return
    yield tag(
        "p",
        tag("strong", f"Booting and standing idle: {usd(idle.usd)} USD"),
        f" beside the {usd(total.usd)} USD of the jobs. From the first submission to the last end the nodes of {listed(idle.lanes)}"
        f" cost {usd(idle.paid)} USD, and jobs used {usd(idle.used)} USD of it. ",
        f"{idle.pbr:.2f} GPU-hours were paid for each that was used (PBR). " if idle.pbr else "",
        f"{idle.own / idle.used:.0%} of the use was this dataset's; of what each lane had left, it bears the same part."
        if idle.own < idle.used * 0.995
        else "",
    )


def _people(report: Report) -> Iterator[Html]:
    columns = [Column(head="Person"), *(Column(head=head, number=True) for head in ("Jobs", "Ran", "USD"))]
    rows = [
        (name(group.name or "not told"), str(group.sum.jobs), hours(group.sum.seconds), _usd(group.sum))
        for group in report.users
    ]
    yield table("By person, as Slurm names them", columns, rows)


# --- other lanes ------------------------------------------------------------------------------------------------------


def _elsewhere(report: Report) -> Iterator[Html]:
    if not report.shapes:
        yield tag("p", "The lanes of the system could not be read, so that nothing can be compared.")
        return
    totals = report.elsewhere_totals
    others = [each for each in totals if not each.measured]
    if not others:
        yield tag("p", "Nothing of it can be compared with another lane:")
        yield _left_out(report.elsewhere)
        return
    yield tag(
        "p",
        "Computed, not measured: the same jobs with the speed of the other lane's GPUs. Each row compares the stages that can run there"
        " with what just these stages cost where they ran. A range is what the speeds allow.",
    )
    yield _lanes_table(report, others)
    yield _stages_table(report)
    left = _left_out(report.elsewhere)
    if left:
        yield tag("h3", "Left out")
        yield left
    yield tag("h3", "Assumptions")
    yield tag("ul", *(tag("li", each) for each in report.assumptions))


def _lanes_table(report: Report, others: Sequence[LaneTotal]) -> Html:
    colour, shapes = figures.colours(report), {lane.name: lane for lane in report.shapes}
    columns = [Column(head="On lane"), Column(head="Stages")]
    columns += [
        Column(head=head, number=True)
        for head in ("Would run", "Would cost, USD", "With nodes to itself, USD", "Did cost, USD")
    ]
    rows = [
        (
            join([_lane(each.lane, colour[each.lane]), tag("small", _kind(shapes[each.lane]))]),
            ", ".join(each.stages),
            spread(each.seconds, hours),
            join([spread(each.usd), tag("small", _against(each))]),
            spread(each.alone_usd),
            join([usd(each.ran_usd), tag("small", f"in {hours(each.ran_seconds)}")]),
        )
        for each in sorted(others, key=lambda each: (-len(each.stages), each.usd[1]))
    ]
    return table("Each lane with all the stages it can run", columns, rows)


def _kind(lane: Lane) -> str:
    return f"{lane.instance_type or lane.gpu_model.upper()}, {lane.usd_per_hour:g} USD an hour"


def _against(each: LaneTotal) -> str:
    if each.ran_usd <= 0:
        return ""
    more = each.usd[1] / each.ran_usd - 1
    words = "the same" if abs(more) < 0.005 else f"{abs(more):.0%} {'more' if more > 0 else 'less'}"
    return words + (" (speeds assumed)" if each.assumed else "")


def _stages_table(report: Report) -> Html:
    found = {(each.stage, each.lane): each for each in report.elsewhere}
    stages = sorted({each.stage for each in report.elsewhere if _other(each)}, key=names.order)
    lanes = [lane.name for lane in report.shapes if any(found[stage, lane.name].usd for stage in stages)]
    columns = [Column(head="Stage"), *(Column(head=lane, number=True) for lane in lanes)]
    rows = [(name(stage), *(_cell(found[stage, lane]) for lane in lanes)) for stage in stages]
    return table("Each stage on each lane: USD and run time; in bold where it ran", columns, rows)


def _other(each: Elsewhere) -> bool:
    return each.usd is not None and not each.measured


def _cell(each: Elsewhere) -> Html:
    if each.usd is None or each.seconds is None:
        return tag("span", "-", title=each.why_not)
    price = usd(each.usd[1])
    return join([tag("strong", price) if each.measured else price, tag("small", hours(each.seconds[1]))])


def _left_out(found: Sequence[Elsewhere]) -> Html:
    """Which stages could not be compared with which lanes, and why. That lanes without GPUs have none is no news."""
    lanes: dict[tuple[str, str], list[str]] = {}
    for each in found:
        if each.why_not and each.why_not != NO_GPU:
            lanes.setdefault((each.stage, each.why_not), []).append(each.lane)
    stages: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (stage, why), names_of in lanes.items():
        stages.setdefault((why, tuple(names_of)), []).append(stage)
    lines = [
        tag("li", tag("strong", ", ".join(sorted(of_it, key=names.order))), f" on {listed(where, most=8)}: {why}.")
        for (why, where), of_it in stages.items()
    ]
    return tag("ul", *lines) if lines else Html("")
