"""docs/cost.md and its pictures, every number of them computed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence

from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.plan import datasets, speeds, steps
from cdk_cryoem_stacks.plan.choose import Prices
from cdk_cryoem_stacks.plan.nodes import BILLED_MINUTES, METAL_MINUTES, WAITED_MINUTES
from cdk_cryoem_stacks.plan.picture import Curve, Point, chart
from cdk_cryoem_stacks.plan.planning import Answer, Request, plan
from cdk_cryoem_stacks.plan.work import LAWS, Range

from . import ribosome, right_sizing
from .ribosome import SIZES, Fit
from .right_sizing import P4D_THEN_USD, SPOT_OF_G, Way

GOALS = {"cgrp": 198, "glp1r": 214, "spike": 45}
"""What the planner's plan was not to exceed: USD on demand."""
GRANT_USD, PER_MONTH = 50_000.0, 4.0
_TITLES = {"cgrp": "CGRP", "glp1r": "GLP1R", "spike": "Spike"}
_P4D = "p4d throughout, today"
_WIDE = 128


def page() -> str:
    """The text of docs/cost.md."""
    ways = right_sizing.every()
    lines = [*_head(), *_table_1(), *_right_sizing(ways), *_robust(ways), *_around(), *_ribosome(), *_laws()]
    return "\n".join(_wrapped(lines)) + "\n"


def _wrapped(lines: Sequence[str]) -> Iterator[str]:
    """The lines with prose broken where it is wide; tables, lists, pictures and code stay as they are."""
    prose: list[str] = []
    for line in [*lines, ""]:
        if line[:1].isalnum() or (line.startswith(("**", "*", "`")) and not line.startswith("```")):
            prose.append(line)
            continue
        yield from textwrap.wrap(" ".join(prose), width=_WIDE, break_long_words=False, break_on_hyphens=False)
        prose = []
        if line.startswith("- ") and len(line) > _WIDE:
            yield from textwrap.wrap(line, width=_WIDE, subsequent_indent="  ", break_long_words=False)
        else:
            yield line


def pictures() -> Mapping[str, str]:
    """The pictures by their file names."""
    ways = right_sizing.every()
    return {
        **{f"cost-{name}.svg": _frontier(name, ways[name]) for name in datasets()},
        "cost-ribosome.svg": _ribosome_picture(),
    }


def _head() -> Iterator[str]:
    table = right_sizing.table().table
    yield "# Cost"
    yield ""
    yield "<!-- Made by `make study`. Do not edit: change study/ and make it again. -->"
    yield ""
    yield "```sh"
    yield "make study    # every number and picture of this page; seconds, no AWS account"
    yield "```"
    yield ""
    yield "What published datasets cost on which nodes. For your own datasets and file there is [`cryoem plan`](plan.md), which has the same"
    yield "tables and laws. **Nothing here was measured on AWS by this project**: published times, list prices, assumptions where there is"
    yield "nothing published. GPU nodes alone, USD without tax, unless said otherwise."
    yield ""
    yield (
        f"Prices: us-east-1, on demand {table.ec2('p4d.24xlarge').date}; p4d.24xlarge was {P4D_THEN_USD} an hour when the white paper was"
        f" written, and is {_usd(float(table.ec2('p4d.24xlarge').usd))}. Spot: {SPOT_OF_G} of on demand for the G family (a week of February 2024 in"
    )
    yield (
        f"us-east-1c), {float(table.ec2('p4d.24xlarge', spot=True).usd):.2f} for p4d ({table.ec2('p4d.24xlarge', spot=True).date}): it moves by the hour,"
        " and cryoSPARC's jobs do not go on after a kill."
    )
    yield ""


def _table_1() -> Iterator[str]:
    yield "## What is published"
    yield ""
    yield 'Table 1 of AWS\'s white paper "Cryo-EM processing at the pace of medicinal chemistry on AWS": minutes on p4d.24xlarge, eight A100.'
    yield ""
    yield "| step | GPUs it uses | " + " | ".join(_TITLES.values()) + " |"
    yield "|---|---|---|---|---|"
    for step in steps():
        yield f"| {step.title} | {step.gpus} | " + " | ".join(str(step.minutes[name] or "-") for name in _TITLES) + " |"
    totals = [divmod(sum(step.minutes[name] for step in steps()), 60) for name in _TITLES]
    yield "| **together** | | " + " | ".join(f"**{h} h {m:02d}**" for h, m in totals) + " |"
    found = [right_sizing.shares(datasets()[name]) for name in _TITLES]
    for gpus in (8, 4, 1):
        yield (
            f"| time that uses {gpus} GPU{'s' if gpus > 1 else ''} | | "
            + " | ".join(f"{part[gpus]:.0%}" for part, _ in found)
            + " |"
        )
    yield "| GPU-hours used of those paid for | | " + " | ".join(f"{used:.0%}" for _, used in found) + " |"
    yield ""


