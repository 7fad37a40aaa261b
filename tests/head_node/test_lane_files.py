"""The files of a lane, as cryoSPARC and RELION fill them in, for names that people really give.

The folder golden holds the files of the default lanes and of one with everything set. After a wanted change:

    UPDATE_GOLDEN=1 .venv/bin/python -m pytest tests/head_node/test_lane_files.py -q -k golden

and look at the difference before you commit it. tests/twin/test_sbatch.py hands the same files to a real sbatch.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jinja2
import jinja2.meta
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cryoem_head import lane_files

GOLDEN = Path(__file__).parent / "golden"
DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "lanes.md"
LANES: dict[str, dict[str, Any]] = {lane["name"]: lane for lane in json.loads((GOLDEN / "lanes.json").read_text())}
GPU, ONE_GPU, CPU = LANES["gpu4"], LANES["gpu1"], LANES["cpu"]
SPREAD = LANES["everything"]
EACH = pytest.mark.parametrize("lane", LANES.values(), ids=list(LANES))
AWKWARD = [
    "plain", "two words", "o'brien", 'say "hi"', "cost$HOME", "`id`", "$(touch pwned)", "100%done", "%j %u", "tab\there",
    "hash # tag", "back\\slash", "trailing\\", "ünïcode-蛋白", "semi;colon", "a&b|c", "star*?[x]", "-dash", " lead",
    "trail ", "new\nline", "\n#SBATCH --uid=0", "cr\r\nlf", "{{ 7 * 7 }}", "{% raw %}", "~tilde", "!bang", "a=b,c",
]  # fmt: skip
# Anything a Linux folder or a person may be called; NUL alone cannot be in either.
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=90)


def render(lane: dict[str, Any], *, sbatch: str = "/opt/slurm/bin", worker: str = "") -> dict[str, str]:
    return lane_files.render(
        lane,
        worker=worker or "/cryosparc/cryosparc_worker/bin/cryosparcw",
        cache_root="/scratch",
        sbatch=sbatch,
        home="/opt/cryoem",
    )


def job_script(lane: dict[str, Any], folder: str = "/fsx/projects/spike/CS-spike/J2", **more: Any) -> str:
    """What cryoSPARC makes of the template for one job. It quotes nothing in run_cmd."""
    worker = more.pop("worker", "")
    template = jinja2.Template(render(lane, worker=worker)["cluster_script.sh"], undefined=jinja2.StrictUndefined)
    run_args = "--project P1 --job J2 --master_hostname ip-10-20-0-5"
    variables = {
        "project_uid": "P1",
        "job_uid": "J2",
        "job_type": "class_2D_new",
        "job_creator": "anna",
        "cryosparc_username": "anna@example.org",
        "num_cpu": 4,
        "num_gpu": 0,
        "ram_gb": 24.0,
        "job_dir_abs": folder,
        "project_dir_abs": os.path.dirname(folder),
        "job_log_path_abs": f"{folder}/job.log",
        "worker_bin_path": worker or "/cryosparc/cryosparc_worker/bin/cryosparcw",
        "run_args": run_args,
        "run_cmd": f"/cryosparc/cryosparc_worker/bin/cryosparcw run {run_args} > {folder}/job.log 2>&1",
    }
    script: str = template.render(**variables | more)
    return script


def head_and_body(script: str) -> tuple[str, str]:
    """sbatch reads options up to the first line that is neither empty nor a comment."""
    lines = script.split("\n")
    end = next(number for number, line in enumerate(lines) if line.strip() and not line.startswith("#"))
    return "\n".join(lines[:end]), "\n".join(lines[end:])


def requests(script: str) -> dict[str, str]:
    """The script's sbatch options as sbatch reads them, each of which may stand there once."""
    found: dict[str, str] = {}
    for line in head_and_body(script)[0].split("\n"):
        if line.startswith("#SBATCH"):
            (option,) = shlex.split(line.removeprefix("#SBATCH "))
            name, _, value = option.removeprefix("--").partition("=")
            assert name not in found
            found[name] = value
    return found


