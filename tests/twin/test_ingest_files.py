"""Files of every awkward kind on their way from a microscope's share to the bucket: each ends as docs/ingest.md says."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from cdk_cryoem_twin import lifecycle
from cdk_cryoem_twin.environment import Mode
from cdk_cryoem_twin.microscope import share_of
from cdk_cryoem_twin.places import ROOT_VARIABLE, Places
from cdk_cryoem_twin.transit_faults import spoil
from cdk_cryoem_twin.waiting import wait_for

pytestmark = pytest.mark.twin

_CONFIG = """\
name: files
region: us-east-1
landing: {sentinel: DONE}
microscopes:
  - name: krios
    nfs: {host: 10.0.0.5, path: /krios}
    agent_arn: arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0
    schedule: rate(15 minutes)
    software: epu
    bandwidth_windows: [{days: [mon, tue, wed, thu, fri, sat, sun], start: "00:00", end: "24:00", limit_mibps: 20}]
  - name: talos
    nfs: {host: 10.0.0.6, path: /talos}
    agent_arn: arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0
    task_mode: enhanced
"""


@dataclass(frozen=True)
class Transfer:
    """One microscope's way: its share, its task, the bucket it ends in."""

    places: Places
    make: Callable[[str], Any]
    task: str
    share: Path
    bucket: str

    def write(self, name: str, content: bytes = b"") -> Path:
        """A file on the share, as the microscope writes it."""
        path = self.share / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def run(self, *, seconds: float = 180) -> dict[str, Any]:
        """One execution to its end."""
        datasync = self.make("datasync")
        arn = datasync.start_task_execution(TaskArn=self.task)["TaskExecutionArn"]

        def ended() -> dict[str, Any]:
            found: dict[str, Any] = datasync.describe_task_execution(TaskExecutionArn=arn)
            return found if found["Status"] in ("SUCCESS", "ERROR") else {}

        found: dict[str, Any] = wait_for(ended, "the execution to end", seconds=seconds)
        return found

    def versions(self, name: str) -> list[bytes]:
        """What the bucket has of a file, the oldest first."""
        s3, key = self.make("s3"), f"datasets/{name}"
        found = s3.list_object_versions(Bucket=self.bucket, Prefix=key)
        assert "DeleteMarkers" not in found
        listed = sorted((v for v in found.get("Versions", []) if v["Key"] == key), key=lambda v: v["IsLatest"])
        return [s3.get_object(Bucket=self.bucket, Key=key, VersionId=v["VersionId"])["Body"].read() for v in listed]

    def report(self, execution: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
        """Entries of all report files of an execution, by path."""
        s3, (_, task_id, _, run_id) = self.make("s3"), execution["TaskExecutionArn"].split("/")
        prefix = f"datasync-reports/Detailed-Reports/{task_id}/{run_id}/"
        entries: dict[str, dict[str, Any]] = {}
        for found in s3.list_objects_v2(Bucket=self.bucket, Prefix=prefix).get("Contents", []):
            assert found["Size"] <= 5_000_000
            document = json.loads(s3.get_object(Bucket=self.bucket, Key=found["Key"])["Body"].read())
            assert document["TaskExecutionId"] == run_id
            entries |= {entry["RelativePath"]: entry for entry in document.get(section, [])}
        return entries


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Places, dict[str, str]]]:
    """A strict emulator with network, storage and ingest: no head node, no hooks, no Slurm."""
    places, mode = Places(Path(__file__).resolve().parents[2] / ".twin-test-ingest"), Mode(strict=True)
    config = tmp_path_factory.mktemp("ingest") / "cryoem.yaml"
    config.write_text(_CONFIG)
    with pytest.MonkeyPatch.context() as patch, lifecycle.alone(places):
        patch.setenv(ROOT_VARIABLE, str(places.root))
        try:
            lifecycle.up(places, mode, lambda text: None, config=config, stacks=["files-ingest"])
            yield places, lifecycle.outputs(places)
        finally:
            lifecycle.down(places)


def way(twin: tuple[Places, dict[str, str]], microscope: str) -> Transfer:
    places, outputs = twin
    make = lifecycle.clients(places, Mode(strict=True))
    task = outputs[f"Task{microscope.title()}"]
    share = share_of(places, make, task)
    share.mkdir(parents=True, exist_ok=True)
    return Transfer(places, make, task, share, outputs["LandingBucket"])


