"""A dataset as EMPIAR wants it described: image sets and files, and a list of what nobody but the depositor knows. Pure.

Names, codes and what is required are those of EMPIAR's deposition schema (github.com/emdb-empiar/empiar-depositor,
empiar_depositor/empiar_deposition.schema.json, version 1-0-0 as of commit 0b984ee).
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .headers import Header

_MULTIFRAME, _SINGLE_FRAME, _OTHER = "('T2', '')", "('T1', '')", "OT"
FORMATS = {
    ".mrc": "('T1', '')",
    ".mrcs": "('T2', '')",
    ".tif": "('T3', '')",
    ".tiff": "('T3', '')",
    ".eer": "('T9', '')",
}
_VOXELS = (
    *("UNSIGNED BYTE", "SIGNED BYTE", "UNSIGNED 16 BIT INTEGER", "SIGNED 16 BIT INTEGER"),
    *("UNSIGNED 32 BIT INTEGER", "SIGNED 32 BIT INTEGER", "32 BIT FLOAT", "BIT"),
)
_REQUIRED = ("name", "frames_per_image", "voxel_type", "category")
"""What EMPIAR wants of an image set, and a bucket does not have for sure."""
OF_THE_ENTRY = (
    *("title", "release_date", "experiment_type", "authors"),
    *("corresponding_author", "principal_investigator", "citation"),
)
"""What EMPIAR wants of the whole entry, and no dataset knows."""
_WHY = {
    "name": "what is on the images, in a few words",
    "frames_per_image": "no header says it, or headers differ; in EER it is chosen when the movie is read",
    "voxel_type": "no header says it, or headers differ",
    "category": "single frame or multiframe: no header and no name says it",
    "pixel_width": "neither metadata of the microscope nor headers say it, or they differ",
    "image_width": "no header says it, or headers differ",
}
# EPU and Tomo5 name movies so, beside averages that have the same suffix (Murfey knows them by it).
_FRACTIONS = re.compile(r"(fractions\.(mrcs?|tiff?)|\.eer)$", re.IGNORECASE)
_GAIN = re.compile(r"gain", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class File:
    """One file of a dataset. path: below the dataset. sha256 and s3_checksum from the receipt's manifest, if it has them."""

    path: str
    size: int
    sha256: str = ""
    s3_checksum: str = ""
    s3_algorithm: str = ""
    status: str = ""


def files(held: Iterable[tuple[str, int]], manifest: Iterable[Mapping[str, Any]]) -> list[File]:
    """Files of a listing (path, size) with what the manifest knows of each; of another size it knows nothing."""
    known = {str(line["path"]): line for line in manifest}
    made = []
    for path, size in held:
        line = known.get(path, {})
        if line.get("size") != size:
            line = {}
        texts = {name: str(line.get(name) or "") for name in ("sha256", "s3_checksum", "s3_algorithm", "status")}
        made.append(File(path=path, size=size, **texts))
    return made


def table(of: Sequence[File], *, dataset: str) -> str:
    """The list of files as CSV: paths as they will be in the entry, which puts everything below data/."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "bytes", "sha256", "s3_checksum", "s3_checksum_algorithm", "receipt"))
    for each in of:
        path = f"data/{dataset}/{each.path}"
        writer.writerow((path, each.size, each.sha256, each.s3_checksum, each.s3_algorithm, each.status))
    return text.getvalue()


def images(of: Iterable[File]) -> int:
    """How many files have a suffix of images."""
    return sum(_suffix(each.path) in FORMATS for each in of)


def movies(of: Iterable[File]) -> list[File]:
    """The movies: where some are named as EPU and Tomo5 name them, those alone; never gain references."""
    images = [each for each in of if _suffix(each.path) in FORMATS and not _GAIN.search(posixpath.basename(each.path))]
    named = [each for each in images if _FRACTIONS.search(each.path)]
    return named or images


def metadata_of(path: str) -> list[str]:
    """Where EPU or SerialEM would have written what they know of a movie."""
    stem = posixpath.splitext(path)[0]
    exposure = re.sub(r"_(fractions|eer)$", "", stem, flags=re.IGNORECASE)
    return [f"{exposure}.xml", f"{path}.mdoc", f"{stem}.mdoc"]


def by_format(of: Iterable[File]) -> dict[str, list[File]]:
    """Movies by EMPIAR's code of their format: each is an image set of its own."""
    found: dict[str, list[File]] = defaultdict(list)
    for each in of:
        found[FORMATS[_suffix(each.path)]].append(each)
    return dict(sorted(found.items()))


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


@dataclass(kw_only=True)
class Described:
    """An image set as far as it is known. missing: by property, why; sources: by property, who says so."""

    properties: dict[str, Any]
    missing: dict[str, str] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)


