from __future__ import annotations

import json
import shutil
import struct
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryoem_head import lane_files, scheme_recipe, star
from cryoem_head.outcome import Refused
from cryoem_head.scheme_recipe import SCHEDULES, SCHEMES, Scheme, Watch, label_of

Fake = Callable[[str, str], Path]
JOB = """
data_job

_rlnJobType {type}
_rlnJobIsContinue 0

data_joboptions_values

loop_
_rlnJobOptionVariable #1
_rlnJobOptionValue #2
{options}

"""
IMPORT = """do_raw Yes
fn_in_raw "Movies/*.mrc"
is_multiframe Yes
angpix $$pixel
kV 300
Cs 2.7
Q0 0.1
do_queue No"""
MOTION = """input_star_mics Schedules/prep/importmovies/movies.star
do_own_motioncor Yes
do_dose_weighting No
do_save_ps No
patch_x 1
patch_y 1
nr_mpi 7
nr_threads 7
do_queue No"""
# As RELION 3.1 itself writes it.
SCHEDULE = """
# version 30001

data_schedule_general

_rlnScheduleName                       Schedules/prep/
_rlnScheduleCurrentNodeName            {current}


# version 30001

data_schedule_floats

loop_
_rlnScheduleFloatVariableName #1
_rlnScheduleFloatVariableValue #2
_rlnScheduleFloatVariableResetValue #3
  pixel     9.000000     9.000000
  wait_sec     1.000000     1.000000


# version 30001

data_schedule_operators

loop_
_rlnScheduleOperatorName #1
_rlnScheduleOperatorType #2
_rlnScheduleOperatorOutput #3
_rlnScheduleOperatorInput1 #4
_rlnScheduleOperatorInput2 #5
      EXIT       exit  undefined  undefined  undefined
      WAIT       wait  undefined   wait_sec  undefined


# version 30001

data_schedule_jobs

loop_
_rlnScheduleJobNameOriginal #1
_rlnScheduleJobName #2
_rlnScheduleJobMode #3
_rlnScheduleJobHasStarted #4
{jobs}


# version 30001

data_schedule_edges

loop_
_rlnScheduleEdgeInputNodeName #1
_rlnScheduleEdgeOutputNodeName #2
_rlnScheduleEdgeIsFork #3
_rlnScheduleEdgeOutputNodeNameIfTrue #4
_rlnScheduleEdgeBooleanVariable #5
      WAIT importmovies            0  undefined  undefined
importmovies motioncorr            0  undefined  undefined
motioncorr       EXIT            0  undefined  undefined


"""
FRESH = "importmovies importmovies        new            0\nmotioncorr motioncorr   continue            0"
AT_MOTION = "importmovies Import/job001/        new            1\nmotioncorr MotionCorr/job002/   continue            1"
PIPELINE = """
# version 30001

data_pipeline_general

_rlnPipeLineJobCounter                       3


# version 30001

data_pipeline_processes

loop_
_rlnPipeLineProcessName #1
_rlnPipeLineProcessAlias #2
_rlnPipeLineProcessType #3
_rlnPipeLineProcessStatus #4
Schedules/prep/importmovies/       None            0            1
Schedules/prep/motioncorr/       None            1            1


# version 30001

data_pipeline_nodes

loop_
_rlnPipeLineNodeName #1
_rlnPipeLineNodeType #2
Schedules/prep/importmovies/movies.star            0
Schedules/prep/motioncorr/corrected_micrographs.star            1
Schedules/prep/motioncorr/logfile.pdf           13


# version 30001

data_pipeline_input_edges

loop_
_rlnPipeLineEdgeFromNode #1
_rlnPipeLineEdgeProcess #2
Schedules/prep/importmovies/movies.star Schedules/prep/motioncorr/


# version 30001

data_pipeline_output_edges

loop_
_rlnPipeLineEdgeProcess #1
_rlnPipeLineEdgeToNode #2
Schedules/prep/importmovies/ Schedules/prep/importmovies/movies.star
Schedules/prep/motioncorr/ Schedules/prep/motioncorr/corrected_micrographs.star
Schedules/prep/motioncorr/ Schedules/prep/motioncorr/logfile.pdf


"""