@pytest.fixture(scope="module")
def krios(twin: tuple[Places, dict[str, str]]) -> Transfer:
    return way(twin, "krios")


@pytest.fixture(scope="module")
def talos(twin: tuple[Places, dict[str, str]]) -> Transfer:
    return way(twin, "talos")


def test_what_is_copied_has_its_checksum_and_version_in_the_report(krios: Transfer) -> None:
    content = os.urandom(70_000)
    krios.write("plain/a_Fractions.mrc", content)
    done = krios.run()
    assert (done["Status"], done["FilesTransferred"], done["BytesTransferred"]) == ("SUCCESS", 1, 70_000)
    copied = krios.report(done, "Transferred")["/plain/a_Fractions.mrc"]
    listed = krios.make("s3").list_object_versions(Bucket=krios.bucket, Prefix="datasets/plain/")["Versions"]
    assert [copied["DstS3VersionId"]] == [version["VersionId"] for version in listed]
    assert (copied["SrcMetadata"]["ContentSize"], copied["TransferStatus"]) == (70_000, "SUCCESS")
    checked = krios.report(done, "Verified")["/plain/a_Fractions.mrc"]
    assert checked["VerifyStatus"] == "SUCCESS"
    assert checked["SrcChecksum"] == checked["DstChecksum"] == hashlib.sha256(content).hexdigest()


def test_a_second_run_finds_nothing_and_lists_nothing_again(krios: Transfer) -> None:
    krios.write("again/a.mrc", b"a")
    krios.run()
    done = krios.run()
    assert (done["Status"], done["FilesTransferred"]) == ("SUCCESS", 0)
    assert [krios.report(done, section) for section in ("Transferred", "Verified", "Skipped")] == [{}, {}, {}]


@pytest.mark.parametrize("fault", ["flip", "truncate"])
def test_a_byte_that_flips_or_an_end_that_is_lost_on_the_way_is_found_and_mended_by_the_next_run(
    krios: Transfer, fault: Any
) -> None:
    name, content = f"{fault}/a_Fractions.tiff", os.urandom(10_000)
    krios.write(name, content)
    krios.write(f"{fault}/b_Fractions.tiff", b"beside it")
    spoil(krios.places, name, fault)
    bad = krios.run()
    assert bad["Status"] == "ERROR"
    assert bad["Result"]["VerifyStatus"] == "ERROR"
    checks = krios.report(bad, "Verified")
    assert {path: check["VerifyStatus"] for path, check in checks.items()} == {
        f"/{name}": "FAILED",
        f"/{fault}/b_Fractions.tiff": "SUCCESS",
    }
    assert checks[f"/{name}"]["SrcChecksum"] == hashlib.sha256(content).hexdigest() != checks[f"/{name}"]["DstChecksum"]
    good = krios.run()
    assert (good["Status"], good["FilesTransferred"]) == ("SUCCESS", 1)
    spoilt, mended = krios.versions(name)
    assert (spoilt != content, mended == content) == (True, True)


def test_a_file_that_grows_while_it_is_copied_is_not_taken_for_complete(krios: Transfer) -> None:
    path = krios.write("grows/a_EER.eer", b"the first half, ")
    spoil(krios.places, "grows/a_EER.eer", "grow")
    early = krios.run()
    assert early["Status"] == "ERROR"
    check = krios.report(early, "Verified")["/grows/a_EER.eer"]
    assert (check["VerifyStatus"], "changed" in check["FailureReason"]) == ("FAILED", True)
    late = krios.run()
    assert late["Status"] == "SUCCESS"
    assert krios.versions("grows/a_EER.eer") == [b"the first half, ", path.read_bytes()]


def test_a_renamed_file_is_there_under_both_names(krios: Transfer) -> None:
    path = krios.write("renamed/a.mrc", b"movie")
    krios.run()
    path.rename(path.with_name("b.mrc"))
    assert krios.run()["FilesTransferred"] == 1
    assert (krios.versions("renamed/a.mrc"), krios.versions("renamed/b.mrc")) == ([b"movie"], [b"movie"])


def test_what_goes_from_the_share_stays_in_the_bucket(krios: Transfer) -> None:
    path = krios.write("purged/a.mrc", b"movie")
    krios.run()
    path.unlink()
    assert krios.run()["Status"] == "SUCCESS"
    assert krios.versions("purged/a.mrc") == [b"movie"]


