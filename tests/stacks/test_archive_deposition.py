"""`cryoem deposit`: what a dataset is in EMPIAR's words, and what is left to the depositor."""

from __future__ import annotations

import csv
import gzip
import json
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from archive_account import BUCKET, Archive, archive_at_hand
from operate_account import run

from cdk_cryoem_lambda import receipts
from cdk_cryoem_stacks.archive import deposition, headers
from cdk_cryoem_stacks.archive.deposition import File
from cdk_cryoem_stacks.archive.headers import Header

# What EMPIAR's schema says of an image set (emdb-empiar/empiar-depositor, empiar_deposition.schema.json, 0b984ee).
CODE = r"^(\('T([2-9]|10?)', ''\))|\('OT', '[A-Z0-9 ]+'\)$"
IMAGE_SET = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 200},
        "directory": {"type": "string", "maxLength": 200, "pattern": r"^[^\0]+$"},
        "category": {"type": "string", "pattern": r"^(\('T([2-9]|10?)', ''\))|\('OT', '[^\0]+'\)$"},
        **{name: {"type": "string", "pattern": CODE} for name in ("header_format", "data_format", "voxel_type")},
        **{name: {"type": "integer"} for name in ("num_images_or_tilt_series", "frames_per_image")},
        **{name: {"type": ["null", "number"]} for name in ("pixel_width", "pixel_height")},
        **{name: {"type": ["null", "integer"]} for name in ("image_width", "image_height")},
    },
    "additionalProperties": False,
    "required": [
        *("name", "directory", "category", "header_format", "data_format", "num_images_or_tilt_series"),
        *("frames_per_image", "voxel_type"),
    ],
}
EPU_XML = """<?xml version="1.0"?><MicroscopeImage xmlns="http://schemas.datacontract.org/2004/07/Fei.SharedObjects">
<SpatialScale><pixelSize><x><numericValue>8.24E-11</numericValue><unit/></x><y><numericValue>8E-11</numericValue></y>
</pixelSize></SpatialScale></MicroscopeImage>"""


def mrc(width: int = 64, height: int = 32, frames: int = 40, mode: int = 6, pixel: float = 0.82) -> bytes:
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, width, height, frames, mode)
    struct.pack_into("<3i", head, 28, width, height, frames)
    struct.pack_into("<3f", head, 40, width * pixel, height * pixel, frames * pixel)
    head[208:214] = b"MAP \x44\x44"
    return bytes(head)


def tiff(
    frames: int, *, bits: int = 8, kind: int = 1, order: str = "<", large: bool = False, loop: bool = False
) -> bytes:
    """A TIFF of so many directories, without pixels."""
    entries = [(256, 4, 64), (257, 4, 32), (258, 3, bits), (339, 3, kind), (262, 3, 1)]
    count, pointer, size = ("Q", "Q", 20) if large else ("H", "I", 12)
    mark = b"II" if order == "<" else b"MM"
    head = mark + (struct.pack(f"{order}3HQ", 43, 8, 0, 16) if large else struct.pack(f"{order}HI8x", 42, 16))
    length = struct.calcsize(f"{order}{count}") + len(entries) * size + struct.calcsize(f"{order}{pointer}")
    made = head
    for frame in range(frames):
        made += struct.pack(f"{order}{count}", len(entries))
        for tag, type_, value in entries:
            form = f"{order}HHQ" if large else f"{order}HHI"
            body = struct.pack(f"{order}{'H' if type_ == 3 else 'I'}", value).ljust(8 if large else 4, b"\0")
            made += struct.pack(form, tag, type_, 1) + body
        following = 16 + length * (frame + 1)
        made += struct.pack(f"{order}{pointer}", following if frame < frames - 1 else 16 if loop else 0)
    return made


def of(data: bytes) -> headers.Read:
    return lambda first, length: data[first : first + length]


# --- headers ----------------------------------------------------------------------------------------------------------