def everything() -> dict[str, str]:
    """All golden files by their path."""
    files = {f"{name}/{file}": text for name, lane in LANES.items() for file, text in render(lane).items()}
    stages = {
        "import": "cpu",
        "motion": "gpu8",
        "class2d": "gpu4",
        "refine": "gpu1",
        "refine-mpi": "gpu4",
        "own": "gpu1",
    }
    files |= {f"stages/{name}": text for name, text in lane_files.render_stages(stages).items()}
    return files | {
        "jobs/class2d-on-gpu4.sh": job_script(GPU, num_gpu=4, num_cpu=8),
        "jobs/awkward-on-gpu1.sh": job_script(
            ONE_GPU, "/fsx/projects/anna's \"best\" 100%/CS-a/J7", num_gpu=1, job_type="flex_train", ram_gb=16.0,
            job_creator='anna "maria" o\'brien', time_limit_minutes="90",
        ),
        "jobs/newline-on-cpu.sh": job_script(CPU, "/fsx/projects/two\nlines/J1", ram_multiplier="4", exclusive="yes"),
    }  # fmt: skip


def test_golden_files_are_what_is_rendered() -> None:
    if os.environ.get("UPDATE_GOLDEN"):
        for path, text in everything().items():
            (GOLDEN / path).parent.mkdir(exist_ok=True)
            (GOLDEN / path).write_text(text)
    found = {str(path.relative_to(GOLDEN)): path.read_text() for path in GOLDEN.rglob("*.*") if path.is_file()}
    assert {path: text for path, text in found.items() if path != "lanes.json"} == everything()


def test_the_document_shows_the_golden_files() -> None:
    text = DOCUMENT.read_text()
    for path in ("jobs/class2d-on-gpu4.sh", "gpu4/relion_qsub.sh", "gpu4/relion.env"):
        assert (GOLDEN / path).read_text().strip() in text, f"docs/lanes.md does not show {path} as it is"


def test_the_document_explains_every_custom_variable() -> None:
    for name in lane_files.CUSTOM_VARIABLES:
        assert f"| `{name}` |" in DOCUMENT.read_text()


@EACH
def test_what_is_no_variable_of_cryosparc_is_a_custom_variable(lane: dict[str, Any]) -> None:
    reserved = {
        "run_cmd", "num_cpu", "num_gpu", "ram_gb", "job_dir_abs", "project_dir_abs", "job_log_path_abs",
        "worker_bin_path", "run_args", "project_uid", "job_uid", "job_creator", "cryosparc_username", "job_type", "command",
    }  # fmt: skip
    tree = jinja2.Environment().parse(render(lane)["cluster_script.sh"])
    assert jinja2.meta.find_undeclared_variables(tree) - reserved == set(lane_files.CUSTOM_VARIABLES)


@pytest.mark.parametrize("num_gpu", [0, 1, 4])
def test_a_cryosparc_job_asks_for_one_node_and_one_task(num_gpu: int) -> None:
    expected = {
        "job-name": "cryosparc_P1_J2_class_2D_new",
        "comment": "anna: class_2D_new",
        "partition": "gpu4",
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": "4",
        "mem": "49152M",
        "time": "2880",
        "output": "/fsx/projects/spike/CS-spike/J2/slurm-%j.out",
        "chdir": "/fsx/projects/spike/CS-spike/J2",
    }
    if num_gpu:
        expected["gres"] = f"gpu:{num_gpu}"
    script = job_script(GPU, num_gpu=num_gpu)
    assert requests(script) == expected
    assert script.startswith("#!/usr/bin/env bash\n#SBATCH")
    assert script.endswith("\n/cryosparc/cryosparc_worker/bin/cryosparcw run --project P1 --job J2"
                           " --master_hostname ip-10-20-0-5 > /fsx/projects/spike/CS-spike/J2/job.log 2>&1")  # fmt: skip