def test_a_replaced_file_leaves_its_old_version(krios: Transfer) -> None:
    krios.write("replaced/a.mrc", b"old")
    krios.run()
    krios.write("replaced/a.mrc", b"newer")
    done = krios.run()
    assert krios.report(done, "Transferred")["/replaced/a.mrc"]["Overwrite"] == "True"
    assert krios.versions("replaced/a.mrc") == [b"old", b"newer"]


def test_an_empty_movie_and_an_empty_sentinel_are_copied_and_verified(krios: Transfer) -> None:
    krios.write("empty/a_Fractions.mrc")
    krios.write("empty/DONE")
    done = krios.run()
    nothing = hashlib.sha256(b"").hexdigest()
    checks = krios.report(done, "Verified")
    assert {path: check["DstChecksum"] for path, check in checks.items()} == {
        "/empty/DONE": nothing,
        "/empty/a_Fractions.mrc": nothing,
    }
    assert (done["Status"], krios.versions("empty/DONE")) == ("SUCCESS", [b""])


@pytest.mark.parametrize(
    "name",
    [
        "a b  c.mrc",
        "ü ß é.mrc",
        "电镜.tiff",
        "a+b&c=d%20.eer",
        "(1) [2] {3} \U0001f52c.mrc",
        "e\u0301.mrc",
        "'quoted\".mrc",
    ],
)
def test_names_with_spaces_and_letters_of_any_language(krios: Transfer, name: str) -> None:
    content = name.encode()
    krios.write(f"names of/{name}", content)
    done = krios.run()
    assert krios.report(done, "Verified")[f"/names of/{name}"]["VerifyStatus"] == "SUCCESS"
    assert krios.versions(f"names of/{name}") == [content]


def test_half_written_names_and_previews_are_left_until_they_have_their_own_name(krios: Transfer) -> None:
    half = krios.write("half/a_Fractions.mrc.tmp", b"half")
    krios.write("half/FoilHole_1_Data_2.jpg", b"a picture")
    krios.write("half/Thumbs.db", b"windows")
    krios.write("half/System Volume Information/x.mrc", b"windows")
    assert krios.run()["FilesTransferred"] == 0
    half.write_bytes(b"half and half")
    half.rename(half.with_name("a_Fractions.mrc"))
    assert krios.run()["FilesTransferred"] == 1
    assert krios.versions("half/a_Fractions.mrc") == [b"half and half"]


@pytest.mark.parametrize("fault", ["unreadable", "vanish"])
def test_a_file_that_cannot_be_read_fails_alone_and_ends_the_run_as_an_error(krios: Transfer, fault: Any) -> None:
    krios.write(f"{fault}/a.mrc", b"a")
    krios.write(f"{fault}/b.mrc", b"b")
    spoil(krios.places, f"{fault}/a.mrc", fault)
    done = krios.run()
    assert (done["Status"], done["Result"]["TransferStatus"], "FilesFailed" in done) == ("ERROR", "ERROR", False)
    copied = krios.report(done, "Transferred")
    assert copied[f"/{fault}/a.mrc"]["TransferStatus"] == "FAILED"
    assert copied[f"/{fault}/a.mrc"]["FailureReason"].startswith("Failed to open source file")
    assert f"/{fault}/a.mrc" not in krios.report(done, "Verified")
    assert krios.run()["Status"] == "SUCCESS"
    assert krios.versions(f"{fault}/a.mrc") == ([b"a"] if fault == "unreadable" else [])


def test_enhanced_mode_spells_its_reports_otherwise_and_counts_what_failed(talos: Transfer) -> None:
    talos.write("e/a.mrc", b"a" * 100)
    talos.write("e/b.mrc", b"b")
    spoil(talos.places, "e/a.mrc", "flip")
    spoil(talos.places, "e/b.mrc", "unreadable")
    done = talos.run()
    assert done["FilesFailed"] == {"Prepare": 0, "Transfer": 1, "Verify": 1, "Delete": 0}
    assert (done["TaskMode"], done["Status"]) == ("ENHANCED", "ERROR")
    copied = talos.report(done, "Transferred")
    assert set(copied) == {"e/a.mrc", "e/b.mrc"}
    assert copied["e/a.mrc"]["SourceMetadata"]["ContentSize"] == 100
    assert copied["e/b.mrc"]["ErrorDetail"] == "Failed to open source file: Permission denied"
    assert talos.report(done, "Verified")["e/a.mrc"]["VerifyStatus"] == "FAILED"
    assert talos.run()["FilesFailed"] == {"Prepare": 0, "Transfer": 0, "Verify": 0, "Delete": 0}


