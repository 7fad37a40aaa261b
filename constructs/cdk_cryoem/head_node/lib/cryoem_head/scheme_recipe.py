"""relion-scheme: a scheme of RELION on a dataset (a schedule, in RELION 3.1), each of its jobs on the lane of its stage.

Called again after it died anywhere it goes on: the scheme remembers where it is. A job that Slurm still has is waited for, and not
started a second time. Its settings are in relion-scheme.json:

scheme      name of the scheme's folder, in the folder of the user's recipes; it has scheme.star (RELION 4 and 5) or
            schedule.star (3.1), and a folder with a job.star for each job, as RELION's own window saves them
variables   {variable of the scheme: value}, set before it runs first
lanes       {job of the scheme: lane}, where it shall not follow the stages; null: as the scheme says

The project has the dataset's folder as Movies. A job whose type belongs to a stage gets do_queue, queuename, qsub, qsubscript,
qsub_extra1, nr_mpi and nr_threads from the lane of that stage; the others (import, select) stay as the scheme has them, on the
head node. RELION itself waits for ever for a job that Slurm refused, or that died without a word; here the scheme stops then.
Costs what the jobs cost. Needs RELION on the PATH.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Set

from . import recipe_parameters, settings, slurm, stage_lanes, star
from .outcome import Refused

NAME = "relion-scheme"
_KNOWN = ("scheme", "variables", "lanes")
# RELION puts variables into command lines, which a shell runs; whoever can write to the microscope's share may set them.
_SHELL = re.compile(r"""[;&|<>$`"'\\()#\n\r]""")
LOOK_SECONDS = 30.0
"""How often Slurm is asked for the scheme's job; one that it does not have twice in a row is lost."""
_STARTED, _CURRENT, _ORIGINAL, _FOLDER = "JobHasStarted", "CurrentNodeName", "JobNameOriginal", "JobName"
# RELION 3.1 writes a number where later ones write a label (its src/pipeline_jobs.h).
_NUMBERS = {
    "0": "relion.import", "1": "relion.motioncorr", "2": "relion.ctffind", "3": "relion.manualpick", "4": "relion.autopick",
    "5": "relion.extract", "7": "relion.select", "8": "relion.class2d", "9": "relion.class3d", "10": "relion.refine3d",
    "12": "relion.maskcreate", "13": "relion.joinstar", "14": "relion.subtract", "15": "relion.postprocess",
    "16": "relion.localres", "18": "relion.initialmodel", "19": "relion.multibody", "20": "relion.polish",
    "21": "relion.ctfrefine", "99": "relion.external",
}  # fmt: skip


@dataclass(frozen=True)
class Flavour:
    """What a generation of RELION calls a scheme. prefix: of the columns of its tables."""

    program: str
    option: str
    root: str
    file: str
    prefix: str


SCHEMES = Flavour("relion_schemer", "--scheme", "Schemes", "scheme.star", "_rlnScheme")
SCHEDULES = Flavour("relion_scheduler", "--schedule", "Schedules", "schedule.star", "_rlnSchedule")


@dataclass(frozen=True)
class Wanted:
    """A scheme and what to set in it."""

    scheme: str
    variables: Mapping[str, Any]
    lanes: Mapping[str, Optional[str]]


def parse(parameters: Mapping[str, Any]) -> Wanted:
    """The parameters, checked. Errors: Refused, naming everything that is missing or wrong."""
    check = recipe_parameters.Check(NAME)
    check.unknown(parameters, _KNOWN)
    scheme = check.text(parameters, "scheme", "name of a folder among the recipes")
    if "/" in scheme or scheme.startswith("."):
        check.problems.append(f"scheme is {scheme!r}, not the name of a folder among the recipes")
    variables, lanes = check.section(parameters, "variables"), check.section(parameters, "lanes")
    for name, value in variables.items():
        if not isinstance(value, (str, int, float)):
            check.problems.append(f"variables.{name} is {value!r}, neither text nor a number")
        elif isinstance(value, str) and _SHELL.search(value):
            check.problems.append(f"variables.{name} is {value!r}, which a shell would not take as a plain word")
    for name, lane in lanes.items():
        if lane is not None and not isinstance(lane, str):
            check.problems.append(f"lanes.{name} is {lane!r}, not the name of a lane or null")
    check.end()
    return Wanted(scheme=scheme, variables=variables, lanes=lanes)


def label_of(job: Mapping[str, str], options: Mapping[str, str]) -> str:
    """The job's type as the table of stages has it, which tells apart what does and what does not use GPUs."""

    def yes(name: str) -> bool:
        return options.get(name, "").lower() in ("yes", "true")

    label = job.get("_rlnJobTypeLabel") or _NUMBERS.get(job.get("_rlnJobType", ""), "")
    if label == "relion.motioncorr":
        return f"{label}.{'own' if yes('do_own_motioncor') else 'motioncor2'}"
    if label == "relion.ctffind":
        return f"{label}.{'gctf' if yes('use_gctf') else 'ctffind4'}"
    if label == "relion.autopick":
        if yes("do_log"):
            return f"{label}.log"
        if yes("do_topaz") or yes("do_topaz_pick") or yes("do_topaz_train"):
            return f"{label}.topaz.{'train' if yes('do_topaz_train') else 'pick'}"
        return f"{label}.{'ref3d' if yes('do_ref3d') else 'ref2d'}"
    if label == "relion.localres" and yes("do_relion_locres"):
        return f"{label}.own"
    return label


def queue_options(environment: Mapping[str, str], options: Mapping[str, str]) -> Dict[str, str]:
    """The options that put a job on a lane. environment: the lane's relion.env."""
    # The gradient algorithm refuses MPI.
    alone = options.get("do_grad", "").lower() in ("yes", "true")
    return {
        "do_queue": "Yes",
        "queuename": environment["RELION_QUEUE_NAME"],
        "qsub": environment["RELION_QSUB_COMMAND"],
        "qsubscript": environment["RELION_QSUB_TEMPLATE"],
        "qsub_extra1": environment["RELION_QSUB_EXTRA1_DEFAULT"],
        "nr_mpi": "1" if alone else environment["RELION_QSUB_NRMPI"],
        "nr_threads": environment["RELION_QSUB_NRTHREADS"],
    }


class Scheme:
    """A scheme in a project: its files, as RELION writes them, and RELION's own program."""

    def __init__(self, flavour: Flavour, *, project: Path, name: str) -> None:
        self._flavour, self._project, self._name = flavour, project, name
        self._folder = project / flavour.root / name
        self.queued: Set[str] = set()

    def copy(self, source: Path) -> None:
        """Bring it into the project, at once or not at all; what is there already knows how far it is."""
        if self._folder.is_dir():
            return
        self._folder.parent.mkdir(exist_ok=True)
        draft = self._folder.with_name(f".{self._name}.draft")
        shutil.rmtree(draft, ignore_errors=True)
        shutil.copytree(source, draft)
        draft.rename(self._folder)

    @property
    def current(self) -> str:
        """The node that it is at."""
        rows = self._table("general")
        return rows[0].get(f"{self._flavour.prefix}{_CURRENT}", "") if rows else ""

    @property
    def at_its_end(self) -> bool:
        """Whether the current node is an exit."""
        prefix, current = f"{self._flavour.prefix}Operator", self.current
        rows = self._table("operators")
        return any(row.get(f"{prefix}Name") == current and row.get(f"{prefix}Type") == "exit" for row in rows)

    @property
    def started(self) -> Dict[str, str]:
        """The folders of the jobs that have been started, by the job's name in the scheme."""
        p = self._flavour.prefix
        rows = self._table("jobs")
        return {row[p + _ORIGINAL]: row[p + _FOLDER].rstrip("/") for row in rows if row.get(p + _STARTED) == "1"}

    def next_of(self, node: str) -> str:
        """The node after one, where there is only one; empty at a fork."""
        p = f"{self._flavour.prefix}Edge"
        rows = [row for row in self._table("edges") if row[f"{p}InputNodeName"] == node]
        if len(rows) != 1 or rows[0][f"{p}IsFork"] != "0":
            return ""
        return rows[0][f"{p}OutputNodeName"]

    def put_on_lanes(self, here: settings.Settings, wanted: Wanted, stages: Mapping[str, str]) -> None:
        """Write the lanes into the jobs. Errors: Refused for a lane or a job that there is not."""
        jobs = sorted(path.parent.name for path in self._folder.glob("*/job.star"))
        unknown = sorted(set(wanted.lanes) - set(jobs))
        if unknown:
            raise Refused(f"the scheme {self._name} has no job {', '.join(unknown)}; it has {', '.join(jobs)}")
        for name in jobs:
            path = self._folder / name / "job.star"
            text = path.read_text()
            options = star.options(text)
            lane = wanted.lanes.get(name, stages.get(label_of(star.tables(text).get("job", [{}])[0], options)))
            if lane is None:
                if options.get("do_queue", "").lower() in ("yes", "true"):
                    self.queued.add(name)
                continue
            changed = star.set_options(text, queue_options(_environment(here, lane), options))
            self.queued.add(name)
            if changed != text:
                draft = path.with_name(".job.star")
                draft.write_text(changed)
                draft.rename(path)

    def set_variables(self, variables: Mapping[str, Any]) -> None:
        """Set variables of the scheme. Errors: Refused when RELION does not accept one."""
        for name, value in variables.items():
            self.unlock()
            done = self._call("--set_var", name, "--value", str(value))
            if done.returncode:
                raise Refused(f"RELION does not set the variable {name} of {self._name}: {_error_of(done.stdout)}")

    def go_to(self, node: str) -> None:
        """Make a node the current one. Errors: RuntimeError."""
        self.unlock()
        done = self._call("--set_current_node", node)
        if done.returncode or self.current != node:
            raise RuntimeError(f"RELION does not go on at {node}: {_error_of(done.stdout)}")

    def unlock(self) -> None:
        """Remove the lock that RELION leaves behind when it dies. Nobody else runs this scheme: ours is the recipe's lock."""
        kind = self._flavour.option.lstrip("-")
        shutil.rmtree(self._project / f".relion_lock_{kind}_{self._name}", ignore_errors=True)

    def start(self) -> subprocess.Popen[bytes]:
        """Let RELION run it."""
        self.unlock()
        command = [self._flavour.program, self._flavour.option, self._name, "--run", "--verb", "1"]
        return subprocess.Popen(command, cwd=self._project, stdin=subprocess.DEVNULL)

    def _call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self._flavour.program, self._flavour.option, self._name, *arguments]
        return subprocess.run(
            command,
            cwd=self._project,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )

    def _table(self, name: str) -> star.Table:
        kind = self._flavour.option.lstrip("-")
        return star.read(self._folder / self._flavour.file).get(f"{kind}_{name}", [])


class Watch:
    """The Slurm job of the job that a scheme is at."""

    def __init__(self, scheme: Scheme, project: Path) -> None:
        self._scheme, self._project = scheme, project
        self._missed = ""

    def current(self) -> str:
        """Folder of the current job, if it was given to Slurm and has not ended; else empty."""
        node = self._scheme.current
        folder = self._scheme.started.get(node, "") if node in self._scheme.queued else ""
        return folder if folder and not any((self._project / folder).glob("RELION_JOB_EXIT_*")) else ""

    def in_slurm(self, folder: str) -> bool:
        """Whether Slurm has its job; also when Slurm does not answer."""
        try:
            jobs = slurm.run("squeue", "--noheader", "--format", "%j|%Z").splitlines()
        except (subprocess.SubprocessError, OSError):
            return True
        project = os.path.realpath(self._project)
        for job in jobs:
            name, _, place = job.strip().partition("|")
            if name.rstrip("/") == folder and os.path.realpath(place) == project:
                return True
        return False

    def lost(self) -> str:
        """The folder of a job that neither ended nor is known to Slurm, at two looks in a row; else empty."""
        folder = self.current()
        if not folder or self.in_slurm(folder):
            self._missed = ""
            return ""
        before, self._missed = self._missed, folder
        return folder if before == folder else ""


def finish_what_runs(scheme: Scheme, watch: Watch, project: Path) -> None:
    """Wait for a job that an earlier call left in Slurm, and go on behind it if it ended well."""
    node, folder = scheme.current, watch.current()
    while folder and watch.in_slurm(folder):
        threading.Event().wait(LOOK_SECONDS)
        folder = watch.current()
    behind = scheme.next_of(node)
    started = scheme.started.get(node, "")
    if behind and started and (project / started / "RELION_JOB_EXIT_SUCCESS").exists():
        scheme.go_to(behind)


def run(scheme: Scheme, watch: Watch, project: Path) -> None:
    """Let RELION run it to its end. Errors: RuntimeError, saying at which job it stopped."""
    process = scheme.start()
    try:
        while True:
            try:
                status = process.wait(timeout=LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                lost = watch.lost()
            if lost:
                raise RuntimeError(f"Slurm has no job of {lost}, which has not ended: see the log, and run.err there")
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
            scheme.unlock()
    # RELION ends with 0 also when a job has failed.
    if status or not scheme.at_its_end:
        place = scheme.started.get(scheme.current, "")
        where = f"{scheme.current} ({project / place / 'run.err'})" if place else scheme.current
        raise RuntimeError(f"RELION stopped at {where} with status {status}")


def work(data: Path, project: Path) -> Dict[str, Any]:
    """Do it for one dataset."""
    here = settings.load()
    wanted = parse(recipe_parameters.load(NAME, home=here.home, data=data, project=project))
    stages = stage_lanes.types(here, "relion")
    source = here.home / "recipes" / wanted.scheme
    flavour = next((flavour for flavour in (SCHEMES, SCHEDULES) if (source / flavour.file).is_file()), None)
    if flavour is None:
        raise Refused(f"{source} has neither {SCHEMES.file} nor {SCHEDULES.file}")
    if shutil.which(flavour.program) is None:
        raise Refused(f"{flavour.program} is not on the PATH of {os.environ.get('USER', 'the user')}")
    own = star.read(source / flavour.file).get(f"{flavour.option.lstrip('-')}_general", [{}])[0]
    name = own.get(f"{flavour.prefix}Name", "").rstrip("/")
    if name != f"{flavour.root}/{wanted.scheme}":
        raise Refused(f"the folder {wanted.scheme} has the scheme {name}, by which its jobs call each other: rename it")
    movies = project / "Movies"
    if not movies.is_symlink():
        movies.symlink_to(data)
    pipeline = project / "default_pipeline.star"
    if not pipeline.exists():
        pipeline.write_text("\ndata_pipeline_general\n\n_rlnPipeLineJobCounter 1\n\n")
    scheme = Scheme(flavour, project=project, name=wanted.scheme)
    scheme.copy(source)
    scheme.put_on_lanes(here, wanted, stages)
    if not scheme.started:
        scheme.set_variables(wanted.variables)
    watch = Watch(scheme, project)
    finish_what_runs(scheme, watch, project)
    if not scheme.at_its_end:
        run(scheme, watch, project)
    return {"scheme": wanted.scheme, "jobs": sorted(scheme.started.values())}


def _environment(here: settings.Settings, lane: str) -> Dict[str, str]:
    path = here.lanes / lane / "relion.env"
    if not path.is_file():
        raise Refused(f"there is no lane {lane}")
    words = [word for line in path.read_text().splitlines() for word in shlex.split(line)[1:]]
    return dict(word.split("=", 1) for word in words)


def _error_of(text: str) -> str:
    lines: List[str] = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def main() -> None:
    """Called as every recipe is."""
    recipe_parameters.run(NAME, __doc__, lambda data, project, mask: work(data, project))


if __name__ == "__main__":
    main()
