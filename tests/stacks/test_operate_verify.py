"""`cryoem verify`: real files with flipped bytes, cut off, renamed, empty, with odd names; and what each place says of them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "constructs" / "cdk_cryoem" / "head_node" / "lib"))

from operate_account import Deployed, at_hand, run

from cdk_cryoem_lambda import receipt_document, receipts
from cdk_cryoem_lambda.receipts import File, Look
from cdk_cryoem_stacks.operate import verify
from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.checksums import Kept, Read, fast_crc
from cdk_cryoem_stacks.operate.listing import ListedFile
from cdk_cryoem_stacks.operate.verify import Receipt, Verdict, by_reports, in_bucket, on_disk, on_file_system
from cdk_cryoem_stacks.operate.verify_text import shown
from cryoem_head import list_files

BUCKET = "cryoem-landing"
NAMES = ["a.mrc", "Images-Disc1/b c.mrc", "zeile\numbruch.tif", "grille détectée.eer", "empty.xml", "quote'\"$(x).mrc"]


class Dataset:
    """Dataset d: the same files on a share, in a bucket of moto and on a file system, and its manifest."""

    def __init__(self, folder: Path, system: Deployed) -> None:
        self.share, self.fsx = folder / "share", folder / "fsx"
        self.system, self.s3 = system, system.clients.s3
        self.s3.create_bucket(Bucket=BUCKET)
        self.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        system.stack("cryoem-storage", LandingBucket=BUCKET, ResultsBucket="results", FileSystemId="fs-1")
        system.put("dataset", "d", state="landed")
        self.lines: list[File] = []
        for name in NAMES:
            self.put(name, b"" if name == "empty.xml" else name.encode() * 3)

    def put(self, name: str, content: bytes, *, status: Any = "verified") -> None:
        for root in (self.share / "d", self.fsx / "data" / "d"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        version = self.s3.put_object(Bucket=BUCKET, Key=f"datasets/d/{name}", Body=content)["VersionId"]
        digest = hashlib.sha256(content).hexdigest()
        self.lines.append(File(path=name, status=status, size=len(content), sha256=digest, version=version))

    def write(self) -> None:
        """The receipt and the manifest, as the hook writes them."""
        looks = {"task-a": Look(began=10.0)}
        made = receipts.receipt("d", self.lines, last_at=9.0, looks=looks, sentinel="DONE")
        text = "".join(f"{line.line()}\n" for line in self.lines).encode()
        key = receipts.manifest_key("d")
        version = self.s3.put_object(Bucket=BUCKET, Key=key, Body=gzip.compress(text))["VersionId"]
        manifest = {"key": key, "version_id": version, "sha256": hashlib.sha256(text).hexdigest()}
        document = receipt_document.document(made, cluster="c", made_at=99.0, manifest=manifest, landed_at=9.0)
        self.s3.put_object(Bucket=BUCKET, Key=receipts.receipt_key("d"), Body=json.dumps(document).encode())

    def receipt(self) -> Receipt:
        self.write()
        found = verify.read(self.system.clients, BUCKET, "d")
        assert found is not None
        return found

    def listing(self, *, checksums: bool = True, folder: str = "data/d") -> list[ListedFile]:
        """What the head node's own program lists."""
        found = list_files.listed(self.fsx / folder, root=self.fsx, checksums=checksums, states=None)
        return [ListedFile.parse(json.dumps(entry).encode()) for entry in found]


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Dataset]:
    with at_hand(monkeypatch, tmp_path) as system:
        made = Dataset(tmp_path, system)

        def listing(*_: Any, folder: str, checksums: bool, say: Any) -> Iterator[ListedFile]:
            return iter(made.listing(checksums=checksums, folder=folder))

        monkeypatch.setattr(verify, "file_listing", listing)
        yield made


def bad(found: list[Verdict]) -> dict[str, str]:
    return {each.path: each.status for each in found if each.status != "verified"}


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "flipped":
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    elif how == "truncated":
        path.write_bytes(content[:-1])
    elif how == "emptied":
        path.write_bytes(b"")
    elif how == "renamed":
        path.rename(path.with_name("other.mrc"))
    elif how == "grown":
        path.write_bytes(content + b"x")
    else:
        path.unlink()


SPOILT: dict[str, dict[str, str]] = {
    "flipped": {"a.mrc": "different"},
    "truncated": {"a.mrc": "different"},
    "emptied": {"a.mrc": "different"},
    "grown": {"a.mrc": "different"},
    "renamed": {"a.mrc": "missing", "other.mrc": "unknown"},
    "deleted": {"a.mrc": "missing"},
}