def _right_sizing(ways: Mapping[str, Mapping[str, Way]]) -> Iterator[str]:
    yield "## Right-sizing"
    yield ""
    yield "USD on demand and (spot), how many times cheaper than p4d throughout today, hours. Ranges are below."
    yield ""
    yield "| | " + " | ".join(_TITLES.values()) + " |"
    yield "|---|---|---|---|"
    for name in next(iter(ways.values())):
        yield f"| {name} | " + " | ".join(_cell(ways[dataset][name], ways[dataset][_P4D]) for dataset in _TITLES) + " |"
    yield ""
    yield "- *p4d throughout*: one node from the first step to the last, not a minute longer; no boot, no idle time. The others are billed"
    yield f"  {BILLED_MINUTES:.0f} minutes of boot and idle time for each step."
    yield "- *AWS guidance's shape*: g6.48xlarge for every job of more than one GPU, g6.4xlarge for one."
    yield "- *default lanes*: each stage on its lane, first type. *planner, default lanes*: `cryoem plan`, stages moved to other lanes of"
    yield "  `cryoem.yaml`, where that is cheaper. *planner, any type*: `cryoem plan --any`."
    yield "- *planner, as fast as p4d*: the cheapest plan of any types that takes no longer than p4d throughout."
    yield ""
    met = all(ways[name]["planner, any type"].usd.likely <= goal for name, goal in GOALS.items())
    yield f"The goal was {_list([f'{_TITLES[name]} {goal}' for name, goal in GOALS.items()])} USD on demand: **{'met' if met else 'not met'}**."
    yield ""
    yield "| node types | " + " | ".join(_TITLES.values()) + " |"
    yield "|---|---|---|---|"
    for name in list(next(iter(ways.values())))[2:]:
        yield f"| {name} | " + " | ".join(", ".join(ways[dataset][name].types) for dataset in _TITLES) + " |"
    yield ""
    for name, title in _TITLES.items():
        yield f"![{title}: hours and price of the best plans](img/cost-{name}.svg)"
        yield ""


def _robust(ways: Mapping[str, Mapping[str, Way]]) -> Iterator[str]:
    yield "### If the assumptions are wrong"
    yield ""
    yield "The range of each plan, if every GPU is as fast or as slow as is thought possible ([speeds](#assumptions)):"
    yield ""
    yield "| USD | " + " | ".join(_TITLES.values()) + " |"
    yield "|---|---|---|---|"
    for name in list(next(iter(ways.values())))[2:]:
        yield f"| {name} | " + " | ".join(_range(ways[dataset][name].usd) for dataset in _TITLES) + " |"
    sure = {name: right_sizing.sure_plan(datasets()[name]) for name in _TITLES}
    yield "| planner, any type, `--sure` | " + " | ".join(_range(way.usd) for way in sure.values()) + " |"
    yield ""
    yield (
        "`--sure` compares the dearest of each range; it takes "
        + _list([f"{', '.join(way.types)} for {_TITLES[name]}" for name, way in sure.items()])
        + "."
    )
    yield ""
    yield "Nobody has published how fast an L40S is at this. On p4d for eight GPUs, g6e.12xlarge for four, g6e.4xlarge for one:"
    yield ""
    yield "| | " + " | ".join(_TITLES.values()) + " |"
    yield "|---|---|---|---|"
    pairs = {name: right_sizing.l40s_at_half(datasets()[name]) for name in _TITLES}
    for number, what in enumerate(("an L40S as fast as an A100", "half as fast")):
        yield (
            f"| {what} | "
            + " | ".join(_cell(pairs[name][number], ways[name][_P4D], spot=False) for name in _TITLES)
            + " |"
        )
    yield ""


