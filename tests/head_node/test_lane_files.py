from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import pytest

from cryoem_head import lane_files

GPU = {
    "name": "gpu4",
    "partition": "gpu4-queue",
    "gpus": 4,
    "vcpus": 48,
    "memory_mib": 186_777,
    "max_nodes": 4,
    "cache_gb": 3800,
    "memory_multiplier": 2.0,
    "time_limit_minutes": 2880,
    "hold_minutes": 0,
    "usd_per_hour": 5.672,
}
ONE_GPU = {**GPU, "name": "gpu1", "gpus": 1, "vcpus": 8, "memory_mib": 31_129}
CPU = {**GPU, "name": "cpu", "partition": "cpu", "gpus": 0, "vcpus": 16, "cache_gb": 0}
LANES = pytest.mark.parametrize("lane", [GPU, ONE_GPU, CPU], ids=lambda lane: lane["name"])


def render(lane: dict[str, Any], *, sbatch: str = "/opt/slurm/bin") -> dict[str, str]:
    return lane_files.render(
        lane, worker="/cryosparc/bin/cryosparcw", cache_root="/scratch", sbatch=sbatch, home="/opt/cryoem"
    )


def job_script(lane: dict[str, Any], *, num_gpu: int = 0, ram_gb: float = 24.0, **more: Any) -> str:
    """What cryoSPARC makes of the template for one job."""
    template = jinja2.Template(render(lane)["cluster_script.sh"], undefined=jinja2.StrictUndefined)
    script: str = template.render(
        project_uid="P1",
        job_uid="J2",
        num_cpu=4,
        num_gpu=num_gpu,
        ram_gb=ram_gb,
        job_dir_abs="/fsx/projects/spike/J2",
        run_cmd="cryosparcw run --job J2",
        **more,
    )
    return script


def requests(script: str) -> dict[str, str]:
    """The script's sbatch options, each of which may stand there once."""
    pairs = re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", script, re.MULTILINE)
    found = dict(pairs)
    assert len(found) == len(pairs) == script.count("#SBATCH")
    return found


@pytest.mark.parametrize("num_gpu", [0, 1, 4])
def test_a_cryosparc_job_asks_for_one_node_and_one_task(num_gpu: int) -> None:
    expected = {
        "job-name": "cryosparc_P1_J2",
        "partition": "gpu4-queue",
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": "4",
        "mem": "49152M",
        "time": "2880",
        "output": "/fsx/projects/spike/J2/slurm-%j.out",
        "error": "/fsx/projects/spike/J2/slurm-%j.out",
        "chdir": "/fsx/projects/spike/J2",
    }
    if num_gpu:
        expected["gres"] = f"gpu:{num_gpu}"
    script = job_script(GPU, num_gpu=num_gpu)
    assert requests(script) == expected
    assert script.startswith("#!/usr/bin/env bash\n#SBATCH")
    assert script.rstrip().endswith("\n\ncryosparcw run --job J2")


def test_sbatch_reads_every_request() -> None:
    """It stops reading at the first line that is neither empty nor a comment."""
    for num_gpu in (0, 4):
        before = job_script(GPU, num_gpu=num_gpu).partition("cryosparcw")[0]
        assert all(line.startswith("#") for line in before.splitlines() if line)


def test_a_cpu_lane_asks_for_no_gpu() -> None:
    assert "gres" not in job_script(CPU)


@pytest.mark.parametrize(
    ("ram_gb", "multiplier", "mib"),
    [(24, 2.0, 49_152), (8, 1.0, 8192), (0.5, 1.5, 768), (10.3, 2.0, 21_094), (91, 2.0, 186_368), (92, 2.0, 186_777),
     (1000, 1.0, 186_777)],
)  # fmt: skip
def test_memory_is_what_the_job_declares_times_the_multiplier_within_the_node(
    ram_gb: float, multiplier: float, mib: int
) -> None:
    lane = {**GPU, "memory_multiplier": multiplier}
    assert requests(job_script(lane, ram_gb=ram_gb))["mem"] == f"{mib}M"
    assert mib == min(int(ram_gb * multiplier * 1024), GPU["memory_mib"])  # type: ignore[call-overload]


def test_a_user_may_shorten_the_time() -> None:
    assert requests(job_script(GPU, time_limit_minutes=30))["time"] == "30"


@LANES
def test_every_script_is_bash(lane: dict[str, Any], tmp_path: Path) -> None:
    files = render(lane)
    scripts = {name: text for name, text in files.items() if name.endswith((".sh", ".env"))}
    assert len(scripts) == 3
    scripts["cluster_script.sh"] = job_script(lane, num_gpu=lane["gpus"])
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        subprocess.run(["bash", "-n", str(tmp_path / name)], check=True, timeout=10)