def test_a_job_without_gpus_asks_for_none_on_any_lane() -> None:
    """Job types that use no GPU ask cryoSPARC for 0, and Slurm refuses an empty gres."""
    for lane in LANES.values():
        assert "gres" not in requests(job_script(lane, num_gpu=0))


def test_more_gpus_than_the_lane_has_are_left_for_slurm_to_refuse() -> None:
    assert requests(job_script(GPU, num_gpu=8))["gres"] == "gpu:8"
    assert requests(job_script(CPU, num_gpu=1))["gres"] == "gpu:1"


@pytest.mark.parametrize(("num_cpu", "asked"), [(0, 1), (1, 1), (48, 48), (49, 48), (500, 48)])
def test_cpus_are_within_the_node(num_cpu: int, asked: int) -> None:
    assert requests(job_script(GPU, num_cpu=num_cpu))["cpus-per-task"] == str(asked)


@pytest.mark.parametrize(
    ("ram_gb", "multiplier", "mib"),
    [(24, 2.0, 49_152), (8, 1.0, 8192), (0.5, 1.5, 1024), (0, 2.0, 1024), (10.3, 2.0, 21_094), (91, 2.0, 186_368),
     (92, 2.0, 186_777), (1000, 1.0, 186_777)],
)  # fmt: skip
def test_memory_is_what_the_job_declares_times_the_multiplier_within_the_node(
    ram_gb: float, multiplier: float, mib: int
) -> None:
    lane = {**GPU, "memory_multiplier": multiplier}
    assert requests(job_script(lane, ram_gb=ram_gb))["mem"] == f"{mib}M"
    assert mib == max(1024, min(int(ram_gb * multiplier * 1024), GPU["memory_mib"]))


def test_job_types_that_are_known_for_it_get_more_memory() -> None:
    factors = lane_files.memory_factors()
    assert factors["reference_motion_correction"] == 2.0
    assert "class_2D_new" not in factors
    for job_type, factor in {**factors, "class_2D_new": 1.0, "unheard_of": 1.0}.items():
        assert requests(job_script(GPU, job_type=job_type, ram_gb=8))["mem"] == f"{int(16384 * factor)}M"


def test_a_user_may_give_the_multiplier_which_then_counts_alone() -> None:
    assert requests(job_script(GPU, ram_multiplier="1.5"))["mem"] == "36864M"
    assert requests(job_script(GPU, ram_multiplier="1", job_type="flex_train"))["mem"] == "24576M"
    assert requests(job_script(GPU, ram_multiplier="0.01"))["mem"] == "1024M"
    assert requests(job_script(GPU, ram_multiplier="100"))["mem"] == "186777M"


@pytest.mark.parametrize("typed", ["", " ", "two", "2x", "2,5", "0", "-3", "nan", "None", "2\n#SBATCH --uid=0"])
def test_what_is_no_multiplier_counts_as_none_given(typed: str) -> None:
    assert requests(job_script(GPU, ram_multiplier=typed))["mem"] == "49152M"


@pytest.mark.parametrize(
    ("typed", "minutes"),
    [("30", 30), (30, 30), (" 30 ", 30), ("30.7", 30), ("0.2", 1), ("2880", 2880), ("2881", 2880), ("1e9", 2880),
     ("inf", 2880), ("", 2880), ("0", 2880), ("-5", 2880), ("nan", 2880), ("2:00:00", 2880), ("30; reboot", 2880)],
)  # fmt: skip
def test_a_user_may_shorten_the_time(typed: object, minutes: int) -> None:
    assert requests(job_script(GPU, time_limit_minutes=typed))["time"] == str(minutes)


