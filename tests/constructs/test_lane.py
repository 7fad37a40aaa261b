"""A lane is right as a whole or says everything that is wrong with it."""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from typing import Any

import pytest
from aws_cdk import Token
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import Capacity, CryoEmError, InstanceShape, Lane, Problem, default_lanes, instance_shapes
from cdk_cryoem.lane import lane_problems, lane_set_problems

RESERVATION = "cr-0a1b2c3d4e5f60718"
GOOD: dict[str, Any] = {"name": "gpu1", "instance_types": ["g5.4xlarge", "g6e.4xlarge"], "gpus": 1}
SAME_SIZE: dict[tuple[int, int], list[str]] = defaultdict(list)
for _shape in instance_shapes().values():
    SAME_SIZE[_shape.gpus, _shape.vcpus].append(_shape.instance_type)


def problems(**changes: object) -> list[Problem]:
    return list(lane_problems(**{**GOOD, **changes}))


def wrong(**changes: object) -> list[str]:
    return [problem.property for problem in problems(**changes)]


def test_a_good_lane_has_no_problems() -> None:
    assert wrong() == []


@pytest.mark.parametrize("name", ["a", "gpu-4", "g6e-4xl", "a" * 25])
def test_names_that_are_queue_names(name: str) -> None:
    assert wrong(name=name) == []


@pytest.mark.parametrize("name", ["", "g6e.4xl", "a" * 26, "Gpu", "4gpu", "-a", "gpu_4", "gpu 4", "gpu\n", "gpü"])
def test_names_that_parallelcluster_refuses(name: str) -> None:
    (problem,) = problems(name=name)
    assert (problem.property, problem.value) == ("name", name)
    assert "25 characters at most" in problem.allowed


def test_the_one_name_that_parallelcluster_keeps_for_itself() -> None:
    (problem,) = problems(name="default")
    assert (problem.property, problem.value, problem.allowed) == ("name", "default", "another name")
    assert wrong(name="default-1") == []


def test_mixed_gpu_counts_are_named_type_by_type() -> None:
    found = problems(instance_types=["g6e.4xlarge", "g5.12xlarge"])
    assert ("instance_types", "g6e.4xlarge has 1, g5.12xlarge has 4") in [(p.property, p.value) for p in found]
    assert "types of one GPU count" in [p.allowed for p in found]


def test_mixed_vcpu_counts_are_refused_even_with_equal_gpus() -> None:
    (problem,) = problems(instance_types=["g5.4xlarge", "g6e.8xlarge"])
    assert problem.allowed == "types of one vCPU count"
    assert problem.value == "g5.4xlarge has 16, g6e.8xlarge has 32"


@pytest.mark.parametrize(
    ("gpus", "instance_types"), [(1, ["m6i.8xlarge"]), (0, ["g5.4xlarge"]), (4, ["g5.4xlarge"]), (1, ["g5.12xlarge"])]
)
def test_the_gpu_count_must_be_that_of_the_types(gpus: int, instance_types: list[str]) -> None:
    (problem,) = problems(gpus=gpus, instance_types=instance_types)
    assert (problem.property, problem.value) == ("gpus", gpus)
    assert instance_types[0] in problem.allowed


def test_every_unknown_type_is_named() -> None:
    found = problems(instance_types=["g5.4xlarge", "g99.huge", "z1.tiny"])
    assert [problem.value for problem in found] == ["g99.huge", "z1.tiny"]


def test_a_type_named_twice_is_refused_as_parallelcluster_does() -> None:
    (problem,) = problems(instance_types=["g5.4xlarge", "g5.4xlarge"])
    assert (problem.property, problem.value) == ("instance_types", "g5.4xlarge")


def test_a_lane_needs_a_type() -> None:
    assert wrong(instance_types=[]) == ["instance_types"]


@pytest.mark.parametrize(
    ("prop", "lowest", "highest", "step"),
    [
        ("max_nodes", 1, 1000, 1),
        ("memory_multiplier", 0.1, 10, 0.01),
        ("time_limit_hours", 0.1, 720, 0.01),
        ("hold_minutes", 0, 1440, 1),
    ],
)
def test_bounds_hold_on_both_sides(prop: str, lowest: float, highest: float, step: float) -> None:
    for value in (lowest, highest):
        assert wrong(**{prop: value}) == []
    for value in (lowest - step, highest + step):
        assert wrong(**{prop: value}) == [prop]


