"""Every lane's scripts, filled in as cryoSPARC and RELION do, handed to a real sbatch of a real cluster of these lanes.

Only slurmctld runs. No node boots: `--test-only` asks the scheduler whether and where a job could start, and a job that is
submitted is looked at and cancelled.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pytest

from cdk_cryoem import ClusterInputs, HeadNode, Lane, cluster_configuration, default_lanes
from cdk_cryoem_twin.pcluster.spec import slurm_spec
from cdk_cryoem_twin.places import Places
from cdk_cryoem_twin.slurm import controller
from cdk_cryoem_twin.waiting import wait_for

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "constructs" / "cdk_cryoem" / "head_node" / "lib"))

from cryoem_head import admit_jobs, caps, lane_files, queue
from cryoem_head.ledger import Ledger

pytestmark = pytest.mark.twin

_LANES = (
    *default_lanes(),
    Lane(
        name="spread", instance_types=["g5.12xlarge"], gpus=4, max_nodes=3, nodes_per_job=3, memory_multiplier=1.25,
        time_limit_hours=1.5,
    ),
)  # fmt: skip
LANES = {lane.name: lane.manifest() for lane in _LANES}
EACH = pytest.mark.parametrize("lane", LANES.values(), ids=list(LANES))
AWKWARD = [
    "two words", "o'brien", 'say "hi"', "cost$HOME", "`id`", "$(id)", "100%done", "%j %u", "tab\there", "hash # tag",
    "back\\slash", "trailing\\", "ünïcode-蛋白", "semi;colon", "a&b|c", "star*?[x]", "-dash", " lead", "trail ",
    "new\nline", "\n#SBATCH --uid=0", "cr\r\nlf", "{{ 7 * 7 }}", "~tilde", "!bang", "a=b,c", "x" * 200,
]  # fmt: skip
_STARTS = re.compile(r"sbatch: Job \d+ to start at \S+ using (\d+) processors on nodes (\S+) in partition (\S+)")


@dataclass(frozen=True)
class Slurm:
    """The cluster, as the user of its commands."""

    folder: Path
    environment: Mapping[str, str]

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env=self.environment,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def _file(self, script: str) -> str:
        path = self.folder / f"{uuid.uuid4()}.sh"
        path.write_text(script, newline="")
        return str(path)

    def test_only(self, script: str) -> str:
        """What sbatch says to a script."""
        return self.run("sbatch", "--test-only", self._file(script)).stderr

    def verdicts(self, scripts: Sequence[str]) -> list[str]:
        with ThreadPoolExecutor(4) as pool:
            return list(pool.map(self.test_only, scripts))

    def submitted(self, script: str, *options: str) -> str:
        """What Slurm knows of a job of this script, which is cancelled again."""
        done = self.run("sbatch", "--parsable", *options, self._file(script))
        assert done.returncode == 0, done.stderr
        shown = self.run("scontrol", "show", "job", done.stdout.strip()).stdout
        self.run("scancel", done.stdout.strip())
        return shown


def _is_free(places: Places) -> bool:
    try:
        socket.create_server(("127.0.0.1", places.slurmctld_port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    folder = tmp_path_factory.mktemp("s")
    places = next(p for p in (Places(folder / str(n)) for n in itertools.count()) if _is_free(p))
    for needed in (places.run / "tmp", places.root / "home", places.root / "jobs"):
        needed.mkdir(parents=True)
    names = {f.name: f.name for f in dataclasses.fields(ClusterInputs) if f.default is dataclasses.MISSING}
    configuration = cluster_configuration(
        lanes=_LANES,
        head_node=HeadNode(),
        inputs=ClusterInputs(**names | {"tags": {}}),  # type: ignore[arg-type]
    )
    # Nothing but the partitions and nodes: no programs of ours, and no node ever comes.
    without = ("ResumeProgram=/bin/true", "SuspendProgram=/bin/true", "ResumeTimeout=3600")
    spec = dataclasses.replace(slurm_spec(configuration, root=places.root), settings=without)
    controller.configure(places, spec)
    try:
        controller.start(places)
        yield Slurm(places.root / "jobs", controller.environment(places))
    finally:
        controller.stop(places)


def render(lane: Mapping[str, Any]) -> dict[str, str]:
    return lane_files.render(
        lane, worker="/cryosparc/cryosparc_worker/bin/cryosparcw", cache_root="/scratch", sbatch="", home="/opt/cryoem"
    )


def cryosparc_job(lane: Mapping[str, Any], *, name: str = "J2", **more: Any) -> str:
    folder = f"/fsx/projects/{name}"
    variables = {
        "project_uid": "P1", "job_uid": "J2", "job_type": "class_2D_new", "job_creator": name, "num_cpu": 4,
        "num_gpu": 0, "ram_gb": 24.0, "job_dir_abs": folder, "job_log_path_abs": f"{folder}/job.log",
        "run_args": "--project P1 --job J2", "run_cmd": f"cryosparcw run > {folder}/job.log 2>&1",
    }  # fmt: skip
    return jinja2.Template(render(lane)["cluster_script.sh"]).render(**variables | more)


def relion_job(
    lane: Mapping[str, Any], *, mpi: int, threads: int, name: str = "Class2D/job005/", minutes: str = ""
) -> str:
    """RELION's plain replacement (saveJobSubmissionScript in its src/pipeline_jobs.cpp)."""
    text = render(lane)["relion_qsub.sh"]
    for token, value in {
        "XXXmpinodesXXX": str(mpi), "XXXthreadsXXX": str(threads), "XXXcoresXXX": str(mpi * threads), "XXXnameXXX": name,
        "XXXerrfileXXX": f"{name}run.err", "XXXoutfileXXX": f"{name}run.out", "XXXqueueXXX": str(lane["partition"]),
        "XXXextra1XXX": minutes or str(lane["time_limit_minutes"]),
        "XXXcommandXXX": "`which relion_refine_mpi` --o run --i 'a b.star' --j 8",
    }.items():  # fmt: skip
        text = text.replace(token, value)
    assert "XXX" not in text
    return text


