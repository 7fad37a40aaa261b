from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from cryosparc_world import EMAIL, LICENSE, PASSWORD, World, look_for_leaks, worlds
from shipped import Shipment
from test_register_lanes import lane

from cryoem_head import credentials, install_cryosparc, settings, versions
from cryoem_head.outcome import Mask, Refused

pytestmark = pytest.mark.slow


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def version() -> str:
    """The one whose client is loaded sooner, where the version does not matter."""
    return "4.7.1"


@pytest.fixture
def world(shipment: Shipment, slurm_bin: Path, fake: Any, version: str) -> Iterator[World]:
    """At its end it looks whether a secret came out anywhere."""
    fake("squeue", ":")
    yield from worlds(shipment, slurm_bin, version)


both = pytest.mark.parametrize("version", ["5.0.6", "4.7.1"])


@both
def test_everything_is_installed_and_runs_and_stays_so(world: World, version: str) -> None:
    status, document, said = world.run()
    assert status == 0, said
    assert (document["state"], document["version"]) == ("running", version)
    assert document["url"] == world.settings["CRYOSPARC_URL"] == f"http://localhost:{world.port}"
    assert world.settings["CRYOSPARC_INSTALLED"] == version
    assert world.settings["CRYOSPARC_WORKER"] == str(world.worker / "bin" / "cryosparcw")
    assert (world.worker / "version").read_text() == (world.master / "version").read_text() == f"v{version}\n"
    assert json.loads((world.volume / "database.json").read_text()) == {"version": version}
    ((email, user),) = world.documents["users"].items()
    assert (email, user["username"], user.get("role", user.get("admin"))) in (
        (EMAIL, "hooks", "admin"), (EMAIL, "hooks", True),
    )  # fmt: skip
    assert "'curl', '--config', '-'" in world.commands, (
        "commands are not recorded, so that nothing can be found in them"
    )
    assert list((world.volume / "packages").iterdir()) == list((world.fsx / "software" / "packages").iterdir()) == []
    # An installer prints the licence; version 5's is told another.
    shown = "***" if version.startswith("4") else "00000000-0000-0000-0000-000000000000"
    assert f"License ID              : {shown}" in said
    the_licence_is_where_it_must_be(world)

    asked, stages = list(world.outside.asked), list(world.stages)
    assert world.install()["done"] == []
    assert (world.outside.asked, world.stages) == (asked, stages), "a second run did something"
    world.reboot()
    assert world.install()["done"] == ["started the master"]
    assert world.run("install-cryosparc", "--stop")[1] == {"state": "stopped"}
    assert not (world.volume / "database" / "mongod.lock").exists()


def the_licence_is_where_it_must_be(world: World) -> None:
    """In the two config.sh, which only the user reads, and nowhere else."""
    configurations = [world.master / "config.sh", world.worker / "config.sh"]
    for path in configurations:
        assert f'export CRYOSPARC_LICENSE_ID="{LICENSE}"\n' in path.read_text()
        assert (stat.S_IMODE(path.stat().st_mode), path.owner()) == (0o600, world.user)
    files = [path for root in (world.volume, world.fsx) for path in root.rglob("*") if path.is_file()]
    assert sorted(path for path in files if LICENSE in path.read_text(errors="replace")) == sorted(configurations)