def write_scheme(folder: Path) -> None:
    """A schedule of RELION 3.1: import on the head node, RELION's own motion correction."""
    for name, number, options in (("importmovies", 0, IMPORT), ("motioncorr", 1, MOTION)):
        (folder / name).mkdir(parents=True)
        (folder / name / "job.star").write_text(JOB.format(type=number, options=options))
    (folder / "schedule.star").write_text(SCHEDULE.format(current="WAIT", jobs=FRESH))
    (folder / "schedule_pipeline.star").write_text(PIPELINE)


class World:
    """A head node with two lanes, a dataset, and the user's scheme."""

    def __init__(self, home: Path, root: Path, slurm_bin: Path) -> None:
        self.home, self.slurm_bin = home, slurm_bin
        self.data, self.project = root / "fsx" / "data" / "spike", root / "fsx" / "projects" / "spike"
        for folder in (self.data, self.project):
            folder.mkdir(parents=True)
        for name, gpus in (("cpu", 0), ("gpu4", 4)):
            lane = {
                "name": name, "partition": f"p-{name}", "gpus": gpus, "vcpus": 4, "memory_mib": 8000, "max_nodes": 1,
                "cache_gb": 0, "memory_multiplier": 2.0, "time_limit_minutes": 60,
            }  # fmt: skip
            files = lane_files.render(lane, worker="/w", cache_root="/s", sbatch=str(slurm_bin), home=str(home))
            (home / "lanes" / name).mkdir()
            for file, text in files.items():
                (home / "lanes" / name / file).write_text(text)
        stages = lane_files.render_stages({"motion-cpu": "cpu", "class2d": "gpu4"})
        (home / "lanes" / "stages.json").write_text(stages["stages.json"])
        write_scheme(home / "recipes" / "prep")
        self.say('{"scheme": "prep", "variables": {"pixel": 1.25}}')

    def say(self, text: str) -> None:
        (self.home / "recipes" / "relion-scheme.json").write_text(text)

    def put(self, *, current: str, jobs: str) -> Scheme:
        """The scheme in its project, as it is after somebody has run it so far."""
        folder = self.project / "Schedules" / "prep"
        if not folder.exists():
            write_scheme(folder)
        (folder / "schedule.star").write_text(SCHEDULE.format(current=current, jobs=jobs))
        (self.project / "MotionCorr" / "job002").mkdir(parents=True, exist_ok=True)
        scheme = Scheme(SCHEDULES, project=self.project, name="prep")
        scheme.queued.add("motioncorr")
        return scheme

    def run(self) -> dict[str, Any]:
        return scheme_recipe.work(self.data, self.project)

    @property
    def options(self) -> dict[str, str]:
        return star.options((self.project / "Schedules" / "prep" / "motioncorr" / "job.star").read_text())


