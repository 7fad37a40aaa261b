"""join-pcs.sh, run: the volume with the database is never formatted twice, Slurm's key is told to nobody, nothing is done twice."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import pytest

VOLUME = "vol-0a1b2c3d4e5f60718"
DEVICE = "dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol0a1b2c3d4e5f60718"
KEY = b"\x00the key of this cluster\xff" * 20
SECRET = "arn:aws:secretsmanager:eu-central-1:111122223333:secret:pcs!slurm-secret-pcs_1-AbCdEf"
LUSTRE = "fs-0a1b2c3d.fsx.eu-central-1.amazonaws.com@tcp:/abcdefgh"

# Every command notes how it was called. `world` is what it knows and changes.
_STUB = """#!/usr/bin/env bash
set -euo pipefail
world=$(dirname "$0")/../world
printf '%q ' "${0##*/}" "$@" >>"$world/calls"; echo >>"$world/calls"
"""
_STUBS = {
    "aws": """
case "$1 $2" in
"ec2 attach-volume")
    if [[ -e $world/in-use ]]; then echo "An error occurred (VolumeInUse)" >&2; exit 254; fi
    [[ -e $world/never-appears ]] || { mkdir -p "$ROOT/dev/disk/by-id"; touch "$ROOT/$(<"$world/device")"; } ;;
"pcs get-cluster") cat "$world/cluster.json" ;;
"secretsmanager get-secret-value") [[ ! -e $world/no-secret ]] || exit 255; cat "$world/secret" ;;
*) exit 64 ;;
esac""",
    "curl": """
[[ ! -e $world/no-metadata ]] || exit 22
case "$*" in
*PUT*/api/token*) echo the-token ;;
*"X-aws-ec2-metadata-token: the-token"*/instance-id*) echo i-0head ;;
*) exit 22 ;;
esac""",
    "blkid": """
[[ ! -e $world/blkid-exit ]] || exit "$(<"$world/blkid-exit")"
[[ -e $world/content ]] || exit 2
if [[ $* != *--match-tag* ]]; then echo "$(<"$world/content")"; exit 0; fi
[[ $(<"$world/content") == UUID=* ]] || exit 2
sed 's/^UUID=//' "$world/content" """,
    "mkfs.xfs": """
[[ ! -e $world/content ]] || exit 1
echo UUID=new-uuid >"$world/content" """,
    "mountpoint": """grep -qxF "${@: -1}" "$world/mounted" """,
    "mount": """