def test_the_search_for_leaks_finds_one(world: World) -> None:
    """Without this the absence of leaks would prove nothing."""
    command = ["bash", "-c", "echo; read -r", LICENSE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as leaking:
        assert leaking.stdout is not None
        leaking.stdout.readline()
        look_for_leaks(world.record)
        leaking.communicate(b"\n")
    assert LICENSE in (world.record / "leaks").read_text()
    (world.record / "leaks").unlink()


STAGES = [
    "install master: begin", "install master: config.sh", "install master: end",
    "install worker: begin", "install worker: config.sh", "install worker: end", "start", "user",
]  # fmt: skip


@pytest.mark.parametrize(
    ("version", "stage"),
    [*(("4.7.1", stage) for stage in STAGES), ("5.0.6", "install master: config.sh"), ("5.0.6", "user")],
)
def test_killed_at_any_step_it_is_finished_by_the_next_run(world: World, version: str, stage: str) -> None:
    world.kill_at(stage)
    document = world.install()
    assert (document["state"], document["version"]) == ("running", version)
    # What was done was not done again: of each package one installation came to its end, or two if that was the kill.
    for kind in ("master", "worker"):
        assert world.stages.count(f"install {kind}: end") == 1 + (stage == f"install {kind}: end")


@pytest.mark.parametrize("kind", ["master", "worker"])
def test_a_download_that_broke_off_goes_on_where_it_was(world: World, kind: str, version: str) -> None:
    name = f"{kind}-v{version}"
    world.outside.cut_after[name] = 30_000
    assert world.run()[0] == 1
    part = world.volume / "packages" / f"cryosparc_{name}.tar.gz.part"
    assert part.stat().st_size == 30_000
    world.install()
    assert f"{name} from 30000" in world.outside.asked


def test_a_download_whose_end_was_not_noted_is_not_broken(world: World, version: str) -> None:
    """Killed between the last byte and the new name: the server has nothing more to send."""
    world.kill_at("install master: begin")
    archive = world.volume / "packages" / f"cryosparc_master-v{version}.tar.gz"
    archive.rename(f"{archive}.part")
    world.outside.asked.clear()
    assert world.install()["state"] == "running"


def test_what_tar_left_half_unpacked_is_in_nobodys_way(world: World) -> None:
    for folder in (world.volume / "packages" / "unpacking-master", world.fsx / "software" / "packages"):
        folder.mkdir(parents=True)
        (folder / "half").touch()
        for path in (folder, folder / "half", folder.parent):
            shutil.chown(path, world.user)
    world.install()


def test_while_a_command_of_a_killed_run_lives_nobody_else_installs(world: World) -> None:
    """systemd ends the program alone; an installer that goes on holds the lock."""
    (world.record / "pause").write_text("install master: config.sh")
    (world.record / "pause").chmod(0o666)
    process = world.begin("install-cryosparc")
    with (world.record / "says").open() as says:
        assert says.read() == "install master: config.sh"
    process.kill()
    process.wait(timeout=20)
    status, _, said = world.run()
    assert (status, "another program is at cryoSPARC's installation" in said) == (75, True)
    (world.record / "hears").write_text("go on\n")
    process.communicate(timeout=20)
    assert world.install()["state"] == "running"


WRONG = LICENSE.replace("3f", "4f")


def test_a_wrong_licence_is_said_and_not_shown(world: World) -> None:
    world.outside.secrets["license"] = WRONG
    world.secrets.append(WRONG)
    status, _, err = world.run()
    said = "cryoSPARC's server does not know this licence id: correct the secret arn:aws:secretsmanager:"
    assert (status, said in err) == (78, True), err
    assert "Traceback" not in err
    assert not world.master.exists()
    world.outside.secrets["license"] = LICENSE
    assert world.install()["state"] == "running"


@pytest.mark.parametrize(
    ("secret", "is_fine"),
    [
        (LICENSE, True), (f"{LICENSE}\n", True), (json.dumps({"license_id": LICENSE}), True),
        (json.dumps({"licence": LICENSE}), False), ('"; rm -rf /', False), ("", False),
    ],
)  # fmt: skip
def test_the_secret_is_text_or_json(home: Path, monkeypatch: pytest.MonkeyPatch, secret: str, is_fine: bool) -> None:
    client = SimpleNamespace(get_secret_value=lambda SecretId: {"SecretString": secret})
    monkeypatch.setattr(boto3, "client", lambda service, region_name: client)
    with (home / "etc" / "head-node.env").open("a") as settings_file:
        settings_file.write("CRYOSPARC_LICENSE_SECRET=arn:license\n")
    if is_fine:
        assert credentials.license_id(settings.load(home), Mask()) == LICENSE
        return
    with pytest.raises(Refused, match="the secret arn:license holds no licence id: plain text, or JSON with the key"):
        credentials.license_id(settings.load(home), Mask())


def test_without_a_secret_the_licence_is_missed(home: Path) -> None:
    with pytest.raises(Refused, match="the setup names no secret that has it"):
        credentials.license_id(settings.load(home), Mask())


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (True, "sent no package of the master 4.7.1 for this licence, but: <html>"),
        (False, "has no master of version 4.7.1 for this licence"),
    ],
)
def test_a_licence_that_only_the_download_refuses_is_said(world: World, page: bool, said: str) -> None:
    world.outside.secrets["license"] = WRONG
    world.outside.page_for_wrong_license = page
    world.outside.checks_licenses = False
    status, _, err = world.run()
    assert (status, said in err) == (78, True), err
    assert "'curl', '--config', '-'" in world.commands, (
        "commands are not recorded, so that nothing can be found in them"
    )
    assert list((world.volume / "packages").iterdir()) == []


