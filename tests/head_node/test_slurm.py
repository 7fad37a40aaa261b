from __future__ import annotations

import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cryoem_head import settings, slurm

# From a ParallelCluster head node: an idle node that is up, a comment with the look of fields, all on one line.
LINE = (
    "NodeName=gpu4-dy-g5-12xlarge-1 Arch=x86_64 CoresPerSocket=1 CPUAlloc=0 CPUEfctv=48 CPUTot=48 CPULoad=0.03"
    " AvailableFeatures=dynamic,g5.12xlarge,gpu4 ActiveFeatures=dynamic,g5.12xlarge,gpu4 Gres=gpu:a10g:4"
    " NodeAddr=10.0.1.5 NodeHostName=ip-10-0-1-5 Version=23.11.10 OS=Linux 5.15.0-1072-aws #78-Ubuntu SMP Wed Oct 9"
    " RealMemory=186777 AllocMem=0 FreeMem=184012 Sockets=48 Boards=1 State={state} ThreadsPerCore=1 TmpDisk=0"
    " Weight=1000 Owner=N/A MCS_label=N/A Partitions={partitions} BootTime={boot} SlurmdStartTime=2026-03-02T10:05:00"
    " LastBusyTime={busy} ResumeAfterTime=None CfgTRES=cpu=48,mem=186777M,billing=48,gres/gpu=4 AllocTRES="
    " CurrentWatts=0 AveWatts=0 ExtSensorsJoules=n/a Reason=Scheduler health check [root@2026-03-02T10:00:00]"
)


def line(
    state: str = "IDLE+CLOUD",
    *,
    partitions: str = "gpu4",
    boot: str = "2026-03-02T10:04:00",
    busy: str = "2026-03-02T11:00:00",
) -> str:
    return LINE.format(state=state, partitions=partitions, boot=boot, busy=busy)


def node(state: str = "IDLE+CLOUD", **fields: Any) -> slurm.Node:
    (found,) = slurm.parse_nodes(line(state, **fields) + "\n")
    return found


@pytest.mark.parametrize(
    ("state", "expected", "paid"),
    [
        ("IDLE", "idle", True),
        ("IDLE+CLOUD", "idle", True),
        ("IDLE+CLOUD+DRAIN", "idle", True),
        ("ALLOCATED+CLOUD", "busy", True),
        ("MIXED+CLOUD", "busy", True),
        ("MIXED+CLOUD+POWERING_UP", "busy", True),
        ("MIXED+CLOUD+NOT_RESPONDING+POWERING_UP", "busy", True),
        ("ALLOCATED+CLOUD+DRAIN+POWER_DOWN", "busy", True),
        ("IDLE+COMPLETING", "busy", True),
        ("DOWN+CLOUD+COMPLETING", "busy", True),
        ("IDLE+CLOUD+POWERING_UP", "booting", True),
        ("IDLE+CLOUD+NOT_RESPONDING+POWERING_UP", "booting", True),
        ("IDLE+CLOUD+DRAIN+POWER_DOWN+NOT_RESPONDING+POWERING_UP", "changing", True),
        ("IDLE+CLOUD+DRAIN+POWER_DOWN", "changing", True),
        ("IDLE+CLOUD+POWERING_DOWN", "changing", True),
        ("IDLE+CLOUD+NOT_RESPONDING", "changing", True),
        ("DOWN", "changing", True),
        ("DOWN*", "changing", True),
        ("DOWN*+CLOUD+DRAIN", "changing", True),
        ("IDLE*", "changing", True),
        ("IDLE*+CLOUD", "changing", True),
        ("ALLOCATED*+CLOUD", "busy", True),
        ("IDLE+CLOUD+FAIL", "changing", True),
        ("UNKNOWN", "changing", True),
        ("IDLE+CLOUD+POWERED_DOWN", "changing", False),
        ("DOWN+CLOUD+POWERED_DOWN", "changing", False),
    ],
)
def test_state_and_whether_somebody_pays(state: str, expected: str, paid: bool) -> None:
    assert (node(state).state, node(state).powered_up) == (expected, paid)


