"""What steps take on nodes, and that the search finds what it is to find: at most so many dollars for the published datasets."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem import Lane, default_lanes, instance_shapes
from cdk_cryoem.stages import stage_lanes
from cdk_cryoem_stacks import prices
from cdk_cryoem_stacks.plan import Dataset, datasets, speed, steps
from cdk_cryoem_stacks.plan.choose import (
    NoWay,
    Prices,
    as_they_are,
    hours,
    in_order,
    misfits,
    on_any_type,
    on_lanes,
    usd,
)
from cdk_cryoem_stacks.plan.nodes import NO_OVERHEADS, Node, Overheads, fits, largest_box, place
from cdk_cryoem_stacks.plan.search import cheapest, fastest
from cdk_cryoem_stacks.plan.work import Range, Work, published, work

PRICES = Prices(table=prices.load(), region="us-east-1")
LANES = default_lanes()
THEIRS = stage_lanes(LANES, {})
SIZES = {1: "gpu1", 4: "gpu4", 8: "gpu8"}
# GPU cost on demand in USD that a plan of each dataset is not to exceed.
BARS = {"cgrp": 198, "glp1r": 214, "spike": 45}
# The types of plans that were compared by hand before.
BY_HAND = ("p4d.24xlarge", "g6e.48xlarge", "g6e.12xlarge", "g6e.4xlarge", "g5.48xlarge", "g5.12xlarge", "g5.8xlarge")


def node(instance_type: str, lane: str = "lane") -> Node:
    return PRICES.node(lane, instance_shapes()[instance_type], spot=False)


def job(step: str, minutes: float = 60.0) -> Work:
    found = next(each for each in steps() if each.name == step)
    return Work(step=found, minutes=Range.of(minutes), scaled=False)


def throughout(name: str, instance_type: str, usd_per_hour: float | None = None) -> tuple[float, float]:
    """Hours and dollars of a dataset on one node that is there all the time, and no longer."""
    used = node(instance_type)
    if usd_per_hour is not None:
        used = Node(lane="lane", shape=used.shape, usd_per_hour=usd_per_hour, price="then")
    placed = [place(each, used, NO_OVERHEADS) for each in work(datasets()[name])]
    return hours(placed).likely, usd(placed).likely


@pytest.mark.parametrize(
    ("name", "minutes", "then", "today"),
    [("cgrp", 36 * 60 + 2, 1181, 791), ("glp1r", 38 * 60, 1245, 834), ("spike", 5 * 60 + 41, 186, 125)],
)
def test_p4d_throughout_takes_what_table_1_says_and_costs_what_it_cost(
    name: str, minutes: int, then: int, today: int
) -> None:
    took, cost = throughout(name, "p4d.24xlarge")
    assert round(took * 60, 6) == minutes
    assert round(cost) == today
    assert round(throughout(name, "p4d.24xlarge", 32.77)[1]) == then


@pytest.mark.parametrize("name", BARS)
def test_among_all_types_the_search_finds_a_plan_within_the_bar(name: str) -> None:
    works = work(datasets()[name])
    found = cheapest(on_any_type(works, SIZES, PRICES, Overheads(), box=256))
    assert found is not None
    assert found.usd <= BARS[name]
    assert found.usd == pytest.approx(usd(in_order(found.choices, works)).likely)


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (("p4d.24xlarge", "g6e.12xlarge", "g6e.4xlarge"), (225, 240, 56)),
        (("p4d.24xlarge", "g5.12xlarge", "g5.8xlarge"), (208, 226, 50)),
        (("g6e.48xlarge", "g6e.12xlarge", "g6e.4xlarge"), (255, 277, 65)),
        (("g5.48xlarge", "g5.12xlarge", "g5.8xlarge"), tuple(BARS.values())),
        (("g6.48xlarge", "g6.12xlarge", "g6.8xlarge"), (249, 271, 51)),
    ],
)
def test_plans_compared_by_hand_before_cost_what_they_cost(types: tuple[str, ...], expected: tuple[int, ...]) -> None:
    by_size = dict(zip((8, 4, 1), map(node, types), strict=True))
    costs = []
    for dataset in datasets().values():
        placed = [place(each, by_size[each.step.gpus], Overheads()) for each in work(dataset)]
        costs.append(round(usd(placed).likely))
    assert tuple(costs) == expected


@pytest.mark.parametrize("name", BARS)
def test_among_the_types_compared_by_hand_the_search_finds_what_is_no_dearer_than_the_best_of_them(name: str) -> None:
    found = cheapest(on_any_type(work(datasets()[name]), SIZES, PRICES, Overheads(), box=256, types=BY_HAND))
    assert found is not None
    assert round(found.usd) <= BARS[name]


def brute(works: list[Work], types: tuple[str, ...], box: int = 256) -> list[tuple[float, float]]:
    """Hours and dollars of every choice of a type for each size, and of every stage's size, one by one."""
    shapes = [instance_shapes()[name] for name in types]
    sizes = sorted({each.step.gpus for each in works} & {shape.gpus for shape in shapes})
    stages = list(dict.fromkeys(each.step.stage for each in works))
    found = []
    for chosen in itertools.product(*([shape for shape in shapes if shape.gpus == size] for size in sizes)):
        for where in itertools.product(chosen, repeat=len(stages)):
            by_stage = dict(zip(stages, where, strict=True))
            pairs = [(each, by_stage[each.step.stage]) for each in works]
            if all(shape.gpus <= each.step.gpus and fits(each.step, shape, box=box) for each, shape in pairs):
                placed = [place(each, node(shape.instance_type), Overheads()) for each, shape in pairs]
                found.append((hours(placed).likely, usd(placed).likely))
    return found