def test_another_version_than_the_pinned_one_is_refused(world: World) -> None:
    world.outside.sends_instead["master-v4.7.1"] = "master-v4.7.2"
    status, _, err = world.run()
    assert (status, "sent the master v4.7.2 when it was asked for 4.7.1" in err) == (78, True), err
    assert not world.master.exists()


def test_a_worker_of_another_version_is_refused(world: World) -> None:
    world.outside.sends_instead["worker-v4.7.1"] = "worker-v4.7.2"
    status, _, err = world.run()
    assert (status, "sent the worker v4.7.2 when it was asked for 4.7.1" in err) == (78, True), err
    assert not world.worker.exists()
    assert world.settings["CRYOSPARC_URL"] == ""


@pytest.mark.parametrize("wanted", ["latest", "4.6.2", "3.4.0", "6.0.0", "5.0", "5.0.6; reboot"])
def test_a_version_that_cannot_be_installed_is_refused(world: World, wanted: str) -> None:
    world.want(wanted)
    status, _, err = world.run()
    assert status == 78, err
    assert wanted in err
    assert world.outside.asked == []


@pytest.mark.parametrize(("text", "is_fine"), [("4.7.0", True), ("4.7.1", True), ("v5.0.6", True), ("5.12.3", True),
                                              ("4.6.9", False), ("4.8.0", False), ("6.0.0", False), ("5.0", False)])  # fmt: skip
def test_supported_versions(text: str, is_fine: bool) -> None:
    if is_fine:
        assert versions.supported(text) == text.lstrip("v")
    else:
        with pytest.raises(Refused):
            versions.supported(text)


def test_a_missing_version_is_said(world: World) -> None:
    world.want("5.9.9")
    status, _, err = world.run()
    assert (status, "has no master of version 5.9.9 for this licence" in err) == (78, True), err


def test_a_downgrade_is_refused(world: World) -> None:
    world.install()
    world.want("4.7.0")
    status, _, err = world.run()
    assert (status, "cryoSPARC 4.7.0 is wanted and 4.7.1 is installed: it cannot become older" in err) == (78, True), (
        err
    )
    shutil.rmtree(world.master)
    status, _, err = world.run()
    assert (status, "and 4.7.1 is in the database" in err) == (78, True), err