@pytest.fixture
def world(home: Path, tmp_path: Path, slurm_bin: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(scheme_recipe, "LOOK_SECONDS", 0.05)
    return World(home, tmp_path, slurm_bin)


def relion(fake: Fake, run: str) -> Path:
    """A relion_scheduler whose --run does this, in the project's folder; $star is its file."""
    return fake(
        "relion_scheduler",
        f"star=Schedules/prep/schedule.star\n"
        f'at() {{ sed -i "s/CurrentNodeName .*/CurrentNodeName $1/" $star; }}\n'
        f'case $3 in --set_current_node) at "$4" ;; --run) {run} ;; esac',
    )


def test_jobs_get_the_lane_of_their_stage_and_import_stays_on_the_head_node(world: World, fake: Fake) -> None:
    calls = relion(fake, "at EXIT")
    assert world.run() == {"scheme": "prep", "jobs": []}
    assert calls.read_text().splitlines() == [
        "--schedule prep --set_var pixel --value 1.25",
        "--schedule prep --run --verb 1",
    ]
    options = world.options
    assert (options["do_queue"], options["queuename"], options["qsub"]) == ("Yes", "p-cpu", f"{world.slurm_bin}/sbatch")
    assert options["qsubscript"] == str(world.home / "lanes" / "cpu" / "relion_qsub.sh")
    assert (options["qsub_extra1"], options["nr_mpi"], options["nr_threads"]) == ("60", "1", "4")
    assert options["input_star_mics"] == "Schedules/prep/importmovies/movies.star"
    assert (world.project / "Movies").resolve() == world.data
    imported = (world.project / "Schedules" / "prep" / "importmovies" / "job.star").read_text()
    assert imported == (world.home / "recipes" / "prep" / "importmovies" / "job.star").read_text()


def test_a_lane_can_be_chosen_and_null_leaves_the_job_alone(world: World, fake: Fake) -> None:
    relion(fake, "at EXIT")
    world.say('{"scheme": "prep", "lanes": {"motioncorr": "gpu4"}}')
    world.run()
    assert (world.options["queuename"], world.options["nr_mpi"]) == ("p-gpu4", "5")
    shutil.rmtree(world.project / "Schedules")
    world.say('{"scheme": "prep", "lanes": {"motioncorr": null}}')
    world.run()
    assert world.options["do_queue"] == "No"


def test_at_its_end_nothing_is_run_again(world: World, fake: Fake) -> None:
    world.put(current="EXIT", jobs=AT_MOTION)
    calls = relion(fake, "exit 1")
    assert world.run()["jobs"] == ["Import/job001", "MotionCorr/job002"]
    assert calls.read_text() == ""


def test_relion_ends_with_0_although_a_job_has_failed(world: World, fake: Fake) -> None:
    fake("squeue", "true")
    relion(fake, "true")
    world.put(current="motioncorr", jobs=AT_MOTION)
    (world.project / "MotionCorr" / "job002" / "RELION_JOB_EXIT_FAILURE").touch()
    with pytest.raises(RuntimeError, match=r"stopped at motioncorr \(.*/MotionCorr/job002/run.err\) with status 0"):
        world.run()


def test_a_lock_that_a_dead_relion_left_is_removed(world: World, fake: Fake) -> None:
    (world.project / ".relion_lock_schedule_prep").mkdir()
    relion(fake, "[[ ! -e .relion_lock_schedule_prep ]] && at EXIT")
    world.run()


def test_a_job_that_slurm_does_not_know_stops_the_scheme(world: World, fake: Fake) -> None:
    """sbatch refused it, or it died without a word; RELION would wait for ever."""
    fake("squeue", "echo 'MotionCorr/job002/|/somewhere/else'")
    relion(fake, "exec sleep 60")
    world.put(current="motioncorr", jobs=AT_MOTION)
    with pytest.raises(RuntimeError, match="Slurm has no job of MotionCorr/job002, which has not ended"):
        world.run()


def test_a_job_is_lost_only_at_the_second_look_and_never_while_slurm_does_not_answer(
    world: World, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{world.slurm_bin}:/usr/bin:/bin")
    watch = Watch(world.put(current="motioncorr", jobs=AT_MOTION), world.project)
    fake("squeue", "exit 1")
    assert [watch.lost(), watch.lost(), watch.lost()] == ["", "", ""]
    fake("squeue", "true")
    assert watch.lost() == ""
    fake("squeue", f"echo 'MotionCorr/job002/|{world.project}'")
    assert watch.lost() == ""
    fake("squeue", "true")
    assert [watch.lost(), watch.lost()] == ["", "MotionCorr/job002"]
    (world.project / "MotionCorr" / "job002" / "RELION_JOB_EXIT_SUCCESS").touch()
    assert watch.lost() == ""


def test_a_job_that_an_earlier_call_left_in_slurm_is_waited_for_and_not_repeated(world: World, fake: Fake) -> None:
    world.put(current="motioncorr", jobs=AT_MOTION)
    looks = fake("squeue", f"[[ -e {world.home}/over ]] || echo 'MotionCorr/job002/|{world.project}'")
    calls = relion(fake, "exit 1")

    def end() -> None:
        while len(looks.read_text().splitlines()) < 3:
            threading.Event().wait(0.02)
        (world.project / "MotionCorr" / "job002" / "RELION_JOB_EXIT_SUCCESS").touch()

    ending = threading.Thread(target=end)
    ending.start()
    world.run()
    ending.join()
    assert calls.read_text().splitlines() == ["--schedule prep --set_current_node EXIT"]


def test_variables_are_set_only_before_it_begins(world: World, fake: Fake) -> None:
    """Later it counts with them itself."""
    world.put(current="importmovies", jobs=AT_MOTION.replace("continue            1", "continue            0"))
    calls = relion(fake, "at EXIT")
    world.run()
    assert "--set_var" not in calls.read_text()


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ('{"scheme": "nope"}', r"/nope has neither scheme\.star nor schedule\.star"),
        ("{}", "scheme is missing"),
        ('{"scheme": "../prep"}', "scheme is '../prep', not the name of a folder"),
        ('{"scheme": "prep", "lanes": {"refine": "cpu"}}', "has no job refine; it has importmovies, motioncorr"),
        ('{"scheme": "prep", "lanes": {"motioncorr": "gpu9"}}', "there is no lane gpu9"),
        ('{"scheme": "prep", "variables": {"a": []}}', r"variables\.a is \[\], neither text nor a number"),
        ('{"scheme": "prep", "variables": {"a": "*.mrc; id"}}', r"variables\.a is '\*\.mrc; id', which a shell"),
        ('{"scheme": "prep", "x": 1}', "x is not known"),
    ],
)
def test_what_is_wrong_is_named(world: World, fake: Fake, parameters: str, said: str) -> None:
    relion(fake, "at EXIT")
    world.say(parameters)
    with pytest.raises(Refused, match=said):
        world.run()