[[ ! -e $world/no-mount ]] || exit 32
echo "${@: -1}" >>"$world/mounted" """,
    "id": """[[ -e $world/slurm-user ]]""",
    "useradd": """touch "$world/slurm-user" """,
    "chown": """[[ -e $world/slurm-user ]]""",
    "systemctl": """:""",
}


class HeadNode:
    """An instance as join-pcs.sh finds it, below a folder that plays /."""

    def __init__(self, folder: Path, script: Path) -> None:
        self.root, self._bin, self.world = folder / "root", folder / "bin", folder / "world"
        self._script, self._setup = script, folder / "setup.json"
        for place in (self._bin, self.world, self.root / "etc/systemd/system", self.root / "etc/profile.d"):
            place.mkdir(parents=True)
        (self.root / "etc/fstab").write_text("# what the image has\nLABEL=root / ext4 defaults 0 1\n")
        for name, body in _STUBS.items():
            (self._bin / name).write_text(f"{_STUB}{body}\n")
            (self._bin / name).chmod(0o755)
        for name, text in (("calls", ""), ("mounted", ""), ("device", DEVICE)):
            (self.world / name).write_text(text)
        self.values = {
            "data_volume": VOLUME,
            "pcs_cluster": "pcs_1",
            "slurm_bin": "/opt/aws/pcs/scheduler/slurm-25.11/bin",
            "lustre": LUSTRE,
            "user": "ubuntu",
        }
        self.cluster("10.20.0.7", "6817")
        self.secret(KEY)

    def cluster(self, address: str, port: str, *, types: tuple[str, ...] = ("SLURMRESTD", "SLURMCTLD")) -> None:
        """What PCS says of the cluster. The addresses of others come first."""
        described = {
            "cluster": {
                "name": "cryo",
                "id": self.values["pcs_cluster"],
                "status": "ACTIVE",
                "endpoints": [
                    {"type": kind, "privateIpAddress": address if kind == "SLURMCTLD" else "10.0.0.1", "port": port}
                    for kind in types
                ],
                "slurmConfiguration": {"authKey": {"secretArn": SECRET, "secretVersion": "1"}},
            }
        }
        (self.world / "cluster.json").write_text(json.dumps(described))

    def secret(self, key: bytes) -> None:
        """Secrets Manager keeps it in base 64."""
        (self.world / "secret").write_text(base64.b64encode(key).decode() + "\n")

    def mark(self, name: str, text: str = "") -> None:
        """Something in the world is so."""
        (self.world / name).write_text(text)

    def unmark(self, name: str) -> None:
        """It is no more."""
        (self.world / name).unlink()

    def run(
        self, *arguments: str, options: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it as bootstrap.sh does."""
        self._setup.write_text(json.dumps(self.values))
        (self.world / "calls").write_text("")
        return subprocess.run(
            ["bash", *options, str(self._script), *(arguments or (str(self._setup),))],
            env={
                "PATH": f"{self._bin}:/usr/bin:/bin",
                "CRYOEM_ROOT": str(self.root),
                "ROOT": str(self.root),
                "AWS_REGION": "eu-central-1",
                "CRYOEM_POLL_SECONDS": "0",
                **environment,
            },
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )

    @property
    def calls(self) -> list[str]:
        """How commands were called by the last run."""
        return [line.strip() for line in (self.world / "calls").read_text().splitlines()]

    def called(self, name: str) -> list[str]:
        """Those of one command."""
        return [call for call in self.calls if call.split()[0] == name]

    def files(self) -> dict[str, tuple[int, bytes]]:
        """Mode and content of every file below /etc."""
        return {
            str(path.relative_to(self.root)): (stat.S_IMODE(path.stat().st_mode), path.read_bytes())
            for path in sorted((self.root / "etc").rglob("*"))
            if path.is_file()
        }

    @property
    def fstab(self) -> list[str]:
        """Its lines beyond the image's own."""
        lines = (self.root / "etc/fstab").read_text().splitlines()
        assert lines[:2] == ["# what the image has", "LABEL=root / ext4 defaults 0 1"]
        return lines[2:]

    @property
    def unit(self) -> str:
        """Text of the unit of Slurm's credential daemon."""
        return (self.root / "etc/systemd/system/sackd.service").read_text()


@pytest.fixture
def fresh(tmp_path: Path, head_node: Path) -> HeadNode:
    """A first boot: the volume is new and attached to nothing."""
    return HeadNode(tmp_path, head_node / "join-pcs.sh")


def done(ran: subprocess.CompletedProcess[str]) -> None:
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "join-pcs: done\n", "")


def test_a_first_boot(fresh: HeadNode) -> None:
    done(fresh.run())
    assert fresh.called("aws")[0] == (
        f"aws ec2 attach-volume --region eu-central-1 --volume-id {VOLUME} --instance-id i-0head --device /dev/sdf"
    )
    assert fresh.called("mkfs.xfs") == [f"mkfs.xfs -q {fresh.root}/{DEVICE}"]
    assert fresh.fstab == [
        "UUID=new-uuid /cryosparc xfs defaults,nofail 0 0",
        f"{LUSTRE} /fsx lustre relatime,flock,_netdev,x-systemd.automount,x-systemd.requires=network-online.target,nofail"
        " 0 0",
    ]
    assert fresh.called("mount") == [f"mount {fresh.root}/cryosparc", f"mount {fresh.root}/fsx"]
    assert (
        "ExecStart=/opt/aws/pcs/scheduler/slurm-25.11/sbin/sackd --systemd --conf-server 10.20.0.7:6817" in fresh.unit
    )
    assert fresh.called("systemctl") == [
        "systemctl daemon-reload",
        "systemctl enable sackd",
        "systemctl restart sackd",
        "systemctl daemon-reload",
        "systemctl enable --now cryoem-metadata",
    ]
    assert fresh.called("useradd") == [
        "useradd --system --uid 401 --user-group --no-create-home --shell /usr/sbin/nologin slurm"
    ]


def test_the_key_is_a_file_that_only_slurm_reads(fresh: HeadNode) -> None:
    done(fresh.run())
    files = fresh.files()
    assert files["etc/slurm/slurm.key"] == (0o600, KEY)
    assert [name for name in files if name.startswith("etc/slurm/")] == ["etc/slurm/slurm.key"], "no draft is left"
    assert fresh.called("chown") == [f"chown slurm:slurm {fresh.root}/etc/slurm/.slurm.key"]
    order = [call.split()[0] for call in fresh.calls]
    assert order.index("useradd") < order.index("chown") < order.index("systemctl")


