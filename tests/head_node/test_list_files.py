from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cryoem_head import list_files, outcome
from cryoem_head.list_files import folder_below, hsm_states, listed, on_lustre, walk, write

ODD = [
    "a b.mrc",
    "zeile\numbruch.tif",
    "grille détectée.eer",
    "quote'\"$(x).mrc",
    "-rf",
    "%20.mrc",
    os.fsdecode(b"latin-\xe9.mrc"),
]
# Answers for each name as Lustre's own tool does, and ends at one that is no file of it.
_LFS = """#!{python}
import sys
assert sys.argv[1] == "hsm_state"
for name in sys.argv[2:]:
    if "lost" in name:
        sys.exit("can't get hsm state for " + name)
    state = {{"cold": "0x0000000d) released exists archived, archive_id:1", "new": "0x00000000)"}}.get(
        name.rsplit("/", 1)[-1].split(".")[0], "0x00000009) exists archived, archive_id:1"
    )
    sys.stdout.buffer.write(name.encode(errors="surrogateescape") + b": (" + state.encode() + b"\\n")
"""


class S3:
    """Takes files."""

    def __init__(self) -> None:
        self.taken: dict[tuple[str, str], bytes] = {}

    def upload_file(self, path: str, bucket: str, key: str) -> None:
        self.taken[bucket, key] = Path(path).read_bytes()

    def lines(self, key: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in gzip.decompress(self.taken["results", key]).splitlines()]


@pytest.fixture
def fsx(home: Path, tmp_path: Path) -> Path:
    root = tmp_path / "fsx"
    (root / "data" / "em-1" / "Images-Disc1").mkdir(parents=True)
    (root / "data" / "em-1" / "empty").mkdir()
    (root / "projects").mkdir()
    for name in ODD:
        (root / "data" / "em-1" / "Images-Disc1" / name).write_bytes(name.encode(errors="surrogateescape"))
    (root / "data" / "em-1" / "DONE").touch()
    with (home / "etc" / "head-node.env").open("a") as lines:
        lines.write("RESULTS_BUCKET=results\n")
    return root


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> S3:
    fake = S3()
    monkeypatch.setattr(list_files.boto3, "client", lambda service, region_name: fake)
    return fake


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def call(folder: str, *, checksums: str = "no", key: str = "k") -> dict[str, Any]:
        arguments = ["list-files", "--folder", folder, "--checksums", checksums, "--key", key]
        monkeypatch.setattr("sys.argv", arguments)
        list_files.main()
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    return call


@pytest.fixture
def lfs(tmp_path: Path) -> str:
    program = tmp_path / "lfs"
    program.write_text(_LFS.format(python=sys.executable))
    program.chmod(0o755)
    return str(program)


def test_every_file_is_listed_whatever_its_name(fsx: Path, s3: S3, run: Callable[..., dict[str, Any]]) -> None:
    done = run("data/em-1", key="one")
    found = s3.lines("listings/one.jsonl.gz")
    paths = [f"data/em-1/Images-Disc1/{name}" for name in sorted(ODD)]
    assert [entry["path"] for entry in found] == ["data/em-1/DONE", *paths]
    sizes = [0, *(len(name.encode(errors="surrogateescape")) for name in sorted(ODD))]
    assert [entry["size"] for entry in found] == sizes
    assert {(entry["kind"], entry["hsm"]) for entry in found} == {("file", None)}
    assert found[0]["mtime"] == (fsx / "data" / "em-1" / "DONE").stat().st_mtime
    assert done == {
        "files": 8, "bytes": sum(sizes), "unreadable": 0, "bucket": "results", "key": "listings/one.jsonl.gz", "lustre": False,
    }  # fmt: skip


def test_checksums_are_those_of_the_content(fsx: Path, s3: S3, run: Callable[..., dict[str, Any]]) -> None:
    run("data", checksums="yes")
    for entry in s3.lines("listings/k.jsonl.gz"):
        assert entry["sha256"] == hashlib.sha256((fsx / entry["path"]).read_bytes()).hexdigest()


def test_a_folder_with_an_odd_name_is_found_by_its_escapes(
    fsx: Path, s3: S3, run: Callable[..., dict[str, Any]]
) -> None:
    odd = fsx / "data" / "grille détectée\n"
    odd.mkdir()
    (odd / "x").touch()
    assert run("data/grille%20d%C3%A9tect%C3%A9e%0A")["files"] == 1
    assert s3.lines("listings/k.jsonl.gz")[0]["path"] == "data/grille détectée\n/x"


