"""The report as one HTML page that asks for nothing else: no script, no font, no picture from anywhere. Pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from ..operate.words import several, size, span
from . import cost, figures
from .markup import Column, Html, counted, hours, join, name, number, table, tag, usd, when
from .model import Arrival, Job, Receipt, Report

# Whatever a name might smuggle in: nothing is fetched, nothing runs.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
MOST_JOBS = 500
"""How many jobs the page lists; all are in the JSON document."""
_WIDE, _PHONE = 960.0, 330.0


@functools.cache
def _style() -> Html:
    return Html((Path(__file__).parent / "style.css").read_text(encoding="utf-8"))


def html_of(report: Report) -> str:
    """The page."""
    head = join(
        [
            Html('<meta charset="utf-8">'),
            Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
            Html('<meta name="referrer" content="no-referrer">'),
            tag("title", f"{report.dataset} · dataset report"),
            tag("style", _style()),
        ],
        "\n",
    )
    sections = [
        _section("arrived", "What arrived", *_arrived(report)),
        _section("when", "When it happened", *_timeline(report)),
        *(_section(name_, title, *inside) for name_, title, inside in cost.sections(report)),
        _section("troubles", "Failed and repeated", *_troubles(report)) if _troubled(report) else "",
        _section("jobs", "Every job", *_jobs(report)) if report.jobs else "",
        _section("unknown", "What this page does not know", tag("ul", *(tag("li", each) for each in report.unknown))),
    ]
    body = tag("body", _header(report), tag("main", *sections), _footer(report))
    return f'<!doctype html>\n<html lang="en">\n<head>\n{head}\n</head>\n{body}\n</html>\n'


def _section(id: str, title: str, *inside: object) -> Html:
    return tag("section", tag("h2", title, id=id), *inside, aria_labelledby=id)


def _header(report: Report) -> Html:
    return tag(
        "header",
        tag("p", "Dataset report", class_="kind"),
        tag("h1", name(report.dataset)),
        tag("p", *_chips(report)),
        tag(
            "p", f"System {report.system}, {report.region}, as the records say at {when(report.at)} UTC.", class_="soft"
        ),
        tag("dl", *(_tile(*each) for each in _tiles(report)), class_="tiles"),
    )


def _chips(report: Report) -> Iterator[Html]:
    arrival, total = report.arrival, report.total
    states = {"landed": ("landed", "good"), "gone": ("nothing is left of it", "bad")}
    text, kind = states.get(arrival.state, ("still arriving", "warn"))
    yield tag("span", text, class_=f"chip {kind}")
    text, kind = _SAFE.get(report.receipt.state if report.receipt else "", ("no receipt yet", "soft"))
    yield tag("span", text, class_=f"chip {kind}")
    if arrival.archive not in ("", "active"):
        yield tag("span", f"archive: {arrival.archive}", class_="chip soft")
    if arrival.processing:
        kind = "good" if arrival.processing == "finished" else "bad"
        yield tag("span", f"recipe {arrival.processing}", class_=f"chip {kind}")
    if total.failed:
        yield tag("span", f"{several(total.failed, 'job')} did not complete", class_="chip warn")


_SAFE = {
    "safe": ("safe to purge from the microscope", "good"),
    "not-safe": ("NOT safe to purge", "bad"),
    "open": ("receipt still open", "warn"),
}


def _tiles(report: Report) -> Iterator[tuple[str, str, str]]:
    arrival, total = report.arrival, report.total
    per_hour = arrival.movies / arrival.seconds * 3600 if arrival.seconds >= 60 else 0
    yield "Movies", number(arrival.movies), f"{number(per_hour)} an hour" if per_hour else ""
    yield "Size", size(arrival.bytes), f"{number(arrival.objects)} files"
    yield "Jobs that ended", number(total.jobs), f"{several(total.repeats, 'repeat')}" if total.repeats else ""
    yield "Ran", hours(total.seconds), f"{hours(total.gpu_seconds)} of GPUs; waited {hours(total.wait)}"
    per_movie = total.usd / arrival.movies if arrival.movies and total.usd else 0
    yield "Price of the jobs, USD", usd(total.usd), f"{usd(per_movie)} USD a movie" if per_movie else ""


def _tile(title: str, value: str, more: str) -> Html:
    inside = [value, tag("span", more, class_="more") if more else ""]
    return tag("div", tag("dt", title), tag("dd", *inside), class_="tile")


# --- what arrived -----------------------------------------------------------------------------------------------------


def _arrived(report: Report) -> Iterator[Html]:
    arrival = report.arrival
    rows = list(_arrival_rows(arrival))
    yield tag("dl", *(join([tag("dt", title), tag("dd", value)]) for title, value in rows), class_="facts")
    yield tag("h3", "Receipt")
    yield from _receipt(report.receipt)


def _arrival_rows(arrival: Arrival) -> Iterator[tuple[str, object]]:
    yield "movies", f"{number(arrival.movies)} of {counted(arrival.objects, 'file')}, {size(arrival.bytes)}"
    if arrival.first_at is not None:
        yield "first file", f"{when(arrival.first_at)} UTC"
        yield "last file", f"{when(arrival.last_at)} UTC, {span(arrival.seconds)} later"
    if arrival.landed_at is not None:
        yield "landed", f"{when(arrival.landed_at)} UTC: {arrival.reason or 'no reason is written down'}"
    elif arrival.state == "gone":
        yield "landed", "never: all its objects are gone from the landing bucket"
    else:
        yield "landed", "not yet: what follows is what is known so far"
    if arrival.operator:
        yield "operator", name(arrival.operator)
    if arrival.processing:
        yield "recipe", arrival.processing


def _receipt(receipt: Receipt | None) -> Iterator[Html]:
    if receipt is None:
        yield tag(
            "p", "There is none yet. The hook writes it within a quarter of an hour after the dataset has landed."
        )
        return
    words, kind = _SAFE.get(receipt.state, (receipt.state, "soft"))
    # The receipt's file names its own field there.
    statement = receipt.statement.replace("at looked_at", "when it was last looked at")
    yield tag("p", tag("span", words, class_=f"{kind}-text"), ". ", statement)
    told = [f"{number(count)} {status}" for status, count in receipt.counts.items() if count]
    looked = f", looked at {when(receipt.looked_at)} UTC" if receipt.looked_at else ""
    yield tag("p", f"{counted(receipt.files, 'file')}: {', '.join(told) or 'none'}{looked}.")
    if receipt.reasons:
        yield tag("ul", *(tag("li", name(each)) for each in receipt.reasons))
    if receipt.examples:
        yield tag("p", "For example: ", join([name(each) for each in receipt.examples], ", "))
    for title, patterns in (("Left out", receipt.left_out), ("Held to", receipt.included)):
        if patterns:
            yield tag(
                "p",
                f"{title} by the transfers' patterns: ",
                join([name(each) for each in patterns], ", "),
                class_="soft",
            )
    if receipt.manifest:
        yield tag(
            "p", "Each file with its checksum: ", name(receipt.manifest), " in the landing bucket.", class_="soft"
        )


# --- when -------------------------------------------------------------------------------------------------------------


def _timeline(report: Report) -> Iterator[Html]:
    wide = figures.timeline(report, width=_WIDE, prefix="wide")
    if not wide:
        yield tag("p", "Nothing has happened yet.")
        return
    if report.jobs:
        items = [
            ("data", "movies arriving"),
            ("wait", "job waiting, for its node too"),
            ("run", "job running, in the colour of its lane"),
        ]
        marks = [tag("li", tag("span", class_=f"swatch {kind}"), text) for kind, text in items]
        yield tag("ul", *marks, tag("li", "✕ did not complete"), class_="legend")
    else:
        yield tag("p", "No job of this dataset has ended.")
    yield wide
    yield figures.timeline(report, width=_PHONE, prefix="phone")


# --- jobs -------------------------------------------------------------------------------------------------------------


def _troubled(report: Report) -> list[Job]:
    return [job for job in report.jobs if not job.good or job.runs > 1]


def _troubles(report: Report) -> Iterator[Html]:
    total = report.total
    yield tag(
        "p",
        f"{several(total.failed, 'job')} did not complete, which cost {usd(total.failed_usd)} USD of the {usd(total.usd)} USD;"
        f" {several(total.repeats, 'job')} ran again.",
    )
    columns = [Column(head="Job"), Column(head="Run"), Column(head="Ended"), Column(head="State"), Column(head="Lane")]
    columns += [Column(head="Ran", number=True), Column(head="USD", number=True)]
    rows = [
        (
            name(job.name or job.id),
            f"{job.run} of {job.runs}",
            when(job.ended_at),
            _state(job),
            name(job.lane),
            hours(job.seconds),
            usd(job.usd),
        )
        for job in _troubled(report)[:MOST_JOBS]
    ]
    yield table("Jobs that did not complete or ran more than once, by their ends (UTC)", columns, rows)


def _state(job: Job) -> Html:
    return tag("span", job.state.lower() or "not told", class_="good-text" if job.good else "bad-text")


def _jobs(report: Report) -> Iterator[Html]:
    columns = [Column(head="Job"), Column(head="Stage"), Column(head="Lane"), Column(head="Person")]
    columns += [Column(head="Submitted"), Column(head="State")]
    columns += [Column(head=head, number=True) for head in ("GPUs", "Waited", "Ran", "USD")]
    shown = report.jobs[-MOST_JOBS:]
    rows = [
        (
            join([name(job.name or job.id), tag("small", f"job {job.id}")]),
            job.stage,
            name(job.lane),
            name(job.user),
            when(job.submitted_at),
            _state(job),
            f"{job.gpus:g}",
            hours(job.wait),
            hours(job.seconds),
            usd(job.usd),
        )
        for job in shown
    ]
    more = len(report.jobs) - len(shown)
    left = f"; the first {number(more)} are not shown (cryoem report --json has all)" if more else ""
    yield table(f"By their ends, times in UTC{left}", columns, rows)


def _footer(report: Report) -> Html:
    return tag(
        "footer",
        tag(
            "p",
            "Made by cryoem report of cdk-cryoem from the hooks' records and the dataset's receipt. All times are UTC, all"
            f" sums US dollars. cryoem report {report.dataset} makes it again.",
        ),
    )