@pytest.mark.parametrize("typed", ["yes", "Yes", " TRUE ", "on", "1", True])
def test_a_user_may_have_the_whole_node(typed: object) -> None:
    found = requests(job_script(GPU, exclusive=typed, num_gpu=1))
    assert (found["exclusive"], found["mem"], found["gres"]) == ("", "186777M", "gpu:1")


@pytest.mark.parametrize("typed", ["no", "", "0", "user", "yes please", "yes\n#SBATCH --uid=0", None])
def test_nothing_else_makes_a_job_exclusive(typed: object) -> None:
    assert "exclusive" not in requests(job_script(GPU, exclusive=typed))


def test_a_lane_with_local_disk_copies_particles_with_more_threads() -> None:
    line = "export CRYOSPARC_CACHE_NUM_THREADS="
    assert f"\n{line}4\n" in job_script(GPU, num_cpu=4)
    assert f"\n{line}8\n" in job_script(GPU, num_cpu=48)
    assert f"\n{line}2\n" in job_script(GPU, num_cpu=1)
    assert line not in job_script(CPU)


@given(folder=TEXT, creator=TEXT, job_type=TEXT, variables=st.dictionaries(
    st.sampled_from(sorted(lane_files.CUSTOM_VARIABLES)), TEXT | st.floats().map(str)
))  # fmt: skip
def test_no_name_and_no_typed_value_adds_takes_or_changes_a_request(
    folder: str, creator: str, job_type: str, variables: dict[str, str]
) -> None:
    folder = f"/fsx/{folder}"
    script = job_script(GPU, folder, job_creator=creator, job_type=job_type.replace("\n", ""), **variables)
    found = requests(script)
    plain = requests(job_script(GPU))
    whole = found.pop("exclusive", None) is not None
    told = found.pop("chdir", None)
    assert told == (None if "\n" in folder else folder)
    output = found.pop("output")
    assert output == ("/dev/null" if {"\n", "\\"} & set(folder) else folder.replace("%", "%%") + "/slurm-%j.out")
    assert re.fullmatch(r"[0-9]+M", found["mem"])
    assert 1024 <= int(found.pop("mem")[:-1]) <= GPU["memory_mib"]
    assert 1 <= int(found.pop("time")) <= GPU["time_limit_minutes"]
    assert "\n" not in found.pop("comment")
    assert re.fullmatch(r"cryosparc_P1_J2(_[A-Za-z0-9_]{1,64})?", found.pop("job-name"))
    free = ("chdir", "output", "mem", "time", "comment", "job-name")
    assert found == {k: v for k, v in plain.items() if k not in free}
    assert not whole or variables["exclusive"].strip().lower() in ("yes", "true", "on", "1")
    assert "\r\n" not in script, "sbatch takes it for a file from Windows"
    body = head_and_body(script)[1]
    if "\r" in folder:
        return  # written as $'\\r', which bash reads and shlex does not
    if output == "/dev/null":
        words = shlex.split(body)
        assert words[:3] == ["cd", "--", folder]
    if re.fullmatch(r"[a-zA-Z0-9/._-]+", folder):
        assert body.endswith(f" > {folder}/job.log 2>&1")
    elif set(" \t\n\r'\"\\$`!*?[](){}<>|&;#~") & set(folder):
        assert shlex.split(body)[-2:] == [f">{folder}/job.log", "2>&1"]