def test_others_can_read_what_they_need(fresh: HeadNode) -> None:
    done(fresh.run())
    files = fresh.files()
    for name in ("etc/fstab", "etc/systemd/system/sackd.service", "etc/profile.d/cryoem-slurm.sh"):
        assert files[name][0] & 0o044 == 0o044, name


@pytest.mark.parametrize("options", [(), ("-x",)], ids=["as it is", "traced"])
def test_the_key_is_in_no_argument_and_in_no_output(fresh: HeadNode, options: tuple[str, ...]) -> None:
    ran = fresh.run(options=options)  # -x says everything that bash itself knows
    assert ran.returncode == 0
    assert ("get-secret-value" in ran.stderr) is bool(options)
    encoded = base64.b64encode(KEY).decode()
    for text in (*fresh.calls, ran.stdout, ran.stderr, fresh.unit, "\n".join(fresh.fstab)):
        assert encoded not in text
        assert "the key of this cluster" not in text
    assert KEY in [content for _, content in fresh.files().values()]


def test_a_volume_with_a_file_system_is_never_formatted(fresh: HeadNode) -> None:
    fresh.mark("content", "UUID=of-last-year")
    done(fresh.run())
    assert fresh.called("mkfs.xfs") == []
    assert fresh.fstab[0] == "UUID=of-last-year /cryosparc xfs defaults,nofail 0 0"


def test_formatting_is_never_forced(head_node: Path) -> None:
    """mkfs.xfs itself refuses a device with something on it, unless it is told -f."""
    (line,) = [line for line in (head_node / "join-pcs.sh").read_text().splitlines() if "mkfs" in line]
    assert line.split()[1:4] == ["mkfs.xfs", "-q", '"$device"']


@pytest.mark.parametrize("code", ["1", "4", "8", "127"])
def test_a_volume_of_which_blkid_says_anything_else_is_left_alone(fresh: HeadNode, code: str) -> None:
    fresh.mark("blkid-exit", code)
    ran = fresh.run()
    assert (ran.returncode, ran.stderr) == (
        1, f"join-pcs: blkid says {code} of {fresh.root}/{DEVICE}; it is left as it is\n",
    )  # fmt: skip
    for name in ("mkfs.xfs", "mount", "systemctl"):
        assert fresh.called(name) == []
    assert fresh.fstab == []


def test_a_volume_with_partitions_is_left_alone(fresh: HeadNode) -> None:
    fresh.mark("content", 'PTUUID="1" PTTYPE="gpt"')
    ran = fresh.run()
    assert (ran.returncode, ran.stderr) == (
        1, f"join-pcs: {fresh.root}/{DEVICE} is neither empty nor a file system; it is left as it is\n",
    )  # fmt: skip
    assert fresh.called("mkfs.xfs") == []
    assert fresh.fstab == []


def test_a_volume_that_another_head_node_has_is_waited_for_by_whoever_started_us(fresh: HeadNode) -> None:
    fresh.mark("content", "UUID=of-last-year")
    fresh.mark("in-use")
    ran = fresh.run(CRYOEM_POLL_SECONDS="60")
    assert ran.returncode != 0
    assert ran.stderr == "An error occurred (VolumeInUse)\n", "at once, in EC2's own words"
    assert [call.split()[0] for call in fresh.calls] == ["curl", "curl", "aws"]
    fresh.unmark("in-use")
    done(fresh.run())
    assert fresh.called("mkfs.xfs") == []


def test_a_device_that_does_not_appear_is_said(fresh: HeadNode) -> None:
    fresh.mark("never-appears")
    ran = fresh.run()
    assert (ran.returncode, ran.stderr) == (
        1, f"join-pcs: {VOLUME} is attached, but {fresh.root}/{DEVICE} is not there\n",
    )  # fmt: skip
    assert fresh.called("blkid") == []


def test_without_the_instances_own_id_nothing_is_attached(fresh: HeadNode) -> None:
    fresh.mark("no-metadata")
    assert fresh.run().returncode == 22
    assert [call.split()[0] for call in fresh.calls] == ["curl"]