def relion_defaults(lane: Mapping[str, Any]) -> tuple[int, int]:
    found = dict(re.findall(r"^export (\w+)=(\d+)$", render(lane)["relion.env"], re.MULTILINE))
    return int(found["RELION_QSUB_NRMPI"]), int(found["RELION_QSUB_NRTHREADS"])


def starts(slurm: Slurm, lane: Mapping[str, Any], scripts: Mapping[str, str]) -> dict[str, int]:
    """The processors that each script would get on the lane; every one of them has to be accepted."""
    said = dict(zip(scripts, slurm.verdicts(list(scripts.values())), strict=True))
    found = {label: _STARTS.search(text) for label, text in said.items()}
    assert {label: said[label] for label, match in found.items() if match is None} == {}
    assert {match[3] for match in found.values() if match} == {lane["partition"]}
    return {label: int(match[1]) for label, match in found.items() if match}


@EACH
def test_every_size_of_cryosparc_job_is_accepted(slurm: Slurm, lane: Mapping[str, Any]) -> None:
    cpus = sorted({1, 4, lane["vcpus"], lane["vcpus"] + 1, 10_000})
    gpus = sorted({0, min(1, lane["gpus"]), lane["gpus"]})
    cases = list(itertools.product(cpus, gpus, (0.1, 24.0, 10_000.0)))
    scripts = {str(case): cryosparc_job(lane, num_cpu=case[0], num_gpu=case[1], ram_gb=case[2]) for case in cases}
    found = starts(slurm, lane, scripts)
    assert found == {str(case): min(case[0], lane["vcpus"]) for case in cases}