@pytest.mark.parametrize(
    "folder", ["..", "data/../..", "/etc", "%2Fetc", "data/%2E%2E/%2E%2E/etc", "data%00", "out", "none"]
)
def test_what_is_no_folder_of_the_file_system_is_refused(
    fsx: Path, s3: S3, run: Callable[..., dict[str, Any]], folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (fsx / "out").symlink_to(fsx.parent)
    with pytest.raises(SystemExit) as ended:
        run(folder)
    assert ended.value.code == outcome.REFUSED
    assert "list-files: " in capsys.readouterr().err
    assert not s3.taken


def test_a_dot_is_all_of_it_and_links_are_not_followed(fsx: Path, s3: S3, run: Callable[..., dict[str, Any]]) -> None:
    (fsx / "projects" / "loop").symlink_to(fsx)
    (fsx / "projects" / "nowhere").symlink_to("/no/such")
    assert run(".")["files"] == 10
    links = [(entry["path"], entry["kind"]) for entry in s3.lines("listings/k.jsonl.gz") if entry["kind"] != "file"]
    assert links == [("projects/loop", "link"), ("projects/nowhere", "link")]


def test_what_cannot_be_read_is_listed_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shut").mkdir()
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)

    def digest(path: str) -> str:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return "d"

    real = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("/shut"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(list_files, "sha256", digest)
    monkeypatch.setattr(os, "scandir", scandir)
    found = list(listed(tmp_path, root=tmp_path, checksums=True, states=None))
    assert [(each["path"], each["kind"], each.get("error"), each.get("sha256")) for each in found] == [
        ("a", "file", "Permission denied", None), ("b", "file", None, "d"), ("shut", "folder", "Permission denied", None),
    ]  # fmt: skip
    assert write(found, tmp_path / "lines.gz") == {"files": 2, "bytes": 2, "unreadable": 2}


def test_a_file_that_vanishes_meanwhile_is_listed_with_the_reason(tmp_path: Path) -> None:
    entries = list_files.look([(str(tmp_path / "gone"), None)], root=str(tmp_path), checksums=True, states=None)
    assert [(each["path"], each["error"]) for each in entries] == [("gone", "No such file or directory")]


def test_twenty_thousand_files_are_each_listed_once_and_in_order(tmp_path: Path) -> None:
    for folder in range(20):
        (tmp_path / f"{folder:02}").mkdir()
        for name in range(1000):
            (tmp_path / f"{folder:02}" / f"{name:04}").touch()
    found = [each["path"] for each in listed(tmp_path, root=tmp_path, checksums=False, states=None)]
    assert found == [os.path.relpath(path, tmp_path) for path, _ in walk(str(tmp_path))]
    assert (len(found), found) == (20_000, sorted(found))


def test_lustre_is_asked_of_files_whatever_their_names(tmp_path: Path, lfs: str) -> None:
    for name in [*ODD, "cold.mrc", "new.mrc", "lost.mrc"]:
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to("cold.mrc")
    entries = listed(tmp_path, root=tmp_path, checksums=False, states=lambda paths: hsm_states(paths, lfs=lfs))
    found = {each["path"]: each["hsm"] for each in entries}
    assert found.pop("lfs") == ["exists", "archived"]
    assert (found.pop("cold.mrc"), found.pop("new.mrc")) == (["exists", "released", "archived"], [])
    assert (found.pop("lost.mrc"), found.pop("link")) == (None, None)
    assert found == {name: ["exists", "archived"] for name in ODD}


def test_lustre_that_answers_for_nothing_is_not_asked_for_ever(tmp_path: Path) -> None:
    false = subprocess.run(["which", "false"], capture_output=True, text=True, check=True).stdout.strip()
    assert hsm_states([str(tmp_path / name) for name in "abc"], lfs=false) == {}
    assert hsm_states([], lfs=false) == {}


def test_lustre_is_known_by_its_mount(tmp_path: Path) -> None:
    folder = tmp_path / "a b" / "data"
    folder.mkdir(parents=True)
    mount = str(tmp_path / "a b").replace(" ", "\\040")
    mounts = f"overlay / overlay rw 0 0\n10.0.0.1@tcp:/fsx {mount} lustre rw,noatime 0 0\n"
    assert on_lustre(folder, mounts)
    assert not on_lustre(tmp_path, mounts)
    assert not on_lustre(folder, f"{mounts}tmpfs {mount}/data tmpfs rw 0 0\n")
    assert not on_lustre(folder, "")


def test_progress_is_said_every_few_seconds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ticks = iter(range(0, 100, 4))
    entry = {"path": "a", "kind": "file", "size": 3, "mtime": 0.0, "hsm": None}
    write([entry] * 7, tmp_path / "lines.gz", clock=lambda: float(next(ticks)))
    assert capsys.readouterr().err == "list-files: 3 files, 9 bytes\nlist-files: 6 files, 18 bytes\n"


def test_a_head_node_without_a_results_bucket_says_so(
    home: Path, run: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(".")
    assert (ended.value.code, capsys.readouterr().err) == (
        outcome.REFUSED, "list-files: this head node was told of no results bucket to put a listing into\n"
    )  # fmt: skip


def test_a_folder_is_taken_as_it_is_written(tmp_path: Path) -> None:
    (tmp_path / "a%20b").mkdir()
    assert folder_below(tmp_path, "a%2520b") == tmp_path / "a%20b"
