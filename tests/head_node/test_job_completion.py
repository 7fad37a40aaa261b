from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from cryoem_head import job_completion

# What jobcomp/script sets (Slurm 23.11), without what we do not read.
ENVIRONMENT = {
    "JOBID": "42",
    "JOBNAME": "cryosparc_P1_J2",
    "USERNAME": "ada",
    "UID": "1001",
    "PARTITION": "gpu4",
    "JOBSTATE": "COMPLETED",
    "EXITCODE": "0",
    "SUBMIT": "1799990000",
    "START": "1799990100",
    "END": "1799993700",
    "NODES": "gpu4-dy-node-1",
    "NODECNT": "1",
    "WORK_DIR": "/fsx/projects/spike/J2",
}
SHOWN = "JobId=42 JobName=x JobState=COMPLETED Reason=None NumNodes=1 ReqTRES=cpu=9 {tres} Command=/x WorkDir=/y"


def event(**changes: str) -> dict[str, object]:
    environment = {name: value for name, value in {**ENVIRONMENT, **changes}.items() if value != "(unset)"}
    return job_completion.event(environment, cluster="cryo", projects=Path("/fsx/projects"), tres="cpu=1")


@pytest.fixture
def finished(home: Path, fake: Any) -> Path:
    """A job that has just ended; the spool."""
    os.environ.update(ENVIRONMENT)
    fake("scontrol", f"echo '{SHOWN.format(tres='AllocTRES=cpu=12,mem=48G,gres/gpu=1')}'")
    return home / "spool"


def test_the_event_has_every_key_of_its_shape() -> None:
    assert event() == {
        "version": 1,
        "cluster": "cryo",
        "job_id": "42",
        "name": "cryosparc_P1_J2",
        "user": "ada",
        "partition": "gpu4",
        "state": "COMPLETED",
        "exit_code": "0",
        "submit": 1799990000,
        "start": 1799990100,
        "end": 1799993700,
        "nodes": "gpu4-dy-node-1",
        "node_count": 1,
        "tres": "cpu=1",
        "project": "spike",
    }


@pytest.mark.parametrize(
    ("changes", "key", "value"),
    [
        ({"USERNAME": "(unset)"}, "user", "1001"),
        ({"NODECNT": ""}, "node_count", 0),
        ({"NODECNT": "(unset)"}, "node_count", 0),
        ({"START": "(unset)"}, "start", 0),
        ({"JOBNAME": "(unset)"}, "name", ""),
        ({"WORK_DIR": "(unset)"}, "project", ""),
    ],
)
def test_what_slurm_does_not_say(changes: dict[str, str], key: str, value: object) -> None:
    assert event(**changes)[key] == value


@pytest.mark.parametrize("name", ["JOBID", "PARTITION", "JOBSTATE", "END"])
def test_what_slurm_must_say(name: str) -> None:
    with pytest.raises(KeyError, match=name):
        event(**{name: "(unset)"})


@pytest.mark.parametrize(
    ("below", "project"),
    [
        ("projects/spike", "spike"),
        ("projects/spike/J1/deep", "spike"),
        ("projects/spike/../other/J1", "other"),
        ("projects", ""),
        ("projects/../data/d", ""),
        ("projects2/spike", ""),
        ("", ""),
    ],
)
def test_project_of_a_working_directory(tmp_path: Path, below: str, project: str) -> None:
    assert job_completion.project_of(f"{tmp_path}/{below}", tmp_path / "projects") == project


def test_project_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "projects" / "spike").mkdir(parents=True)
    (tmp_path / "home").symlink_to(tmp_path / "projects" / "spike")
    assert job_completion.project_of(f"{tmp_path}/home/J1", tmp_path / "projects") == "spike"
    (tmp_path / "fsx").symlink_to(tmp_path)
    assert job_completion.project_of(f"{tmp_path}/home/J1", tmp_path / "fsx" / "projects") == "spike"