@pytest.mark.parametrize("how", SPOILT)
def test_what_befalls_a_file_on_the_file_system_is_found(dataset: Dataset, how: str) -> None:
    receipt = dataset.receipt()
    assert bad(on_file_system(receipt, dataset.listing(), "d")) == {}
    spoil(dataset.fsx / "data" / "d" / "a.mrc", how)
    assert bad(on_file_system(receipt, dataset.listing(), "d")) == SPOILT[how]
    without = bad(on_file_system(receipt, dataset.listing(checksums=False), "d"))
    assert without == ({} if how == "flipped" else SPOILT[how]), "only reading it finds a flipped byte"


@pytest.mark.parametrize("how", SPOILT)
def test_what_befalls_a_file_on_the_share_is_found(dataset: Dataset, how: str) -> None:
    receipt = dataset.receipt()
    assert bad(on_disk(dataset.share / "d", receipt)[0]) == {}
    spoil(dataset.share / "d" / "a.mrc", how)
    # What is gone from the share was purged; what has another name there is not in the bucket.
    assert bad(on_disk(dataset.share / "d", receipt)[0]) == {
        "renamed": {"other.mrc": "missing"}, "deleted": {},
    }.get(how, SPOILT[how])  # fmt: skip


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("overwritten", {"a.mrc": "different"}),
        ("deleted", {"a.mrc": "missing"}),
        ("added", {"b.mrc": "unknown"}),
    ],
)
def test_what_befalls_an_object_is_found(dataset: Dataset, how: str, expected: dict[str, str]) -> None:
    receipt = dataset.receipt()
    current = verify._current(dataset.system.clients, BUCKET, "d")
    assert bad(in_bucket(receipt, current)) == {}
    if how == "deleted":
        dataset.s3.delete_object(Bucket=BUCKET, Key="datasets/d/a.mrc")
    else:
        # The same content: still another version, which nobody has verified.
        name = "a.mrc" if how == "overwritten" else "b.mrc"
        dataset.s3.put_object(Bucket=BUCKET, Key=f"datasets/d/{name}", Body=b"a.mrc" * 3)
    assert bad(in_bucket(receipt, verify._current(dataset.system.clients, BUCKET, "d"))) == expected


def test_an_unverified_file_is_so_everywhere_however_equal_its_copies_are(dataset: Dataset) -> None:
    dataset.put("late.mrc", b"late", status="unverified")
    receipt = dataset.receipt()
    for found in (
        by_reports(receipt),
        in_bucket(receipt, verify._current(dataset.system.clients, BUCKET, "d")),
        on_file_system(receipt, dataset.listing(), "d"),
        on_disk(dataset.share / "d", receipt)[0],
    ):
        assert bad(found) == {"late.mrc": "unverified"}


def test_twenty_thousand_small_files_are_each_compared(dataset: Dataset) -> None:
    folder = dataset.fsx / "data" / "d" / "many"
    folder.mkdir()
    for n in range(20_000):
        content = str(n).encode()
        (folder / f"{n}.xml").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        line = File(path=f"many/{n}.xml", status="verified", size=len(content), sha256=digest, version="v")
        dataset.lines.append(line)
    receipt = dataset.receipt()
    assert bad(on_file_system(receipt, dataset.listing(), "d")) == {}
    (folder / "12345.xml").write_bytes(b"12346")
    assert bad(on_file_system(receipt, dataset.listing(), "d")) == {"many/12345.xml": "different"}


