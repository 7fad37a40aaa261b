"""Jobs whose completion script never came to its end: found again in what Slurm remembers."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import Fake

from cryoem_head import forgotten_jobs, send_events, settings

NOW = 1_800_000_000.0
LINE = "7|ada|gpu4|COMPLETED|1799990000|1799990100|1799993700|gpu4-dy-node-1|1|{projects}/spike/J3|class 2d"


@pytest.fixture
def here(home: Path, fake: Fake) -> settings.Settings:
    fake(
        "scontrol",
        f'[[ $* == "show config" ]] && echo "JobCompLoc = {home}/bin/job-completion" || echo " TRES=cpu=12,mem=48G "',
    )
    return settings.load()


def says(fake: Fake, *rows: str) -> Path:
    """squeue shows these jobs, their fields between bars; ~ is a line's end in a name."""
    shown = "\n".join(rows)
    return fake(
        "squeue",
        f"""[[ $SLURM_TIME_FORMAT == %s ]] || exit 9
sep=$(printf %s "$*" | sed -E 's/.*--format ([0-9a-f]{{16}}).*/\\1/')
while IFS= read -r row; do [[ -z $row ]] || printf '%s\\n' "$sep${{row//|/$sep}}$sep" | tr '~' '\\n'; done <<'JOBS'
{shown}
JOBS""",
    )


def spooled(here: settings.Settings) -> list[str]:
    return sorted(path.name for path in here.spool.glob("*.json"))


def test_a_job_nobody_told_of_is_spooled_as_its_script_would_have(here: settings.Settings, fake: Fake) -> None:
    calls = says(fake, LINE.format(projects=here.projects))
    assert forgotten_jobs.spool(here, now=NOW) == ["1799993700-7.json"]
    assert json.loads((here.spool / "1799993700-7.json").read_text()) == {
        "version": 1,
        "cluster": "cryo",
        "job_id": "7",
        "name": "class 2d",
        "user": "ada",
        "partition": "gpu4",
        "state": "COMPLETED",
        "exit_code": "",
        "submit": 1_799_990_000,
        "start": 1_799_990_100,
        "end": 1_799_993_700,
        "nodes": "gpu4-dy-node-1",
        "node_count": 1,
        "tres": "cpu=12,mem=48G",
        "project": "spike",
    }
    assert "COMPLETED" in calls.read_text()
    assert "RUNNING" not in calls.read_text()


@pytest.mark.parametrize("folder", ["", "sent"])
def test_what_was_told_of_is_not_told_again(here: settings.Settings, fake: Fake, folder: str) -> None:
    says(fake, LINE.format(projects=here.projects))
    (here.spool / folder).mkdir(exist_ok=True)
    (here.spool / folder / "1799993700-7.json").write_text("{}")
    assert forgotten_jobs.spool(here, now=NOW) == []


def test_its_script_has_a_minute(here: settings.Settings, fake: Fake) -> None:
    says(fake, LINE.format(projects=here.projects))
    assert forgotten_jobs.spool(here, now=1_799_993_759.0) == []
    assert forgotten_jobs.spool(here, now=1_799_993_760.0) == ["1799993700-7.json"]


@pytest.mark.parametrize(
    "name", ["a\x1f{projects}/other", "a~8 ada gpu4 COMPLETED", "JobId=8 WorkDir={projects}/other"]
)
def test_a_name_cannot_choose_the_project_nor_be_another_job(here: settings.Settings, fake: Fake, name: str) -> None:
    says(fake, LINE.replace("class 2d", name).format(projects=here.projects))
    assert forgotten_jobs.spool(here, now=NOW) == ["1799993700-7.json"]
    told = json.loads((here.spool / "1799993700-7.json").read_text())
    assert told["project"] == "spike"


def test_one_that_never_started_and_one_that_never_ended(here: settings.Settings, fake: Fake) -> None:
    never = LINE.replace("1799990100", "N/A").replace("gpu4-dy-node-1", "").format(projects=here.projects)
    says(fake, never, LINE.replace("7", "8", 1).replace("1799993700", "N/A").format(projects=here.projects))
    assert forgotten_jobs.spool(here, now=NOW) == ["1799993700-7.json"]
    assert json.loads((here.spool / "1799993700-7.json").read_text())["start"] == 0


def test_where_slurm_has_another_script_nobody_is_asked(here: settings.Settings, fake: Fake) -> None:
    fake("scontrol", "echo 'JobCompLoc = /somewhere/else'")
    calls = says(fake, LINE.format(projects=here.projects))
    send_events.look_for_forgotten(here, now=NOW)
    assert (spooled(here), calls.read_text()) == ([], "")


def test_slurm_that_is_away_holds_up_nobody(
    here: settings.Settings, fake: Fake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake("scontrol", "exit 1")
    send_events.look_for_forgotten(here, now=NOW)
    assert "Slurm was not asked" in capsys.readouterr().err


def test_what_was_sent_is_remembered_for_a_day(here: settings.Settings, fake: Fake) -> None:
    says(fake)
    sent = here.spool / "sent"
    sent.mkdir()
    for name in ("1-1.json", "2-2.json"):
        (sent / name).write_text("{}")
    os.utime(sent / "1-1.json", (NOW - 86_401, NOW - 86_401))
    os.utime(sent / "2-2.json", (NOW - 86_399, NOW - 86_399))
    send_events.look_for_forgotten(here, now=NOW)
    assert [path.name for path in sent.iterdir()] == ["2-2.json"]