def test_what_is_missing_or_wrong_is_mended_without_installing_the_rest_again(world: World, version: str) -> None:
    world.fsx.rename(f"{world.fsx}.away")
    status, _, err = world.run()
    assert (status, f"{world.fsx} is not mounted" in err) == (75, True)
    Path(f"{world.fsx}.away").rename(world.fsx)
    world.install()

    shutil.rmtree(world.fsx / "software")
    assert world.install()["done"] == [f"installed the worker {version}"], "a new file system"

    (world.worker / "version").write_text("v4.7.0\n")
    assert world.install()["done"] == [f"installed the worker {version}"], "another version than the master's"
    assert sorted(path.name for path in world.worker.parent.iterdir()) == ["cryosparc_worker", "packages"]

    (world.master / "config.sh").write_text((world.master / "config.sh").read_text().replace(LICENSE, WRONG))
    done = world.install()["done"]
    assert done == ["stopped the master for its new configuration", "started the master"], "a new licence"

    configuration = (world.master / "config.sh").read_text()
    for ours, theirs in ((str(world.volume / "database"), "/data/cryosparc_database"), (str(world.port), "39000")):
        (world.master / "config.sh").write_text(configuration.replace(f'"{ours}"', f'"{theirs}"'))
        status, _, err = world.run()
        assert (status, f"={theirs}, and {ours} is expected" in err) == (78, True), err
    (world.master / "config.sh").write_text(configuration)

    stages = world.stages
    for folder in (world.master, world.worker):
        (folder / ".cryoem-install.json").unlink()
        (folder / "config.sh").chmod(0o644)
    assert world.install()["done"] == [], "what was installed by hand is taken over"
    assert world.stages == stages
    the_licence_is_where_it_must_be(world)


def test_a_head_node_made_anew_finds_master_and_database_on_the_volume(world: World) -> None:
    """It has another name, and settings that know nothing."""
    world.install()
    world.process("P1")
    world.reboot()
    told = world.shipment.home / "etc" / "head-node.env"
    told.unlink()
    world.bootstrap()
    told.write_text(told.read_text().replace("CRYOSPARC_HOST=localhost", "CRYOSPARC_HOST=127.0.0.1"))
    assert world.install()["done"] == ["started the master", "wrote the address into head-node.env"]
    assert 'export CRYOSPARC_MASTER_HOSTNAME="127.0.0.1"\n' in (world.master / "config.sh").read_text()
    assert world.documents["projects"] == ["P1"]


def test_a_database_of_unknown_version_is_left_alone(world: World) -> None:
    world.install()
    world.reboot()
    shutil.rmtree(world.master)
    (world.volume / "database.json").unlink()
    status, _, err = world.run()
    assert (status, "holds a database of an unknown version" in err) == (78, True), err


def test_a_hooks_user_that_somebody_made_by_hand_is_taken(world: World) -> None:
    """Should the master's interface be another than is known."""
    world.kill_at("user")
    documents = world.volume / "database" / "documents.json"
    login = {"username": "any", "first_name": "", "last_name": "", "password": sha256(PASSWORD)}
    documents.write_text(json.dumps({**world.documents, "users": {EMAIL: login}}))
    assert world.install()["done"] == ["wrote the address into head-node.env"]


@pytest.mark.parametrize("version", ["5.0.6"])
def test_a_new_password_of_the_hooks_user_is_set(world: World) -> None:
    world.install()
    world.outside.password = "Another7Another7"
    assert world.install()["done"] == [f"made the user {EMAIL}"]
    assert world.install()["done"] == []


def test_version_4_says_when_the_hooks_user_has_another_password(world: World) -> None:
    world.install()
    world.outside.password = "Another7Another7"
    world.secrets.append(world.outside.password)
    status, _, err = world.run()
    assert (status, f"cryoSPARC did not make the user {EMAIL}" in err) == (78, True), err


def test_without_a_version_nothing_happens(world: World) -> None:
    world.want("none")
    assert world.install() == {"state": "none"}
    assert (world.outside.asked, list(world.volume.iterdir())) == ([], [])


def test_never_as_root(world: World) -> None:
    world.shipment.values["user"] = "root" if os.geteuid() == 0 else "daemon"
    world.bootstrap()
    status, _, err = world.run()
    assert status == 78, err
    assert "never runs as root" in err or "can do this" in err