@pytest.mark.parametrize("gpus", [-1, 17])
def test_gpu_counts_that_no_instance_has(gpus: int) -> None:
    assert wrong(gpus=gpus) == ["gpus", "gpus"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_none_are_refused(value: float) -> None:
    assert wrong(time_limit_hours=value) == ["time_limit_hours"]


def test_everything_wrong_is_reported_at_once() -> None:
    with pytest.raises(CryoEmError, match=r"^lane 'g6e\.4xl': ") as caught:
        Lane(name="g6e.4xl", instance_types=["nope"], gpus=1, max_nodes=0, hold_minutes=-1)
    found = [problem.property for problem in caught.value.problems]
    assert found == ["name", "max_nodes", "hold_minutes", "instance_types"]


def test_a_lane_takes_the_least_of_its_types() -> None:
    lane = Lane(name="gpu4", instance_types=["g6e.12xlarge", "g6.12xlarge"], gpus=4)
    assert (lane.vcpus, lane.nvme_gb) == (48, 3760)
    assert lane.memory_mib == int(192 * 1024 * 0.95)
    assert (lane.gpu_model, lane.usd_per_hour) == ("l40s", 10.49264)


@pytest.mark.parametrize(
    ("instance_types", "gpus", "wanted", "used"),
    [
        (["g5.4xlarge"], 1, True, True),
        (["g5.4xlarge"], 1, False, False),
        (["m6i.8xlarge"], 0, True, False),
        (["m6id.8xlarge", "m6i.8xlarge"], 0, True, False),
    ],
)
def test_the_particle_cache_needs_nvme_in_every_type(
    instance_types: list[str], gpus: int, wanted: bool, used: bool
) -> None:
    lane = Lane(name="lane", instance_types=instance_types, gpus=gpus, particle_cache=wanted)
    assert lane.uses_particle_cache is used
    assert bool(lane.manifest()["cache_gb"]) is used


def test_a_shape_of_ones_own_makes_an_unlisted_type_usable() -> None:
    own = InstanceShape(
        instance_type="g99.xlarge", gpus=2, gpu_model="B200", gpu_memory_gib=192, vcpus=32, memory_gib=256, nvme_gb=0,
        usd_per_hour=9.5,
    )  # fmt: skip
    lane = Lane(name="new", instance_types=["g99.xlarge"], gpus=2, shapes={"g99.xlarge": own})
    assert (lane.gpu_model, lane.usd_per_hour, lane.uses_particle_cache) == ("b200", 9.5, False)


def test_the_default_lanes_are_five_and_their_names_differ() -> None:
    lanes = default_lanes()
    assert [lane.name for lane in lanes] == ["cpu", "gpu1", "gpu4", "gpu8", "live"]
    assert [lane.gpus for lane in lanes] == [0, 1, 4, 8, 4]
    assert all(len(lane.instance_types) >= 2 for lane in lanes), "a lack of one type must not close a lane"
    assert all(lane.capacity is Capacity.ON_DEMAND for lane in lanes)
    assert not list(lane_set_problems([lane.name for lane in lanes]))


def test_lanes_together_need_different_names_and_at_least_one() -> None:
    assert [problem.value for problem in lane_set_problems(["b", "a", "b", "a", "c"])] == ["a", "b"]
    assert [problem.value for problem in lane_set_problems([])] == [[]]


def block(**changes: object) -> dict[str, Any]:
    values: dict[str, Any] = {
        "instance_types": ["p5.48xlarge"], "gpus": 8, "capacity": Capacity.CAPACITY_BLOCK,
        "capacity_reservation_id": RESERVATION,
    }  # fmt: skip
    return values | changes


def test_a_capacity_block_and_a_reservation_make_a_lane() -> None:
    assert problems(**block()) == []
    assert problems(instance_types=["g5.4xlarge"], capacity_reservation_id=RESERVATION) == []


@pytest.mark.parametrize(
    "wrong_id",
    ["cr-0a1b2c3d4e5f6071", "cr-0a1b2c3d4e5f607189", "cr-0A1B2C3D4E5F60718", "r-0a1b2c3d4e5f60718", "", "cr-"],
)
def test_a_reservation_has_an_id_of_one_form(wrong_id: str) -> None:
    (problem,) = problems(instance_types=["g5.4xlarge"], capacity_reservation_id=wrong_id)
    assert (problem.property, problem.value) == ("capacity_reservation_id", wrong_id)
    assert problem.allowed == "cr- and 17 hexadecimals, or nothing"


def test_a_capacity_block_without_its_id_is_refused() -> None:
    (problem,) = problems(**block(capacity_reservation_id=None))
    assert (problem.property, problem.value) == ("capacity_reservation_id", None)
    assert problem.allowed == "the Capacity Block's id, cr- and 17 hexadecimals"


def test_a_capacity_block_of_a_type_that_is_not_sold_so_is_refused() -> None:
    (problem,) = problems(**block(instance_types=["g5.48xlarge"]))
    assert (problem.property, problem.value) == ("instance_types", "g5.48xlarge")
    assert "types that EC2 sells Capacity Blocks of" in problem.allowed


def test_spot_nodes_never_come_out_of_a_reservation() -> None:
    (problem,) = problems(
        instance_types=["g5.4xlarge"], capacity=Capacity.SPOT, capacity_reservation_id=RESERVATION
    )  # fmt: skip
    assert (problem.property, problem.allowed) == ("capacity_reservation_id", "nothing for a spot lane")


@pytest.mark.parametrize("reserved", [{"capacity_reservation_id": RESERVATION}, block()])
def test_a_reservation_is_for_one_type(reserved: dict[str, Any]) -> None:
    types = ["p5.48xlarge", "p5en.48xlarge"]
    (problem,) = problems(**{"gpus": 8, **reserved, "instance_types": types})
    assert (problem.property, problem.value) == ("instance_types", "p5.48xlarge, p5en.48xlarge")
    assert problem.allowed == "the one type that the reservation is for"


@pytest.mark.parametrize(("max_nodes", "most"), [(1, 1), (4, 4), (1000, 1000), (0, 1000)])
def test_a_job_spreads_over_no_more_nodes_than_there_may_be(max_nodes: int, most: int) -> None:
    others = ["max_nodes"] if max_nodes == 0 else []
    assert wrong(max_nodes=max_nodes, nodes_per_job=most) == others
    (*_, problem) = problems(max_nodes=max_nodes, nodes_per_job=most + 1)
    assert (problem.property, problem.value) == ("nodes_per_job", most + 1)
    assert problem.allowed == f"1 to {most}"
    assert wrong(max_nodes=max_nodes, nodes_per_job=0) == [*others, "nodes_per_job"]


@pytest.mark.parametrize(
    ("instance_types", "nodes_per_job", "spreads", "efa"),
    [
        (["g5.48xlarge", "g6e.48xlarge"], 1, False, False),
        (["g5.48xlarge", "g6e.48xlarge"], 2, True, True),
        (["m6i.8xlarge", "m7i.8xlarge"], 2, True, False),
        (["c6i.32xlarge"], 4, True, True),
    ],
)
def test_nodes_of_spread_jobs_have_an_adapter_if_all_types_can(
    instance_types: list[str], nodes_per_job: int, spreads: bool, efa: bool
) -> None:
    gpus = instance_shapes()[instance_types[0]].gpus
    lane = Lane(name="lane", instance_types=instance_types, gpus=gpus, nodes_per_job=nodes_per_job)
    assert (lane.has_spread_jobs, lane.has_efa) == (spreads, efa)


def test_one_type_without_an_adapter_takes_it_from_all() -> None:
    without = InstanceShape(
        instance_type="g99.48xlarge", gpus=8, gpu_model="B200", gpu_memory_gib=192, vcpus=192, memory_gib=2048,
        nvme_gb=0, usd_per_hour=90,
    )  # fmt: skip
    lane = Lane(
        name="mixed", instance_types=["g5.48xlarge", "g99.48xlarge"], gpus=8, nodes_per_job=2,
        shapes={**instance_shapes(), "g99.48xlarge": without},
    )  # fmt: skip
    assert (lane.has_spread_jobs, lane.has_efa) == (True, False)


def test_a_spot_twin_is_the_same_lane_at_another_price() -> None:
    lane = Lane(name="gpu1", instance_types=["g5.4xlarge"], gpus=1, max_nodes=7, hold_minutes=3, nodes_per_job=2)
    twin = lane.spot_twin()
    assert (twin.name, twin.partition, twin.capacity) == ("gpu1-spot", "gpu1-spot", Capacity.SPOT)
    assert dataclasses.replace(twin, name="gpu1", capacity=Capacity.ON_DEMAND) == lane


def test_a_spot_twin_keeps_the_shapes_it_was_made_with() -> None:
    own = dataclasses.replace(instance_shapes()["g5.4xlarge"], instance_type="g99.xlarge")
    lane = Lane(name="new", instance_types=["g99.xlarge"], gpus=1, shapes={"g99.xlarge": own})
    assert lane.spot_twin().usd_per_hour == own.usd_per_hour


@pytest.mark.parametrize(
    "changes", [{"capacity": Capacity.SPOT}, {"capacity_reservation_id": RESERVATION}, block()], ids=str
)
def test_only_an_on_demand_lane_has_a_spot_twin(changes: dict[str, Any]) -> None:
    lane = Lane(**{**GOOD, "instance_types": ["g5.4xlarge"], **changes})
    with pytest.raises(CryoEmError, match=r"lane 'gpu1': spot_twin: got True, allowed: for on-demand lanes without a"):
        lane.spot_twin()


def test_a_spot_twin_whose_name_is_too_long_is_refused() -> None:
    longest = "a" * 20
    assert Lane(name=longest, instance_types=["m6i.8xlarge"]).spot_twin().name == f"{longest}-spot"
    with pytest.raises(CryoEmError, match="25 characters at most"):
        Lane(name=f"{longest}a", instance_types=["m6i.8xlarge"]).spot_twin()


def test_the_manifest_says_whether_the_nodes_are_there_without_a_job() -> None:
    assert Lane(**{"name": "b", **block()}).manifest()["always_on"] is True
    assert [lane.manifest()["always_on"] for lane in default_lanes()] == [False] * 5


def test_gpu_models_may_differ_because_capacity_does() -> None:
    """Of equal counts; what a job can rely on is the smallest memory, which the table of types has."""
    types = ["g5.4xlarge", "g6e.4xlarge", "g6.4xlarge", "p5.4xlarge"]
    lane = Lane(name="mixed", instance_types=types, gpus=1)
    assert len({instance_shapes()[name].gpu_model for name in lane.instance_types}) == 4


def test_tokens_are_tolerated() -> None:
    """Numbers and ids that are known only at deployment are never judged."""
    number, text = Token.as_number({"Ref": "Number"}), Token.as_string({"Ref": "Text"})
    assert wrong(max_nodes=number, nodes_per_job=number, hold_minutes=number) == []
    assert wrong(instance_types=["g5.4xlarge"], capacity_reservation_id=text) == []


@given(data=st.data(), max_nodes=st.integers(1, 1000), hold=st.integers(0, 1440))
def test_types_of_one_size_always_make_a_lane(data: st.DataObject, max_nodes: int, hold: int) -> None:
    (gpus, vcpus), types = data.draw(st.sampled_from(sorted(SAME_SIZE.items())))
    chosen = data.draw(st.lists(st.sampled_from(types), min_size=1, unique=True))
    lane = Lane(name="lane", instance_types=chosen, gpus=gpus, max_nodes=max_nodes, hold_minutes=hold)
    shapes = [instance_shapes()[name] for name in chosen]
    assert lane.vcpus == vcpus
    assert lane.memory_mib < 1024 * min(shape.memory_gib for shape in shapes)
    assert lane.manifest()["partition"] == "lane"


@given(st.lists(st.sampled_from(sorted(instance_shapes())), min_size=1, max_size=4, unique=True), st.integers(0, 8))
def test_a_lane_is_accepted_exactly_when_all_nodes_are_of_its_size(types: list[str], gpus: int) -> None:
    shapes = [instance_shapes()[name] for name in types]
    one_size = {shape.gpus for shape in shapes} == {gpus} and len({shape.vcpus for shape in shapes}) == 1
    assert (not wrong(instance_types=types, gpus=gpus)) is one_size


@given(st.text(max_size=40))
def test_accepted_names_are_legal_for_parallelcluster_and_slurm(name: str) -> None:
    if not wrong(name=name):
        assert 1 <= len(name) <= 25
        assert name[0] in "abcdefghijklmnopqrstuvwxyz"
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