def test_an_mrc_header() -> None:
    expected = Header(width=64, height=32, frames=40, voxel="UNSIGNED 16 BIT INTEGER", pixel=0.82)
    assert headers.mrc(mrc()) == expected
    head = bytearray(1024)
    struct.pack_into(">4i", head, 0, 5, 6, 7, 2)
    head[208:214] = b"MAP \x11\x11"
    assert headers.mrc(bytes(head)) == Header(width=5, height=6, frames=7, voxel="32 BIT FLOAT")
    assert headers.mrc(mrc(pixel=1.0)).pixel is None, "what a program writes that does not know it"
    assert headers.mrc(mrc(mode=3)).voxel is None
    for wrong in (mrc()[:1023], bytes(1024), b""):
        with pytest.raises(ValueError, match="no MRC header"):
            headers.mrc(wrong)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("large", [False, True])
def test_a_tiff_header(order: str, large: bool) -> None:
    made = tiff(7, order=order, large=large)
    assert headers.tiff(of(made), count_frames=True) == Header(width=64, height=32, frames=7, voxel="UNSIGNED BYTE")
    assert headers.tiff(of(made), count_frames=False).frames is None
    signed = headers.tiff(of(tiff(1, bits=16, kind=2, order=order, large=large)), count_frames=True)
    assert (signed.voxel, signed.frames) == ("SIGNED 16 BIT INTEGER", 1)


def test_a_tiff_that_is_none_or_has_no_end() -> None:
    for wrong in (b"", b"II", b"PNG" * 10, tiff(1)[:40], b"II*\0\xff\xff\xff\x7f" + bytes(20)):
        with pytest.raises(ValueError, match="TIFF header"):
            headers.tiff(of(wrong), count_frames=True)
    assert headers.tiff(of(tiff(3, loop=True)), count_frames=True).frames is None
    assert headers.tiff(of(tiff(400)), count_frames=True).frames == 400
    assert headers.tiff(of(tiff(401)), count_frames=True).frames is None, "too many reads"


# --- what is said of it: pure -----------------------------------------------------------------------------------------


def test_movies_are_what_epu_calls_fractions_and_no_gain_reference() -> None:
    paths = ["a_Fractions.mrc", "a.mrc", "a.xml", "b_EER.eer", "gain.mrc", "x/Gain_fractions.tiff"]
    made = [File(path=path, size=1) for path in paths]
    assert [each.path for each in deposition.movies(made)] == ["a_Fractions.mrc", "b_EER.eer"]
    others = [File(path=path, size=1) for path in ("m1.tif", "m2.TIFF", "CountRef_gain.mrc", "m1.tif.mdoc")]
    assert [each.path for each in deposition.movies(others)] == ["m1.tif", "m2.TIFF"]
    by_format = deposition.by_format(deposition.movies(made))
    assert {code: [each.path for each in of_it] for code, of_it in by_format.items()} == {
        "('T1', '')": ["a_Fractions.mrc"],
        "('T9', '')": ["b_EER.eer"],
    }


def test_headers_that_differ_are_told_and_nothing_is_chosen() -> None:
    made = deposition.describe(
        "('T1', '')",
        [File(path="x/a.mrc", size=1), File(path="x/b.mrc", size=1)],
        {
            "x/a.mrc": Header(width=8, frames=40, voxel="BIT"),
            "x/b.mrc": Header(width=8, frames=41, voxel="4 BIT INTEGER"),
        },
        {},
        dataset="d",
        tilts=False,
    )
    assert made.missing["frames_per_image"] == "x/a.mrc says 40; x/b.mrc says 41"
    assert made.missing["voxel_type"] == "x/a.mrc says BIT; x/b.mrc says 4 BIT INTEGER"
    assert "category" in made.missing
    assert made.properties["directory"] == "data/d/x"
    assert made.properties["image_width"] == 8
    assert not {"frames_per_image", "voxel_type", "category", "pixel_width", "name"} & made.properties.keys()


