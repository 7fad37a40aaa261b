"""From a dataset and a configuration to a plan: the file as it is, the best that can be had, what it takes, and why. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cdk_cryoem import Capacity, Lane
from cdk_cryoem.stages import stage_lanes

from ..config import Config
from ..operate.words import several
from ..prices import HOME_REGION
from .calibration import Dataset, speed
from .chance import datasets_with_confidence
from .choose import LIVE, Chosen, NoWay, Prices, as_they_are, hours, in_order, misfits, on_any_type, on_lanes, usd
from .measured import Measured, measured
from .nodes import METAL_MINUTES, Overheads, Placed, is_metal
from .search import Plan, cheapest, fastest
from .totals import HOURS_A_MONTH, NOT_COUNTED, Line, datasets_for, of_a_dataset, of_a_month
from .work import LAWS, UNIT, Range, Work, published, work


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What is asked.

    deadline_hours, budget_usd: of one dataset's steps, and of their nodes. any_type: other types than the file's. sure: both are
    to hold at the slowest and dearest that is thought possible. per_month: datasets. keep_months: how long movies stay in S3.
    grant_usd: for a year. project, jobs: a project that computed such a dataset, and the records of the system's jobs.
    """

    dataset: Dataset
    config: Config
    prices: Prices
    deadline_hours: float | None = None
    budget_usd: float | None = None
    any_type: bool = False
    spot: bool = False
    sure: bool = False
    per_month: float = 4.0
    keep_months: float = 3.0
    grant_usd: float | None = None
    overheads: Overheads = field(default_factory=Overheads)
    project: str = ""
    jobs: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Paid:
    """How many datasets a grant pays for: as is likely, with 90 % confidence, and if everything is at its highest."""

    likely: int
    confident: int
    least: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """A plan.

    works: the steps. as_is: the lanes as the file has them, None if they cannot do it, which `unfit` then says. plans: the
    frontier. chosen: the plan that was asked for. lanes: of each stage in it. dataset_lines: what the dataset costs besides nodes.
    month_lines: what a month costs whatever is computed. each: a dataset with its nodes. month: of so many datasets.
    paid: how many datasets the grant pays for.
    """

    request: Request
    works: Sequence[Work]
    as_is: Chosen | None
    unfit: str
    plans: Sequence[Plan[Chosen]]
    chosen: Chosen
    lanes: Mapping[str, str]
    dataset_lines: Sequence[Line]
    month_lines: Sequence[Line]
    each: Range
    month: Range
    paid: Paid | None
    assumptions: Sequence[str]
    remarks: Sequence[str]

    @property
    def node_hours(self) -> Range:
        """How long the chosen plan takes."""
        return hours(self.chosen)

    @property
    def node_usd(self) -> Range:
        """What its nodes cost."""
        return usd(self.chosen)


def plan(request: Request) -> Answer:
    """The answer. Errors: NoWay if no plan keeps to what was asked, with the least that can be had; NoPrice."""
    config, works = request.config, work(request.dataset)
    lanes = config.all_lanes()
    found_jobs: Measured | None = None
    if request.project:
        found_jobs = measured(works, request.jobs, project=request.project, lanes=lanes)
        if not found_jobs.jobs:
            raise NoWay(f"--measured: project {request.project!r} has no completed job of a step that is planned for")
        works = found_jobs.works
    theirs = stage_lanes(lanes, config.stages)
    as_is, unfit = _as_is(request, works, lanes, theirs)
    plans = _plans(request, works, lanes, theirs)
    found = _chosen(request, plans)
    chosen = in_order(found.choices, works)
    node_usd, node_hours = usd(chosen), hours(chosen)
    dataset_lines = of_a_dataset(request.dataset, config, request.prices, keep_months=request.keep_months)
    month_lines = of_a_month(config, request.prices, busy_hours=node_hours.likely * request.per_month)
    each = Range.sum([node_usd, *(line.usd for line in dataset_lines)])
    fixed = Range.sum(line.usd for line in month_lines)
    answer_lanes = {placed.work.step.stage: placed.node.lane for placed in chosen}
    return Answer(
        request=request,
        works=works,
        as_is=as_is,
        unfit=unfit,
        plans=plans,
        chosen=chosen,
        lanes=answer_lanes,
        dataset_lines=dataset_lines,
        month_lines=month_lines,
        each=each,
        month=fixed + each * request.per_month,
        paid=_paid(request, chosen, fixed * 12, each, dataset_lines),
        assumptions=[*_minutes(request, works, found_jobs), *_assumptions(request, [*chosen, *(as_is or ())])],
        remarks=[*_remarks(request, lanes, chosen, as_is, node_hours), *_passed_over(request, found_jobs)],
    )


