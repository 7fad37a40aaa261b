"""The picture of a run: data, head node, lanes, jobs and nodes over time, as PNG and as a page that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

from .observer import NodeSpan
from .summary import Summary

_COLOURS = {"cpu": "#7a8793", "gpu1": "#2a9d8f", "gpu4": "#e9a03b", "gpu8": "#d1495b", "live": "#8661c1"}
_INK, _PALE = "#1f2933", "#d5dbe1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """Everything the picture shows. Times in epoch seconds."""

    dataset: str
    objects: Sequence[float]
    landed: float
    head_node: Sequence[tuple[float, str]]
    lanes_registered: float
    nodes: Sequence[NodeSpan]
    summary: Summary
    resolution_angstrom: float


def draw(run: Run, png: Path) -> str:
    """Write the PNG; returns the same picture as SVG."""
    zero = min([*run.objects, *(at for at, _ in run.head_node)])
    end = (
        max([run.landed, *(span.off or span.launched for span in run.nodes), *(j.ended_at for j in run.summary.jobs)])
        - zero
    )
    rows = ["data", "head node", "lanes", *[f"job {job.job_id}" for job in run.summary.jobs]]
    rows += [span.node for span in run.nodes]
    figure, axis = plt.subplots(figsize=(11, 1.6 + 0.42 * len(rows)), layout="constrained")
    for number in range(len(rows)):
        axis.axhspan(number - 0.5, number + 0.5, color="#f5f7f9" if number % 2 else "white", zorder=0)

    def bar(row: int, start: float, stop: float, colour: str, text: str = "") -> None:
        axis.barh(row, max(stop - start, end / 300), left=start - zero, height=0.56, color=colour, zorder=2)
        if text:
            axis.text(max(stop, start) - zero + end / 150, row, text, va="center", fontsize=8, color=_INK, zorder=3)

    bar(0, min(run.objects), max(run.objects), "#3d7ea6")
    axis.plot([run.landed - zero], [0], marker="D", color="#d1495b", zorder=4)
    axis.text(
        run.landed - zero + end / 100, 0, f"landed: {len(run.objects)} objects", va="center", fontsize=8, color=_INK
    )
    for (at, state), (until, _) in zip(run.head_node, [*run.head_node[1:], (zero + end, "")], strict=True):
        bar(1, at, until, "#3d7ea6" if state == "running" else _PALE, "" if until < zero + end else state)
    axis.plot([run.lanes_registered - zero], [2], marker="D", color="#2a9d8f", zorder=4)
    axis.text(run.lanes_registered - zero + end / 100, 2, "registered", va="center", fontsize=8, color=_INK)
    for number, job in enumerate(run.summary.jobs, start=3):
        bar(number, job.submitted_at, job.started_at, _PALE)
        colour = _COLOURS.get(job.lane, "#555555")
        bar(number, job.started_at, job.ended_at, colour, f"{job.name}  {job.lane}  ${job.usd:.4f}")
    for number, span in enumerate(run.nodes, start=3 + len(run.summary.jobs)):
        ready, off = span.ready or span.off or zero + end, span.off or zero + end
        bar(number, span.launched, ready, _PALE)
        bar(number, ready, off, _COLOURS.get(span.lane, "#555555"), "off" if span.off else "on")
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(-end * 0.01, end * 1.28)
    axis.set_xlabel("seconds; pale: waiting, booting or asleep", fontsize=9, color=_INK)
    axis.set_title(
        f"{run.dataset}: from the microscope's share to a map at {run.resolution_angstrom:.1f} Å", fontsize=11
    )
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(axis="y", length=0)
    figure.savefig(png, dpi=130)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    plt.close(figure)
    svg = buffer.getvalue()
    return svg[svg.index("<svg") :]


def page(run: Run, svg: str, comparison: Path, target: Path) -> None:
    """Write the page."""
    rows = "".join(
        f"<tr><td>{html.escape(job.job_id)}</td><td>{html.escape(job.name)}</td><td>{html.escape(job.lane)}</td>"
        f"<td class=n>{job.wait}</td><td class=n>{job.ended_at - job.started_at}</td><td class=n>{job.usd:.4f}</td>"
        f"<td>{html.escape(job.state)}</td></tr>"
        for job in run.summary.jobs
    )
    total = run.summary
    picture = base64.b64encode(comparison.read_bytes()).decode()
    target.write_text(
        f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(run.dataset)}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: {_INK}; margin: 2rem auto; max-width: 68rem; padding: 0 1rem }}
img {{ max-width: 100%; height: auto }} svg {{ width: 100%; min-width: 44rem; height: auto }}
.wide {{ overflow-x: auto }}
table {{ border-collapse: collapse; width: 100% }} td, th {{ padding: .3rem .6rem; border-bottom: 1px solid {_PALE}; text-align: left }}
.n {{ text-align: right; font-variant-numeric: tabular-nums }}
</style>
<h1>{html.escape(run.dataset)}</h1>
<div class=wide>{svg}</div>
<h2>Jobs</h2>
<div class=wide><table><tr><th>job<th>name<th>lane<th class=n>waited, s<th class=n>ran, s<th class=n>USD<th>state</tr>{rows}</table></div>
<p>Jobs {total.jobs_usd:.4f} USD; their nodes {total.nodes_usd:.4f} USD at list prices, boot and idle time included.
{_efficiency(total)}</p>
<h2>The map against the truth</h2>
<img alt="Projections of the map and of the true volume, and their Fourier shell correlation" src="data:image/png;base64,{picture}">
</html>
""",
        encoding="utf-8",
    )


def _efficiency(total: Summary) -> str:
    if total.pbr is None or total.mean_cold_wait_seconds is None:
        return "No GPU was used."
    return (
        f"PBR {total.pbr:.2f} with a mean cold wait of {total.mean_cold_wait_seconds:.1f} s. "
        "Nodes of the twin boot in 3 s and jobs take seconds: this shows the bookkeeping, not what AWS would give."
    )