def _around() -> Iterator[str]:
    answers = {name: _answer(name) for name in _TITLES}
    first = next(iter(answers.values()))
    yield "## With everything around it"
    yield ""
    yield (
        f"A system of `name: cryoem` and one microscope, {PER_MONTH:g} datasets a month, their movies in S3 for"
        f" {first.request.keep_months:g} months, default lanes as the planner uses them. What is not counted: [plan.md](plan.md#what-is-not-counted)."
    )
    yield ""
    yield "| USD | " + " | ".join(_TITLES.values()) + " |"
    yield "|---|---|---|---|"
    yield "| GPU nodes | " + " | ".join(_usd(a.node_usd.likely) for a in answers.values()) + " |"
    for number, line in enumerate(first.dataset_lines):
        yield (
            f"| {line.kind}: {line.what} | "
            + " | ".join(_usd(a.dataset_lines[number].usd.likely) for a in answers.values())
            + " |"
        )
    yield "| **a dataset** | " + " | ".join(f"**{_usd(a.each.likely)}**" for a in answers.values()) + " |"
    for number, line in enumerate(first.month_lines):
        yield (
            f"| a month, {line.kind}: {line.what} | "
            + " | ".join(_usd(a.month_lines[number].usd.likely) for a in answers.values())
            + " |"
        )
    yield (
        f"| **a month with {PER_MONTH:g}** | "
        + " | ".join(f"**{_usd(a.month.likely)}**" for a in answers.values())
        + " |"
    )
    yield (
        f"| datasets a year for {GRANT_USD:,.0f}: likely | "
        + " | ".join(str(a.paid.likely) for a in answers.values() if a.paid)
        + " |"
    )
    yield "| with 90 % confidence | " + " | ".join(str(a.paid.confident) for a in answers.values() if a.paid) + " |"
    yield (
        "| with everything at its highest | " + " | ".join(str(a.paid.least) for a in answers.values() if a.paid) + " |"
    )
    yield ""


def _answer(name: str) -> Answer:
    share = {
        "name": "krios",
        "nfs": {"host": "10.0.0.5", "path": "/krios"},
        "activation_key": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE",
    }
    config = Config.model_validate({"name": "cryoem", "microscopes": [share]})
    known: Prices = right_sizing.table()
    return plan(
        Request(dataset=datasets()[name], config=config, prices=known, grant_usd=GRANT_USD, per_month=PER_MONTH)
    )


def _ribosome() -> Iterator[str]:
    known = ribosome.published()
    fits = _fits()
    yield "## The ribosome study: how large a cluster"
    yield ""
    yield "Cianfrocco and Leschziner (eLife 2015;4:e06664) solved the 80S ribosome with RELION 1.3 on r3.8xlarge spot instances of 16 CPUs:"
    yield (
        f"{known['run_cpu_hours']:,.0f} CPU-hours on {known['run_cpus']:.0f} CPUs, {known['run_hours']} h,"
        f" {known['run_cpu_hours'] / known['cpus']:.1f} instance-hours x {known['spot_usd']:.2f} = **{ribosome.run_usd():.2f} USD** ({known['run_usd']:.2f} is"
        f" printed); on demand at {known['on_demand_usd']:.2f} it would have been {ribosome.run_usd(spot=False):.2f}."
    )
    yield ""
    yield "By Amdahl's law n CPUs are S(n) = 1 / (1 - P + P/n) times as fast as one, and cost n / S(n) times as much. Speedup per cost,"
    yield "S(n)² / n, is greatest at n = P / (1 - P): the published best size is a published P. The times of the study's figure are not"
    yield "printed as numbers, so the fit is to what its text says, and the sizes between 16 and 480 CPUs are taken to double."
    yield ""
    yield "| | best size, published | P | P for which that size is best |"
    yield "|---|---|---|---|"
    for kind, found in fits.items():
        yield f"| {kind} | {found.best} CPUs | {found.parallel:.4f} | {found.low:.4f} to {found.high:.4f} |"
    yield ""
    yield "Cost per speedup over cluster sizes, the whole structure at once by either law, 128 CPUs being what was published:"
    yield ""
    yield (
        "| CPUs | instances | "
        + " | ".join(f"P = {f.parallel:.4f}: speedup, hours, USD, USD per speedup" for f in fits.values())
        + " |"
    )
    yield "|---|---|---|---|"
    for size in SIZES:
        cells = []
        for found in fits.values():
            law = found.amdahl
            price = ribosome.usd(law, size)
            cells.append(f"{law(size):.1f}, {ribosome.hours(law, size):.1f} h, {price:.2f}, {price / law(size):.2f}")
        yield f"| {size} | {size // known['cpus']:.0f} | " + " | ".join(cells) + " |"
    yield ""
    yield "![Speedup per cost over cluster sizes](img/cost-ribosome.svg)"
    yield ""
    yield "What the law says beside what the study says. *talking*: every pair of CPUs costs time, too (Gunther's law, S(n) = n / (1 + a(n - 1) +"
    yield "b n(n - 1))), with the a and b that are most efficient at 64 CPUs of those by which the published sizes are best and fastest."
    yield ""
    yield "| statement | published | Amdahl | talking |"
    yield "|---|---|---|---|"
    for kind, found in fits.items():
        for row in ribosome.residuals(kind, found):
            yield f"| {row.statement} | {row.published} | {row.amdahl}{_mark(row.amdahl_holds)} | {row.talking}{_mark(row.talking_holds)} |"
    yield ""
    rows = {kind: ribosome.residuals(kind, found) for kind, found in fits.items()}
    held = [f"{sum(row.talking_holds for row in each)} of {len(each)} for {kind}" for kind, each in rows.items()]
    with_talk = [f"a = {f.serial:.4f}, b = {f.talk:.6f} for {kind}" for kind, f in fits.items()]
    largest = max(found.best for found in fits.values())
    yield "Amdahl's law alone cannot be all of it: by it, half of the CPUs' time is lost at the best size, more CPUs are always faster, and"
    yield f"neither is what the study found. With talking ({_list(with_talk)}) hold {_list(held)}. Which cluster is best hangs on the job;"
    yield f"neither kind was best above {largest} CPUs."
    yield ""
    yield f"Boot, {known['boot_minutes']:.0f} minutes at most for all sizes, is not in the table: on 128 CPUs it is"
    yield f"{known['boot_minutes'] / 60 * known['run_cpus'] / known['cpus'] * known['spot_usd']:.2f} USD."
    yield ""


