"""The timeline of a dataset as inline SVG: its arrival, and each job's wait and run, by lane. Pure.

Colours are variables of the page's style sheet, so that one picture serves light, dark and paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..operate.words import several, size, span
from .decide import began
from .markup import Html, hours, join, number, tag, usd, when
from .model import Job, Report
from .timescale import Scale, scale

COLOURS = 8
_MOST_TRACKS, _MOST_BARS = 24, 400
_LABEL, _PAD, _GAP = 18.0, 14.0, 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """What was drawn, and how high it is."""

    drawn: Sequence[Html]
    height: float


def colours(report: Report) -> Mapping[str, int]:
    """The number of each lane's colour: in the order of the configuration, so that two reports of a system agree."""
    names = [lane.name for lane in report.shapes]
    names += sorted({job.lane for job in report.jobs} - set(names))
    return {lane: number % COLOURS for number, lane in enumerate(names)}


def timeline(report: Report, *, width: float, prefix: str) -> Html:
    """The picture, so many units wide. prefix: of its ids. Nothing when nothing has happened yet."""
    arrival = report.arrival
    spans = [(began(job), job.ended_at) for job in report.jobs]
    if arrival.first_at is not None and arrival.last_at is not None:
        spans.append((arrival.first_at, max(arrival.last_at, arrival.landed_at or 0)))
    if not spans:
        return Html("")
    line = scale(spans, left=1.0, right=width - 1.0)
    lanes = list(dict.fromkeys(job.lane for job in sorted(report.jobs, key=began)))
    colour = colours(report)
    rows = [_arrival(report, line)] if arrival.first_at is not None else []
    rows += [
        _lane(lane, [job for job in report.jobs if job.lane == lane], line, colour[lane], prefix, width)
        for lane in lanes
    ]
    height = sum(row.height for row in rows)
    drawn, y = [], 0.0
    for row in rows:
        drawn.append(tag("g", *row.drawn, transform=f"translate(0 {y:g})"))
        y += row.height
    title = tag("title", f"Timeline of {report.dataset}", id=f"{prefix}-title")
    return tag(
        "svg",
        title,
        tag("desc", _in_words(report), id=f"{prefix}-desc"),
        _hatching(prefix),
        *_axis(line, height, width),
        *drawn,
        class_=f"timeline {prefix}",
        viewBox=f"0 0 {width:g} {height + 40:g}",
        role="img",
        aria_labelledby=f"{prefix}-title {prefix}-desc",
    )


def _hatching(prefix: str) -> Html:
    stripe = tag("path", d="M0 6 6 0", class_="stripe")
    return tag("defs", tag("pattern", stripe, id=f"{prefix}-wait", width=6, height=6, patternUnits="userSpaceOnUse"))


def _in_words(report: Report) -> str:
    arrival, total = report.arrival, report.total
    parts = []
    if arrival.first_at is not None:
        parts.append(f"Movies arrived from {when(arrival.first_at)} to {when(arrival.last_at)} UTC.")
    parts += [
        f"Lane {group.name}: {several(group.sum.jobs, 'job')} from {when(group.first_at)} to {when(group.last_at)} UTC,"
        f" which waited {hours(group.sum.wait)} and ran {hours(group.sum.seconds)}; {group.sum.failed} did not complete."
        for group in report.lanes
    ]
    if not total.jobs:
        parts.append("No job has ended.")
    return " ".join(parts)


def _axis(line: Scale, height: float, width: float) -> Iterator[Html]:
    for tick in line.ticks(apart=74.0):
        yield tag("line", x1=f"{tick.x:.1f}", x2=f"{tick.x:.1f}", y1=0, y2=f"{height + 4:g}", class_="grid")
        anchor = "start" if tick.x < 24 else "end" if tick.x > width - 24 else "middle"
        if tick.clock:
            yield tag("text", tick.clock, x=f"{tick.x:.1f}", y=f"{height + 17:g}", class_="tick", text_anchor=anchor)
        if tick.day:
            yield tag("text", tick.day, x=f"{tick.x:.1f}", y=f"{height + 32:g}", class_="tick day", text_anchor=anchor)
    for x, seconds in line.gaps():
        cut = tag("title", f"{span(seconds)} in which nothing was done are cut out")
        band = tag("rect", cut, x=f"{x - 7:.1f}", y=0, width=14, height=f"{height:g}", class_="cut")
        yield tag("g", band, tag("path", d=f"M{x - 4:.1f} {height + 6:g}l3-10m2 10l3-10", class_="slashes"))


def _arrival(report: Report, line: Scale) -> _Row:
    arrival = report.arrival
    assert arrival.first_at is not None
    last = arrival.last_at or arrival.first_at
    left, right = line.x(arrival.first_at), line.x(last)
    told = f"{number(arrival.movies)} movies, {size(arrival.bytes)}"
    bar = tag(
        "rect",
        tag("title", f"{told}: {when(arrival.first_at)} to {when(last)} UTC"),
        x=f"{left:.1f}", y=_LABEL, width=f"{max(2.0, right - left):.1f}", height=_PAD, rx=2, class_="data",
    )  # fmt: skip
    drawn = [tag("text", "arrival", tag("tspan", f"  {told}", class_="more"), x=0, y=12, class_="row"), bar]
    if arrival.landed_at is not None:
        x = line.x(arrival.landed_at)
        mark = tag("title", f"landed {when(arrival.landed_at)} UTC: {arrival.reason}")
        drawn.append(
            tag("path", mark, d=f"M{x:.1f} {_LABEL - 2:g}l5 9-5 9-5-9z", class_="landed", transform=f"translate({_inside(x, line):.1f} 0)")
        )  # fmt: skip
    return _Row(drawn=drawn, height=_LABEL + _PAD + _GAP)


