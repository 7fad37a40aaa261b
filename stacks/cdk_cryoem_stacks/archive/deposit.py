"""The listing for a deposition: read from the bucket and written into a folder. Nothing in the bucket is changed."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..operate.ask import Failed
from ..operate.words import cryoem, several
from . import deposition, headers
from .contents import Held
from .decide import COMPLETE
from .deposition import Described, File
from .headers import Header
from .work import Seen

_LARGEST_METADATA = 10_000_000
FILES, IMAGE_SETS, NOTES = "files.csv", "empiar.json", "notes.txt"


def manifest_key(dataset: str) -> str:
    """Where a dataset's manifest is."""
    return f"datasets/{dataset}.manifest.jsonl.gz"


def write(seen: Seen, folder: Path) -> str:
    """Write the three files; what to say of them. Errors: Failed."""
    there = [name for name in (FILES, IMAGE_SETS, NOTES) if (folder / name).exists()]
    if there:
        raise Failed(f"{folder} has {', '.join(there)} already: name another folder with --output")
    if not seen.objects:
        raise Failed(f"the landing bucket has nothing of {seen.name}")
    manifest = _manifest(seen)
    prefix = len(seen.movies.prefix)
    found = deposition.files(((each.key[prefix:], each.size) for each in seen.objects), manifest)
    described = dict(_describe(seen, found))
    told = list(_told(seen, found, has_manifest=bool(manifest)))
    document = {"imagesets": [each.properties for each in described.values()]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILES).write_text(deposition.table(found, dataset=seen.name), encoding="utf-8")
        (folder / IMAGE_SETS).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        (folder / NOTES).write_text(deposition.notes(described, seen.name, told), encoding="utf-8")
    except OSError as problem:
        raise Failed(f"{folder} cannot be written: {problem}") from problem
    missing = sum(len(each.missing) for each in described.values()) + len(deposition.OF_THE_ENTRY)
    sets = several(len(described), "image set")
    head = f"{folder}: {several(len(found), 'file')}, {sets}, {missing} things that the depositor adds ({NOTES} lists them)"
    return "\n".join([head, *told])


def _manifest(seen: Seen) -> list[dict[str, object]]:
    packed = seen.movies.read_if_there(manifest_key(seen.name))
    if packed is None:
        return []
    try:
        return [json.loads(line) for line in gzip.decompress(packed).splitlines()]
    except (OSError, EOFError, ValueError) as problem:
        raise Failed(f"the manifest {manifest_key(seen.name)} cannot be read: {problem}") from problem


def _told(seen: Seen, found: Sequence[File], *, has_manifest: bool) -> Iterator[str]:
    if not has_manifest:
        yield "There is no manifest of this dataset: the list has sizes, and no checksums."
    else:
        bare = sum(not each.sha256 and not each.s3_checksum for each in found)
        if bare:
            yield f"{several(bare, 'file')} of {len(found)} have no checksum in the manifest."
    if not seen.receipt or seen.receipt.get("state") != COMPLETE:
        yield "The receipt is not complete: `cryoem verify` says what is not proven to have arrived."
    others = deposition.images(found) - len(deposition.movies(found))
    if others:
        yield f"{several(others, 'image')} beside the movies are in the list, and described by nothing: averages, gain references?"
    closed = sum(not each.readable(seen.at) for each in seen.objects)
    if closed:
        files = f"{several(closed, 'file')} of {len(found)}"
        yield f"{files} are in the archive: `{cryoem('restore', seen.name)}` before they are sent, and for what their headers say."


def _describe(seen: Seen, found: Sequence[File]) -> Iterator[tuple[str, Described]]:
    readable = {each.key[len(seen.movies.prefix) :]: each for each in seen.objects if each.readable(seen.at)}
    for code, movies in deposition.by_format(deposition.movies(found)).items():
        sampled = _first_and_last(movies)
        texts = _metadata(seen, sampled, readable)
        said = {name: deposition.pixel_of(name, text) for name, text in texts.items()}
        heads = {each.path: _header(seen, each) for each in sampled if each.path in readable}
        yield (
            code,
            deposition.describe(
                code,
                movies,
                {path: head for path, head in heads.items() if head is not None},
                {name: pixel for name, pixel in said.items() if pixel is not None},
                dataset=seen.name,
                tilts=any(deposition.has_tilts(text) for text in texts.values()),
            ),
        )


def _first_and_last(of: Sequence[File]) -> list[File]:
    return [of[0]] if len(of) == 1 else [of[0], of[-1]]


def _metadata(seen: Seen, sampled: Sequence[File], readable: Mapping[str, Held]) -> dict[str, str]:
    """Texts of what the microscope wrote beside these movies; and of the first mdoc, which may be of a whole tilt series."""
    wanted = [name for movie in sampled for name in deposition.metadata_of(movie.path)]
    wanted += [path for path in sorted(readable) if path.lower().endswith(".mdoc")][:1]
    held = {path: readable[path] for path in wanted if path in readable and readable[path].size <= _LARGEST_METADATA}
    return {path: seen.movies.read(each.key).decode("utf-8", "replace") for path, each in held.items() if each.size}


def _header(seen: Seen, movie: File) -> Header | None:
    """What a movie's header says; None when it is no header of its format."""

    def read(first: int, length: int) -> bytes:
        end = min(length, movie.size - first)
        return seen.movies.read(f"{seen.movies.prefix}{movie.path}", first, end) if end > 0 else b""

    lower = movie.path.lower()
    try:
        if lower.endswith((".mrc", ".mrcs")):
            return headers.mrc(read(0, headers.MRC_BYTES))
        return headers.tiff(read, count_frames=not lower.endswith(".eer"))
    except ValueError:
        return None