_TYPES = [name for name, shape in instance_shapes().items() if shape.gpus in (1, 4, 8)]


@settings(max_examples=40)
@given(
    types=st.sets(st.sampled_from(_TYPES), min_size=3, max_size=8),
    some=st.sets(
        st.sampled_from(["motion", "ctf", "extract", "class2d", "hetero", "reextract", "refine"]),
        min_size=1,
        max_size=4,
    ),
    minutes=st.integers(1, 600),
)
def test_the_search_finds_what_trying_everything_finds(types: set[str], some: set[str], minutes: int) -> None:
    works = [job(name, minutes * (1 + number)) for number, name in enumerate(sorted(some))]
    tried = brute(works, tuple(sorted(types)))
    try:
        plans = on_any_type(works, SIZES, PRICES, Overheads(), box=256, types=types)
    except NoWay:
        assert tried == []
        return
    assert plans[-1].usd == pytest.approx(min(cost for _, cost in tried))
    assert plans[0].hours == pytest.approx(min(took for took, _ in tried))
    for plan in plans:
        assert not any(took < plan.hours - 1e-9 and cost < plan.usd - 1e-9 for took, cost in tried)
    middle = (plans[0].hours + plans[-1].hours) / 2
    within = cheapest(plans, hours=middle)
    assert within is not None
    assert within.usd == pytest.approx(min(cost for took, cost in tried if took <= middle + 1e-9))


@pytest.mark.parametrize("name", BARS)
def test_the_default_lanes_are_within_the_bar_too_and_moving_stages_costs_no_more(name: str) -> None:
    works = work(datasets()[name])
    as_is = as_they_are(works, LANES, THEIRS, PRICES, Overheads())
    plans = on_lanes(works, LANES, THEIRS, PRICES, Overheads(), box=256)
    assert usd(as_is).likely <= BARS[name]
    assert plans[-1].usd <= usd(as_is).likely + 1e-9
    assert plans[0].hours <= hours(as_is).likely + 1e-9
    assert {placed.node.lane for plan in plans for part in plan.choices for placed in part} <= {"gpu1", "gpu4", "gpu8"}


def test_fifteen_minutes_of_each_step_are_billed_and_five_waited_for() -> None:
    placed = place(job("refine", 60.0), node("p4d.24xlarge"), Overheads())
    assert placed.hours == Range.of(pytest.approx(65 / 60))
    assert placed.usd.likely == pytest.approx(75 / 60 * 21.957642)
    slow = place(job("motion", 60.0), node("g4dn.metal"), Overheads())
    assert slow.hours.likely == pytest.approx((60 / 0.58 + 15) / 60)
    assert slow.usd.likely == pytest.approx((60 / 0.58 + 25) / 60 * 7.824)


def test_a_range_of_speeds_is_a_range_of_hours_the_slowest_the_longest() -> None:
    placed = place(job("refine", 60.0), node("g6e.4xlarge"), NO_OVERHEADS)
    found = speed("L40S")
    assert (placed.hours.low, placed.hours.likely, placed.hours.high) == pytest.approx(
        (1 / found.high, 1.0, 1 / found.low)
    )


def test_fewer_gpus_take_longer_and_more_are_of_no_use() -> None:
    motion, refine = job("motion"), job("refine")
    eight, four = (place(motion, node(name), NO_OVERHEADS) for name in ("g5.48xlarge", "g5.12xlarge"))
    assert four.hours.likely == pytest.approx(2 * eight.hours.likely)
    alone, crowded = (place(refine, node(name), NO_OVERHEADS) for name in ("g5.4xlarge", "g5.48xlarge"))
    assert alone.hours == crowded.hours


