"""The table of instance types is whole and plausible, and says what EC2 says."""

from __future__ import annotations

import gzip
import json
from importlib import resources
from typing import Any

import pytest

from cdk_cryoem import InstanceShape, instance_shapes

SHAPES = instance_shapes()


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """EC2's DescribeInstanceTypes, as moto ships it."""
    packed = resources.files("moto").joinpath("ec2/resources/instance_types.json.gz").read_bytes()
    found: dict[str, Any] = json.loads(gzip.decompress(packed))
    return found


def test_every_row_is_plausible() -> None:
    for name, shape in instance_shapes().items():
        assert name == shape.instance_type
        assert shape.vcpus > 0, name
        assert shape.memory_gib > 0, name
        assert shape.usd_per_hour > 0, name
        assert bool(shape.gpus) == bool(shape.gpu_model) == bool(shape.gpu_memory_gib), name


def test_bigger_is_never_cheaper_within_a_family_of_equal_gpu_count() -> None:
    shapes = list(instance_shapes().values())
    for one in shapes:
        for other in shapes:
            same = one.instance_type.split(".")[0] == other.instance_type.split(".")[0] and one.gpus == other.gpus
            if same and one.vcpus < other.vcpus:
                assert one.usd_per_hour < other.usd_per_hour, (one.instance_type, other.instance_type)


def test_the_table_is_read_once() -> None:
    assert instance_shapes() is instance_shapes()


def said_by_ec2(answer: dict[str, Any]) -> dict[str, object]:
    gpus = (answer.get("GpuInfo") or {}).get("Gpus", [])
    return {
        "gpus": sum(gpu["Count"] for gpu in gpus),
        "vcpus": answer["VCpuInfo"]["DefaultVCpus"],
        "memory_gib": answer["MemoryInfo"]["SizeInMiB"] / 1024,
        "nvme_gb": (answer.get("InstanceStorageInfo") or {}).get("TotalSizeInGB", 0),
        "efa": answer["NetworkInfo"]["EfaSupported"],
        "capacity_block": "capacity-block" in answer["SupportedUsageClasses"],
    }


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_row_says_what_ec2_says(shape: InstanceShape, described: dict[str, Any]) -> None:
    found = said_by_ec2(described[shape.instance_type])
    assert {name: getattr(shape, name) for name in found} == found


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_type_is_one_that_all_systems_and_images_here_run_on(
    shape: InstanceShape, described: dict[str, Any]
) -> None:
    answer = described[shape.instance_type]
    assert "x86_64" in answer["ProcessorInfo"]["SupportedArchitectures"]
    assert {"on-demand", "spot"} <= set(answer["SupportedUsageClasses"]), "a lane may be either"


@pytest.mark.parametrize("shape", [shape for shape in SHAPES.values() if shape.gpus], ids=lambda s: s.instance_type)
def test_a_gpus_memory_is_its_makers_figure_and_ec2_states_a_little_less(
    shape: InstanceShape, described: dict[str, Any]
) -> None:
    (gpu,) = described[shape.instance_type]["GpuInfo"]["Gpus"]
    assert 0.9 * shape.gpu_memory_gib < gpu["MemoryInfo"]["SizeInMiB"] / 1024 <= shape.gpu_memory_gib
    assert (gpu["Manufacturer"], shape.gpu_model.split("-")[0]) == ("NVIDIA", gpu["Name"].split()[0])
