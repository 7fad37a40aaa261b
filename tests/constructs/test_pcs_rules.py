"""What PCS refuses, both sides of every boundary, in the words of whoever typed it."""

from __future__ import annotations

from typing import Any

import pytest
from aws_cdk import App, CfnParameter, Stack
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem import Capacity, Lane
from cdk_cryoem.pcs_rules import BACKSTOP_SECONDS, SIZES, SLURM_VERSIONS, idle_seconds, pcs_problems

CPU = ("m6i.8xlarge",)
RIGHT: dict[str, Any] = {
    "lanes": [Lane(name="cpu", instance_types=CPU)],
    "size": "SMALL",
    "slurm_version": "25.11",
    "ami_id": "ami-0a1b2c3d4e5f60718",
    "mount_source": "fs@tcp:/abc",
}


def lanes(*most: int) -> list[Lane]:
    return [Lane(name=f"lane{n}", instance_types=CPU, max_nodes=each) for n, each in enumerate(most)]


def said(**changes: Any) -> list[str]:
    return [str(problem) for problem in pcs_problems(**{**RIGHT, **changes})]


def test_what_is_right_is_no_problem() -> None:
    assert said() == []


@pytest.mark.parametrize("version", SLURM_VERSIONS)
def test_versions_with_an_idle_time_of_each_node_group(version: str) -> None:
    assert said(slurm_version=version) == []


@pytest.mark.parametrize("version", ["24.11", "25.05", "25.11.8", "26.05", "", "latest"])
def test_another_version_is_refused(version: str) -> None:
    assert said(slurm_version=version) == [
        f"slurm_version: got {version!r}, allowed: 25.11. "
        "Earlier ones have one idle time for all lanes; what 26.05 does with mixed GPU models is not known"
    ]


@pytest.mark.parametrize("ami", ["ami-0a1b2c3d", "ami-0a1b2c3d4e5f60718"])
def test_images(ami: str) -> None:
    assert said(ami_id=ami) == []


@pytest.mark.parametrize(
    "ami", ["", "ami-", "ami-0a1b2c", "ami-0A1B2C3D", "ami-0a1b2c3d4e5f607189", "0a1b2c3d", "ubuntu"]
)
def test_what_is_no_image(ami: str) -> None:
    assert said(ami_id=ami) == [f"ami_id: got {ami!r}, allowed: ami- and 8 or 17 hexadecimals"]


@pytest.mark.parametrize("size", ["small", "HUGE", ""])
def test_what_is_no_size(size: str) -> None:
    assert said(size=size) == [f"size: got {size!r}, allowed: SMALL, MEDIUM, LARGE"]


@pytest.mark.parametrize(("size", "most"), SIZES.items())
def test_a_size_takes_exactly_its_nodes(size: str, most: int) -> None:
    full = [1000] * (most // 1000) + [most % 1000]
    assert said(size=size, lanes=lanes(*full)) == []
    (problem,) = said(size=size, lanes=lanes(*full, 1))
    assert problem.startswith(f"size: got {size!r}, allowed: one that takes the lanes' {most + 1} nodes")


def test_the_next_size_is_named_and_what_it_means() -> None:
    (problem,) = said(lanes=lanes(20, 13))
    assert problem == (
        "size: got 'SMALL', allowed: one that takes the lanes' 33 nodes (SMALL 32, MEDIUM 512, LARGE 2048). "
        "Use MEDIUM; on a cluster that is there it means a new cluster"
    )
    assert "Use LARGE" in said(lanes=lanes(513))[0]
    assert said(size="LARGE", lanes=lanes(1000, 1000, 49))[0].endswith("Lower max_nodes")


@pytest.mark.parametrize("name", ["a", "ab"])
def test_a_queue_with_a_short_name_is_refused(name: str) -> None:
    assert said(lanes=[Lane(name=name, instance_types=CPU), Lane(name="cpu", instance_types=CPU)]) == [
        f"lane {name}.name: got {name!r}, allowed: 3 to 25 characters with PCS. PCS refuses shorter names of queues"
    ]


@pytest.mark.parametrize(("count", "wrong"), [(10, []), (11, ["lanes"])])
def test_a_cluster_has_ten_queues_at_most(count: int, wrong: list[str]) -> None:
    found = list(pcs_problems(**{**RIGHT, "lanes": lanes(*([1] * count))}))
    assert [problem.property for problem in found] == wrong
    for problem in found:
        assert str(problem).startswith("lanes: got '11 lanes', allowed: 10 at most with PCS, spot twins included. ")


def test_a_file_system_without_an_address_cannot_be_mounted() -> None:
    assert said(mount_source=None) == [
        "file_system.mount_source: got None, allowed: HOST@tcp:/NAME, as the FSx console shows it. "
        "Give it to LustreStore.from_lustre_store_attributes: PCS mounts no file system by itself"
    ]


@pytest.mark.parametrize(("gib", "right"), [(74, False), (75, True), (100, True)])
def test_the_head_nodes_root_is_as_large_as_the_images(gib: int, right: bool) -> None:
    assert said(root_volume_gib=gib) == (
        [] if right else [
            f"head_node.root_volume_gib: got {gib}, allowed: 75 or more with PCS. "
            "Its images are larger, and EC2 makes no smaller volume of one"
        ]
    )  # fmt: skip


def test_there_is_no_desktop() -> None:
    assert said(remote_desktop_from="10.0.0.0/8") == [
        "head_node.remote_desktop_from: got '10.0.0.0/8', allowed: nothing with PCS, whose images have no DCV"
    ]


def test_everything_wrong_is_reported_at_once() -> None:
    found = pcs_problems(
        lanes=[], size="TINY", slurm_version="1", ami_id="x", mount_source=None, remote_desktop_from="0.0.0.0/0"
    )
    assert [problem.property for problem in found] == [
        "slurm_version", "ami_id", "size", "file_system.mount_source", "head_node.remote_desktop_from",
    ]  # fmt: skip


def test_what_is_known_only_at_deployment_is_not_judged() -> None:
    stack = Stack(App(analytics_reporting=False), "Test")
    token = CfnParameter(stack, "Later").value_as_string
    for name in ("size", "slurm_version", "ami_id", "mount_source"):
        assert said(**{name: token}) == [], name


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(most=st.lists(st.integers(1, 1000), max_size=5), size=st.sampled_from(sorted(SIZES)))
def test_lanes_fit_exactly_when_their_nodes_do(most: list[int], size: str) -> None:
    assert (said(size=size, lanes=lanes(*most)) == []) is (sum(most) <= SIZES[size])


@pytest.mark.parametrize(("hold", "seconds"), [(0, 300), (5, 600), (1440, 86_700)])
def test_pcs_shuts_a_node_down_after_the_hooks_would_have(hold: int, seconds: int) -> None:
    for capacity in (Capacity.ON_DEMAND, Capacity.SPOT):
        lane = Lane(name="l", instance_types=CPU, hold_minutes=hold, capacity=capacity)
        assert idle_seconds(lane) == seconds
        assert idle_seconds(lane) - lane.hold_minutes * 60 == BACKSTOP_SECONDS == 300