def _paid(
    request: Request, chosen: Chosen, fixed_year: Range, each: Range, dataset_lines: Sequence[Line]
) -> Paid | None:
    if request.grant_usd is None:
        return None
    likely, least = datasets_for(request.grant_usd, fixed_year=fixed_year, each=each)
    confident = datasets_with_confidence(
        request.grant_usd,
        fixed_year=fixed_year,
        chosen=chosen,
        others=[line.usd for line in dataset_lines],
        overheads=request.overheads,
    )
    return Paid(likely=likely, confident=confident, least=least)


def _as_is(
    request: Request, works: Sequence[Work], lanes: Sequence[Lane], theirs: Mapping[str, str]
) -> tuple[Chosen | None, str]:
    try:
        return as_they_are(works, lanes, theirs, request.prices, request.overheads), ""
    except NoWay as problem:
        return None, str(problem)


def _plans(
    request: Request, works: Sequence[Work], lanes: Sequence[Lane], theirs: Mapping[str, str]
) -> Sequence[Plan[Chosen]]:
    prices, overheads, box = request.prices, request.overheads, request.dataset.box
    if request.any_type:
        sizes = lanes_of_sizes(works, lanes, theirs)
        return on_any_type(works, sizes, prices, overheads, box=box, spot=request.spot, sure=request.sure)
    return on_lanes(works, lanes, theirs, prices, overheads, box=box, spot=request.spot, sure=request.sure)


def lanes_of_sizes(works: Sequence[Work], lanes: Sequence[Lane], theirs: Mapping[str, str]) -> Mapping[int, str]:
    """The lane of each size of node that steps use: the one of their stages, another of the size, or a new one."""
    by_name = {lane.name: lane for lane in lanes}
    found: dict[int, str] = {}
    for gpus in sorted({each.step.gpus for each in works}):
        wanted = [theirs[each.step.stage] for each in works if each.step.gpus == gpus]
        others = [lane.name for lane in lanes if lane.name != LIVE]
        right = [name for name in (*wanted, *others) if by_name[name].gpus == gpus and _may_change(by_name[name])]
        found[gpus] = right[0] if right else _new_name(gpus, by_name)
    return found


def _may_change(lane: Lane) -> bool:
    """Whether a lane can get other types: what is reserved or bought in advance is of one type, a spot twin is of its lane."""
    return lane.capacity is Capacity.ON_DEMAND and lane.capacity_reservation_id is None