def test_a_tilt_series_is_left_to_the_depositor() -> None:
    files = [File(path="Position_1_001_fractions.tiff", size=1)]
    made = deposition.describe("('T3', '')", files, {}, {}, dataset="d", tilts=True)
    assert {"category", "num_images_or_tilt_series"} <= made.missing.keys()
    assert deposition.has_tilts("[ZValue = 0]\nTiltAngle = 0.01\n[ZValue = 1]\nTiltAngle = 3.0\n")
    assert not deposition.has_tilts("TiltAngle = 0.01\n")


@pytest.mark.parametrize(
    ("name", "text", "pixel"),
    [
        ("a.xml", EPU_XML, 0.824),
        ("a.xml", "<x>1</x>", None),
        ("a.xml", EPU_XML.replace("8.24E-11", "eE-"), None),
        ("a.mdoc", "T = SerialEM\nPixelSpacing = 1.37\n", 1.37),
        ("a.mdoc", "PixelSpacing = 0\n", None),
        ("a.mdoc", "BinnedPixelSpacing = 2\n", None),
    ],
)
def test_pixel_sizes(name: str, text: str, pixel: float | None) -> None:
    assert deposition.pixel_of(name, text) == pixel


def test_a_manifest_of_another_file_says_nothing_of_this_one() -> None:
    line = receipts.File(
        path="a.mrc", status="verified", size=5, sha256="ab", s3_checksum="cd", s3_algorithm="CRC64NVME"
    )
    manifest = [json.loads(line.line())]
    (same,) = deposition.files([("a.mrc", 5)], manifest)
    assert (same.sha256, same.s3_checksum, same.s3_algorithm, same.status) == ("ab", "cd", "CRC64NVME", "verified")
    (other,) = deposition.files([("a.mrc", 6)], manifest)
    assert (other.sha256, other.status) == ("", "")


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Archive]:
    with archive_at_hand(monkeypatch, tmp_path) as made:
        yield made


def put(archive: Archive, key: str, body: bytes, storage_class: Any = "STANDARD") -> None:
    archive.system.clients.s3.put_object(Bucket=BUCKET, Key=f"datasets/{key}", Body=body, StorageClass=storage_class)


def session(archive: Archive, *, storage_class: str = "STANDARD") -> None:
    for name in ("ü a", "b"):
        put(archive, f"d/Data/{name}_Fractions.mrc", mrc(), storage_class)
        put(archive, f"d/Data/{name}.xml", EPU_XML.encode())
    put(archive, "d/GridSquare_1.xml", EPU_XML.replace("8.24E-11", "3E-8").encode())
    archive.system.put("dataset", "d", state="landed", last_at=5, objects=5, size_bytes=5000)


