"""prepare-node.sh, run for real; the commands that touch disks, mounts and GPUs are stubs that note their calls."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "constructs" / "cdk_cryoem" / "node" / "prepare-node.sh"
LUSTRE = "fs-0a1b2c3d4e5f60718.fsx.us-east-1.amazonaws.com@tcp:/abcdefgh"
EBS = "/dev/nvme0n1 Amazon Elastic Block Store              "
LOCAL = "{} Amazon EC2 NVMe Instance Storage        "
STUBS = {
    # What is mounted is a list of places; mount adds its last argument to it.
    "mountpoint": 'grep -qxF -- "${@: -1}" "$here/mounted"',
    "mount": 'echo "${@: -1}" >>"$here/mounted"',
    "lsblk": 'cat "$here/disks"',
    "mdadm": "",
    "mkfs.xfs": "",
    "nvidia-smi": 'cat "$here/gpus"',
    "systemctl": "exit 5",
}


@dataclass
class Node:
    """A node that has just booted."""

    folder: Path
    path: str = field(default_factory=lambda: os.environ["PATH"])

    def __post_init__(self) -> None:
        (self.folder / "bin").mkdir()
        for name in ("mounted", "disks", "gpus", "calls"):
            (self.folder / name).touch()
        for name, body in STUBS.items():
            self.stub(name, body)

    @property
    def scratch(self) -> str:
        return str(self.folder / "scratch")

    @property
    def fsx(self) -> str:
        return str(self.folder / "fsx")

    @property
    def dlami(self) -> str:
        return str(self.folder / "dlami")

    def stub(self, name: str, body: str) -> None:
        program = self.folder / "bin" / name
        program.write_text(f'#!/usr/bin/env bash\nhere={self.folder}\necho "{name} $*" >>"$here/calls"\n{body}\n')
        program.chmod(0o755)

    def disks(self, *lines: str) -> None:
        (self.folder / "disks").write_text("".join(f"{line}\n" for line in lines))

    def gpus(self, *lines: str) -> None:
        (self.folder / "gpus").write_text("".join(f"{line}\n" for line in lines))

    def mounted(self, *places: str) -> None:
        with (self.folder / "mounted").open("a") as file:
            file.writelines(f"{place}\n" for place in places)

    def calls(self, *of: str) -> list[str]:
        """Calls of the stubs, by default of those that do more than look or ask."""
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if line.split()[0] in (of or set(STUBS) - {"mountpoint", "systemctl"})]

    def prepare(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {
            "PATH": f"{self.folder / 'bin'}:{self.path}", "CRYOEM_FSX": self.fsx, "CRYOEM_DLAMI_SCRATCH": self.dlami,
            "CRYOEM_ROOT": str(self.folder / "root"), "CRYOEM_RETRY_SECONDS": "0",
        }  # fmt: skip
        return subprocess.run(
            ["bash", str(SCRIPT), *arguments], env=environment, capture_output=True, text=True, timeout=20, check=False
        )


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path)


def gpu(number: int) -> str:
    return f"GPU-{number:08d}-1111-2222-3333-444455556666"


# ---- how it is called ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["0"], ["0", "none", "lustre", "more"]])
def test_another_number_of_arguments_is_refused(node: Node, arguments: list[str]) -> None:
    done = node.prepare(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "usage: prepare-node.sh GPUS SCRATCH [LUSTRE]\n"
    assert node.calls() == []


def test_a_node_with_nothing_to_prepare_is_ready(node: Node) -> None:
    done = node.prepare("0", "none")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "prepare-node: ready with 0 GPUs, scratch none\n"
    assert node.calls("mountpoint", *STUBS) == []


# ---- ParallelCluster, which mounts disk and file system itself -----------------------------------------------------


def test_where_the_engine_mounted_the_disk_there_is_a_cache_for_jobs_of_all_users(node: Node) -> None:
    Path(node.scratch).mkdir(mode=0o755)
    node.mounted(node.scratch)
    assert node.prepare("0", node.scratch).returncode == 0
    for place in (Path(node.scratch), Path(node.scratch, "cryosparc-cache")):
        assert stat.S_IMODE(place.stat().st_mode) == 0o1777
    assert node.calls() == [], "nothing is mounted or formatted"


def test_a_disk_that_the_engine_did_not_mount_makes_the_node_fail(node: Node) -> None:
    Path(node.scratch).mkdir()
    done = node.prepare("0", node.scratch)
    assert done.returncode == 1
    assert done.stderr == f"prepare-node: {node.scratch} is not mounted\n"
    assert not Path(node.scratch, "cryosparc-cache").exists(), "it would be on the root volume"


@pytest.mark.parametrize("count", [1, 4, 8])
def test_a_node_with_all_its_gpus_is_ready(node: Node, count: int) -> None:
    node.gpus(*map(gpu, range(count)))
    done = node.prepare(str(count), "none")
    assert (done.returncode, done.stdout) == (0, f"prepare-node: ready with {count} GPUs, scratch none\n")
    assert node.calls() == ["nvidia-smi --query-gpu=uuid --format=csv,noheader"]


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([gpu(0), gpu(1), gpu(2)], 3),
        ([gpu(0), gpu(1), gpu(2), "Unable to determine the device handle for GPU0000:00:1E.0: Unknown Error"], 3),
        (["No devices were found"], 0),
        ([], 0),
        ([gpu(number) for number in range(5)], 5),
        ([f" {gpu(0)}", "uuid", gpu(1).lower()], 0),
    ],
)
def test_a_node_with_another_number_of_gpus_fails(node: Node, answers: list[str], found: int) -> None:
    node.gpus(*answers)
    done = node.prepare("4", "none")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"prepare-node: {found} of 4 GPUs answer\n"


@pytest.mark.parametrize("code", [1, 6, 9, 127])
def test_a_driver_that_does_not_answer_makes_the_node_fail(node: Node, code: int) -> None:
    node.stub("nvidia-smi", f"echo 'NVIDIA-SMI has failed' >&2\nexit {code}")
    done = node.prepare("4", "none")
    assert done.returncode == 1
    assert done.stderr.endswith("prepare-node: 0 of 4 GPUs answer\n")


def test_gpus_that_answer_before_the_driver_fails_are_not_enough(node: Node) -> None:
    node.stub("nvidia-smi", f"echo {gpu(0)}\nexit 15")
    assert node.prepare("2", "none").returncode == 1


def test_an_image_without_the_driver_makes_the_node_fail(node: Node) -> None:
    (node.folder / "bin" / "nvidia-smi").unlink()
    done = node.prepare("1", "none")
    assert done.returncode == 1
    assert "prepare-node: 0 of 1 GPUs answer" in done.stderr


# ---- PCS, which mounts nothing -------------------------------------------------------------------------------------


def test_the_file_system_is_mounted(node: Node) -> None:
    assert node.prepare("0", "none", LUSTRE).returncode == 0
    assert node.calls() == [f"mount -t lustre -o relatime,flock {LUSTRE} {node.fsx}"]
    assert Path(node.fsx).is_dir()


def test_a_file_system_that_is_mounted_is_left_alone(node: Node) -> None:
    node.mounted(node.fsx)
    assert node.prepare("0", "none", LUSTRE).returncode == 0
    assert node.calls() == []


def test_a_file_system_that_cannot_be_mounted_makes_the_node_fail_after_some_tries(node: Node) -> None:
    node.stub("mount", "echo 'mount.lustre: mount failed: No such device' >&2\nexit 19")
    done = node.prepare("0", "none", LUSTRE)
    assert done.returncode == 1
    assert "ready" not in done.stdout
    assert len(node.calls("mount")) == 6
    assert f"{LUSTRE} cannot be mounted yet (try 6 of 6)" in done.stderr


def test_a_file_system_that_answers_late_is_waited_for(node: Node) -> None:
    """A node that gives up is replaced by one that meets the same network."""
    node.stub("mount", 'echo x >>"$here/tries"; (($(wc -l <"$here/tries") >= 3)) || exit 5\n' + STUBS["mount"])
    done = node.prepare("0", "none", LUSTRE)
    assert (done.returncode, len(node.calls("mount"))) == (0, 3)


def test_automatic_updates_do_not_restart_slurm_and_with_it_the_jobs(node: Node) -> None:
    setting = node.folder / "root" / "etc" / "needrestart" / "conf.d" / "90-slurm.conf"
    assert node.prepare("0", "none").returncode == 0
    assert not setting.exists(), "ParallelCluster's images have no such updates"
    for _ in range(2):
        assert node.prepare("0", "none", LUSTRE).returncode == 0
        assert setting.read_text() == "$nrconf{override_rc}{qr(^slurmd)} = 0;\n"


def test_one_local_disk_becomes_the_scratch(node: Node) -> None:
    node.disks(EBS, LOCAL.format("/dev/nvme1n1"))
    assert node.prepare("0", node.scratch, LUSTRE).returncode == 0
    assert node.calls() == [
        "lsblk --nodeps --noheadings --paths --output NAME,MODEL",
        "mkfs.xfs -q -f /dev/nvme1n1",
        f"mount -o noatime /dev/nvme1n1 {node.scratch}",
        f"mount -t lustre -o relatime,flock {LUSTRE} {node.fsx}",
    ]
    assert stat.S_IMODE(Path(node.scratch, "cryosparc-cache").stat().st_mode) == 0o1777


@pytest.mark.parametrize("count", [2, 8])
def test_several_local_disks_become_one(node: Node, count: int) -> None:
    disks = [f"/dev/nvme{number}n1" for number in range(1, count + 1)]
    node.disks(EBS, *map(LOCAL.format, disks))
    assert node.prepare("0", node.scratch, LUSTRE).returncode == 0
    assert node.calls("mdadm", "mkfs.xfs", "mount")[:3] == [
        f"mdadm --create /dev/md/scratch --run --level=0 --raid-devices={count} {' '.join(disks)}",
        "mkfs.xfs -q -f /dev/md/scratch",
        f"mount -o noatime /dev/md/scratch {node.scratch}",
    ]


def test_what_the_image_mounted_by_itself_is_used(node: Node) -> None:
    node.mounted(node.dlami)
    node.disks(EBS, LOCAL.format("/dev/nvme1n1"))
    assert node.prepare("0", node.scratch, LUSTRE).returncode == 0
    assert node.calls()[0] == f"mount --bind {node.dlami} {node.scratch}"
    assert node.calls("lsblk", "mdadm", "mkfs.xfs") == [], "nobody formats a disk that is in use"


def test_an_image_that_is_still_at_its_disks_is_waited_for(node: Node) -> None:
    node.stub("systemctl", f'echo {node.dlami} >>"$here/mounted"')
    node.disks(EBS, LOCAL.format("/dev/nvme1n1"))
    assert node.prepare("0", node.scratch, LUSTRE).returncode == 0
    assert node.calls("systemctl") == ["systemctl start dlami-nvme.service"]
    assert node.calls("lsblk", "mdadm", "mkfs.xfs") == []


def test_a_scratch_that_is_mounted_is_left_alone(node: Node) -> None:
    node.mounted(node.scratch, node.fsx)
    assert node.prepare("0", node.scratch, LUSTRE).returncode == 0
    assert node.calls() == []


def test_a_node_is_prepared_twice_as_well_as_once(node: Node) -> None:
    node.disks(EBS, LOCAL.format("/dev/nvme1n1"), LOCAL.format("/dev/nvme2n1"))
    assert node.prepare("0", node.scratch, LUSTRE).returncode == 0
    before = node.calls()
    assert node.prepare("0", node.scratch, LUSTRE).returncode == 0
    assert node.calls() == before


@pytest.mark.parametrize("disks", [[], [EBS], [EBS, "/dev/nvme1n1 Amazon Elastic Block Store"], ["/dev/sda"]])
def test_without_a_local_disk_a_scratch_cannot_be_had(node: Node, disks: list[str]) -> None:
    node.disks(*disks)
    done = node.prepare("0", node.scratch, LUSTRE)
    assert done.returncode == 1
    assert done.stderr == f"prepare-node: no local disk for {node.scratch}\n"
    assert node.calls("mdadm", "mkfs.xfs", "mount") == [], "a data volume is not formatted"


@pytest.mark.parametrize("broken", ["mdadm", "mkfs.xfs", "mount"])
def test_a_step_that_fails_makes_the_node_fail_there(node: Node, broken: str) -> None:
    node.disks(LOCAL.format("/dev/nvme1n1"), LOCAL.format("/dev/nvme2n1"))
    node.stub(broken, "exit 3")
    done = node.prepare("0", node.scratch, LUSTRE)
    assert done.returncode == 3
    assert "ready" not in done.stdout
    assert node.calls()[-1].split()[0] == broken
    assert LUSTRE not in str(node.calls())


def test_everything_at_once(node: Node) -> None:
    node.disks(EBS, LOCAL.format("/dev/nvme1n1"))
    node.gpus(gpu(0))
    done = node.prepare("1", node.scratch, LUSTRE)
    assert (done.returncode, done.stdout) == (0, f"prepare-node: ready with 1 GPUs, scratch {node.scratch}\n")
    assert [line.split()[0] for line in node.calls()] == ["lsblk", "mkfs.xfs", "mount", "mount", "nvidia-smi"]