@pytest.mark.parametrize("name", AWKWARD)
def test_a_job_in_a_folder_of_any_name_runs_there_and_logs_there(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name / "J2"
    folder.mkdir(parents=True)
    worker = tmp_path / "cryosparcw"
    worker.write_text('#!/usr/bin/env bash\nprintf "%s|" "$@"\n')
    worker.chmod(0o755)
    run_args = "--project P1 --job J2"
    script = job_script(
        CPU, str(folder), worker=str(worker), run_args=run_args, job_creator=name,
        run_cmd=f"{worker} run {run_args} > {folder}/job.log 2>&1",
    )  # fmt: skip
    (tmp_path / "queue_sub_script.sh").write_text(script, newline="")
    found = requests(script)
    started_in = found.get("chdir", str(tmp_path))
    assert started_in in (str(folder), str(tmp_path))
    done = subprocess.run(
        ["bash", str(tmp_path / "queue_sub_script.sh")],
        cwd=started_in, env={"PATH": os.environ["PATH"], "SLURM_JOB_ID": "7"}, capture_output=True, timeout=10,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (folder / "job.log").read_text() == "run|--project|P1|--job|J2|"
    assert (folder / "slurm-7.out").exists() == (found["output"] == "/dev/null")
    expected = {"cryosparcw", "queue_sub_script.sh", (tmp_path / name).relative_to(tmp_path).parts[0]}
    assert set(os.listdir(tmp_path)) == expected


def test_without_run_args_the_whole_command_is_taken_as_it_is() -> None:
    lane = render(CPU)["cluster_script.sh"]
    script = jinja2.Template(lane).render(run_cmd="cryosparcw run", job_dir_abs="/a b", num_cpu=1, num_gpu=0, ram_gb=1)
    assert script.endswith("\ncryosparcw run")


@EACH
def test_every_script_is_bash(lane: dict[str, Any], tmp_path: Path) -> None:
    files = render(lane)
    scripts = {name: text for name, text in files.items() if name.endswith((".sh", ".env"))}
    assert len(scripts) == 3
    scripts["cluster_script.sh"] = job_script(lane, num_gpu=lane["gpus"])
    scripts["relion_qsub.sh"] = scripts["relion_qsub.sh"].replace("XXXmpinodesXXX", "5")
    scripts["stages.env"] = lane_files.render_stages({"motion": lane["name"]})["stages.env"]
    for name, text in scripts.items():
        (tmp_path / name).write_text(text)
        subprocess.run(["bash", "-n", str(tmp_path / name)], check=True, timeout=10)


@EACH
def test_cluster_info(lane: dict[str, Any]) -> None:
    info = json.loads(render(lane)["cluster_info.json"])
    assert info["name"] == lane["name"]
    assert info["worker_bin_path"] == "/cryosparc/cryosparc_worker/bin/cryosparcw"
    assert (info["cache_path"], info["cache_quota_mb"]) == (
        ("/scratch/cryosparc-cache", lane["cache_gb"] * 900) if lane["cache_gb"] else ("", None)
    )
    assert info["qdel_cmd_tpl"] == "/opt/slurm/bin/scancel {{ cluster_job_id }}"
    assert info["qstat_cmd_tpl"].startswith("/opt/slurm/bin/squeue ")
    assert info["qinfo_cmd_tpl"] == f"/opt/slurm/bin/sinfo --partition {lane['partition']}"


@pytest.mark.parametrize("name", AWKWARD)
def test_the_script_is_submitted_whatever_its_folder_is_called(name: str) -> None:
    """By a shell or by Python's shlex; and without a quote where none is needed."""
    path = f"/fsx/{name}/queue_sub_script.sh"
    template = json.loads(render(GPU)["cluster_info.json"])["qsub_cmd_tpl"]
    command = jinja2.Template(template).render(script_path_abs=path)
    assert shlex.split(command) == ["/opt/slurm/bin/sbatch", path]
    shown = subprocess.run(["bash", "-c", command.replace("/opt/slurm/bin/sbatch", "printf %s")], capture_output=True)
    assert shown.stdout.decode() == path
    if name == "plain":
        assert command == f"/opt/slurm/bin/sbatch {path}"


def test_without_a_folder_slurm_is_on_the_path() -> None:
    files = render(GPU, sbatch="")
    assert json.loads(files["cluster_info.json"])["qsub_cmd_tpl"].startswith("sbatch {%")
    assert "export RELION_QSUB_COMMAND=sbatch\n" in files["relion.env"]


@EACH
def test_a_relion_job(lane: dict[str, Any]) -> None:
    nodes = lane.get("nodes_per_job", 1)
    expected = {
        "job-name": "XXXnameXXX",
        "partition": lane["partition"],
        "nodes": "1" if nodes == 1 else f"1-{nodes}",
        "ntasks": "XXXmpinodesXXX",
        "cpus-per-task": "XXXthreadsXXX",
        "time": "XXXextra1XXX",
        "output": "XXXoutfileXXX",
        "error": "XXXerrfileXXX",
        "open-mode": "append",
    }
    if lane["gpus"]:
        expected |= {"gres": f"gpu:{lane['gpus']}", "mem": f"{lane['memory_mib']}M"}
    else:
        expected["mem-per-cpu"] = f"{lane['memory_mib'] // lane['vcpus']}M"
    if nodes > 1:
        expected["use-min-nodes"] = ""
    script = render(lane)["relion_qsub.sh"]
    assert requests(script) == expected
    assert script.endswith("\nlaunch XXXcommandXXX\n")


def test_a_manifest_of_before_spread_jobs_means_one_node() -> None:
    old = {k: v for k, v in GPU.items() if k not in ("nodes_per_job", "always_on")}
    assert render(old) == render(GPU)


def test_relion_jobs_side_by_side_fit_the_nodes_memory() -> None:
    """Slurm schedules by memory: a job that asks for none gets all of it, and no second one fits."""
    per_cpu = int(requests(render(CPU)["relion_qsub.sh"])["mem-per-cpu"].rstrip("M"))
    assert 0 < per_cpu * CPU["vcpus"] <= CPU["memory_mib"]


@pytest.mark.parametrize(
    ("name", "processes", "site", "shown"),
    [
        ("gpu4", 1, "", "show|two words|a"),
        ("gpu4", 5, "", "mpirun|--oversubscribe|--bind-to|none|-n|5|show|two words|a"),
        ("everything", 9, "", "mpirun|--oversubscribe|--bind-to|none|--map-by|node|-n|9|show|two words|a"),
        ("gpu4", 5, "mpirun --mca x y", "mpirun|--mca|x|y|-n|5|show|two words|a"),
    ],
)
def test_relion_starts_several_processes_by_mpirun_and_one_without(
    name: str, processes: int, site: str, shown: str, tmp_path: Path
) -> None:
    script = render(LANES[name])["relion_qsub.sh"].replace("XXXmpinodesXXX", str(processes))
    script = script.replace("launch XXXcommandXXX", "launch `echo show` 'two words' a >out")
    for program in ("show", "mpirun"):
        (tmp_path / program).write_text('#!/usr/bin/env bash\nIFS="|"\nprintf "%s" "${0##*/}|$*"\n')
        (tmp_path / program).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"} | ({"RELION_MPIRUN": site} if site else {})
    subprocess.run(["bash", "-c", script], check=True, cwd=tmp_path, env=environment, timeout=10)
    assert (tmp_path / "out").read_text() == shown


def sourced(text: str, tmp_path: Path) -> dict[str, str]:
    (tmp_path / "some.env").write_text(text)
    shell = subprocess.run(
        ["env", "-i", "bash", "-euc", ". ./some.env; env -0"],
        check=True, capture_output=True, text=True, cwd=tmp_path, timeout=10,
    )  # fmt: skip
    pairs = (line.partition("=") for line in shell.stdout.split("\0"))
    return {name: value for name, _, value in pairs if name.startswith(("RELION", "LANE"))}


@pytest.mark.parametrize(
    ("name", "processes", "threads"),
    [("cpu", 4, 8), ("gpu1", 1, 8), ("gpu4", 5, 8), ("gpu8", 9, 8), ("live", 5, 8), ("everything", 9, 8)],
)
def test_relion_env_can_be_sourced(name: str, processes: int, threads: int, tmp_path: Path) -> None:
    lane = LANES[name]
    minutes = lane["time_limit_minutes"]
    assert sourced(render(lane)["relion.env"], tmp_path) == {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": lane["partition"],
        "RELION_QSUB_COMMAND": "/opt/slurm/bin/sbatch",
        "RELION_QSUB_TEMPLATE": f"/opt/cryoem/lanes/{name}/relion_qsub.sh",
        "RELION_QSUB_EXTRA_COUNT": "1",
        "RELION_QSUB_EXTRA1": "Time limit (minutes):",
        "RELION_QSUB_EXTRA1_DEFAULT": str(minutes),
        "RELION_QSUB_EXTRA1_HELP": f"The job is stopped after so long. The lane allows {minutes}.",
        "RELION_QSUB_NRMPI": str(processes),
        "RELION_QSUB_NRTHREADS": str(threads),
        "RELION_MPI_MAX": "64",
        "RELION_THREAD_MAX": str(lane["vcpus"]),
        "RELION_SCRATCH_DIR": "/scratch" if lane["cache_gb"] else "",
    }


@given(st.integers(0, 16), st.integers(1, 448), st.integers(1, 40))
def test_relions_defaults_fit_one_node_and_its_own_types(gpus: int, vcpus: int, nodes: int) -> None:
    lane = {**GPU, "gpus": gpus, "vcpus": max(vcpus, gpus + 1), "nodes_per_job": nodes}
    found = dict(re.findall(r"^export (RELION_\w+)=(\d+)$", render(lane)["relion.env"], re.MULTILINE))
    processes, threads = int(found["RELION_QSUB_NRMPI"]), int(found["RELION_QSUB_NRTHREADS"])
    assert processes == (gpus + 1 if gpus > 1 else 1) or not gpus
    assert 1 <= processes * threads <= lane["vcpus"]
    assert int(found["RELION_MPI_MAX"]) >= max(processes, nodes * gpus + 1)
    assert max(processes, threads) <= 127, "RELION keeps these two in a char"


def test_names_are_quoted_for_the_shell(tmp_path: Path) -> None:
    files = lane_files.render(
        GPU, worker="/w", cache_root="/my scratch/$x", sbatch="/opt/slurm's/bin", home="/opt/cry oem"
    )
    found = sourced(files["relion.env"], tmp_path)
    assert found["RELION_SCRATCH_DIR"] == "/my scratch/$x"
    assert found["RELION_QSUB_COMMAND"] == "/opt/slurm's/bin/sbatch"
    assert found["RELION_QSUB_TEMPLATE"] == "/opt/cry oem/lanes/gpu4/relion_qsub.sh"


def test_stages_are_rendered_for_people_and_for_scripts(tmp_path: Path) -> None:
    files = lane_files.render_stages({"motion": "gpu8", "refine-mpi": "gpu4", "not-ours": "cpu"})
    document = json.loads(files["stages.json"])
    assert document["stages"] == {"motion": "gpu8", "refine-mpi": "gpu4", "not-ours": "cpu"}
    assert document["cryosparc"] == {"patch_motion_correction_multi": "gpu8"}
    assert document["relion"]["relion.refine3d"] == "gpu4"
    assert sourced(files["stages.env"], tmp_path) == {
        "LANE_MOTION": "gpu8", "LANE_REFINE_MPI": "gpu4", "LANE_NOT_OURS": "cpu",
    }  # fmt: skip


def test_without_stages_there_are_empty_files() -> None:
    """A manifest of before them has none."""
    files = lane_files.render_stages({})
    assert json.loads(files["stages.json"]) == {"stages": {}, "cryosparc": {}, "relion": {}}
    assert files["stages.env"] == ""


def test_the_digest_tells_files_apart_whatever_their_order() -> None:
    files = render(GPU)
    assert lane_files.digest(files) == lane_files.digest(dict(reversed(files.items())))
    digests = {lane_files.digest({**files, name: text + " "}) for name, text in files.items()}
    assert len(digests | {lane_files.digest(files)}) == 5