def test_a_folder_of_another_name_than_the_schemes_is_refused(world: World) -> None:
    (world.home / "recipes" / "prep").rename(world.home / "recipes" / "mine")
    world.say('{"scheme": "mine"}')
    with pytest.raises(Refused, match="the folder mine has the scheme Schedules/prep"):
        world.run()
    assert list(world.project.iterdir()) == []


def test_without_relion_it_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Refused, match="relion_scheduler is not on the PATH"):
        world.run()


def test_a_variable_that_the_scheme_does_not_have_is_refused(world: World, fake: Fake) -> None:
    fake("relion_scheduler", "echo 'ERROR: no such variable'; exit 1")
    with pytest.raises(Refused, match="does not set the variable pixel of prep: ERROR: no such variable"):
        world.run()


def test_a_scheme_of_relion_5_is_read_by_its_own_names(world: World) -> None:
    folder = world.project / "Schemes" / "prep"
    folder.mkdir(parents=True)
    text = SCHEDULE.format(current="EXIT", jobs=AT_MOTION)
    (folder / "scheme.star").write_text(
        text.replace("data_schedule", "data_scheme").replace("_rlnSchedule", "_rlnScheme")
    )
    scheme = Scheme(SCHEMES, project=world.project, name="prep")
    assert (scheme.current, scheme.at_its_end) == ("EXIT", True)
    assert scheme.started == {"importmovies": "Import/job001", "motioncorr": "MotionCorr/job002"}
    assert (scheme.next_of("importmovies"), scheme.next_of("EXIT")) == ("motioncorr", "")


@pytest.mark.parametrize(
    ("job", "options", "label"),
    [
        ({"_rlnJobType": "1"}, {"do_own_motioncor": "Yes"}, "relion.motioncorr.own"),
        ({"_rlnJobTypeLabel": "relion.motioncorr"}, {"do_own_motioncor": "No"}, "relion.motioncorr.motioncor2"),
        ({"_rlnJobTypeLabel": "relion.motioncorr.own"}, {}, "relion.motioncorr.own"),
        ({"_rlnJobType": "2"}, {"use_gctf": "Yes"}, "relion.ctffind.gctf"),
        ({"_rlnJobType": "2"}, {}, "relion.ctffind.ctffind4"),
        ({"_rlnJobType": "4"}, {"do_log": "Yes"}, "relion.autopick.log"),
        ({"_rlnJobType": "4"}, {"do_ref3d": "Yes"}, "relion.autopick.ref3d"),
        ({"_rlnJobType": "4"}, {"do_topaz": "Yes", "do_topaz_train": "Yes"}, "relion.autopick.topaz.train"),
        ({"_rlnJobType": "4"}, {"do_topaz": "Yes"}, "relion.autopick.topaz.pick"),
        ({"_rlnJobType": "4"}, {}, "relion.autopick.ref2d"),
        ({"_rlnJobType": "8"}, {}, "relion.class2d"),
        ({"_rlnJobType": "16"}, {"do_relion_locres": "Yes"}, "relion.localres.own"),
        ({"_rlnJobType": "77"}, {}, ""),
    ],
)
def test_the_type_of_a_job(job: dict[str, str], options: dict[str, str], label: str) -> None:
    assert label_of(job, options) == label


def test_every_number_has_a_label_of_the_table_or_stays_on_the_head_node() -> None:
    stages = lane_files.render_stages({row["stage"]: "x" for row in lane_files._table()})["stages.json"]
    known = {".".join(label.split(".")[:2]) for label in json.loads(stages)["relion"]}
    left = sorted(set(scheme_recipe._NUMBERS.values()) - known)
    assert left == ["relion.external", "relion.import", "relion.joinstar", "relion.manualpick", "relion.select"]