def test_what_cannot_be_read_is_not_verified(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = dataset.receipt()
    listed = [
        ListedFile(path=each.path, kind=each.kind, size=each.size, mtime=each.mtime, error="Permission denied")
        for each in dataset.listing()
    ]
    assert set(bad(on_file_system(receipt, listed, "d")).values()) == {"unverified"}

    def denied(path: Path) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(verify, "read_file", denied)
    assert set(bad(on_disk(dataset.share / "d", receipt)[0]).values()) == {"unverified"}


def without_sha256(receipt: Receipt, **kept: Any) -> Receipt:
    """As if DataSync's reports had no checksums. kept: what S3 has of each file, by what makes it of the content."""
    lines = {
        path: replace(line, kept=Kept(sha256=None, **{name: of(path) for name, of in kept.items()}))
        for path, line in receipt.lines.items()
    }
    return Receipt(document=receipt.document, lines=lines)


def content(path: str) -> bytes:
    return b"" if path == "empty.xml" else path.encode() * 3


def test_a_manifest_without_a_checksum_cannot_prove_what_is_read(dataset: Dataset) -> None:
    bare = without_sha256(dataset.receipt())
    unproven = bad(on_file_system(bare, dataset.listing(), "d"))
    assert unproven == {name: "unverified" for name in NAMES if name != "empty.xml"}, "nothing is the same as nothing"
    assert bad(on_file_system(bare, dataset.listing(checksums=False), "d")) == {}


def test_what_s3_keeps_stands_in_for_a_sha256_of_the_reports(dataset: Dataset) -> None:
    def sha256(path: str) -> str:
        return base64.b64encode(hashlib.sha256(content(path)).digest()).decode()

    receipt = without_sha256(dataset.receipt(), s3_checksum=sha256, s3_algorithm=lambda path: "SHA256")
    assert bad(on_file_system(receipt, dataset.listing(), "d")) == {}
    assert bad(on_disk(dataset.share / "d", receipt)[0]) == {}
    for root in (dataset.share / "d", dataset.fsx / "data" / "d"):
        spoil(root / "a.mrc", "flipped")
    assert bad(on_file_system(receipt, dataset.listing(), "d")) == {"a.mrc": "different"}
    assert bad(on_disk(dataset.share / "d", receipt)[0]) == {"a.mrc": "different"}
    in_parts = without_sha256(
        dataset.receipt(), s3_checksum=lambda path: f"{sha256(path)}-5", s3_algorithm=lambda path: "SHA256"
    )
    assert set(bad(on_file_system(in_parts, dataset.listing(), "d")).values()) == {"unverified"}


def crc64nvme(data: bytes, before: int = 0) -> int:
    """CRC-64/NVME, bit by bit (its check value is in the catalogue of parametrised CRC algorithms)."""
    value = before ^ 0xFFFFFFFFFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = (value >> 1) ^ (0x9A6C9329AC4BC9B5 if value & 1 else 0)
    return value ^ 0xFFFFFFFFFFFFFFFF


def test_a_share_is_held_to_the_crc_that_s3_keeps_where_python_computes_it(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert crc64nvme(b"123456789") == 0xAE8B14860A799888
    assert crc64nvme(b"6789", crc64nvme(b"12345")) == 0xAE8B14860A799888
    receipt = without_sha256(
        dataset.receipt(),
        s3_checksum=lambda path: base64.b64encode(crc64nvme(content(path)).to_bytes(8, "big")).decode(),
        s3_algorithm=lambda path: "CRC64NVME",
    )
    monkeypatch.setitem(sys.modules, "awscrt.checksums", None)
    assert fast_crc() is None
    found, _ = on_disk(dataset.share / "d", receipt)
    assert set(bad(found).values()) == {"unverified"}
    assert "pip install awscrt" in next(each.reason for each in found if each.status == "unverified")
    library = ModuleType("awscrt.checksums")
    library.crc64nvme = crc64nvme  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "awscrt", ModuleType("awscrt"))
    monkeypatch.setitem(sys.modules, "awscrt.checksums", library)
    assert bad(on_disk(dataset.share / "d", receipt)[0]) == {}
    spoil(dataset.share / "d" / "a.mrc", "flipped")
    assert bad(on_disk(dataset.share / "d", receipt)[0]) == {"a.mrc": "different"}


def test_the_sha256_of_the_reports_goes_over_what_s3_keeps() -> None:
    """S3 has what it was sent; the report has what was on the share."""
    kept = Kept(sha256="00" * 32, s3_checksum=base64.b64encode(b"\1" * 32).decode(), s3_algorithm="SHA256")
    assert kept.same("00" * 32) is True
    assert kept.same("01" * 32) is False
    assert Kept(sha256=None).same("00" * 32) is None
    assert Read(length=1, sha256="x").crc64nvme is None


def test_a_sentinel_that_somebody_put_there_is_excused_when_the_receipt_is_complete(dataset: Dataset) -> None:
    dataset.put("DONE", b"", status="unknown")
    receipt = dataset.receipt()
    assert receipt.complete
    assert bad(by_reports(receipt)) == {}
    assert bad(in_bucket(receipt, verify._current(dataset.system.clients, BUCKET, "d"))) == {}
    dataset.put("gain.gain", b"x", status="unknown")
    assert bad(by_reports(dataset.receipt())) == {"DONE": "unknown", "gain.gain": "unknown"}


# --- the command --------------------------------------------------------------------------------------------------------

Said = Callable[[], Any]


def test_a_dataset_that_is_whole_everywhere(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.write()
    assert run("verify", "d", "--checksums", "--share", str(dataset.share)) == 0
    out = capsys.readouterr().out
    rows = [line.split()[:7] for line in out.splitlines() if line.startswith(("share", "bucket", "file system"))]
    assert [[each for each in row if each.isdigit()] for row in rows] == [["6", "0", "0", "0", "0"]] * 4
    assert "receipt of 1970-01-01" in out
    assert out.rstrip().endswith("d is safe to purge from the microscope disk")


def test_a_flipped_byte_on_the_file_system_is_named(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    dataset.write()
    spoil(dataset.fsx / "data" / "d" / "zeile\numbruch.tif", "flipped")
    assert run("verify", "d") == 0
    assert run("verify", "d", "--checksums") == 1
    said = capsys.readouterr()
    assert '"zeile\\numbruch.tif"  (its checksum is not that of the manifest)' in said.out
    assert "The file system has 1 file otherwise or not compared; that says nothing of the microscope disk" in said.out
    assert said.out.rstrip().endswith("\nd is safe to purge from the microscope disk"), "the file system is a cache"
    assert "cryoem verify: not all of d is verified" in said.err


@pytest.mark.parametrize("where", ["share", "bucket"])
def test_a_flipped_byte_elsewhere_keeps_the_microscopes_disk(
    dataset: Dataset, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.write()
    if where == "share":
        spoil(dataset.share / "d" / "a.mrc", "flipped")
    else:
        dataset.s3.put_object(Bucket=BUCKET, Key="datasets/d/a.mrc", Body=b"b.mrc" * 3)
    assert run("verify", "d", "--share", str(dataset.share)) == 1
    assert capsys.readouterr().out.rstrip().endswith("d is NOT safe to purge from the microscope disk")


def test_reports_without_checksums_do_not_speak_against_the_receipt(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.lines = [replace(line, sha256=None, s3_checksum="abc=", s3_algorithm="CRC64NVME") for line in dataset.lines]
    dataset.write()
    assert run("verify", "d", "--checksums") == 1
    out = capsys.readouterr().out
    assert "(its reports have no SHA-256" in out
    assert "The file system has 5 files otherwise or not compared" in out
    assert out.rstrip().endswith("\nd is safe to purge from the microscope disk")
    assert run("verify", "d", "--checksums", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verified"], found["safe_to_purge"]) == (False, True)


# ---- what patterns leave on the share ------------------------------------------------------------------------------

MICROSCOPES = """
microscopes:
  - {name: krios, software: epu, agent_arn: "arn:aws:datasync:us-east-1:123456789012:agent/agent-0123456789abcdef0",
     nfs: {host: krios, path: /data}, exclude_patterns: ["*/atlas"]}
"""
TALOS = """\
  - {name: talos, agent_arn: "arn:aws:datasync:us-east-1:123456789012:agent/agent-0123456789abcdef1",
     nfs: {host: talos, path: /data}}
"""
LEFT = ["Thumbs.db", "Images-Disc1/FoilHole_1.jpg", "atlas/Atlas_1.mrc", "writing.mrc.part"]


def leave(dataset: Dataset, *names: str) -> None:
    for name in names:
        path = dataset.share / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def test_what_patterns_leave_on_the_share_is_counted_and_not_missing(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every dataset of EPU has such files."""
    with Path("cryoem.yaml").open("a") as file:
        file.write(MICROSCOPES)
    dataset.write()
    leave(dataset, *LEFT)
    assert run("verify", "d", "--share", str(dataset.share)) == 0
    out = capsys.readouterr().out
    assert "4 files of the share are in no manifest, because patterns leave them there: purge what it lists" in out
    assert run("verify", "d", "--share", str(dataset.share), "--json") == 0
    found = json.loads(capsys.readouterr().out)["ways"]["share here"]
    assert (sorted(found["left_out"]), found["missing"]) == (sorted(LEFT), 0)
    leave(dataset, "forgotten.mrc")
    assert run("verify", "d", "--share", str(dataset.share)) == 1
    assert "forgotten.mrc  (on the share, and not in the bucket)" in capsys.readouterr().out


def test_of_several_microscopes_all_agree_or_one_is_named(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    with Path("cryoem.yaml").open("a") as file:
        file.write(MICROSCOPES + TALOS)
    dataset.write()
    leave(dataset, *LEFT)
    share = ("--share", str(dataset.share))
    assert run("verify", "d", *share, "--microscope", "krios") == 0
    capsys.readouterr()
    assert run("verify", "d", *share) == 1, "talos leaves neither previews nor an atlas"
    out = capsys.readouterr().out
    assert "Atlas_1.mrc  (on the share" in out
    assert "Thumbs.db  (on the share" not in out
    assert run("verify", "d", *share, "--microscope", "polara") == 1
    assert "--microscope: got polara, allowed: krios, talos" in capsys.readouterr().err


def test_without_the_file_what_is_never_copied_is_left_out(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.write()
    leave(dataset, "Thumbs.db", "writing.mrc.part")
    system = ("--name", "cryoem", "--region", "us-east-1", "--share", str(dataset.share))
    assert run("verify", "d", *system) == 0
    leave(dataset, "atlas/Atlas_1.mrc")
    assert run("verify", "d", *system) == 1
    assert "Atlas_1.mrc  (on the share" in capsys.readouterr().out


def test_a_file_that_the_manifest_has_is_compared_whatever_patterns_say(dataset: Dataset) -> None:
    receipt = dataset.receipt()
    spoil(dataset.share / "d" / "a.mrc", "flipped")
    found, left = on_disk(dataset.share / "d", receipt, lambda name: True)
    assert (bad(found), left) == ({"a.mrc": "different"}, [])


def test_twenty_names_of_each_kind_are_shown_and_json_has_all(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    for n in range(25):
        dataset.put(f"u{n:02}.mrc", b"u", status="unverified")
    dataset.write()
    assert run("verify", "d") == 1
    out = capsys.readouterr().out
    assert out.count("  u19.mrc") == 3
    assert "u20.mrc" not in out
    assert out.count("  and 5 more (--json has all)") == 3
    assert "because 25 files copied and not verified" in out
    assert run("verify", "d", "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["verified"], found["ways"]["bucket"]["unverified"], len(found["ways"]["share"]["files"])) == (
        False,
        25,
        25,
    )
    assert found["receipt"]["complete"] is False


def test_without_the_head_node_the_other_two_are_compared_and_it_says_so(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def asleep(*_: Any, **__: Any) -> Any:
        raise Failed("the head node is stopped, and only it sees the file system: cryoem wake")

    monkeypatch.setattr(verify, "file_listing", asleep)
    dataset.write()
    assert run("verify", "d") == 0
    out = capsys.readouterr().out
    assert "file system   not looked at: the head node is stopped, and only it sees the file system: cryoem wake" in out
    assert run("verify", "d", "--json") == 0
    assert json.loads(capsys.readouterr().out)["ways"]["file system"]["looked"] is False
    assert run("verify", "d", "--checksums") == 1
    assert "cryoem verify: the head node is stopped" in capsys.readouterr().err


def test_a_receipt_that_is_not_complete_fails_though_all_files_are_verified(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.lines = [line for line in dataset.lines if line.path == "empty.xml"]
    dataset.write()
    assert run("verify", "d") == 1
    assert "because there is no movie in it" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["d"], "d has no receipt yet"),
        (["e"], "there is no dataset e, and none of such a name"),
        (["d", "--share", "/no/such"], "there is no folder /no/such/d"),
    ],
)
def test_what_cannot_be_compared_is_said(
    dataset: Dataset, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    if "--share" in arguments:
        dataset.write()
    assert run("verify", *arguments) == 1
    assert words in capsys.readouterr().err


def test_a_manifest_that_was_tampered_with_is_not_believed(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset.write()
    key = receipts.receipt_key("d")
    receipt = json.loads(dataset.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())
    other = dataset.s3.put_object(Bucket=BUCKET, Key=receipt["manifest"]["key"], Body=gzip.compress(b"{}\n"))
    receipt["manifest"]["version_id"] = other["VersionId"]
    dataset.s3.put_object(Bucket=BUCKET, Key=key, Body=json.dumps(receipt).encode())
    assert run("verify", "d") == 1
    assert "is not what the receipt was made of" in capsys.readouterr().err


def test_wrong_input_is_2(dataset: Dataset) -> None:
    assert run("verify", "d", "--name", "cryoem", "--config", "cryoem.yaml") == 2
    assert run("verify") == 2


def test_names_are_shown_on_one_line() -> None:
    assert [shown(name) for name in ("a b.mrc", "é.mrc", "a\nb")] == ["a b.mrc", "é.mrc", '"a\\nb"']
    assert shown(os.fsdecode(b"\xe9.mrc")) == '"\\udce9.mrc"'