def test_the_listing_is_what_empiar_takes_but_for_what_the_depositor_knows(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session(archive)
    lines = [
        receipts.File(
            path="Data/b_Fractions.mrc",
            status="verified",
            size=1024,
            sha256="ab",
            s3_checksum="c",
            s3_algorithm="CRC64NVME",
        )
    ]
    put(archive, "d.manifest.jsonl.gz", gzip.compress("".join(each.line() + "\n" for each in lines).encode()))
    assert deposit_key() == receipts.manifest_key("d")
    assert run("deposit", "d") == 0
    said = capsys.readouterr().out
    assert "deposit-d: 5 files, 1 image set, 8 things that the depositor adds (notes.txt lists them)" in said
    assert "4 files of 5 have no checksum in the manifest." in said
    assert "The receipt is not complete" in said
    folder = tmp_path / "deposit-d"
    rows = list(csv.DictReader((folder / "files.csv").read_text().splitlines()))
    assert [row["path"] for row in rows] == [
        *("data/d/Data/b.xml", "data/d/Data/b_Fractions.mrc", "data/d/Data/ü a.xml", "data/d/Data/ü a_Fractions.mrc"),
        "data/d/GridSquare_1.xml",
    ]
    assert (rows[1]["bytes"], rows[1]["sha256"], rows[1]["receipt"]) == ("1024", "ab", "verified")
    (made,) = json.loads((folder / "empiar.json").read_text())["imagesets"]
    assert made == {
        "directory": "data/d/Data",
        "category": "('T2', '')",
        "header_format": "('T1', '')",
        "data_format": "('T1', '')",
        "num_images_or_tilt_series": 2,
        "frames_per_image": 40,
        "voxel_type": "('T3', '')",
        "pixel_width": 0.824,
        "pixel_height": 0.824,
        "image_width": 64,
        "image_height": 32,
    }
    with pytest.raises(jsonschema.ValidationError, match="'name' is a required property"):
        jsonschema.validate(made, IMAGE_SET)
    jsonschema.validate({**made, "name": "what the depositor says"}, IMAGE_SET)
    notes = (folder / "notes.txt").read_text()
    assert "missing  name: what is on the images, in a few words" in notes
    assert "of the entry: title, release_date, experiment_type, authors, corresponding_author" in notes
    assert "known    pixel_width = 0.824, by Data/b.xml, Data/ü a.xml" in notes


def deposit_key() -> str:
    from cdk_cryoem_stacks.archive.deposit import manifest_key

    return manifest_key("d")


def test_of_archived_movies_the_headers_stay_closed_which_is_said(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    session(archive, storage_class="DEEP_ARCHIVE")
    assert run("deposit", "d", "--output", "out/deep") == 0
    said = capsys.readouterr().out
    assert "2 files of 5 are in the archive: `cryoem restore d` before they are sent" in said
    assert "There is no manifest of this dataset: the list has sizes, and no checksums." in said
    (made,) = json.loads((tmp_path / "out" / "deep" / "empiar.json").read_text())["imagesets"]
    assert made["category"] == "('T2', '')", "by the names"
    assert made["pixel_width"] == 0.824
    assert "frames_per_image" not in made
    notes = (tmp_path / "out" / "deep" / "notes.txt").read_text()
    assert re.search(r"missing  frames_per_image: no header says it", notes)


def test_what_is_there_is_not_written_over(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    session(archive)
    assert run("deposit", "d") == 0
    assert run("deposit", "d") == 1
    assert "deposit-d has files.csv, empiar.json, notes.txt already: name another" in capsys.readouterr().err
    Path("file").write_text("")
    assert run("deposit", "d", "--output", "file/below") == 1
    assert "file/below cannot be written" in capsys.readouterr().err
    archive.system.put("dataset", "empty", state="landed")
    assert run("deposit", "empty") == 1
    assert "the landing bucket has nothing of empty" in capsys.readouterr().err
    put(archive, "d.manifest.jsonl.gz", b"no gzip")
    assert run("deposit", "d", "--output", "again") == 1
    assert "the manifest datasets/d.manifest.jsonl.gz cannot be read" in capsys.readouterr().err


def test_movies_that_are_none_are_listed_and_not_described_by_their_headers(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    put(archive, "d/a.tif", tiff(3))
    put(archive, "d/b.tif", b"torn")
    put(archive, "d/gain.mrc", mrc())
    archive.system.put("dataset", "d", state="landed")
    assert run("deposit", "d") == 0
    assert "1 image beside the movies are in the list, and described by nothing" in capsys.readouterr().out
    (tifs,) = json.loads(Path("deposit-d/empiar.json").read_text())["imagesets"]
    assert (tifs["frames_per_image"], tifs["num_images_or_tilt_series"], tifs["data_format"]) == (3, 2, "('T3', '')")


def test_an_eer_has_as_many_frames_as_somebody_makes_of_it(archive: Archive) -> None:
    put(archive, "d/c_EER.eer", tiff(2, large=True))
    archive.system.put("dataset", "d", state="landed")
    assert run("deposit", "d") == 0
    (eers,) = json.loads(Path("deposit-d/empiar.json").read_text())["imagesets"]
    assert (eers["category"], eers["data_format"], eers["image_width"]) == ("('T2', '')", "('T9', '')", 64)
    assert "frames_per_image" not in eers
    assert "in EER it is chosen when the movie is read" in Path("deposit-d/notes.txt").read_text()