@EACH
def test_every_job_type_and_custom_variable_is_accepted(slurm: Slurm, lane: Mapping[str, Any]) -> None:
    typed: list[dict[str, str]] = [
        {},
        {"time_limit_minutes": "1"}, {"time_limit_minutes": "999999999"}, {"time_limit_minutes": "2 hours"},
        {"ram_multiplier": "0.001"}, {"ram_multiplier": "1e300"}, {"ram_multiplier": "inf"}, {"ram_multiplier": "nan"},
        {"exclusive": "yes"}, {"exclusive": "yes", "ram_multiplier": "3", "time_limit_minutes": "7"},
        dict.fromkeys(lane_files.CUSTOM_VARIABLES, ""),
        dict.fromkeys(lane_files.CUSTOM_VARIABLES, '1"\n#SBATCH --partition=nowhere\n'),
    ]  # fmt: skip
    types = ["class_2D_new", *lane_files.memory_factors(), "", "unheard of \"type\" 'x' \\"]
    scripts = {f"{job_type} {more}": cryosparc_job(lane, num_gpu=lane["gpus"], job_type=job_type, **more)
               for job_type in types for more in typed}  # fmt: skip
    found = starts(slurm, lane, scripts)
    assert {n for label, n in found.items() if "'exclusive': 'yes'" not in label} == {4}


@EACH
def test_every_name_of_a_project_and_of_a_user_is_accepted(slurm: Slurm, lane: Mapping[str, Any]) -> None:
    starts(slurm, lane, {name: cryosparc_job(lane, name=f"{name}/J1", num_gpu=lane["gpus"]) for name in AWKWARD})


def test_slurm_reads_the_names_as_they_are(slurm: Slurm) -> None:
    """From its own records: nothing was cut off, taken for an option or unescaped once too often."""

    def known(name: str) -> dict[str, str]:
        shown = slurm.submitted(cryosparc_job(LANES["cpu"], name=name, time_limit_minutes="90"), "--hold")
        pairs = (re.search(rf"(?:^| ){key}=(.*?)$", shown, re.MULTILINE) for key in ("WorkDir", "StdOut", "Comment"))
        assert "TimeLimit=01:30:00" in shown
        assert "MinMemoryNode=48G" in shown
        assert re.search(r"JobName=cryosparc_P1_J2_class_2D_new$", shown, re.MULTILINE)
        return {match[0].partition("=")[0].strip(): match[1] for match in pairs if match}

    with ThreadPoolExecutor(4) as pool:
        for name, found in zip(AWKWARD, pool.map(known, AWKWARD), strict=True):
            folder = f"/fsx/projects/{name}"
            if "\n" in name:
                assert found["WorkDir"] == str(slurm.folder)
            else:
                assert found["WorkDir"] == folder
            assert found["StdOut"].startswith("/dev/null" if {"\n", "\\"} & set(name) else "/fsx/projects/")
            assert name != "100%done" or "/100%%done/slurm-" in found["StdOut"]
            comment = name[:80].replace("\n", " ").replace("\r", " ").replace("=", " ")
            # Slurm puts a space behind it.
            assert found["Comment"].removesuffix(" ") == f"{comment}: class_2D_new"


@EACH
def test_relion_jobs_are_accepted(slurm: Slurm, lane: Mapping[str, Any]) -> None:
    processes, threads = relion_defaults(lane)
    sizes = {(1, 1), (processes, threads), (processes, 1), (1, lane["vcpus"]), (lane["vcpus"], 1)}
    scripts = {str(size): relion_job(lane, mpi=size[0], threads=size[1]) for size in sizes}
    assert starts(slurm, lane, scripts) == {str((mpi, threads)): mpi * threads for mpi, threads in sizes}
    more = {name: relion_job(lane, mpi=processes, threads=threads, name=f"Class2D/{name}/")
            for name in ("two words", "o'brien", "ünïcode", "semi;colon", "hash # tag", "a'b'c")}  # fmt: skip
    more |= {t: relion_job(lane, mpi=1, threads=1, minutes=t) for t in ("1", "90", "01:00:00", "0-01")}
    starts(slurm, lane, more)


@pytest.mark.parametrize(
    ("lane", "processes", "nodes"),
    [("spread", 1, 1), ("spread", 5, 1), ("spread", 6, 1), ("spread", 7, 2), ("spread", 13, 3), ("gpu4", 5, 1)],
)
def test_a_relion_job_is_given_no_more_nodes_than_it_needs(slurm: Slurm, lane: str, processes: int, nodes: int) -> None:
    """Not as many as it may have, which is what Slurm makes of a range by itself."""
    shown = slurm.submitted(relion_job(LANES[lane], mpi=processes, threads=8))
    assert re.findall(r"NumNodes=(\d+)", shown) == [str(nodes)]
    assert "TresPerNode=gres:gpu:4\n" in shown