@pytest.mark.parametrize(
    ("step", "instance_type", "box", "does"),
    [
        ("motion", "g5.48xlarge", 256, True),
        ("motion", "g5.12xlarge", 256, True),  # movie by movie
        ("class2d", "g5.12xlarge", 256, True),
        ("class2d", "g5.4xlarge", 256, False),
        ("hetero", "g5.4xlarge", 256, True),
        ("hetero", "g5.2xlarge", 256, False),  # 36 GiB of 32
        ("refine", "g5.2xlarge", 256, True),
        ("refine", "g5.xlarge", 256, False),
        ("refine", "g4dn.2xlarge", 1110, True),
        ("refine", "g4dn.2xlarge", 1111, False),
        ("refine", "g5.2xlarge", 1126, True),
        ("refine", "p5.4xlarge", 1127, False),
        ("refine", "m6i.8xlarge", 256, False),
    ],
)
def test_a_step_fits_where_gpus_memory_and_box_are_enough(step: str, instance_type: str, box: int, does: bool) -> None:
    assert fits(job(step).step, instance_shapes()[instance_type], box=box) is does


def test_the_default_lanes_are_large_enough_for_every_step() -> None:
    as_is = as_they_are(work(datasets()["cgrp"]), LANES, THEIRS, PRICES, Overheads())
    assert misfits(as_is, box=1126) == []
    assert len(misfits(as_is, box=1127)) == len(as_is)
    assert largest_box(3) == 0


def test_a_lane_without_gpus_cannot_do_a_step_that_uses_some() -> None:
    cpu = (Lane(name="cpu", instance_types=("m6i.8xlarge",)),)
    works = work(datasets()["spike"])
    with pytest.raises(NoWay, match="Patch CTF estimation needs 8 GPUs, and its lane 'cpu' has none"):
        as_they_are(works, cpu, stage_lanes(cpu, {}), PRICES, Overheads())
    with pytest.raises(NoWay, match="no lane of the file has the GPUs"):
        on_lanes(works, cpu, stage_lanes(cpu, {}), PRICES, Overheads(), box=256)


def test_spot_lanes_are_used_only_if_they_are_wanted_and_cost_what_spot_costs() -> None:
    lanes = (*LANES, LANES[1].spot_twin())
    works = work(datasets()["cgrp"])
    without, with_spot = (
        on_lanes(works, lanes, THEIRS, PRICES, Overheads(), box=256, spot=spot) for spot in (False, True)
    )
    assert not any(placed.node.spot for plan in without for part in plan.choices for placed in part)
    refine = in_order(with_spot[-1].choices, works)[-1]
    assert (refine.node.lane, refine.node.usd_per_hour, refine.node.price) == (
        "gpu1-spot",
        0.5637,
        "ec2:g5.4xlarge:spot, us-east-1, 2026",
    )


def test_a_sure_search_compares_the_worst_of_each_range() -> None:
    works = work(datasets()["cgrp"])
    likely, sure = (on_any_type(works, SIZES, PRICES, Overheads(), box=256, sure=sure) for sure in (False, True))
    quick = fastest(sure)
    assert quick is not None
    assert quick.hours == pytest.approx(hours(in_order(quick.choices, works)).high)
    assert quick.hours > likely[0].hours


def test_a_published_dataset_takes_what_it_took() -> None:
    works = work(datasets()["spike"])
    assert [each.step.name for each in works] == ["ctf", "pick", "extract", "class2d", "hetero", "reextract", "refine"]
    assert all(each.minutes.exact and not each.scaled for each in works)


def test_another_one_is_scaled_from_all_that_are_published() -> None:
    half = Dataset(name="half", movies=2800, gb=800, particles=3_150_000, box=256)
    by_step = {each.step.name: each.minutes for each in work(half)}
    assert published(half) is None
    assert by_step["motion"].low == pytest.approx(50)  # as CGRP
    assert by_step["motion"].high == pytest.approx(149 * 800 / 1900)  # as GLP1R
    assert by_step["motion"].likely == pytest.approx((50 + 149 * 800 / 1900) / 2)
    assert by_step["class2d"].likely == pytest.approx(257 * 3.15 / 4.8)  # the median of three
    assert by_step["refine"].high == pytest.approx(187 * 3.15 / 0.44)
    large = Dataset(name="large", movies=2800, gb=800, particles=3_150_000, box=512)
    assert {each.step.name: each.minutes for each in work(large)}["refine"].low == pytest.approx(
        4 * by_step["refine"].low
    )
    assert by_step.keys() == {step.name for step in steps()}


@pytest.mark.parametrize("name", BARS)
def test_the_range_of_a_scaled_dataset_holds_what_the_published_one_of_that_size_took(name: str) -> None:
    there = datasets()[name]
    same = Dataset(name="unknown", movies=there.movies, gb=there.gb, particles=there.particles, box=there.box)
    for each in work(same):
        took = each.step.minutes[name]
        assert not took or each.minutes.low <= took * 1.000001
        assert not took or each.minutes.high >= took * 0.999999
