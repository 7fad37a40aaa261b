"""The twin's pure parts: Slurm's configuration, lives of nodes, the run's numbers, places, waiting."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from cluster_inputs import INPUTS, RESERVATION
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import Capacity, HeadNode, Lane, cluster_configuration, default_lanes
from cdk_cryoem_twin.cluster import PARALLEL_CLUSTER, Cluster
from cdk_cryoem_twin.emulator.lustre_sync import (
    Association,
    export_all,
    export_once,
    import_once,
    miss_what_changed,
    release,
)
from cdk_cryoem_twin.observer import NodeSpan, lane_of, spans
from cdk_cryoem_twin.pcluster.spec import slurm_spec
from cdk_cryoem_twin.places import Places
from cdk_cryoem_twin.slurm.conf import gres_conf, slurm_conf
from cdk_cryoem_twin.slurm.spec import SlurmSpec
from cdk_cryoem_twin.summary import JobRow, LaneFacts, summarise
from cdk_cryoem_twin.waiting import GaveUp, wait_for


def _configuration(*lanes: Lane) -> dict[str, Any]:
    return cluster_configuration(lanes=lanes or default_lanes(), head_node=HeadNode(), inputs=INPUTS)


def _spec(configuration: dict[str, Any]) -> SlurmSpec:
    return slurm_spec(configuration, root=Path("/root-of-twin"))


def _text(configuration: dict[str, Any], ports: range = range(30000, 30060)) -> str:
    return slurm_conf(
        _spec(configuration), base=Path("/base"), host="h", user="u", controller_port=29999, node_ports=ports
    )


def _as_strings(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_strings(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_as_strings(each) for each in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


def test_nodes_are_named_and_sized_as_parallelcluster_does() -> None:
    sets = {each.partition: each for each in _spec(_configuration()).node_sets}
    assert sets["gpu4"].names == tuple(f"gpu4-dy-nodes-{n}" for n in (1, 2, 3, 4))
    assert (sets["gpu4"].cpus, sets["gpu4"].gpus, sets["gpu4"].gpu_model) == (48, 4, "a10g")
    assert sets["gpu4"].memory_mib == int(192 * 1024 * 0.95)


def test_text_as_cloudformation_sends_it_gives_the_same_slurm_configuration() -> None:
    assert _text(_configuration()) == _text(_as_strings(_configuration()))


def test_custom_settings_arrive_and_their_paths_lie_below_the_twins_root() -> None:
    text = _text(_configuration())
    assert "JobCompType=jobcomp/script" in text
    assert "JobCompLoc=/root-of-twin/opt/cryoem/bin/job-completion" in text
    assert "PrologSlurmctld=/root-of-twin/opt/cryoem/bin/wait-for-nodes" in text
    assert "SelectTypeParameters=CR_CPU_Memory" in text
    assert "PartitionName=cpu " in text
    assert text.count("Default=YES") == 1


def test_a_lane_that_is_always_on_has_static_nodes() -> None:
    block = Lane(
        name="block",
        instance_types=["p5.48xlarge"],
        gpus=8,
        max_nodes=2,
        capacity=Capacity.CAPACITY_BLOCK,
        capacity_reservation_id=RESERVATION,
    )
    (found,) = _spec(_configuration(block)).node_sets
    assert found.names == ("block-st-nodes-1", "block-st-nodes-2")
    assert found.gpus == 8


def test_the_first_lane_takes_what_names_none_and_all_have_one_idle_time() -> None:
    spec = _spec(_configuration())
    assert [partition.is_default for partition in spec.partitions] == [True, False, False, False, False]
    assert [partition.idle_seconds for partition in spec.partitions] == [None] * 5
    assert (spec.idle_seconds, spec.by_memory) == (600, True)
    assert spec.partitions[0].settings == {"MaxTime": "2880", "DefaultTime": "2880"}


@pytest.mark.parametrize(
    ("node", "lane"),
    [
        ("gpu4-dy-nodes-12", "gpu4"),
        ("block-st-nodes-1", "block"),
        ("cpu-spot-dy-nodes-1", "cpu-spot"),
        ("gpu4-12", "gpu4"),
        ("gpu-4-1", "gpu-4"),
    ],
)
def test_lane_of_a_node_of_either_engine(node: str, lane: str) -> None:
    assert lane_of(node) == lane


def test_a_cluster_is_written_down_whole_and_read_again(tmp_path: Path) -> None:
    places = Places(tmp_path)
    places.run.mkdir()
    assert Cluster.load_if_any(places) is None
    with pytest.raises(FileNotFoundError):
        Cluster.load(places)
    made = Cluster(
        engine=PARALLEL_CLUSTER, name="cryo", instance_id="i-1", role_arn="arn", file_system_id="fs-1",
        configuration={"Region": "eu-west-1"},
    )  # fmt: skip
    made.save(places)
    assert Cluster.load(places) == Cluster.load_if_any(places) == made
    assert [path.name for path in places.run.iterdir()] == ["cluster.json"], "no draft is left"


def test_more_nodes_than_ports_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="lower max_nodes"):
        _text(_configuration(), ports=range(30000, 30003))


def test_gpus_are_devices_and_cpu_lanes_have_none() -> None:
    text = gres_conf(_spec(_configuration()), devices=[f"/d{n}" for n in range(8)])
    assert "NodeName=gpu1-dy-nodes-1 Name=gpu Type=a10g File=/d0\n" in text
    assert "NodeName=gpu4-dy-nodes-1 Name=gpu Type=a10g File=/d0,/d1,/d2,/d3\n" in text
    assert "cpu-dy" not in text


def _line(at: float, node: str, event: str) -> dict[str, Any]:
    return {"at": at, "node": node, "event": event}


def test_lives_of_nodes_are_told_apart() -> None:
    lines = [
        _line(1, "gpu1-dy-nodes-1", "launch"),
        _line(4, "gpu1-dy-nodes-1", "ready"),
        _line(9, "gpu1-dy-nodes-1", "off"),
        _line(20, "gpu1-dy-nodes-1", "launch"),
    ]
    first, second = spans(lines)
    assert (first.launched, first.ready, first.off, first.lane) == (1, 4, 9, "gpu1")
    assert (second.launched, second.ready, second.off) == (20, None, None)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["launch", "ready", "off"])), max_size=30))
def test_a_life_never_ends_before_it_begins(story: list[tuple[str, str]]) -> None:
    found = spans([_line(n, f"l-dy-{node}", event) for n, (node, event) in enumerate(story)])
    assert all(span.off is None or span.off > span.launched for span in found)
    assert sum(span.off is not None for span in found) <= sum(event == "off" for _, event in story)


def _job(**changes: Any) -> JobRow:
    values: dict[str, Any] = {
        "job_id": "1", "name": "j", "lane": "gpu4", "state": "COMPLETED", "submitted_at": 0, "started_at": 10,
        "ended_at": 110, "gpus": 4.0, "usd": 0.1, "nodes": "n",
    }  # fmt: skip
    return JobRow(**(values | changes))


def test_pbr_and_cold_wait_of_one_job() -> None:
    span = NodeSpan(node="gpu4-dy-nodes-1", lane="gpu4", launched=2.0, ready=9.0, off=122.0)
    total = summarise([_job()], [span], {"gpu4": LaneFacts(gpus=4, usd_per_hour=3600.0)}, now=999)
    assert total.pbr == pytest.approx(120 / 100)
    assert total.mean_cold_wait_seconds == 10
    assert total.nodes_usd == pytest.approx(120.0)


def test_a_warm_job_is_no_cold_wait_and_a_node_that_is_on_is_paid_until_now() -> None:
    span = NodeSpan(node="gpu4-dy-nodes-1", lane="gpu4", launched=-500.0, ready=-490.0, off=None)
    total = summarise([_job()], [span], {"gpu4": LaneFacts(gpus=4, usd_per_hour=3600.0)}, now=110)
    assert total.mean_cold_wait_seconds is None
    assert total.nodes_usd == pytest.approx(610.0)


def test_two_checkouts_have_different_ports_and_a_long_path_says_so() -> None:
    one, other = Places(Path("/home/a/cdk-cryoem/.twin")), Places(Path("/home/b/cdk-cryoem/.twin"))
    assert not set(range(one.first_port, one.first_port + 64)) & set(range(other.first_port, other.first_port + 64))
    assert one.problem() == ""
    assert "107" in Places(Path("/" + "x" * 120)).problem()


def test_waiting_gives_up_in_words() -> None:
    with pytest.raises(GaveUp, match=r"waited 0 s for the moon in vain; look into /x"):
        wait_for(lambda: False, "the moon", seconds=0, log=Path("/x"), every=0)


class _Bucket:
    """S3, as far as the association uses it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.metadata: dict[str, dict[str, str]] = {}

    def get_paginator(self, name: str) -> _Bucket:
        assert name == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str) -> list[dict[str, Any]]:
        found = [{"Key": k, "ETag": f'"{hash(v)}"'} for k, v in self.objects.items() if k.startswith(Prefix)]
        return [{"Contents": found}]

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        content = self.objects[Key]

        class Body:
            def iter_chunks(self, size: int) -> list[bytes]:
                return [content]

        return {"Body": Body(), "Metadata": self.metadata.get(Key, {})}

    def put_object(self, *, Bucket: str, Key: str, Body: bytes, Metadata: dict[str, str]) -> None:
        self.objects[Key], self.metadata[Key] = Body, Metadata