def test_the_schedule_starts_the_task_under_its_own_role(krios: Transfer) -> None:
    scheduler, datasync = krios.make("scheduler"), krios.make("datasync")
    listed = [scheduler.get_schedule(Name=found["Name"]) for found in scheduler.list_schedules()["Schedules"]]
    (ours,) = [found for found in listed if "datasync" in found["Target"]["Arn"]]
    assert ours["ScheduleExpression"] == "rate(15 minutes)"
    before = len(datasync.list_task_executions(TaskArn=krios.task)["TaskExecutions"])
    scheduler.create_schedule(
        Name="now",
        ScheduleExpression=f"at({datetime.now(UTC):%Y-%m-%dT%H:%M:%S})",
        FlexibleTimeWindow={"Mode": "OFF"},
        Target=ours["Target"],
    )

    def started() -> bool:
        return len(datasync.list_task_executions(TaskArn=krios.task)["TaskExecutions"]) > before

    wait_for(started, "the schedule to start the task", seconds=40)


def test_the_bandwidth_of_the_hour_is_set_under_the_functions_own_role_and_nothing_else_changes(
    krios: Transfer,
) -> None:
    datasync = krios.make("datasync")
    before = datasync.describe_task(TaskArn=krios.task)["Options"]
    assert (before["BytesPerSecond"], before["VerifyMode"]) == (-1, "ONLY_FILES_TRANSFERRED")
    functions = krios.make("lambda").list_functions()["Functions"]
    (pace,) = [f["FunctionName"] for f in functions if "TASK" in f.get("Environment", {}).get("Variables", {})]
    answer = krios.make("lambda").invoke(FunctionName=pace, Payload=b"{}")
    assert "FunctionError" not in answer, answer["Payload"].read()
    after = datasync.describe_task(TaskArn=krios.task)["Options"]
    assert after == {**before, "BytesPerSecond": 20 * 1024 * 1024}
    assert krios.run()["Options"] == after


def test_a_start_while_a_run_is_under_way_waits_its_turn(krios: Transfer) -> None:
    for number in range(300):
        krios.write(f"turn/{number}.mrc", b"x")
    datasync = krios.make("datasync")
    arns = [datasync.start_task_execution(TaskArn=krios.task)["TaskExecutionArn"] for _ in range(3)]

    def runs() -> list[dict[str, Any]]:
        return [datasync.describe_task_execution(TaskExecutionArn=arn) for arn in arns]

    wait_for(lambda: all(run["Status"] == "SUCCESS" for run in runs()), "all three to end", seconds=300)
    found = sorted(runs(), key=lambda run: run["LaunchTime"])
    assert [run["FilesTransferred"] for run in found] == [300, 0, 0]
    assert all(after["LaunchTime"] >= before["EndTime"] for before, after in itertools.pairwise(found))


def test_twenty_thousand_small_files_arrive_each_with_its_line_in_a_report(talos: Transfer) -> None:
    folder = talos.share / "many"
    folder.mkdir()
    for number in range(20_000):
        (folder / f"FoilHole_{number:08d}_Data_{number:08d}_{number % 7}_20260102_030405_Fractions.xml").write_text(
            str(number)
        )
    began = time.monotonic()
    done = talos.run(seconds=900)
    assert (done["Status"], done["FilesTransferred"], done["FilesVerified"]) == ("SUCCESS", 20_000, 20_000)
    for section, status in (("Transferred", "TransferStatus"), ("Verified", "VerifyStatus")):
        entries = talos.report(done, section)
        assert (len(entries), {entry[status] for entry in entries.values()}) == (20_000, {"SUCCESS"})
    pages = talos.make("s3").get_paginator("list_objects_v2").paginate(Bucket=talos.bucket, Prefix="datasets/many/")
    assert sum(len(page["Contents"]) for page in pages) == 20_000
    first = time.monotonic() - began
    began = time.monotonic()
    assert talos.run(seconds=300)["FilesTransferred"] == 0
    assert time.monotonic() - began < first, "what has not changed is not copied again"