def test_name_and_partitions() -> None:
    found = node(partitions="gpu4,live")
    assert (found.name, found.partitions) == ("gpu4-dy-g5-12xlarge-1", ["gpu4", "live"])


def test_a_node_without_a_partition() -> None:
    assert slurm.parse_nodes("NodeName=n State=IDLE BootTime=None LastBusyTime=None")[0].partitions == []


def test_a_line_per_node_and_other_lines_are_none() -> None:
    text = f"{line()}\n\nsome warning State=IDLE\n{line('DOWN*')}\n"
    assert [n.state for n in slurm.parse_nodes(text)] == ["idle", "changing"]


def test_no_nodes() -> None:
    assert slurm.parse_nodes("") == []


def test_epoch_changes_with_every_boot_and_every_job() -> None:
    epochs = {
        node().epoch,
        node(boot="2026-03-02T12:00:00").epoch,
        node(busy="2026-03-02T12:00:00").epoch,
    }
    assert len(epochs) == 3
    assert node("MIXED+CLOUD").epoch == node().epoch == "2026-03-02T10:04:00_2026-03-02T11:00:00"


@pytest.mark.parametrize(
    ("boot", "busy", "since"),
    [
        ("2026-03-02T10:00:00", "2026-03-02T11:00:00", "2026-03-02T11:00:00"),
        ("2026-03-02T12:00:00", "2026-03-02T11:00:00", "2026-03-02T12:00:00"),
        ("2026-03-02T10:00:00", "None", "2026-03-02T10:00:00"),
        ("None", "2026-03-02T11:00:00", "2026-03-02T11:00:00"),
        ("None", "Unknown", None),
    ],
)
def test_idle_since_the_last_job_or_the_boot(boot: str, busy: str, since: str | None) -> None:
    expected = None if since is None else datetime.fromisoformat(since).timestamp()
    assert node(boot=boot, busy=busy).idle_since == expected


def test_nodes_are_asked_for_by_name(home: Path, fake: Any) -> None:
    calls = fake("scontrol", f"echo '{line()}'")
    settings.load()
    assert [n.name for n in slurm.nodes("a", "b")] == [n.name for n in slurm.nodes()]
    assert calls.read_text() == "--oneliner show nodes a,b\n--oneliner show nodes\n"


def test_jobs_by_partition_counts_each_partition_a_job_could_start_in(home: Path, fake: Any) -> None:
    calls = fake(
        "squeue",
        "printf 'gpu4|Resources\\ngpu4,live|None\\ncpu|Priority\\ncpu|DependencyNeverSatisfied\\nlive|PartitionTimeLimit\\n"
        "live|PartitionDown\\nlive|Dependency\\ngpu4|Licenses\\ngpu4|Nodes required for job are DOWN, DRAINED or reserved\\n'",
    )
    settings.load()
    assert slurm.jobs_by_partition("PENDING") == {"gpu4": 3, "live": 1, "cpu": 1}
    assert slurm.jobs_by_partition("PENDING", blocked=True) == {"live": 1, "gpu4": 1}
    assert calls.read_text() == "--noheader --states PENDING --format %P|%r\n" * 2


def test_gpus_of_running_jobs_and_the_oldest_wait_of_each_partition(home: Path, fake: Any) -> None:
    calls = fake(
        "squeue",
        "printf 'RUNNING|2|2026-03-02T10:00:00|gres:gpu:4|gpu4|None\\nRUNNING|1|2026-03-02T10:00:00|gres/gpu:a10g:2|gpu4|None\\n"
        "COMPLETING|1|2026-03-02T10:00:00|gpu:1|gpu1|None\\nRUNNING|1|2026-03-02T10:00:00|N/A|cpu|None\\n"
        "PENDING|1|2026-03-02T10:05:00|gpu:1|gpu1,live|Resources\\nPENDING|1|2026-03-02T10:03:00|gpu:1|gpu1|Priority\\n"
        "PENDING|1|2026-03-02T09:00:00|gpu:1|gpu1|Dependency\\nPENDING|1|2026-03-02T09:00:00|gpu:1|gpu1|JobHeldUser\\n"
        "PENDING|1|Unknown|gpu:1|gpu4|Resources\\n'",
    )
    settings.load()
    gpus, waits = slurm.gpus_and_waits()
    assert gpus == {"gpu4": 10, "gpu1": 1}
    assert {name: datetime.fromtimestamp(at).strftime("%H:%M") for name, at in waits.items()} == {
        "gpu1": "10:03",
        "live": "10:05",
    }
    assert calls.read_text() == "--noheader --states RUNNING,COMPLETING,SUSPENDED,PENDING --format %T|%D|%V|%b|%P|%r\n"