@pytest.mark.parametrize(
    ("shown", "tres"),
    [
        ("AllocTRES=cpu=12,mem=48G,gres/gpu=1", "cpu=12,mem=48G,gres/gpu=1"),  # since 23.02
        ("TRES=cpu=12,mem=48G,node=1", "cpu=12,mem=48G,node=1"),  # before
        # without an accounting database the GPUs are told elsewhere
        ("TRES=cpu=12,mem=48G JOB_GRES=gpu:2", "cpu=12,mem=48G,gres/gpu=2"),
        ("TRES=cpu=12,mem=48G JOB_GRES=gpu:a10g:4 Nodes=n CPU_IDs=0-3", "cpu=12,mem=48G,gres/gpu=4"),
        ("AllocTRES=cpu=12,gres/gpu=1 JOB_GRES=gpu:a10g:1", "cpu=12,gres/gpu=1"),
        ("TRES=cpu=12,mem=48G JOB_GRES=(null)", "cpu=12,mem=48G"),
        ("AllocTRES=(null) JOB_GRES=gpu:1", ""),
        ("AllocTRES=(null)", ""),
        ("AllocTRES=", ""),
        ("", ""),
    ],
)
def test_tres_in_all_of_slurms_ways(finished: Path, fake: Any, shown: str, tres: str) -> None:
    calls = fake("scontrol", f"echo '{SHOWN.format(tres=shown)}'")
    job_completion.main()
    assert spooled(finished)["tres"] == tres
    assert calls.read_text() == "--oneliner --details show job 42\n"


@pytest.mark.parametrize(
    "line",
    [
        SHOWN.format(tres="TRES=cpu=12,mem=48G") + "/x TRES=cpu=1",
        SHOWN.format(tres="TRES=cpu=12,mem=48G").replace("JobName=x", "JobName=x TRES=cpu=1"),
        SHOWN.format(tres="TRES=cpu=12 JOB_GRES=gpu:4") + "/x JOB_GRES=gpu:1",
    ],
    ids=["in a folder's name", "in a job's name", "GPUs in a folder's name"],
)
def test_names_do_not_falsify_what_a_job_had(finished: Path, fake: Any, line: str) -> None:
    fake("scontrol", f"echo '{line}'")
    job_completion.main()
    assert spooled(finished)["tres"] == ""  # it is priced as whole nodes


def spooled(spool: Path) -> dict[str, Any]:
    (path,) = spool.iterdir()
    assert path.name == "1799993700-42.json"
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def test_the_job_is_spooled(finished: Path) -> None:
    job_completion.main()
    assert spooled(finished)["tres"] == "cpu=12,mem=48G,gres/gpu=1"
    assert spooled(finished)["cluster"] == "cryo"
    assert spooled(finished)["project"] == ""  # /fsx/projects is elsewhere on this head node


def test_a_job_that_slurm_has_forgotten_is_spooled_all_the_same(
    finished: Path, fake: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fake("scontrol", "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1")
    job_completion.main()
    assert spooled(finished)["tres"] == ""
    assert "no details of job 42" in capsys.readouterr().err


def test_without_scontrol_the_job_is_spooled_all_the_same(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*command: str) -> str:
        raise FileNotFoundError("scontrol")

    monkeypatch.setattr("cryoem_head.slurm.run", missing)
    job_completion.main()
    assert spooled(finished)["tres"] == ""


def test_the_file_appears_whole(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sender sees at any moment is nothing or a whole event."""
    seen: list[list[str]] = []
    rename = Path.rename

    def watched(self: Path, target: Path) -> Path:
        seen.append([p.name for p in finished.glob("*.json")])
        assert json.loads(self.read_text())["job_id"] == "42"
        assert self.parent == target.parent
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    job_completion.main()
    assert seen == [[]]
    assert [p.name for p in finished.iterdir()] == ["1799993700-42.json"]


@pytest.mark.parametrize(
    "name", ['say "hi"', "it's", "Pärtikel 粒子", "a\tb\nc", "\\", "$(reboot)", '{"a": 1}', "", "x" * 500]
)
def test_every_job_name_survives(finished: Path, name: str) -> None:
    os.environ["JOBNAME"] = name
    job_completion.main()
    assert spooled(finished)["name"] == name


def test_a_name_that_is_no_utf8_becomes_one_that_services_accept(finished: Path) -> None:
    os.environb[b"JOBNAME"] = b"particle \xe4\xff"
    job_completion.main()
    assert spooled(finished)["name"] == "particle \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"
    assert event(WORK_DIR=os.fsdecode(b"/fsx/projects/\xff/J1"))["project"] == "\N{REPLACEMENT CHARACTER}"


def test_a_run_that_was_put_back_into_the_queue_is_called_so() -> None:
    told = job_completion.event({**ENVIRONMENT, "JOBSTATE": "PENDING"}, cluster="c", projects=Path("/p"), tres="")
    assert told["state"] == "REQUEUED"
