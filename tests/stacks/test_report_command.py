"""`cryoem report`: what it reads, what it writes and refuses to write, and its exit codes."""

from __future__ import annotations

import json
import sys
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import Deployed, at_hand, run
from report_account import DATASET, LANES, RECEIPT, job, jobs, nodes

from cdk_cryoem_stacks.dataset_report import data
from cdk_cryoem_stacks.dataset_report.command import file_name, write

NAME = DATASET["sk"]
BUCKET = "cryoem-landing"


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployed]:
    """A system with the dataset, its receipt, its jobs and its nodes."""
    with at_hand(monkeypatch, tmp_path) as system:
        system.stack("cryoem-storage", LandingBucket=BUCKET, ResultsBucket="results", FileSystemId="fs-1")
        system.clients.s3.create_bucket(Bucket=BUCKET)
        put_receipt(system, json.dumps(RECEIPT))
        put(system, "dataset", DATASET)
        for record in jobs():
            put(system, "job", record)
        for record in nodes():
            put(system, "node-life", record)
        yield system


def put(system: Deployed, kind: str, record: Any) -> None:
    system.put(kind, record["sk"], **{key: value for key, value in record.items() if key != "sk"})


def put_receipt(system: Deployed, text: str) -> None:
    system.clients.s3.put_object(Bucket=BUCKET, Key=f"datasets/{NAME}.receipt.json", Body=text.encode())