def _inside(x: float, line: Scale) -> float:
    """How far a mark at an end of the line has to be moved to be seen whole."""
    return max(0.0, 6.0 - x) - max(0.0, x + 5.0 - line.parts[-1].right)


def _lane(lane: str, jobs: Sequence[Job], line: Scale, colour: int, prefix: str, width: float) -> _Row:
    told = f"  {several(len(jobs), 'job')}, {hours(sum(job.seconds for job in jobs))}"
    # Letters of this size are 8 wide at most, more or less.
    most = min(48, int((width - 130) / 8))
    shown = lane if len(lane) <= most else lane[:most] + "…"
    label = tag("text", shown or "no lane", tag("tspan", told, class_="more"), x=0, y=12, class_="row")
    tracks = _tracks(jobs) if len(jobs) <= _MOST_BARS else []
    if not tracks or len(tracks) > _MOST_TRACKS:
        return _Row(drawn=[label, *_areas(jobs, line, colour)], height=_LABEL + 80 + _GAP)
    high = 14.0 if len(tracks) <= 8 else 8.0
    bars = [
        _bar(job, line, colour, prefix, y=_LABEL + track * (high + 3), high=high)
        for track, of_it in enumerate(tracks)
        for job in of_it
    ]
    return _Row(drawn=[label, *bars], height=_LABEL + len(tracks) * (high + 3) + _GAP)


def _tracks(jobs: Sequence[Job]) -> list[list[Job]]:
    """Jobs in as few rows as none of them overlap in."""
    tracks: list[list[Job]] = []
    for job in sorted(jobs, key=lambda job: (began(job), job.ended_at)):
        free = next((track for track in tracks if track[-1].ended_at <= began(job)), None)
        if free is None:
            tracks.append([job])
        else:
            free.append(job)
    return tracks


def _bar(job: Job, line: Scale, colour: int, prefix: str, *, y: float, high: float) -> Html:
    left, right = line.x(began(job)), line.x(job.ended_at)
    middle = line.x(job.started_at) if job.started_at is not None else right
    parts: list[object] = [tag("title", _told(job))]

    def rect(x: float, to: float, **more: object) -> Html:
        return tag("rect", x=f"{x:.1f}", y=f"{y:g}", width=f"{max(1.5, to - x):.1f}", height=f"{high:g}", **more)

    if middle - left > 0.5 or job.started_at is None:
        parts.append(rect(left, middle, class_="wait", fill=f"url(#{prefix}-wait)"))
    if job.started_at is not None:
        parts.append(rect(middle, right, rx=2, class_=f"run c{colour}" + ("" if job.good else " bad")))
        words = job.type or job.stage or job.name
        if high >= 14 and right - middle > 6.2 * len(words) + 22:
            parts.append(tag("text", words, x=f"{middle + 5:.1f}", y=f"{y + 10.5:g}", class_="on"))
    if not job.good:
        parts.append(tag("text", "✕", x=f"{max(left + 1, right - 11):.1f}", y=f"{y + high - 3:g}", class_="cross"))
    return tag("g", *parts)


def _told(job: Job) -> str:
    run = f", run {job.run} of {job.runs}" if job.runs > 1 else ""
    return (
        f"{job.name or job.id} by {job.user}{run}: {job.state}; waited {hours(job.wait)}, ran {hours(job.seconds)},"
        f" {usd(job.usd)} USD"
    )


def _areas(jobs: Sequence[Job], line: Scale, colour: int) -> Iterator[Html]:
    """How many jobs ran at each moment, and how many waited on top of them: of very many no bar would be seen."""
    changes: list[tuple[float, int, int]] = []
    for job in jobs:
        if job.started_at is None:
            changes += [(began(job), 0, 1), (job.ended_at, 0, -1)]
        else:
            changes += [(began(job), 0, 1), (job.started_at, 1, -1), (job.ended_at, -1, 0)]
    steps = _steps([(line.x(at), ran, waited) for at, ran, waited in sorted(changes)])
    most = max(whole for _, _, whole in steps) or 1
    bottom = _LABEL + 80

    def area(heights: Sequence[tuple[float, float]], **more: object) -> Html:
        points = [f"M{heights[0][0]:.1f} {bottom:g}"]
        points += [f"V{bottom - value / most * 76:.1f}H{x:.1f}" for (_, value), (x, _) in pairwise(heights)]
        return tag("path", d=join(points) + Html(f"V{bottom:g}z"), **more)

    yield area([(x, whole) for x, _, whole in steps], class_="waits")
    yield area([(x, ran) for x, ran, _ in steps], class_=f"run c{colour}")
    yield tag("text", f"at most {several(most, 'job')} at once", x=0, y=_LABEL + 10, class_="tick")


def _steps(changes: Sequence[tuple[float, int, int]]) -> list[tuple[float, int, int]]:
    """From changes of what runs and what waits: where, how many run, and how many there are, from there on.

    Of what happens within one unit the most is shown: nobody would see more, and the page stays small.
    """
    running = waiting = 0
    found: list[tuple[float, int, int]] = []
    left: float | None = None
    before = (0, 0)
    for x, ran, waited in changes:
        running, waiting = running + ran, waiting + waited
        now = (running, running + waiting)
        if left is not None and x < left + 1.0:
            _, most, whole = found.pop()
            found.append((left, max(most, now[0]), max(whole, now[1])))
        else:
            if left is not None and before != found[-1][1:]:
                found.append((left + 1.0, *before))
            found.append((x, *now))
            left = x
        before = now
    if left is not None and before != found[-1][1:]:
        found.append((left + 1.0, *before))
    return found
