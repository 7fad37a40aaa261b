"""A lane is right as a whole or says everything that is wrong with it."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import Capacity, CryoEmError, InstanceShape, Lane, Problem, default_lanes, instance_shapes
from cdk_cryoem.lane import lane_problems, lane_set_problems

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