def _new_name(gpus: int, taken: Mapping[str, Lane]) -> str:
    names = (f"gpu{gpus}", *(f"gpu{gpus}-{number}" for number in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def _chosen(request: Request, plans: Sequence[Plan[Chosen]]) -> Plan[Chosen]:
    deadline, budget = request.deadline_hours, request.budget_usd
    quickest, least = plans[0], plans[-1]
    if deadline is not None:
        found = cheapest(plans, hours=deadline)
        if found is None:
            raise NoWay(
                f"--deadline: no plan takes {deadline:g} h or less. The fastest takes {quickest.hours:.1f} h"
                f" and costs {quickest.usd:.2f} USD{_wider(request)}"
            )
        if budget is not None and found.usd > budget:
            raise NoWay(
                f"--deadline with --budget: no plan takes {deadline:g} h or less and costs {budget:g} USD or less."
                f" The cheapest in that time costs {found.usd:.2f} USD{_wider(request)}"
            )
        return found
    if budget is not None:
        affordable = fastest(plans, usd=budget)
        if affordable is None:
            raise NoWay(
                f"--budget: no plan costs {budget:g} USD or less. The cheapest costs {least.usd:.2f} USD"
                f" and takes {least.hours:.1f} h{_wider(request)}"
            )
        return affordable
    return least


def _wider(request: Request) -> str:
    if not request.any_type:
        return ". --any looks at all instance types, too"
    return "" if request.spot else ". --spot looks at spot prices, too"


def _minutes(request: Request, works: Sequence[Work], found_jobs: Measured | None) -> Iterator[str]:
    known = published(request.dataset)
    if found_jobs is not None:
        took = ", ".join(f"{stage} ({count})" for stage, count in found_jobs.jobs.items())
        yield (
            f"Minutes as the completed jobs of project {request.project!r} took them, tries included, on the first type of their"
            f" lanes; stages (jobs): {took}"
        )
    if known is not None:
        yield (
            f"Minutes of {'other steps' if found_jobs else 'each step'} on 8 x A100 as published ({known.source}, Table 1); only what"
            " another GPU makes of them is a range"
        )
    elif any(each.scaled for each in works):
        laws = dict.fromkeys(each.step.law for each in works if each.scaled)
        grown = "; ".join(
            f"{', '.join(w.step.name for w in works if w.scaled and w.step.law == law)} by {LAWS[law]}" for law in laws
        )
        yield f"Minutes scaled from the published datasets, least, median and most of what they give: {grown}"


def _passed_over(request: Request, found_jobs: Measured | None) -> Iterator[str]:
    if found_jobs is not None and found_jobs.passed_over:
        yield (
            f"{several(found_jobs.passed_over, 'completed job')} of project {request.project!r} passed over: the name tells no step that is"
            " planned for, or the file has no such lane"
        )


def _assumptions(request: Request, every: Sequence[Placed]) -> Iterator[str]:
    for model in sorted(
        {each.node.shape.gpu_model for each in every} | {each.work.gpu_model for each in every} - {UNIT}
    ):
        found = speed(model)
        yield (
            f"{model}: {found.likely:g} x the speed of an A100 (40 GB), {found.low:g} to {found.high:g}"
            f" ({'an assumption, measured by nobody we know of' if found.assumption else found.source})"
        )
    over = request.overheads
    yield (
        f"Each step's node is billed for {over.billed:g} minutes of boot and idle time, of which somebody waits {over.waited:g}:"
        " an assumption (docs/waiting.md simulates it)"
    )
    yield "Steps run one after the other, each once, on one node"
    if any(each.node.shape.gpus < each.work.step.gpus for each in every):
        yield "A step on fewer GPUs than it was published with takes proportionally longer: an assumption"
    if any(is_metal(each.node.shape) for each in every):
        yield f"Bare-metal nodes boot {METAL_MINUTES:g} minutes longer, billed: an assumption"
    if any(each.node.spot for each in every):
        yield "Spot: no node is taken back; where no spot price is known, that on demand. cryoSPARC's jobs do not go on after a kill"
    yield f"A month has {HOURS_A_MONTH:.0f} hours; list prices, of the first type of a lane"
    for text in NOT_COUNTED:
        yield f"Not counted: {text}"


def _remarks(
    request: Request, lanes: Sequence[Lane], chosen: Chosen, as_is: Chosen | None, node_hours: Range
) -> Iterator[str]:
    if as_is is not None:
        yield from misfits(as_is, box=request.dataset.box)
    region = request.prices.region
    if region != HOME_REGION and any(not placed.node.price.count(region) for placed in [*chosen, *(as_is or ())]):
        yield f"Not every price is known for {region}: those of {HOME_REGION} stand in, and differ. `cryoem prices refresh` gets them"
    paid_before = {lane.name for lane in lanes if lane.capacity is Capacity.CAPACITY_BLOCK}
    for name in sorted({placed.node.lane for placed in [*chosen, *(as_is or ())]} & paid_before):
        yield f"Lane {name!r} is a Capacity Block, paid in advance for all its time: here its hours are priced on demand"
    if request.any_type:
        yield "Whether the region has these types, and your quota: `cryoem preflight` looks"
    deadline = request.deadline_hours
    if deadline is not None and not request.sure and node_hours.high > deadline:
        yield f"The deadline is kept if speeds are as is likely; it may take up to {node_hours.high:.1f} h. --sure plans for that"
    longest = {lane.name: lane.time_limit_hours for lane in lanes}
    for placed in chosen:
        limit = longest.get(placed.node.lane)
        if limit is not None and placed.hours.high > limit:
            yield (
                f"{placed.work.step.title} may take {placed.hours.high:.1f} h, and lane {placed.node.lane!r} stops jobs after"
                f" {limit:g} h (time_limit_hours)"
            )