def test_partitions_of_all_jobs_and_those_that_are_closed(home: Path, fake: Any) -> None:
    fake("squeue", "printf 'gpu4\\ncpu,live\\n'")
    fake(
        "scontrol",
        "printf 'PartitionName=a State=UP\\nPartitionName=b State=DOWN TotalCPUs=8\\nPartitionName=c State=INACTIVE\\n'",
    )
    settings.load()
    assert slurm.partitions_of_jobs() == {"gpu4", "cpu", "live"}
    assert slurm.closed_partitions() == ["b", "c"]


# Seen with Slurm 22.05.8 and 23.11: what becomes of nodes that die or never come up.
@pytest.mark.parametrize(
    ("state", "reason", "expected", "paid"),
    [
        ("DOWN+CLOUD+POWERED_DOWN+NOT_RESPONDING", "ResumeTimeout reached [slurm@2026-03-02T11:30:00]", "down", True),
        ("DOWN+CLOUD+NOT_RESPONDING", "Not responding [slurm@2026-03-02T11:30:00]", "down", True),
        ("DOWN+CLOUD+DRAIN+POWER_DOWN+NOT_RESPONDING", "Not responding [slurm@2026-03-02T11:30:00]", "changing", True),
        ("DOWN+CLOUD+POWERED_DOWN", "(Code:InsufficientInstanceCapacity)Failure when resuming nodes [root@2026-03-02T11:30:00]", "changing", False),
        ("DOWN+CLOUD", "fan [root@2026-03-02T11:30:00]", "changing", True),
        ("DOWN+CLOUD", "Not responding", "down", True),
    ],
)  # fmt: skip
def test_only_a_node_that_slurm_itself_gave_up_is_down(state: str, reason: str, expected: str, paid: bool) -> None:
    text = f"NodeName=n NodeAddr=10.0.1.9 State={state} Partitions=gpu4 BootTime=None LastBusyTime=2026-03-02T11:00:00 Reason={reason}\n"
    (found,) = slurm.parse_nodes(text)
    assert (found.state, found.powered_up, found.address) == (expected, paid, "10.0.1.9")
    moment = "2026-03-02T11:30:00" if "@" in reason else "2026-03-02T11:00:00"
    assert found.since == datetime.fromisoformat(moment).timestamp()


@pytest.mark.parametrize("behind", ["", " Comment=a person's word", " InstanceId=i-1 InstanceType=g5.4xlarge"])
def test_since_when_a_node_that_never_came_up_is_lost_whatever_is_noted_behind(behind: str) -> None:
    text = (
        "NodeName=n NodeAddr=10.0.1.9 State=DOWN+CLOUD+POWERED_DOWN+NOT_RESPONDING Partitions=live BootTime=None"
        f" LastBusyTime=Unknown Reason=ResumeTimeout reached [root@2026-03-02T11:00:00]{behind}\n"
    )
    (node,) = slurm.parse_nodes(text)
    assert (node.reason, node.noted_at, node.state) == ("ResumeTimeout reached", "2026-03-02T11:00:00", "down")
    assert node.since is not None


def test_a_command_that_fails_is_an_error(home: Path, fake: Any) -> None:
    fake("squeue", "echo slurmctld is away >&2; exit 1")
    settings.load()
    with pytest.raises(subprocess.CalledProcessError) as error:
        slurm.jobs_by_partition("PENDING")
    assert error.value.stderr == "slurmctld is away\n"