def _refusal(said: str) -> str:
    assert _STARTS.search(said) is None, said
    return said.replace("\n", " ")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cryosparc_job(LANES["gpu4"], num_gpu=8), "Requested node configuration is not available"),
        (lambda: cryosparc_job(LANES["gpu1"], num_gpu=2), "Requested node configuration is not available"),
        (lambda: cryosparc_job(LANES["cpu"], num_gpu=1), "Requested node configuration is not available"),
        (lambda: relion_job(LANES["cpu"], mpi=5, threads=8), "Requested node configuration is not available"),
        (lambda: relion_job(LANES["gpu4"], mpi=9, threads=8), "Requested node configuration is not available"),
        (lambda: relion_job(LANES["gpu8"], mpi=25, threads=8), "Requested node configuration is not available"),
        (lambda: relion_job(LANES["spread"], mpi=19, threads=8), "Requested node configuration is not available"),
        (lambda: relion_job(LANES["gpu1"], mpi=1, threads=1, minutes="soon"), "Invalid --time specification"),
        (lambda: cryosparc_job(LANES["gpu1"] | {"partition": "gone"}), "invalid partition specified: gone"),
    ],
    ids=["gpus", "two-gpus", "gpus-on-cpu", "cpus", "cpus-on-gpu4", "cpus-on-gpu8", "cpus-on-three-nodes", "time", "partition"],
)  # fmt: skip
def test_what_no_node_has_is_refused_in_slurms_words(slurm: Slurm, make: Callable[[], str], message: str) -> None:
    assert message in _refusal(slurm.test_only(make()))


_CLASS2D = """
data_job

_rlnJobType 8
_rlnJobIsContinue 0

data_joboptions_values

loop_
_rlnJobOptionVariable #1
_rlnJobOptionValue #2
fn_img particles.star
nr_classes 4
use_gpu Yes
"""