def _laws() -> Iterator[str]:
    yield "## Assumptions"
    yield ""
    yield "| GPU | speed, A100 (40 GB) = 1 | range | source |"
    yield "|---|---|---|---|"
    for model, found in speeds().items():
        mark = "**assumption**" if found.assumption else found.source
        yield f"| {model} | {found.likely:g} | {found.low:g} to {found.high:g} | {mark} |"
    yield ""
    yield "Sources and the reasons of each range are in the head of [`speeds.csv`](../stacks/cdk_cryoem_stacks/plan/data/speeds.csv)."
    yield ""
    yield f"- {BILLED_MINUTES:.0f} minutes of each step's node are billed beside its work, of which somebody waits {WAITED_MINUTES:.0f}; of bare metal {METAL_MINUTES:.0f} more"
    yield "  of both. [waiting.md](waiting.md) simulates what it hangs on."
    yield "- Steps run one after the other, each once. A step that goes movie by movie takes proportionally longer on fewer GPUs."
    yield "- A node fits a step if it has the GPUs, vCPUs and memory of [`steps.csv`](../stacks/cdk_cryoem_stacks/plan/data/steps.csv), most of which are recalled."
    grown = "; ".join(
        f"{', '.join(step.name for step in steps() if step.law == law)}: {what}" for law, what in LAWS.items()
    )
    yield f"- Of a dataset that is not published, minutes grow with: {grown}."


def _fits() -> Mapping[str, Fit]:
    known = ribosome.published()
    return {
        "3D classification": ribosome.fit(int(known["classification_best"])),
        "3D refinement": ribosome.fit(int(known["refinement_best"])),
    }


def _frontier(name: str, ways: Mapping[str, Way]) -> str:
    dataset = datasets()[name]
    plans = right_sizing.plans(dataset, right_sizing.table(), any_type=True, spot=False)
    curves = [Curve(name="planner, any type", kind="stairs", points=[Point(x=p.hours, y=p.usd) for p in plans])]
    for way in ways.values():
        if not way.name.startswith(("planner, any", "planner, as", "p4d throughout, price")):
            low, high = (way.hours.low, way.usd.low), (way.hours.high, way.usd.high)
            point = Point(x=way.hours.likely, y=way.usd.likely, low=low, high=high)
            curves.append(Curve(name=way.name, points=[point]))
    return chart(
        curves,
        title=f"{_TITLES[name]}: the best plans of any type",
        across="hours",
        up="USD for GPU nodes, on demand, us-east-1",
    )


def _ribosome_picture() -> str:
    fits = _fits()
    curves = [
        Curve(
            name=f"{kind}, {law}",
            kind="line",
            points=[
                Point(x=size, y=ribosome.per_cost(call, size), label="best" if size == found.best else "")
                for size in SIZES
            ],
        )
        for kind, found in fits.items()
        for law, call in (("Amdahl", found.amdahl), ("talking", found.talking))
    ]
    return chart(
        curves,
        title="80S ribosome: speedup per cost, that of one CPU being 1",
        across="CPUs of the cluster",
        up="speedup per cost",
        log_x=True,
    )


def _cell(way: Way, p4d: Way, *, spot: bool = True) -> str:
    price = f"{way.usd.likely:,.0f}" + (f" ({way.spot_usd:,.0f})" if spot and way.spot_usd is not None else "")
    return f"{price}, {p4d.usd.likely / way.usd.likely:.1f} x, {way.hours.likely:.1f} h"


def _range(value: Range) -> str:
    return f"{value.low:,.0f} to {value.high:,.0f}"


def _usd(value: float) -> str:
    return f"{value:,.2f}"


def _mark(holds: bool) -> str:
    return "" if holds else " **(no)**"


def _list(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else parts[0]
