"""What FSx for Lustre accepts: both sides of every boundary."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest
from aws_cdk import Token
from hypothesis import example, given
from hypothesis import strategies as st

from cdk_cryoem import Problem
from cdk_cryoem.lustre_rules import (
    association_problems,
    association_set_problems,
    capacity_problems,
    file_system_problems,
)

# Written out on purpose: the oracle is the list of the FSx API reference, not the rule of the code.
LEGAL_CAPACITIES = frozenset([1200, *range(2400, 1_000_001, 2400)])
CAPACITIES = st.one_of(st.integers(-5000, 1_100_000), st.integers(-2, 500).map(lambda n: n * 1200))


def shape(
    *,
    deployment_type: str = "PERSISTENT_2",
    capacity_gib: int = 2400,
    throughput: int | None = 250,
    metadata_iops: int | None = None,
    version: str = "2.15",
) -> list[Problem]:
    return list(
        file_system_problems(
            deployment_type=deployment_type,
            capacity_gib=capacity_gib,
            throughput_mibps_per_tib=throughput,
            metadata_iops=metadata_iops,
            lustre_version=version,
        )
    )


def association(
    *,
    path: str = "/data",
    repository: str = "s3://bucket/prefix/",
    imports: Sequence[str] = (),
    exports: Sequence[str] = (),
) -> list[Problem]:
    return list(
        association_problems(path=path, data_repository_path=repository, import_events=imports, export_events=exports)
    )


@given(CAPACITIES)
@example(1200)
@example(2400)
@example(998_400)
@example(1_000_800)
def test_exactly_the_legal_capacities_are_accepted(capacity: int) -> None:
    assert (not list(capacity_problems(capacity))) == (capacity in LEGAL_CAPACITIES)


@given(CAPACITIES.filter(lambda capacity: capacity not in LEGAL_CAPACITIES))
@example(1_000_001)
@example(0)
def test_what_a_refused_capacity_is_advised_to_become_is_legal(capacity: int) -> None:
    (problem,) = capacity_problems(capacity)
    advised = [int(number) for number in re.findall(r"\d+", problem.fix)]
    assert advised
    assert set(advised) <= LEGAL_CAPACITIES


@pytest.mark.parametrize(
    ("capacity", "advice"),
    [
        (1024, "1200"),
        (1199, "1200"),
        (1201, "1200 or 2400"),
        (2399, "1200 or 2400"),
        (2401, "2400 or 4800"),
        (3600, "2400 or 4800"),
        (2_000_000, "998400"),
    ],
)
def test_the_advice_is_the_nearest_capacities(capacity: int, advice: str) -> None:
    (problem,) = capacity_problems(capacity)
    assert problem.property == "capacity_gib"
    assert problem.fix == f"The nearest that FSx accepts: {advice}"


def test_a_capacity_known_only_at_deployment_is_let_through() -> None:
    assert not list(capacity_problems(int(Token.as_number({"Ref": "Capacity"}))))


@pytest.mark.parametrize("throughput", [125, 250, 500, 1000])
def test_every_throughput_of_persistent_2_is_accepted(throughput: int) -> None:
    assert not shape(throughput=throughput)


@pytest.mark.parametrize("throughput", [None, 0, 50, 100, 124, 126, 200, 300, 999, 1001, 2000])
def test_other_throughputs_are_refused(throughput: int | None) -> None:
    (problem,) = shape(throughput=throughput)
    assert (problem.property, problem.value) == ("throughput_mibps_per_tib", throughput)


def test_scratch_2_has_no_throughput_and_no_metadata_setting() -> None:
    assert not shape(deployment_type="SCRATCH_2", throughput=None)
    problems = shape(deployment_type="SCRATCH_2", throughput=250, metadata_iops=1500)
    assert [problem.property for problem in problems] == ["throughput_mibps_per_tib", "metadata_iops"]


@pytest.mark.parametrize("deployment_type", ["SCRATCH_1", "PERSISTENT_1", "persistent_2", "INTELLIGENT_TIERING", ""])
def test_types_without_associations_are_refused(deployment_type: str) -> None:
    problems = shape(deployment_type=deployment_type, throughput=None)
    assert [problem.property for problem in problems] == ["deployment_type"]


@pytest.mark.parametrize("iops", [1500, 3000, 6000, 12_000, 24_000, 180_000, 192_000])
def test_legal_metadata_iops(iops: int) -> None:
    assert not shape(metadata_iops=iops)


@pytest.mark.parametrize("iops", [-12_000, 0, 1499, 1501, 4500, 6001, 11_999, 12_001, 18_000, 192_001, 204_000])
def test_illegal_metadata_iops(iops: int) -> None:
    (problem,) = shape(metadata_iops=iops)
    assert (problem.property, problem.value) == ("metadata_iops", iops)


@pytest.mark.parametrize(("version", "legal"), [("2.15", True), ("2.12", True), ("2.10", False), ("2.16", False)])
def test_lustre_versions_with_automatic_import(version: str, legal: bool) -> None:
    assert [problem.property for problem in shape(version=version)] == ([] if legal else ["lustre_version"])


def test_all_problems_of_a_file_system_are_reported_together() -> None:
    problems = shape(capacity_gib=3600, throughput=300, metadata_iops=7, version="2.10")
    assert [problem.property for problem in problems] == [
        "capacity_gib", "throughput_mibps_per_tib", "metadata_iops", "lustre_version",
    ]  # fmt: skip


@pytest.mark.parametrize("path", ["/data", "/a/b-c_d.e", "/1"])
def test_paths_below_the_root_are_accepted(path: str) -> None:
    assert not association(path=path)


@pytest.mark.parametrize("path", ["/", "", "data", "/data/", "//data", "/da ta", "/data\n", "/d*"])
def test_other_paths_are_refused(path: str) -> None:
    assert [problem.property for problem in association(path=path)] == ["path"]


@pytest.mark.parametrize("repository", ["http://bucket/", "bucket/prefix", "nfs://host/", "s3:/bucket"])
def test_a_repository_must_be_s3(repository: str) -> None:
    assert [problem.property for problem in association(repository=repository)] == ["data_repository_path"]


@pytest.mark.parametrize(
    ("imports", "exports", "wrong"),
    [
        (("NEW", "CHANGED"), (), []),
        ((), ("NEW", "CHANGED"), []),
        (("NEW", "CHANGED", "DELETED"), (), []),
        (("NEW",), ("NEW",), []),
        (("new",), (), ["import_events"]),
        ((), ("MOVED",), ["export_events"]),
        ((), ("NEW", "DELETED"), ["export_events"]),
        (("DELETED",), ("NEW",), ["import_events"]),
    ],
)
def test_events_never_delete_what_is_not_saved(
    imports: Sequence[str], exports: Sequence[str], wrong: list[str]
) -> None:
    assert [problem.property for problem in association(imports=imports, exports=exports)] == wrong


def test_eight_associations_fit_and_nine_do_not() -> None:
    paths = [f"/p{number}" for number in range(9)]
    repositories = [f"s3://b/{number}/" for number in range(9)]
    assert not list(association_set_problems(paths[:8], repositories[:8]))
    (problem,) = association_set_problems(paths, repositories)
    assert (problem.property, problem.value) == ("associations", 9)


@pytest.mark.parametrize(
    ("paths", "overlap"),
    [
        (["/data", "/database"], False),
        (["/data", "/data-2", "/data.d"], False),
        (["/data", "/data"], True),
        (["/data", "/data/sub"], True),
        (["/data", "/data-2", "/data/sub"], True),
    ],
)
def test_paths_may_not_lie_within_each_other(paths: list[str], overlap: bool) -> None:
    repositories = [f"s3://b/{number}/" for number in range(len(paths))]
    problems = list(association_set_problems(paths, repositories))
    assert [problem.property for problem in problems] == (["path"] if overlap else [])


def test_repositories_may_not_lie_within_each_other() -> None:
    (problem,) = association_set_problems(["/a", "/b"], ["s3://bucket/x", "s3://bucket/x/y/"])
    assert problem.property == "data_repository_path"
    assert "s3://bucket/x/ and s3://bucket/x/y/" in str(problem.value)