def _association(folder: Path, *, imports: set[str] = frozenset(), exports: set[str] = frozenset()) -> Association:  # type: ignore[assignment]
    return Association(
        folder=folder,
        bucket="b",
        prefix="datasets/",
        imports=frozenset(imports),
        exports=frozenset(exports),
        import_what_is_there=True,
    )


def test_import_brings_new_and_changed_objects_and_never_writes_to_the_bucket(tmp_path: Path) -> None:
    bucket, kept = _Bucket(), _association(tmp_path, imports={"NEW", "CHANGED"})
    bucket.objects["datasets/d/one.mrc"] = b"1"
    import_once(kept, bucket)
    assert (tmp_path / "d/one.mrc").read_bytes() == b"1"
    bucket.objects["datasets/d/one.mrc"] = b"2"
    import_once(kept, bucket)
    assert (tmp_path / "d/one.mrc").read_bytes() == b"2"
    (tmp_path / "d/one.mrc").unlink()
    import_once(kept, bucket)
    assert bucket.objects == {"datasets/d/one.mrc": b"2"}


def test_export_sends_settled_files_once_and_a_deletion_never(tmp_path: Path) -> None:
    bucket, kept = _Bucket(), _association(tmp_path, exports={"NEW", "CHANGED"})
    (tmp_path / "map.mrc").write_bytes(b"map")
    written = (tmp_path / "map.mrc").stat().st_mtime
    export_once(kept, bucket, now=written + 0.5)
    assert bucket.objects == {}
    export_once(kept, bucket, now=written + 2)
    assert bucket.objects == {"datasets/map.mrc": b"map"}
    (tmp_path / "map.mrc").unlink()
    export_once(kept, bucket, now=written + 9)
    assert bucket.objects == {"datasets/map.mrc": b"map"}