def test_once_the_address_is_known_the_next_sweep_gives_the_master_its_lanes(world: World, fake: Any) -> None:
    fake("scontrol", "echo PartitionName=gpu1 State=UP")
    world.outside.manifest = json.dumps({"lanes": [lane("gpu1")]})
    fence = ("--manifest-sha256", hashlib.sha256(world.outside.manifest.encode()).hexdigest())
    assert list(world.run("register-lanes", "converge", *fence)[1]["registered"]) == ["gpu1"], "RELION's"
    world.install()
    shown = world.run("register-lanes", "show", *fence)[1]
    assert (shown["registered"], list(shown["wanted"])) == ({}, ["gpu1"]), "so that the sweep converges"
    done = world.run("register-lanes", "converge", *fence)[1]
    assert done["registered"] == done["wanted"]
    (target,) = world.documents["targets"]
    assert (target["name"], target["worker_bin_path"]) == ("gpu1", str(world.worker / "bin" / "cryosparcw"))


class Passes:
    """A clock that ends the test's stay after some passes, and what each pass found."""

    def __init__(self, findings: list[str]) -> None:
        self.findings, self.passes = findings, 0

    def wait(self, seconds: float) -> None:
        assert seconds == 60
        if not self.findings:
            raise KeyboardInterrupt

    def amiss(self, home: Path, mask: Mask) -> str:
        return self.findings.pop(0)

    def once(self, home: Path, mask: Mask) -> dict[str, Any]:
        self.passes += 1
        return {"state": "running"}


AWAY = "the master does not answer"


@pytest.mark.parametrize(
    ("findings", "passes"),
    [
        ([""], 1),
        (["", "the worker is missing", ""], 2),
        ([AWAY, AWAY, ""], 1),
        ([AWAY, AWAY, AWAY, ""], 2),
        ([AWAY, "", AWAY, AWAY, ""], 1),
    ],
)
def test_staying_it_acts_when_something_is_amiss_and_not_when_an_answer_is_missed_once(
    home: Path, monkeypatch: pytest.MonkeyPatch, findings: list[str], passes: int
) -> None:
    found = Passes(findings)
    (home / "bin").mkdir()
    (home / "bin" / "install-cryosparc").touch()
    monkeypatch.setattr(install_cryosparc, "once", found.once)
    monkeypatch.setattr(install_cryosparc, "amiss", found.amiss)
    monkeypatch.setattr("threading.Event", lambda: found)
    with pytest.raises(KeyboardInterrupt):
        install_cryosparc.stay(home, Mask())
    assert found.passes == passes


def test_staying_new_programs_take_over(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "bin").mkdir()
    program = home / "bin" / "install-cryosparc"
    program.touch()

    class Replacing:
        def wait(self, seconds: float) -> None:
            (home / "bin" / "new").touch()
            (home / "bin" / "new").rename(program)

    def execv(path: str, arguments: list[str]) -> None:
        raise SystemExit(f"{path} {arguments}")

    monkeypatch.setattr(install_cryosparc, "once", lambda home, mask: {"state": "running"})
    monkeypatch.setattr("threading.Event", Replacing)
    monkeypatch.setattr(os, "execv", execv)
    with pytest.raises(SystemExit, match=r"install-cryosparc \['install-cryosparc', '--stay'\]"):
        install_cryosparc.stay(home, Mask())


def test_what_is_amiss_is_seen(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def amiss() -> str:
        before = dict(os.environ)
        try:
            return install_cryosparc.amiss(world.shipment.home, Mask())
        finally:
            os.environ.clear()
            os.environ.update(before)

    assert amiss() == "something was not finished"
    world.install()
    assert amiss() == ""
    world.reboot()
    assert amiss() == AWAY
    shutil.rmtree(world.worker)
    assert amiss() == "the worker is missing"
    world.want("5.1.0")
    assert amiss() == "the setup wants 5.1.0"
    world.want("none")
    assert amiss() == "the setup wants none any longer"


def test_a_secret_is_masked_however_it_is_written() -> None:
    mask = Mask()
    mask.add(PASSWORD)
    mask.add("a b+c")
    assert mask(f"{PASSWORD} a b+c a%20b%2Bc") == "*** *** ***"
    assert mask(f"password={sha256(PASSWORD)}") == "password=***"