def test_twice_changes_nothing_but_starts_sackd_again(fresh: HeadNode) -> None:
    done(fresh.run())
    before = fresh.files()
    done(fresh.run())
    assert fresh.files() == before
    assert {call.split()[0] for call in fresh.calls} & {"mkfs.xfs", "mount", "useradd", "curl"} == set()
    assert fresh.called("aws") == [
        "aws pcs get-cluster --region eu-central-1 --cluster-identifier pcs_1 --output json",
        "aws secretsmanager get-secret-value --region eu-central-1 --secret-id "
        f"{SECRET.replace('!', chr(92) + '!')} --query SecretString --output text",
    ]
    assert "systemctl restart sackd" in fresh.called("systemctl")


def test_after_a_boot_what_fstab_has_mounted_is_left_alone(fresh: HeadNode) -> None:
    done(fresh.run())
    (fresh.world / "mounted").write_text(f"{fresh.root}/cryosparc\n")  # Lustre was not there at boot
    done(fresh.run())
    assert fresh.called("mount") == [f"mount {fresh.root}/fsx"]


def test_another_cluster_is_joined(fresh: HeadNode) -> None:
    done(fresh.run())
    fresh.values |= {"pcs_cluster": "pcs_2", "slurm_bin": "/opt/aws/pcs/scheduler/slurm-26.05/bin"}
    fresh.cluster("10.20.0.9", "6818")
    fresh.secret(b"another key")
    done(fresh.run())
    assert "--cluster-identifier pcs_2 " in fresh.called("aws")[0]
    assert "slurm-26.05/sbin/sackd --systemd --conf-server 10.20.0.9:6818\n" in fresh.unit
    files = fresh.files()
    assert files["etc/slurm/slurm.key"] == (0o600, b"another key")
    assert files["etc/profile.d/cryoem-slurm.sh"][1] == b"PATH=/opt/aws/pcs/scheduler/slurm-26.05/bin:$PATH\n"
    assert "systemctl restart sackd" in fresh.called("systemctl")
    assert len(fresh.fstab) == 2


def test_another_file_system_takes_the_place_of_the_one_before_at_the_next_boot(fresh: HeadNode) -> None:
    done(fresh.run())
    fresh.values["lustre"] = "fs-other@tcp:/zyx"
    ran = fresh.run()
    assert ran.returncode == 0
    assert ran.stderr == "join-pcs: /fsx will be fs-other@tcp:/zyx when this instance has been stopped and started\n"
    assert [line.split()[:2] for line in fresh.fstab] == [
        ["UUID=new-uuid", "/cryosparc"],
        ["fs-other@tcp:/zyx", "/fsx"],
    ]
    assert fresh.called("mount") == [], "nothing is taken from under what runs"
    (fresh.world / "mounted").write_text(f"{fresh.root}/cryosparc\n")
    done(fresh.run())
    assert fresh.called("mount") == [f"mount {fresh.root}/fsx"]


def test_places_that_begin_alike_are_different_places(fresh: HeadNode) -> None:
    with (fresh.root / "etc/fstab").open("a") as fstab:
        fstab.write("server:/x /fsx/old nfs defaults 0 0\nserver:/y /mnt/fsx nfs defaults 0 0\n")
    done(fresh.run())
    assert [line.split()[1] for line in fresh.fstab] == ["/fsx/old", "/mnt/fsx", "/cryosparc", "/fsx"]


@pytest.mark.parametrize("mark", ["no-mount", "no-secret"])
def test_what_fails_fails_the_whole_and_comes_right_when_repeated(fresh: HeadNode, mark: str) -> None:
    fresh.mark(mark)
    ran = fresh.run()
    assert ran.returncode != 0
    assert "done" not in ran.stdout
    assert fresh.called("systemctl") == []
    assert not (fresh.root / "etc/slurm/slurm.key").exists()
    fresh.unmark(mark)
    done(fresh.run())
    assert fresh.called("mkfs.xfs") == []
    assert fresh.files()["etc/slurm/slurm.key"] == (0o600, KEY)
    assert len(fresh.fstab) == 2


def test_a_key_that_cannot_be_read_leaves_the_one_before(fresh: HeadNode) -> None:
    done(fresh.run())
    fresh.mark("no-secret")
    assert fresh.run().returncode != 0
    assert fresh.files()["etc/slurm/slurm.key"] == (0o600, KEY)