def describe(
    code: str,
    of: Sequence[File],
    headers: Mapping[str, Header],
    pixels: Mapping[str, float],
    *,
    dataset: str,
    tilts: bool,
) -> Described:
    """An image set. headers: of the movies that were read, by path. pixels: Angstrom, by the metadata file that says it.

    tilts: whether the metadata speaks of tilt angles; then what an image is, is left to the depositor.
    """
    folder = posixpath.commonpath([posixpath.dirname(each.path) or "." for each in of])
    directory = f"data/{dataset}" + (f"/{folder}" if folder not in ("", ".") else "")
    made = Described(properties={"directory": directory, "header_format": code, "data_format": code})
    frames = _agreed(made, "frames_per_image", {path: each.frames for path, each in headers.items()})
    if tilts:
        made.missing["category"] = "the metadata has tilt angles: a tilt series ('T9'), or micrographs?"
        made.missing["num_images_or_tilt_series"] = f"there are {len(of)} files; how many tilt series are that?"
    else:
        made.properties["num_images_or_tilt_series"] = len(of)
        _category(made, of, frames)
    voxel = _agreed(made, "voxel_type", {path: each.voxel for path, each in headers.items()})
    if voxel is not None:
        made.properties["voxel_type"] = _voxel(str(voxel))
    _agreed(made, "image_width", {path: each.width for path, each in headers.items()})
    _agreed(made, "image_height", {path: each.height for path, each in headers.items()})
    said: dict[str, float | None] = {**pixels} or {path: each.pixel for path, each in headers.items()}
    pixel = _agreed(made, "pixel_width", said)
    if pixel is not None:
        made.properties["pixel_height"] = pixel
        made.sources["pixel_height"] = made.sources["pixel_width"]
    for name in (*_REQUIRED, "pixel_width", "image_width"):
        if name not in made.properties:
            made.missing.setdefault(name, _WHY[name])
    return made


def _category(made: Described, of: Sequence[File], frames: Any) -> None:
    if frames is not None:
        made.properties["category"] = _MULTIFRAME if frames > 1 else _SINGLE_FRAME
        made.sources["category"] = made.sources["frames_per_image"]
    elif all(_FRACTIONS.search(each.path) for each in of):
        made.properties["category"] = _MULTIFRAME
        made.sources["category"] = "the names of the files"


def _agreed(made: Described, name: str, said: Mapping[str, Any]) -> Any:
    """What all that say anything say alike, which is noted; else None, and why."""
    heard = {path: value for path, value in said.items() if value is not None}
    if len(set(heard.values())) != 1:
        if heard:
            made.missing[name] = "; ".join(f"{path} says {value}" for path, value in sorted(heard.items()))
        return None
    value = next(iter(heard.values()))
    made.properties[name] = value
    made.sources[name] = ", ".join(sorted(heard))
    return value


def _voxel(word: str) -> str:
    return f"('T{_VOXELS.index(word) + 1}', '')" if word in _VOXELS else f"('{_OTHER}', '{word}')"


def pixel_of(name: str, text: str) -> float | None:
    """Angstrom by pixel as EPU's XML of an exposure or an mdoc says it; None when it does not."""
    if name.lower().endswith(".mdoc"):
        found = re.search(r"^\s*PixelSpacing\s*=\s*([\d.eE+-]+)", text, re.MULTILINE)
        factor = 1.0
    else:
        # Metres (SpatialScale/pixelSize/x/numericValue of a MicroscopeImage).
        found = re.search(
            r"<(?:\w+:)?pixelSize\b.*?<(?:\w+:)?x\b.*?<(?:\w+:)?numericValue>\s*([\d.eE+-]+)\s*<", text, re.DOTALL
        )
        factor = 1e10
    try:
        value = float(found[1]) * factor if found else 0.0
    except ValueError:
        return None
    return round(value, 4) if 0.01 < value < 1000 else None


def has_tilts(text: str) -> bool:
    """Whether an mdoc is of a tilt series: it has more than one angle."""
    return len(set(re.findall(r"^\s*TiltAngle\s*=\s*(\S+)", text, re.MULTILINE))) > 1


def notes(of: Mapping[str, Described], dataset: str, others: Sequence[str]) -> str:
    """For the depositor: what is missing, and who says what there is. others: what else is to be known."""
    lines = [f"Dataset {dataset}: for its deposition in EMPIAR.", "", *others, ""]
    lines += ["Nobody but the depositor knows, of the entry: " + ", ".join(OF_THE_ENTRY) + ".", ""]
    for number, described in enumerate(of.values()):
        lines.append(f"imagesets[{number}], {described.properties['directory']}:")
        lines += [f"  missing  {name}: {why}" for name, why in described.missing.items()]
        lines += [
            f"  known    {name} = {described.properties[name]}, by {source}"
            for name, source in described.sources.items()
        ]
        lines.append("")
    return "\n".join(lines)
