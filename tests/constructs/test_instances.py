"""The table of instance types is whole and plausible."""

from __future__ import annotations

from cdk_cryoem import instance_shapes


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
