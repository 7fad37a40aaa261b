from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from shipped import Shipment

from cryoem_head import settings

PROGRAMS = [
    "admit-jobs",
    "backup-database",
    "install-cryosparc",
    "job-completion",
    "list-files",
    "live-sessions",
    "power-down",
    "refresh-programs",
    "register-lanes",
    "restore-database",
    "send-events",
    "slurm-status",
    "start-processing",
    "stop-head-node",
    "wait-for-nodes",
]


def settings_of(shipment: Shipment) -> dict[str, str]:
    lines = (shipment.home / "etc" / "head-node.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line)


def test_install(shipment: Shipment) -> None:
    done = shipment.bootstrap()
    assert (done.returncode, done.stdout, done.stderr) == (0, "bootstrap: install done\n", "")
    assert sorted(os.listdir(shipment.home)) == [
        "bin", "etc", "lanes", "lib", "program", "requirements.txt", "spool", "units",
    ]  # fmt: skip
    assert sorted(os.listdir(shipment.home / "bin")) == sorted([*PROGRAMS, "python"])
    assert (shipment.home / "lib" / "cryoem_head" / "slurm.py").is_file()
    assert shipment.calls == []


def test_the_settings_are_names_and_places(shipment: Shipment) -> None:
    assert shipment.bootstrap(CRYOEM_SLURM_CONF="/etc/slurm.conf", CRYOEM_FSX="/mnt/fsx").returncode == 0
    found = settings_of(shipment)
    user = found.pop("PROCESSING_USER")  # of /etc/parallelcluster, where there is one
    assert "=" not in user
    assert found == {
        "CLUSTER": "cryo",
        "EVENT_BUS": "cryo-bus",
        "AWS_REGION": "eu-central-1",
        "MANIFEST_PARAMETER": "/cryo/lanes",
        "CRYOSPARC_SECRET": shipment.values["cryosparc_secret"],
        "CRYOSPARC_URL": "",
        "CRYOSPARC_INSTALLED": "",
        "CRYOSPARC_VERSION": "none",
        "CRYOSPARC_LICENSE_SECRET": "none",
        "CRYOSPARC_FOLDER": "/cryosparc",
        "CRYOSPARC_SERVER": "https://get.cryosparc.com",
        "CRYOSPARC_HOST": "",
        "CRYOSPARC_PORT": "61000",
        "RESULTS_BUCKET": "none",
        "RECORDS_TABLE": "none",
        "NODE_POLL_SECONDS": "5",
        "SETUP_PARAMETER": "/cryo/setup",
        "CRYOSPARC_WORKER": "/mnt/fsx/software/cryosparc_worker/bin/cryosparcw",
        "FSX": "/mnt/fsx",
        "SCRATCH": "/scratch",
        "SLURM_BIN": "/opt/slurm/bin",
        "SLURM_CONF": "/etc/slurm.conf",
    }


def test_what_the_setup_says_of_cryosparc_comes_into_the_settings(shipment: Shipment) -> None:
    shipment.values |= {
        "cryosparc_version": "5.0.6", "cryosparc_license_secret": "arn:license", "results_bucket": "results",
    }  # fmt: skip
    assert shipment.bootstrap().returncode == 0
    found = settings_of(shipment)
    names = ("CRYOSPARC_VERSION", "CRYOSPARC_LICENSE_SECRET", "RESULTS_BUCKET")
    assert [found[name] for name in names] == ["5.0.6", "arn:license", "results"]


def test_what_install_cryosparc_remembers_is_kept_over_an_update(shipment: Shipment) -> None:
    shipment.bootstrap()
    settings.remember(shipment.home, CRYOSPARC_URL="http://head:61000", CRYOSPARC_INSTALLED="4.7.1")
    assert shipment.bootstrap().returncode == 0
    found = settings.load(shipment.home)
    assert (found.cryosparc_url, found.cryosparc_installed) == ("http://head:61000", "4.7.1")


def test_settings_of_an_older_head_node_have_no_cryosparc(home: Path) -> None:
    found = settings.load(home)
    assert (found.cryosparc_version, found.cryosparc_license_secret, found.results_bucket) == ("none", "none", "none")
    assert (found.cryosparc_installed, found.cryosparc_port) == ("", 61000)


def test_configure_begins_with_cryosparc_only_if_the_setup_wants_one(shipment: Shipment) -> None:
    shipment.bootstrap()
    assert "install-cryosparc" not in shipment.bootstrap("configure").stdout
    shipment.values["cryosparc_version"] = "5.0.6"
    done = shipment.bootstrap("configure")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"run {shipment.home}/bin/install-cryosparc --stay" in done.stdout


@pytest.mark.parametrize("unit", ["cryoem-cryosparc.service", "cryoem-backup.service", "cryoem-send-events.service"])
def test_units_start_programs_that_there_are(head_node: Path, unit: str) -> None:
    lines = dict(
        line.split("=", 1) for line in (head_node / "units" / unit).read_text().splitlines() if line[:5] == "ExecS"
    )
    programs = [line.split()[0] for name, line in lines.items() if name in ("ExecStart", "ExecStop")]
    assert programs
    for program in programs:
        assert Path(program).parent == Path("/opt/cryoem/bin")
        assert Path(program).name in PROGRAMS


def test_nothing_of_the_bootstrap_waits_for_cryosparc(head_node: Path) -> None:
    """ParallelCluster gives a head node half an hour; an installation takes as long as it takes."""
    text = (head_node / "bootstrap.sh").read_text()
    (start,) = [line.strip() for line in text.splitlines() if "systemctl start" in line]
    assert start == "systemctl start --no-block cryoem-cryosparc.service cryoem-backup.timer"
    unit = (head_node / "units" / "cryoem-cryosparc.service").read_text()
    assert "Type=exec\n" in unit, "oneshot would keep everything waiting that is ordered after it"
    assert "KillMode=process\n" in unit, "the master must outlive the program that looks after it"


def test_no_secret_is_ever_read_nor_written(shipment: Shipment) -> None:
    shipment.recipes(relion="#!/bin/sh\n")
    shipment.bootstrap(CRYOSPARC_PASSWORD="hush")
    shipment.bootstrap("configure", CRYOSPARC_PASSWORD="hush")
    assert all("secretsmanager" not in call for call in shipment.calls)
    assert all(b"hush" not in content for _, content in shipment.files().values())


def test_install_twice_is_the_same(shipment: Shipment) -> None:
    shipment.recipes(relion="#!/bin/sh\n")
    assert shipment.bootstrap().returncode == 0
    before = shipment.files()
    assert shipment.bootstrap().returncode == 0
    assert shipment.files() == before


def test_configure_after_install_changes_nothing_that_was_installed(shipment: Shipment) -> None:
    shipment.bootstrap()
    before = shipment.files()
    done = shipment.bootstrap("configure")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("bootstrap: configure done\n")
    assert "send-events --stay" in done.stdout
    after = shipment.files()
    assert json.loads(after.pop("etc/setup.json")[1]) == shipment.values
    assert after == before


def test_configure_gives_the_programs_their_packages(shipment: Shipment) -> None:
    """Stands in for pip, which would ask the package index, and notes how it is called."""
    real = (shipment.cloud / "python3").resolve()
    (shipment.cloud / "python3").unlink()
    (shipment.cloud / "python3").write_text(
        f"""#!/bin/sh
if [ "$2" != pip ]; then exec {real} "$@"; fi
echo "$@" >>"$0.calls"
while [ "$1" != --target ]; do shift; done
mkdir -p "$2" && echo "value = 7" >"$2/a_package.py"
"""
    )
    (shipment.cloud / "python3").chmod(0o755)
    shipment.bootstrap(CRYOEM_PYTHON="")
    for _ in range(2):
        assert shipment.bootstrap("configure", CRYOEM_PYTHON="").returncode == 0
    (call, again) = (shipment.cloud / "python3.calls").read_text().splitlines()
    assert call.endswith(f"-r {shipment.home / 'requirements.txt'}")
    assert again.split()[:3] == ["-m", "pip", "install"]
    assert (shipment.home / "packages" / "a_package.py").is_file()
    assert [path.name for path in shipment.home.iterdir() if path.name.startswith(".")] == []


def test_everybody_may_make_a_project(shipment: Shipment) -> None:
    shipment.bootstrap()
    shipment.bootstrap("configure")
    assert (shipment.fsx / "projects").is_dir()
    if os.geteuid() == 0:
        assert (shipment.fsx / "projects").stat().st_mode & 0o7777 == 0o1777


def test_a_file_system_that_is_not_mounted_is_said(shipment: Shipment) -> None:
    shipment.bootstrap(CRYOEM_FSX="/no/such/mount")
    done = shipment.bootstrap("configure", CRYOEM_FSX="/no/such/mount")
    assert (done.returncode, done.stderr) == (1, "bootstrap: /no/such/mount is not mounted\n")


def test_configure_alone_installs_first(shipment: Shipment) -> None:
    assert shipment.bootstrap("configure").returncode == 0
    assert (shipment.home / "bin" / "job-completion").is_file()


def test_what_is_kept_over_an_update(shipment: Shipment) -> None:
    shipment.bootstrap()
    (shipment.home / "spool" / "1-1.json").write_text("{}")
    (shipment.home / "lanes" / "gpu4").mkdir()
    (shipment.content / "lib" / "cryoem_head" / "new.py").write_text("")
    (shipment.content / "lib" / "cryoem_head" / "slurm_status.py").unlink()
    assert shipment.bootstrap().returncode == 0
    assert (shipment.home / "spool" / "1-1.json").is_file()
    assert (shipment.home / "lanes" / "gpu4").is_dir()
    assert (shipment.home / "lib" / "cryoem_head" / "new.py").is_file()
    assert not (shipment.home / "lib" / "cryoem_head" / "slurm_status.py").exists()


def test_a_program_that_is_running_is_not_changed_under_its_feet(shipment: Shipment) -> None:
    """bash reads a script while it runs it, and wait-for-nodes may run for half an hour."""
    shipment.bootstrap()
    with (shipment.home / "bin" / "wait-for-nodes").open() as running:
        old = running.readline()
        (shipment.content / "bin" / "wait-for-nodes").write_text("#!/bin/sh\nexit 0\n")
        assert shipment.bootstrap().returncode == 0
        assert old + running.read() != "#!/bin/sh\nexit 0\n"
        assert os.fstat(running.fileno()).st_nlink == 0
    assert (shipment.home / "bin" / "wait-for-nodes").read_text() == "#!/bin/sh\nexit 0\n"


def test_the_user_slurm_can_read_and_run_it_whatever_roots_umask(shipment: Shipment, tmp_path: Path) -> None:
    script = tmp_path / "strict.sh"
    script.write_text('umask 077; exec bash "$@"\n')
    shipment.recipes(relion="#!/bin/sh\n")
    setup = tmp_path / "setup.json"
    setup.write_text(json.dumps(shipment.values))
    assert shipment.run(script, str(shipment.content / "bootstrap.sh"), "install", str(setup)).returncode == 0
    for name, (mode, _) in shipment.files().items():
        assert mode & 0o004, f"{name} cannot be read by the user slurm"
    for name in ["bin/python", *(f"bin/{program}" for program in PROGRAMS), "recipes/relion"]:
        assert shipment.files()[name][0] & 0o777 == 0o755


def test_recipes_are_replaced_as_a_whole(shipment: Shipment) -> None:
    shipment.recipes(relion="#!/bin/sh\n", old="#!/bin/sh\n")
    shipment.bootstrap()
    shipment.recipes(relion="#!/bin/bash\n", new="#!/bin/sh\n")
    shipment.bootstrap()
    assert sorted(os.listdir(shipment.home / "recipes")) == ["new", "relion"]
    assert (shipment.home / "recipes" / "relion").read_text() == "#!/bin/bash\n"
    assert os.access(shipment.home / "recipes" / "new", os.X_OK)


def change_everything(shipment: Shipment) -> None:
    (shipment.content / "lib" / "cryoem_head" / "new.py").write_text("")
    (shipment.content / "bin" / "slurm-status").write_text("#!/bin/sh\n")
    shipment.values["cluster"] = "other"


def test_a_failing_download_leaves_the_previous_programs_in_place(shipment: Shipment) -> None:
    shipment.recipes(relion="#!/bin/sh\n")
    shipment.bootstrap()
    before = shipment.files()
    change_everything(shipment)
    (shipment.cloud / "recipes.zip").unlink()
    done = shipment.bootstrap()
    assert done.returncode != 0
    assert "404" in done.stderr
    assert shipment.files() == before


def test_a_broken_archive_leaves_the_previous_programs_in_place(shipment: Shipment) -> None:
    shipment.recipes(relion="#!/bin/sh\n")
    shipment.bootstrap()
    before = shipment.files()
    change_everything(shipment)
    (shipment.cloud / "recipes.zip").write_bytes(b"PK no more")
    assert shipment.bootstrap().returncode != 0
    assert shipment.files() == before


@pytest.mark.parametrize("name", ["recipes", "cluster", "event_bus", "manifest_parameter", "cryosparc_secret"])
def test_a_setup_that_lacks_a_name_is_refused_and_leaves_everything_in_place(shipment: Shipment, name: str) -> None:
    shipment.bootstrap()
    before = shipment.files()
    change_everything(shipment)
    del shipment.values[name]
    done = shipment.bootstrap()
    assert done.returncode != 0
    assert f"KeyError: '{name}'" in done.stderr
    assert shipment.files() == before


def test_an_unknown_phase_exits_2(shipment: Shipment) -> None:
    done = shipment.bootstrap("remove")
    assert (done.returncode, done.stderr) == (
        2,
        "bootstrap: unknown phase 'remove', expected install or configure\n",
    )
    assert not shipment.home.exists()


@pytest.mark.parametrize("arguments", [[], ["install"], ["install", "/nowhere.json"], ["install", "a", "b"]])
def test_wrong_arguments_exit_2(shipment: Shipment, arguments: list[str]) -> None:
    done = shipment.run(shipment.content / "bootstrap.sh", *arguments)
    assert (done.returncode, done.stderr) == (2, "usage: bootstrap.sh install|configure SETUP.json\n")


def test_without_a_region_nothing_is_done(shipment: Shipment) -> None:
    done = shipment.bootstrap(AWS_REGION="")
    assert done.returncode != 0
    assert "AWS_REGION: the region" in done.stderr
    assert not shipment.home.exists()


@pytest.fixture
def installed(shipment: Shipment, fake: object, slurm_bin: Path) -> Shipment:
    """A head node with programs, and a Slurm that has nothing to do."""
    for name in ("scontrol", "squeue", "who"):
        fake(name, ":")  # type: ignore[operator]
    assert shipment.bootstrap(CRYOEM_SLURM_BIN=str(slurm_bin)).returncode == 0
    return shipment


def call(shipment: Shipment, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As Slurm and Run Command call it: with next to no environment, in another folder."""
    return subprocess.run(
        [shipment.home / "bin" / program, *arguments],
        env={"PATH": "/usr/bin:/bin", **environment}, cwd="/", capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip


def test_an_installed_slurm_status_answers(installed: Shipment) -> None:
    answer = json.loads(call(installed, "slurm-status").stdout)
    assert {name: answer[name] for name in ("pending", "running", "nodes", "logins", "recipes")} == {
        "pending": {}, "running": {}, "nodes": [], "logins": 0, "recipes": 0,
    }  # fmt: skip


def test_an_installed_power_down_answers(installed: Shipment) -> None:
    assert call(installed, "power-down", "--nodes", "n=e").stdout == '{"powered_down": [], "left_alone": {}}\n'


def test_an_installed_job_completion_spools(installed: Shipment) -> None:
    environment = {"JOBID": "4", "PARTITION": "gpu4", "JOBSTATE": "FAILED", "END": "1799990000"}
    assert call(installed, "job-completion", **environment).stderr == ""
    assert json.loads((installed.home / "spool" / "1799990000-4.json").read_text())["cluster"] == "cryo"


@pytest.mark.parametrize("program", ["register-lanes", "send-events", "start-processing", "power-down", "stop-head-node", "live-sessions", "list-files", "install-cryosparc", "backup-database", "restore-database"])  # fmt: skip
def test_an_installed_program_explains_itself(installed: Shipment, program: str) -> None:
    done = call(installed, program, "--help")
    assert (done.returncode, done.stdout.split()[0]) == (0, "usage:")


def test_every_program_is_a_module_of_its_name(head_node: Path) -> None:
    assert sorted(path.name for path in (head_node / "bin").iterdir()) == PROGRAMS
    for name in set(PROGRAMS) - {"wait-for-nodes", "refresh-programs"}:
        module = name.replace("-", "_")
        assert (head_node / "lib" / "cryoem_head" / f"{module}.py").is_file()
        assert f"-m cryoem_head.{module} " in (head_node / "bin" / name).read_text()
