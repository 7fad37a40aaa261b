"""Which files of a microscope's share are copied: what never is, what each acquisition program leaves beside its movies.

DataSync's include patterns may have a `*` at their end only, so they can name folders and not kinds of files ("Transferring
specific files, objects, and folders by using filters", DataSync user guide). All that is told of kinds is therefore told by
exclusion.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from .problems import Problem, known

Software = Literal["epu", "tomo5", "serialem"]
LONGEST_FILTER = 102_400
"""Characters of all patterns of one filter together ("AWS DataSync quotas", DataSync user guide)."""
NEVER_COPIED = (
    "*.tmp", "*.TMP", "*.part", "*.partial", "*.filepart", "*/~*", "*/.~*", "*/.nfs*", "*/Thumbs.db", "*/desktop.ini",
    "*/.DS_Store", "*/System Volume Information", "*/$RECYCLE.BIN", "*/lost+found",
)  # fmt: skip
"""Names under which programs write what is not complete yet, and what operating systems leave on a share."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Acquisition:
    """What an acquisition program leaves in a dataset, each as names that it gives. No exclude pattern may hit one.

    movies: the data; metadata: what belongs to them, and gain references; previews: patterns of pictures for people that
    the program makes out of the movies, left where they are.
    """

    movies: tuple[str, ...]
    metadata: tuple[str, ...]
    previews: tuple[str, ...] = ()


_EPU = "/session/Images-Disc1/GridSquare_1"
_FOIL_HOLE = f"{_EPU}/Data/FoilHole_2_Data_3_4_20260102_030405"
_GAIN = (
    "/session/gain.mrc",
    "/session/20260102_gain.gain",
    "/session/CountRef.dm4",
    "/session/gain.tiff",
    "/session/g.eer",
)
ACQUISITIONS: Mapping[Software, Acquisition] = {
    "epu": Acquisition(
        movies=tuple(f"{_FOIL_HOLE}{end}" for end in ("_Fractions.mrc", "_Fractions.tiff", "_fractions.tiff", "_EER.eer")),
        metadata=(f"{_FOIL_HOLE}.xml", f"{_FOIL_HOLE}.mrc", "/session/EpuSession.dm", f"{_EPU}/Metadata/2.dm", *_GAIN),
        previews=("*/FoilHole_*.jpg", "*/GridSquare_*.jpg"),
    ),
    "tomo5": Acquisition(
        movies=(
            "/session/Position_1_001_-0.00_20260102_030405_fractions.tiff",
            "/session/Position_1_001_-0.00_20260102_030405_EER.eer",
            "/session/Position_1_002_3.00_Fractions.mrc",
        ),
        metadata=("/session/Position_1.mdoc", "/session/Position_1.mrc", "/session/Session.dm", "/session/SearchMap.xml", *_GAIN),
        previews=("*/Position_*.jpg", "*/SearchMap_*.jpg"),
    ),
    "serialem": Acquisition(
        movies=("/session/frames/ts_001_0.0.tif", "/session/frames/ts_001_3.0.mrc", "/session/f.eer", "/session/f.tiff"),
        # The picture of each image is the only view of a grid that SerialEM keeps; and NAME~ is what a new file replaced.
        metadata=("/session/ts_001.mrc.mdoc", "/session/f.tif.mdoc", "/session/ts_001.st", "/session/grid.nav",
                  "/session/f.mrc~", "/session/f.log", *_GAIN),
    ),
}  # fmt: skip


def excluded(software: Software | None, patterns: Sequence[str]) -> tuple[str, ...]:
    """All exclude patterns of a task: what is never copied, the program's previews, and those given; each once."""
    previews = ACQUISITIONS[software].previews if software is not None else ()
    return tuple(dict.fromkeys((*NEVER_COPIED, *previews, *patterns)))


def filter_value(patterns: Sequence[str]) -> str:
    """As DataSync takes them."""
    return "|".join(patterns)


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern hits a file, or a folder that it is in. path: from the share's folder on, with a slash before it."""
    pattern = pattern.rstrip("/")
    parts = path.strip("/").split("/")
    return any(fnmatch.fnmatchcase("/" + "/".join(parts[: n + 1]), _literal(pattern)) for n in range(len(parts)))


def pattern_problems(
    *,
    software: str | None,
    include_patterns: Sequence[str],
    exclude_patterns: Sequence[str],
    sentinel: str | None = None,
) -> Iterator[Problem]:
    """What is wrong with what is to be copied and what is not."""
    if known(software) and software not in ACQUISITIONS:
        yield Problem(property="software", value=software, allowed=", ".join(ACQUISITIONS))
    for name, patterns in (("include_patterns", include_patterns), ("exclude_patterns", exclude_patterns)):
        for pattern in patterns:
            if known(pattern) and (not pattern.strip() or any(c in pattern for c in "|\\\0")):
                yield Problem(
                    property=name,
                    value=pattern,
                    allowed="one pattern each, with forward slashes",
                    fix="A | separates patterns; write two entries",
                )
    for pattern in include_patterns:
        if known(pattern) and (not pattern.startswith("/") or "*" in pattern[:-1]):
            yield Problem(
                property="include_patterns",
                value=pattern,
                allowed="a folder below the share's path, such as /2026*, with a * at its end only",
                fix="DataSync takes no other pattern for what is included; leave kinds of files out by exclude_patterns",
            )
    for pattern in exclude_patterns:
        if known(pattern) and not pattern.startswith(("/", "*")):
            yield Problem(
                property="exclude_patterns",
                value=pattern,
                allowed="a pattern that begins with / (from the share's path) or * (anywhere), such as */atlas or *.bak",
            )
        elif known(pattern):
            yield from _protected(software, pattern)
    for name, patterns in (
        ("include_patterns", include_patterns),
        ("exclude_patterns", (*NEVER_COPIED, *exclude_patterns)),
    ):
        length = len(filter_value([pattern for pattern in patterns if known(pattern)]))
        if length > LONGEST_FILTER:
            yield Problem(
                property=name,
                value=f"{length} characters",
                allowed=f"{LONGEST_FILTER} characters together, a | between two",
            )
    yield from sentinel_problems(sentinel, exclude_patterns)


def sentinel_problems(sentinel: str | None, exclude_patterns: Sequence[str]) -> Iterator[Problem]:
    """Whether the file that says a dataset is complete would be left behind."""
    if not sentinel or not known(sentinel):
        return
    if any(matches(f"/d/{sentinel}", pattern) for pattern in NEVER_COPIED):
        yield Problem(
            property="sentinel", value=sentinel, allowed="a name that is copied; names like this one never are"
        )
    for pattern in exclude_patterns:
        if known(pattern) and matches(f"/d/{sentinel}", pattern):
            yield Problem(
                property="exclude_patterns",
                value=pattern,
                allowed=f"a pattern that does not hit the sentinel {sentinel}",
            )


def _protected(software: str | None, pattern: str) -> Iterator[Problem]:
    chosen = [found for name, found in ACQUISITIONS.items() if software in (None, name)]
    hit = next((name for each in chosen for name in (*each.movies, *each.metadata) if matches(name, pattern)), None)
    if hit is not None:
        yield Problem(
            property="exclude_patterns",
            value=pattern,
            allowed=f"a pattern that hits no movie, its metadata or a gain reference; this one hits {hit}",
            fix="Name a folder, such as /old-session, or a part of a name that no movie has",
        )


def _literal(pattern: str) -> str:
    # Of the wildcards of a shell, DataSync knows * alone.
    return pattern.replace("[", "[[]").replace("?", "[?]")
