from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from shipped import Shipment

PINNED = "ccbf9f174b90c5863931ef538a370800292c67be1d75821b4ef5e7ab26aa3e34"


@pytest.fixture
def trampoline(head_node: Path, shipment: Shipment) -> Path:
    shipment.pack()
    return head_node / "trampoline.sh"


def test_the_trampoline_never_changes(head_node: Path) -> None:
    found = hashlib.sha256((head_node / "trampoline.sh").read_bytes()).hexdigest()
    assert found == PINNED, (
        "trampoline.sh has changed. ParallelCluster cannot update a cluster whose head node script or its arguments"
        " differ (OnNodeStart and OnNodeConfigured have the update policy UNSUPPORTED): every cluster that is deployed"
        " would have to be deleted and made anew. Put the change into bootstrap.sh, which may change at any time."
    )


def test_install_then_configure(trampoline: Path, shipment: Shipment) -> None:
    done = shipment.run(trampoline, "install", "/cryo/setup")
    assert (done.returncode, done.stdout, done.stderr) == (0, "bootstrap: install done\n", "")
    assert shipment.run(trampoline, "configure", "/cryo/setup").returncode == 0
    assert (shipment.home / "lib" / "cryoem_head" / "slurm.py").is_file()
    assert "AWS_REGION=eu-central-1\n" in (shipment.home / "etc" / "head-node.env").read_text()


def test_it_asks_for_what_the_parameter_names(trampoline: Path, shipment: Shipment) -> None:
    shipment.run(trampoline, "install", "/cryo/setup")
    parameter, scripts = shipment.calls
    assert parameter == (
        "ssm get-parameter --region eu-central-1 --name /cryo/setup --query Parameter.Value --output text"
    )
    assert scripts.startswith("s3 cp --quiet --region eu-central-1 scripts.zip /")


def test_new_content_behind_the_same_parameter_is_an_update(trampoline: Path, shipment: Shipment) -> None:
    shipment.run(trampoline, "install", "/cryo/setup")
    (shipment.content / "lib" / "cryoem_head" / "new.py").write_text("")
    shipment.pack()
    assert shipment.run(trampoline, "install", "/cryo/setup").returncode == 0
    assert (shipment.home / "lib" / "cryoem_head" / "new.py").is_file()


@pytest.mark.parametrize("missing", ["parameter.json", "scripts.zip"])
def test_a_failing_download_leaves_the_previous_programs_in_place(
    trampoline: Path, shipment: Shipment, missing: str
) -> None:
    shipment.run(trampoline, "install", "/cryo/setup")
    before = shipment.files()
    (shipment.cloud / missing).unlink()
    assert shipment.run(trampoline, "install", "/cryo/setup").returncode != 0
    assert shipment.files() == before


def test_a_broken_archive_leaves_the_previous_programs_in_place(trampoline: Path, shipment: Shipment) -> None:
    shipment.run(trampoline, "install", "/cryo/setup")
    before = shipment.files()
    (shipment.cloud / "scripts.zip").write_bytes(b"PK no more")
    assert shipment.run(trampoline, "install", "/cryo/setup").returncode != 0
    assert shipment.files() == before


def test_an_unknown_phase_exits_2(trampoline: Path, shipment: Shipment) -> None:
    assert shipment.run(trampoline, "remove", "/cryo/setup").returncode == 2


def test_nothing_is_left_behind(trampoline: Path, shipment: Shipment, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for phase in ("install", "remove"):
        shipment.run(trampoline, phase, "/cryo/setup", TMPDIR=str(scratch))
        assert os.listdir(scratch) == []


def test_without_its_arguments_it_does_nothing(trampoline: Path, shipment: Shipment) -> None:
    assert shipment.run(trampoline, "install").returncode != 0
    assert (shipment.calls, shipment.home.exists()) == ([], False)


def refresh(shipment: Shipment) -> int:
    return shipment.run(shipment.home / "bin" / "refresh-programs").returncode


def test_a_deployment_reaches_a_head_node_that_runs(trampoline: Path, shipment: Shipment) -> None:
    shipment.run(trampoline, "install", "/cryo/setup")
    shipment.run(trampoline, "configure", "/cryo/setup")
    before = shipment.files()
    assert refresh(shipment) == 0
    assert {name: file for name, file in shipment.files().items() if name != "refresh.lock"} == before
    shipment.values["cluster"] = "renamed"
    shipment.pack()
    assert refresh(shipment) == 0
    assert "CLUSTER=renamed\n" in (shipment.home / "etc" / "head-node.env").read_text()
    calls = len(shipment.calls)
    assert refresh(shipment) == 0
    assert len(shipment.calls) == calls + 1, "nothing but the parameter is read when nothing is new"


def test_an_address_of_cryosparc_that_somebody_wrote_survives(trampoline: Path, shipment: Shipment) -> None:
    shipment.run(trampoline, "install", "/cryo/setup")
    settings = shipment.home / "etc" / "head-node.env"
    settings.write_text(settings.read_text().replace("CRYOSPARC_URL=\n", "CRYOSPARC_URL=http://10.0.0.9:61000\n"))
    shipment.run(trampoline, "install", "/cryo/setup")
    assert "CRYOSPARC_URL=http://10.0.0.9:61000\n" in settings.read_text()