@EACH
def test_relion_itself_fills_the_template_in(slurm: Slurm, lane: Mapping[str, Any], tmp_path: Path) -> None:
    """RELION's own program, in a project folder of an awkward name, with nothing said but what relion.env says."""
    home, project = tmp_path / "home", tmp_path / 'anna\'s "best" $HOME 100%'
    project.mkdir()
    (home / "lanes" / lane["name"]).mkdir(parents=True)
    files = lane_files.render(lane, worker="/w", cache_root="/scratch", sbatch="", home=str(home))
    for name, text in files.items():
        (home / "lanes" / lane["name"] / name).write_text(text)
    (project / "job.star").write_text(_CLASS2D)
    (project / "default_pipeline.star").write_text("\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n")
    done = slurm.run(
        "bash", "-euc", '. "$0"; relion_pipeliner --addJobFromStar job.star --setJobAlias "my class"',
        str(home / "lanes" / lane["name"] / "relion.env"), cwd=project,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    script = (project / "Class2D" / "job001" / "run_submit.script").read_text()
    processes, threads = relion_defaults(lane)
    assert script.count("\nlaunch `which relion_refine") == 1
    assert f"--j {threads} " in script
    assert ("_mpi` " in script) == (processes > 1)
    assert f'#SBATCH --time="{lane["time_limit_minutes"]}"\n' in script
    said = slurm.run("sbatch", "--test-only", "Class2D/job001/run_submit.script", cwd=project).stderr
    match = _STARTS.search(said)
    assert match, said
    assert int(match[1]) == processes * threads


def test_the_cluster_is_this_tests_own(slurm: Slurm) -> None:
    names = slurm.run("sinfo", "--noheader", "--format=%R").stdout.split()
    assert sorted(names) == sorted(LANES)
    assert slurm.run("squeue", "--noheader").stdout == ""
    assert os.path.commonpath([slurm.folder, slurm.environment["SLURM_CONF"]]) == str(slurm.folder.parent)


class _Table:
    """A records table in which nothing was spent."""

    def get_paginator(self, _: str) -> _Table:
        return self

    def paginate(self, **_: Any) -> Iterator[dict[str, Any]]:
        return iter([{"Items": []}])


def _state(slurm: Slurm, job: str) -> list[str]:
    return slurm.run("squeue", "--noheader", "--jobs", job, "--format", "%T|%r|%k").stdout.strip().split("|")


def test_admission_holds_and_releases_jobs_of_a_real_queue(
    slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that waits and one that has its node on the way; Slurm's words for both, and what they may cost."""
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    projects = tmp_path / "projects"
    folder = projects / "spike"
    folder.mkdir(parents=True)
    ledger, meter = Ledger(tmp_path), admit_jobs.Meter("t", dynamodb=_Table())
    admission = admit_jobs.Admission(ledger, meter, gated=lambda: True)
    later = itertools.count(int(time.time()), 60)
    lanes = {str(lane["partition"]): lane for lane in LANES.values()}

    def look(usd: float) -> list[queue.Queued]:
        entry = {"name": "m", "usd_micro": usd * 1e6, "projects": [], "each": False, "period": "month", "hard": True}
        found = queue.jobs(projects)
        admission.look(found, rules=[caps.Cap.parse(entry)], lanes=lanes, now=next(later))
        return found

    def submit(*options: str) -> str:
        done = slurm.run("sbatch", "--parsable", "--comment", "of its own", *options, "--wrap", "sleep 1", cwd=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    waits = submit("-p", "gpu1", "--gres", "gpu:1", "--begin", "now+1hour")
    starts = submit("-p", "gpu1", "--gres", "gpu:1")
    try:
        wait_for(lambda: _state(slurm, starts)[0] == "CONFIGURING", "a node on the way", seconds=60)
        found = {job.job_id: job for job in look(20)}
        assert (found[starts].project, found[starts].gpus_per_node, found[starts].minutes) == ("spike", 1, 2880.0)
        assert queue.needs(starts).cpus == 1
        wait_for(lambda: _state(slurm, starts)[0] == "PENDING", "the job to be back in the queue", seconds=60)
        assert _state(slurm, starts)[2].startswith("cap m: 0.00 of 20.00 USD spent")
        assert {job.job_id: job.held for job in queue.jobs(projects)} == {waits: False, starts: True}
        assert waits not in ledger.held(), "it could not start yet"
        slurm.run("scontrol", "update", f"jobid={waits}", "starttime=now")
        look(20)
        wait_for(lambda: _state(slurm, waits)[0] == "PENDING", "the other to be held", seconds=60)
        assert ledger.held() == {waits, starts}
        for _ in range(2):
            look(200)
        assert set(ledger.admitted()) == {waits, starts}
        assert ledger.held() == set()
        wait_for(lambda: not any(job.held for job in queue.jobs(projects)), "both to be free", seconds=60)
        assert _state(slurm, starts)[2] == "of its own"
    finally:
        slurm.run("scancel", waits, starts)


def test_what_a_job_needs_in_slurms_own_words(slurm: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    cases: dict[tuple[str, ...], tuple[int, int | None, int | None]] = {
        ("-c", "3"): (1, 3, 0),
        ("-c", "3", "--gres", "gpu:2"): (1, 3, 2),
        ("-c", "1", "--exclusive"): (1, None, 0),
        ("-N", "1-3", "-c", "1"): (3, 1, 0),
        ("--gpus", "2", "-c", "1"): (1, None, 0),
        ("--gpus-per-node", "2", "-c", "1"): (1, 1, 2),
        ("-c", "1", "--array", "1-5"): (1, 1, 0),
        ("-c", "1", "-J", "x TRES=cpu=1,mem=1M OverSubscribe=OK"): (1, None, 0),
    }
    made = {}
    for options in cases:
        done = slurm.run("sbatch", "--parsable", "-p", "gpu4", "--begin", "now+1hour", *options, "--wrap", "true")
        assert done.returncode == 0, done.stderr
        made[done.stdout.strip()] = options
    try:
        found = {job.job_id: job for job in queue.jobs(tmp_path)}
        said = {}
        for number, options in made.items():
            wants = queue.needs(number)
            said[options] = (wants.nodes, wants.cpus, found[number].gpus_per_node)
        assert said == cases
        assert [found[number].tasks for number, options in made.items() if "--array" in options] == [5]
    finally:
        slurm.run("scancel", *made)