def test_a_secret_that_is_no_key_leaves_the_one_before(fresh: HeadNode) -> None:
    done(fresh.run())
    fresh.mark("secret", "not base 64!\n")
    assert fresh.run().returncode != 0
    assert fresh.files()["etc/slurm/slurm.key"] == (0o600, KEY)
    assert fresh.called("systemctl") == []


def test_a_cluster_that_has_no_controller_yet_is_waited_for_by_whoever_started_us(fresh: HeadNode) -> None:
    fresh.cluster("10.20.0.7", "6817", types=())
    ran = fresh.run()
    assert ran.returncode != 0
    assert fresh.called("systemctl") == []
    fresh.cluster("10.20.0.7", "6817")
    done(fresh.run())


def test_only_root_and_the_clusters_user_reach_the_instances_role(fresh: HeadNode) -> None:
    done(fresh.run())
    unit = (fresh.root / "etc/systemd/system/cryoem-metadata.service").read_text()
    rules = [line.partition("169.254.169.254/32 ")[2] for line in unit.splitlines() if line.startswith("ExecStart=")]
    assert rules == ["-m owner --uid-owner root -j ACCEPT", "-m owner --uid-owner ubuntu -j ACCEPT", "-j REJECT"]


def test_a_user_slurm_that_the_image_has_is_kept(fresh: HeadNode) -> None:
    fresh.mark("slurm-user")
    done(fresh.run())
    assert fresh.called("useradd") == []


@pytest.mark.parametrize("name", ["data_volume", "pcs_cluster", "slurm_bin", "lustre"])
def test_a_setup_that_lacks_a_name_is_refused(fresh: HeadNode, name: str) -> None:
    del fresh.values[name]
    ran = fresh.run()
    assert ran.returncode != 0
    assert f"KeyError: '{name}'" in ran.stderr
    assert fresh.called("systemctl") == []


@pytest.mark.parametrize("arguments", [("/nowhere.json",), ("a", "b")])
def test_wrong_arguments_exit_2(fresh: HeadNode, arguments: tuple[str, ...]) -> None:
    ran = fresh.run(*arguments)
    assert (ran.returncode, ran.stderr) == (2, "usage: join-pcs.sh SETUP.json\n")
    assert fresh.calls == []


def test_without_a_region_nothing_is_done(fresh: HeadNode) -> None:
    ran = fresh.run(AWS_REGION="")
    assert ran.returncode != 0
    assert "AWS_REGION: the region" in ran.stderr
    assert fresh.calls == []


def test_a_login_shell_finds_slurm(fresh: HeadNode) -> None:
    done(fresh.run())
    profile = fresh.root / "etc/profile.d/cryoem-slurm.sh"
    found = subprocess.run(["sh", "-c", f'. "{profile}"; echo "$PATH"'], env={"PATH": os.environ["PATH"]},
                           capture_output=True, text=True, check=True).stdout  # fmt: skip
    assert found.split(":")[0] == "/opt/aws/pcs/scheduler/slurm-25.11/bin"


def test_the_unit_is_one_that_systemd_understands(fresh: HeadNode) -> None:
    done(fresh.run())
    assert "ExecReload=/bin/kill -HUP $MAINPID\n" in fresh.unit
    assert [line for line in fresh.unit.splitlines() if line.startswith("[")] == ["[Unit]", "[Service]", "[Install]"]
    assert {"Type=notify", "User=slurm", "Group=slurm", "RuntimeDirectory=slurm"} <= set(fresh.unit.splitlines())


def test_what_we_read_of_a_cluster_is_what_pcs_says_of_one(fresh: HeadNode) -> None:
    """The double's answer, held to AWS's own description of the API."""
    model = botocore.session.get_session().get_service_model("pcs").operation_model("GetCluster")

    def check(value: Any, shape: Any, path: str) -> None:
        if shape.type_name == "structure":
            for name, inner in value.items():
                assert name in shape.members, f"{path}.{name}"
                check(inner, shape.members[name], f"{path}.{name}")
        elif shape.type_name == "list":
            for inner in value:
                check(inner, shape.member, f"{path}[]")
        else:
            assert isinstance(value, str), path
            assert not shape.enum or value in shape.enum, path

    check(json.loads((fresh.world / "cluster.json").read_text()), model.output_shape, "GetCluster")
    attach = botocore.session.get_session().get_service_model("ec2").operation_model("AttachVolume").input_shape
    assert set(attach.required_members) <= {"VolumeId", "InstanceId", "Device"}