def test_the_gradient_algorithm_gets_one_process() -> None:
    environment = dict.fromkeys(
        ("RELION_QUEUE_NAME", "RELION_QSUB_COMMAND", "RELION_QSUB_TEMPLATE", "RELION_QSUB_EXTRA1_DEFAULT",
         "RELION_QSUB_NRTHREADS"), "x",
    )  # fmt: skip
    environment["RELION_QSUB_NRMPI"] = "5"
    assert scheme_recipe.queue_options(environment, {"do_grad": "Yes"})["nr_mpi"] == "1"
    assert scheme_recipe.queue_options(environment, {"do_grad": "No"})["nr_mpi"] == "5"


def test_options_are_set_and_everything_else_stays() -> None:
    text = JOB.format(type=1, options='a "two words"\nb 1')
    changed = star.set_options(text, {"b": "", "c": "x y"})
    assert star.options(changed) == {"a": "two words", "b": "", "c": "x y"}
    assert star.tables(changed)["job"] == [{"_rlnJobType": "1", "_rlnJobIsContinue": "0"}]
    assert star.set_options(changed, {"b": "", "c": "x y"}) == changed


def write_movie(path: Path) -> None:
    side, frames = 64, 4
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, side, side, frames, 2)
    struct.pack_into("<3i", head, 28, side, side, frames)
    struct.pack_into("<6f", head, 40, side, side, frames, 90, 90, 90)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    head[208:216] = b"MAP " + bytes([0x44, 0x44, 0, 0])
    pixels = [float((x * 7919 + 13) % 101) for x in range(side * side * frames)]
    path.write_bytes(bytes(head) + struct.pack(f"<{len(pixels)}f", *pixels))


@pytest.mark.twin
def test_relion_itself_runs_a_schedule_whose_job_is_put_on_its_lane(world: World, fake: Fake) -> None:
    """RELION 3.1.3; Slurm is a command that runs the script where it is."""
    assert shutil.which("relion_scheduler"), "no RELION: apt-get install relion"
    write_movie(world.data / "m1.mrc")
    fake("squeue", "true")
    world.slurm_bin.joinpath("broken").touch()
    calls = fake(
        "sbatch",
        'if [[ -e ${0%/*}/broken ]]; then echo "sbatch: error: no" >&2; exit 1; fi\nbash "$1" >/dev/null 2>&1\necho 1',
    )
    scheme_recipe.LOOK_SECONDS = 3.0
    with pytest.raises(RuntimeError, match="Slurm has no job of MotionCorr/job002"):
        world.run()
    assert calls.read_text() == "MotionCorr/job002/run_submit.script\n"
    world.slurm_bin.joinpath("broken").unlink()
    assert world.run() == {"scheme": "prep", "jobs": ["Import/job001", "MotionCorr/job002"]}
    script = (world.project / "MotionCorr" / "job002" / "run_submit.script").read_text()
    assert "#SBATCH --partition=p-cpu\n" in script
    assert "#SBATCH --cpus-per-task=4\n" in script
    assert (world.project / "MotionCorr" / "job002" / "RELION_JOB_EXIT_SUCCESS").exists()
    assert "1.25" in (world.project / "Import" / "job001" / "movies.star").read_text()
    assert world.run()["jobs"] == ["Import/job001", "MotionCorr/job002"]
    assert len(calls.read_text().splitlines()) == 2
    # What an earlier call left: the job has ended well, and RELION was not there to see it.
    folder = world.project / "Schedules" / "prep"
    text = (folder / "schedule.star").read_text()
    (folder / "schedule.star").write_text(text.replace("CurrentNodeName            EXIT", "CurrentNodeName motioncorr"))
    world.run()
    assert len(calls.read_text().splitlines()) == 2


@pytest.mark.twin
def test_relion_itself_says_0_when_a_job_fails(world: World, fake: Fake) -> None:
    write_movie(world.data / "m1.mrc")
    fake("squeue", "true")
    fake("sbatch", 'touch "${1%/*}/RELION_JOB_EXIT_FAILURE"\necho 1')
    with pytest.raises(RuntimeError, match=r"RELION stopped at motioncorr \(.*run.err\) with status 0"):
        world.run()


def test_shipped_recipes_are_programs(head_node: Path) -> None:
    found = sorted((head_node / "recipes").iterdir())
    assert [path.name for path in found] == ["cryosparc-live", "cryosparc-workflow", "relion-scheme"]
    for path in found:
        done = subprocess.run(["bash", "-n", path], check=False)
        assert (done.returncode, path.stat().st_mode & 0o111) == (0, 0o111)