def test_what_changed_while_nothing_was_exported_is_exported_by_a_task_alone(tmp_path: Path) -> None:
    bucket, kept = _Bucket(), _association(tmp_path)
    (tmp_path / "while.mrc").write_bytes(b"1")
    miss_what_changed(kept)
    kept.exports = frozenset({"NEW", "CHANGED"})
    later = (tmp_path / "while.mrc").stat().st_mtime + 9
    (tmp_path / "after.mrc").write_bytes(b"2")
    export_once(kept, bucket, now=later)
    assert set(bucket.objects) == {"datasets/after.mrc"}
    assert export_all(kept, bucket) == 1
    assert bucket.objects["datasets/while.mrc"] == b"1"
    assert export_all(kept, bucket) == 0


def test_a_task_exports_below_its_path_alone(tmp_path: Path) -> None:
    bucket, kept = _Bucket(), _association(tmp_path)
    for name in ("a/1", "a/2", "ab/3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert export_all(kept, bucket, below="a/") == 2
    assert set(bucket.objects) == {"datasets/a/1", "datasets/a/2"}


def test_what_was_exported_comes_back_with_its_time(tmp_path: Path) -> None:
    bucket, kept = _Bucket(), _association(tmp_path / "old", exports={"NEW"})
    kept.folder.mkdir()
    (kept.folder / "map.mrc").write_bytes(b"map")
    export_once(kept, bucket, now=4e9)
    again = _association(tmp_path / "new")
    assert import_once(again, bucket) == 0, "an export-only folder imports nothing by itself"
    assert import_once(again, bucket, whatever=True) == 1
    assert (again.folder / "map.mrc").read_bytes() == b"map"
    assert (again.folder / "map.mrc").stat().st_mtime_ns == (kept.folder / "map.mrc").stat().st_mtime_ns
    assert export_all(again, bucket) == 0, "what came from S3 is as it is there"


def test_a_link_goes_and_comes_back_as_a_link(tmp_path: Path) -> None:
    bucket, kept = _Bucket(), _association(tmp_path / "old", exports={"NEW"})
    (kept.folder / "job").mkdir(parents=True)
    (kept.folder / "alias").symlink_to("job")
    (kept.folder / "gone").symlink_to("/nowhere/ü")
    export_once(kept, bucket, now=4e9)
    again = _association(tmp_path / "new")
    assert import_once(again, bucket, whatever=True) == 2
    assert os.readlink(again.folder / "alias") == "job"
    assert os.readlink(again.folder / "gone") == "/nowhere/ü"
    assert export_all(again, bucket) == 0


def test_a_release_takes_what_is_in_s3_and_was_left_alone_and_its_content_is_that_of_s3(tmp_path: Path) -> None:
    bucket, kept = _Bucket(), _association(tmp_path, imports={"NEW", "CHANGED"})
    bucket.objects |= {"datasets/d/old.mrc": b"s3", "datasets/d/new.mrc": b"s3", "datasets/e/old.mrc": b"s3"}
    import_once(kept, bucket)
    (tmp_path / "d/mine.txt").write_bytes(b"nowhere else")
    now = (tmp_path / "d/mine.txt").stat().st_mtime + 1000
    for name in ("d/old.mrc", "e/old.mrc"):
        before = (tmp_path / name).stat().st_mtime_ns
        os.utime(tmp_path / name, ns=(int((now - 500) * 1e9), before))
    os.utime(tmp_path / "d/new.mrc", ns=(int((now - 100) * 1e9), (tmp_path / "d/new.mrc").stat().st_mtime_ns))
    assert release(kept, bucket, below="d", idle_seconds=300, now=now) == 1
    assert (tmp_path / "d/old.mrc").read_bytes() == b"s3"
    assert (tmp_path / "d/mine.txt").read_bytes() == b"nowhere else"
    # A file that somebody changed is not as its object, and is left alone.
    (tmp_path / "e/old.mrc").write_bytes(b"mine")
    assert release(kept, bucket, below="e", idle_seconds=-2000, now=now) == 0
    assert (tmp_path / "e/old.mrc").read_bytes() == b"mine"


def test_the_twins_own_help_and_limits(capsys: pytest.CaptureFixture[str]) -> None:
    from cdk_cryoem_stacks.cli import main

    with pytest.raises(SystemExit) as ended:
        main(["twin", "--help"])
    assert ended.value.code == 0
    assert "status" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["twin", "demo", "--movies", "0"])
    assert ended.value.code == 2
    assert "got 0, allowed: 8 to 64" in capsys.readouterr().err


def test_the_check_command_says_right_and_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cdk_cryoem_stacks.cli import main

    (tmp_path / "good.yaml").write_text("name: lab\n")
    (tmp_path / "bad.yaml").write_text("name: lab\nfile_system: {capacity_gib: 1024}\n")
    for name, code in (("good", 0), ("bad", 2)):
        with pytest.raises(SystemExit) as ended:
            main(["check", str(tmp_path / f"{name}.yaml")])
        assert ended.value.code == code
    assert "bad.yaml:2: file_system.capacity_gib: got 1024" in capsys.readouterr().err