def document(capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run("report", NAME, "--json", *more) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_page_is_written_and_said(system: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", NAME) == 0
    assert capsys.readouterr().out == f"{NAME}-report.html\n"
    page = tmp_path / f"{NAME}-report.html"
    text = page.read_text()
    assert text.startswith("<!doctype html>")
    assert "158.96 USD" in text
    assert page.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if path.suffix in (".html", ".tmp")] == [page.name]


def test_the_document_is_the_same_as_the_page(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys)
    assert (found["dataset"], found["system"], found["region"]) == (NAME, "cryoem", "us-east-1")
    assert found["total"]["usd"] == 158.9607
    assert found["receipt"]["state"] == "safe"
    assert found["receipt"]["files"] == 5712
    assert found["arrival"]["reason"] == "nothing left to transfer"
    assert found["idle"]["lanes"] == ["cpu", "gpu1", "gpu4", "gpu8"]
    # Lanes of the file: the default ones.
    assert [lane["name"] for lane in found["shapes"]] == ["cpu", "gpu1", "gpu4", "gpu8", "live"]
    assert found["shapes"][1]["instance_type"] == "g5.4xlarge"
    assert found["shapes"][1]["price_of"].startswith("us-east-1, 2026")
    assert not list(Path().glob("*.html"))


def test_nothing_is_overwritten_unless_it_is_asked_for(
    system: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "mine.html"
    mine.write_text("mine")
    assert run("report", NAME, "--output", str(mine)) == 2
    assert f"{mine} is there; --force overwrites it" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert run("report", NAME, "--output", str(mine), "--force") == 0
    assert mine.read_text().startswith("<!doctype html>")


def test_where_no_file_can_be_it_is_said_before_anything_is_asked(
    system: Deployed, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("report", NAME, "--output", str(tmp_path)) == 2
    assert "is the folder" in capsys.readouterr().err
    assert run("report", NAME, "--output", str(tmp_path / "no" / "a.html")) == 2
    assert f"there is no folder {tmp_path / 'no'}" in capsys.readouterr().err
    assert run("report", NAME, "--json", "--open") == 2
    assert "--json writes no page" in capsys.readouterr().err


def test_of_two_that_write_at_once_one_fails(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text("mine")
    with pytest.raises(FileExistsError):
        write(tmp_path / "a.html", "yours")
    assert (tmp_path / "a.html").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_a_dataset_that_nobody_knows_is_told_with_names_that_are_near(
    system: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("report", "krios-spike") == 1
    assert f"there is no dataset krios-spike. Did you mean {NAME}?" in capsys.readouterr().err
    assert not list(Path().glob("*.html"))


def test_it_is_shown_if_that_is_asked_for(
    system: Deployed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: shown.append(address) or True)
    assert run("report", NAME, "--open") == 0
    assert shown == [(tmp_path / f"{NAME}-report.html").as_uri()]
    monkeypatch.setattr(webbrowser, "open", lambda address: False)
    assert run("report", NAME, "--open", "--force") == 1
    assert "no browser was found on this machine; the page is" in capsys.readouterr().err


def test_a_dataset_that_arrives_without_receipt_and_jobs(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "new", state="arriving", objects=3, movies=2, size_bytes=9, first_at=1.0, last_at=2.0)
    assert run("report", "new") == 0
    assert "still arriving" in Path("new-report.html").read_text()


def test_without_the_file_the_lanes_are_those_of_the_manifest(
    system: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = {"lanes": [{"name": lane.name, "gpus": lane.gpus, "vcpus": lane.vcpus, "usd_per_hour": lane.usd_per_hour}
                          for lane in LANES]}  # fmt: skip
    system.clients.ssm.put_parameter(Name="/lanes", Value=json.dumps(manifest), Type="String")
    system.stack("cryoem-cluster", LaneManifest="/lanes")
    found = document(capsys, "--name", "cryoem", "--region", "us-east-1")
    shapes = {lane["name"]: (lane["instance_type"], lane["gpu_model"]) for lane in found["shapes"]}
    assert shapes == {lane.name: (lane.instance_type, lane.gpu_model) for lane in LANES}


def test_a_price_that_several_types_have_or_none_tells_no_type() -> None:
    entry = {"name": "x", "gpus": 1, "vcpus": 8, "usd_per_hour": 0.123}
    odd = data.of_manifest(entry)
    assert (odd.instance_type, odd.gpu_model, odd.price_of) == ("", "", "")


def test_what_cannot_be_read_leaves_the_rest_and_is_said(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "--name", "cryoem", "--region", "us-east-1")
    assert found["shapes"] == []
    assert "The lanes: there is no stack cryoem-cluster with the output LaneManifest." in found["unknown"]
    assert found["total"]["usd"] == 158.9607
    put_receipt(system, "{not json")
    found = document(capsys)
    assert found["receipt"] is None
    assert any(
        line.startswith("The receipt in the landing bucket: s3://") and "is no JSON" in line
        for line in found["unknown"]
    )
    put_receipt(system, "[]")
    assert any("is no receipt" in line for line in document(capsys)["unknown"])
    system.put("receipt", NAME, state="safe", looked_at=1.0, files=5712, verified=5712, reasons="")
    assert document(capsys)["receipt"]["files"] == 5712


def test_jobs_of_other_datasets_and_from_before_it_came_are_not_its_own(
    system: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    put(system, "job", job(90, "x", "gpu1", 20, 1, 1, 1, 5.0, project="other"))
    put(system, "job", job(91, "x", "gpu1", -20, 1, 1, 1, 5.0))
    put(system, "job", job(92, "x", "gpu1", 20, 1, 1, 1, 5.0, project="P7", dataset=NAME))
    found = document(capsys)
    assert len(found["jobs"]) == len(jobs()) + 1
    assert found["total"]["usd"] == round(158.9607 + 5, 6)


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("2026-11-18-krios", "2026-11-18-krios-report.html"),
        ("..", "dataset-report.html"),
        (".hidden", "hidden-report.html"),
        ("-rf x;$(y)", "rf_x_y_-report.html"),
        ("a/b\\c\n", "a_b_c_-report.html"),
        ("grille détectée", "grille_détectée-report.html"),
        ("\ud800", "_-report.html"),
        ("x" * 500, "x" * 120 + "-report.html"),
        ("日" * 100, "日" * 40 + "-report.html"),
    ],
)
def test_a_file_is_named_after_its_dataset_safely(dataset: str, name: str) -> None:
    assert file_name(dataset) == name