@LANES
def test_cluster_info(lane: dict[str, Any]) -> None:
    info = json.loads(render(lane)["cluster_info.json"])
    assert info["name"] == lane["name"]
    assert info["worker_bin_path"] == "/cryosparc/bin/cryosparcw"
    assert (info["cache_path"], info["cache_quota_mb"]) == (
        ("/scratch/cryosparc-cache", 3_420_000) if lane["cache_gb"] else ("", None)
    )
    assert info["qsub_cmd_tpl"] == "/opt/slurm/bin/sbatch {{ script_path_abs }}"
    assert info["qdel_cmd_tpl"] == "/opt/slurm/bin/scancel {{ cluster_job_id }}"
    assert info["qstat_cmd_tpl"].startswith("/opt/slurm/bin/squeue ")
    assert info["qinfo_cmd_tpl"] == f"/opt/slurm/bin/sinfo --partition {lane['partition']}"


def test_without_a_folder_slurm_is_on_the_path() -> None:
    files = render(GPU, sbatch="")
    assert json.loads(files["cluster_info.json"])["qsub_cmd_tpl"] == "sbatch {{ script_path_abs }}"
    assert "export RELION_QSUB_COMMAND=sbatch\n" in files["relion.env"]


@LANES
def test_a_relion_job(lane: dict[str, Any]) -> None:
    expected = {
        "job-name": "XXXnameXXX",
        "partition": lane["partition"],
        "nodes": "1",
        "ntasks": "XXXmpinodesXXX",
        "cpus-per-task": "XXXthreadsXXX",
        "mem-per-cpu": f"{lane['memory_mib'] // lane['vcpus']}M",
        "time": "2880",
        "output": "XXXoutfileXXX",
        "error": "XXXerrfileXXX",
    }
    if lane["gpus"]:
        expected["gres"] = f"gpu:{lane['gpus']}"
    script = render(lane)["relion_qsub.sh"]
    assert requests(script) == expected
    assert script.endswith("\nXXXcommandXXX\n")


@LANES
def test_relion_jobs_side_by_side_fit_the_nodes_memory(lane: dict[str, Any]) -> None:
    """Slurm schedules by memory: a job that asks for none gets all of it, and no second one fits."""
    per_cpu = int(requests(render(lane)["relion_qsub.sh"])["mem-per-cpu"].rstrip("M"))
    assert 0 < per_cpu * lane["vcpus"] <= lane["memory_mib"]


def sourced(lane: dict[str, Any], tmp_path: Path) -> dict[str, str]:
    (tmp_path / "relion.env").write_text(render(lane)["relion.env"])
    shell = subprocess.run(
        ["env", "-i", "bash", "-euc", ". ./relion.env; env -0"],
        check=True, capture_output=True, text=True, cwd=tmp_path, timeout=10,
    )  # fmt: skip
    pairs = (line.partition("=") for line in shell.stdout.split("\0"))
    return {name: value for name, _, value in pairs if name.startswith("RELION")}


@pytest.mark.parametrize(
    ("lane", "processes", "threads"), [(GPU, 5, 9), (ONE_GPU, 1, 4), (CPU, 1, 8)], ids=["gpu4", "gpu1", "cpu"]
)
def test_relion_env_can_be_sourced(lane: dict[str, Any], processes: int, threads: int, tmp_path: Path) -> None:
    assert sourced(lane, tmp_path) == {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": lane["partition"],
        "RELION_QSUB_COMMAND": "/opt/slurm/bin/sbatch",
        "RELION_QSUB_TEMPLATE": f"/opt/cryoem/lanes/{lane['name']}/relion_qsub.sh",
        "RELION_QSUB_NRMPI": str(processes),
        "RELION_QSUB_NRTHREADS": str(threads),
        "RELION_MPI_MAX": "64",
        "RELION_THREAD_MAX": str(lane["vcpus"]),
        "RELION_SCRATCH_DIR": "/scratch" if lane["cache_gb"] else "",
    }
    assert processes * threads <= lane["vcpus"]


def test_the_digest_tells_files_apart_whatever_their_order() -> None:
    files = render(GPU)
    assert lane_files.digest(files) == lane_files.digest(dict(reversed(files.items())))
    digests = {lane_files.digest({**files, name: text + " "}) for name, text in files.items()}
    assert len(digests | {lane_files.digest(files)}) == 5
