"""Which files are copied: never what is half written, always movies, their metadata and gain references."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import Problem
from cdk_cryoem.ingest_patterns import (
    ACQUISITIONS,
    LONGEST_FILTER,
    NEVER_COPIED,
    Software,
    excluded,
    filter_value,
    matches,
    pattern_problems,
)

KEPT = [(name, path) for name, each in ACQUISITIONS.items() for path in (*each.movies, *each.metadata)]


def problems(**given: Any) -> list[Problem]:
    return list(pattern_problems(**{"software": None, "include_patterns": (), "exclude_patterns": (), **given}))


@pytest.mark.parametrize(("software", "path"), KEPT)
def test_no_movie_metadata_or_gain_reference_is_left_out_by_what_is_always_left_out(
    software: Software, path: str
) -> None:
    assert [pattern for pattern in excluded(software, ()) if matches(path, pattern)] == []


@pytest.mark.parametrize(
    "path",
    ["/d/a.mrc.tmp", "/d/A.TMP", "/d/sub/x.eer.part", "/d/x.partial", "/d/x.tiff.filepart", "/d/~lock.docx", "/~a/b.mrc",
     "/d/.~x.mrc", "/d/.nfs0001", "/d/Thumbs.db", "/Thumbs.db", "/System Volume Information/x", "/d/$RECYCLE.BIN/a.mrc"],
)  # fmt: skip
def test_what_is_half_written_or_of_the_operating_system_is_never_copied(path: str) -> None:
    assert any(matches(path, pattern) for pattern in NEVER_COPIED)


@pytest.mark.parametrize(
    "path", ["/d/tmp/a.mrc", "/d/a.tmp.mrc", "/d/part.mrc", "/d/a~b.mrc", "/d/a b ü 中.tiff", "/d/x.mrc~", "/d/DONE"]
)
def test_names_that_only_look_like_it_are_copied(path: str) -> None:
    assert [pattern for pattern in NEVER_COPIED if matches(path, pattern)] == []


def test_every_software_has_its_names() -> None:
    assert set(ACQUISITIONS) == set(get_args(Software))
    assert all(each.movies and each.metadata for each in ACQUISITIONS.values())


def test_previews_of_the_software_are_left_out_and_each_pattern_is_there_once() -> None:
    found = excluded("epu", ["*.bak", "*.tmp", "*.bak"])
    assert found == (*NEVER_COPIED, "*/FoilHole_*.jpg", "*/GridSquare_*.jpg", "*.bak")
    assert excluded(None, ()) == NEVER_COPIED
    assert filter_value(["/a", "*.b"]) == "/a|*.b"


@pytest.mark.parametrize(
    ("path", "pattern", "hit"),
    [("/a/b.mrc", "/a", True), ("/a/b.mrc", "/a/", True), ("/ab/c", "/a", False), ("/ab/c", "/a*", True),
     ("/x/a/c", "*/a", True), ("/x/a.tmp", "*.tmp", True), ("/x/A.tmp", "*/a*", False), ("/x[1]/a", "/x[1]", True),
     ("/x1/a", "/x[1]", False), ("/ab", "/a?", False)],
)  # fmt: skip
def test_a_pattern_hits_files_and_everything_in_folders_and_knows_case(path: str, pattern: str, hit: bool) -> None:
    assert matches(path, pattern) == hit


@pytest.mark.parametrize("pattern", ["/2026*", "/a b/c", "/a", "/a/"])
def test_includes(pattern: str) -> None:
    assert not problems(include_patterns=[pattern])


@pytest.mark.parametrize("pattern", ["*.mrc", "a", "/a*/b", "/*.mrc"])
def test_includes_that_datasync_refuses(pattern: str) -> None:
    (problem,) = problems(include_patterns=[pattern])
    assert (problem.property, "at its end only" in problem.allowed) == ("include_patterns", True)


@pytest.mark.parametrize("pattern", ["*.bak", "*/atlas", "/old", "/old*"])
@pytest.mark.parametrize("software", [None, "epu", "tomo5", "serialem"])
def test_excludes(pattern: str, software: str | None) -> None:
    assert not problems(exclude_patterns=[pattern], software=software)


@pytest.mark.parametrize("pattern", ["", "  ", "a|b", "a\\b", "/a\0"])
@pytest.mark.parametrize("name", ["include_patterns", "exclude_patterns"])
def test_what_is_no_single_pattern(name: str, pattern: str) -> None:
    found = problems(**{name: [pattern]})
    assert found[0].property == name
    assert found[0].fix == "A | separates patterns; write two entries"


def test_an_exclude_begins_at_the_share_or_anywhere() -> None:
    (problem,) = problems(exclude_patterns=["atlas"])
    assert problem.value == "atlas"


@pytest.mark.parametrize(
    "pattern", ["*", "*.eer", "*.xml", "*.mdoc", "*.tiff", "*.gain", "*.dm4", "*ractions*", "/*", "*.mrc"]
)
def test_a_pattern_that_would_leave_a_movie_or_its_metadata_behind_is_refused(pattern: str) -> None:
    (problem,) = problems(exclude_patterns=[pattern])
    assert problem.allowed.startswith(
        "a pattern that hits no movie, its metadata or a gain reference; this one hits /session/"
    )


@given(pattern=st.text("*/.abcdefilmnrstux_", min_size=1, max_size=8).map(lambda text: "*" + text))
def test_whatever_is_accepted_leaves_every_movie(pattern: str) -> None:
    if not problems(exclude_patterns=[pattern]):
        assert [path for _, path in KEPT if matches(path, pattern)] == []


def test_the_sentinel_is_copied() -> None:
    assert not problems(exclude_patterns=["*.bak"], sentinel="DONE")
    (problem,) = problems(exclude_patterns=["*/DO*"], sentinel="DONE")
    assert str(problem) == "exclude_patterns: got '*/DO*', allowed: a pattern that does not hit the sentinel DONE"
    (problem,) = problems(sentinel="done.tmp")
    assert (problem.property, problem.value) == ("sentinel", "done.tmp")


@pytest.mark.parametrize(
    ("name", "already"), [("include_patterns", 0), ("exclude_patterns", len(filter_value(NEVER_COPIED)) + 1)]
)
def test_the_length_of_a_filter(name: str, already: int) -> None:
    room = LONGEST_FILTER - already
    assert not problems(**{name: ["/" + "a" * (room - 1)]})
    (problem,) = problems(**{name: ["/" + "a" * room]})
    assert (problem.property, problem.value) == (name, f"{LONGEST_FILTER + 1} characters")


def test_an_unknown_software() -> None:
    (problem,) = problems(software="leginon")
    assert str(problem) == "software: got 'leginon', allowed: epu, tomo5, serialem"
