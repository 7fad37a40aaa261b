from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda.datasets import Seen, State, dataset_of, judge, look

NOW = 1_800_000_000.0
pure = settings(max_examples=60, deadline=None, derandomize=True, database=None)
names = st.sampled_from(["a.mrc", "b.TIFF", "c.eer", "notes.txt", "DONE", "a.mrc.xml", "x.mrcs"])
listings = st.lists(
    st.tuples(names.map("datasets/d/{}".format), st.integers(0, 10**10), st.floats(0, NOW)), min_size=1, max_size=8
)
optional_times = st.lists(st.none() | st.floats(0, 2 * NOW), max_size=3)


def seen(*, last_at: float = NOW - 60, sentinel: bool = False, objects: int = 3) -> Seen:
    return Seen(objects=objects, movies=2, bytes=30, first_at=0.0, last_at=last_at, sentinel=sentinel)


def verdict_of(
    what: Seen, *, known: int = 0, state: State | None = None, quiet: int = 60, empty: list[float | None] | None = None
) -> tuple[str, str, bool]:
    verdict = judge(
        what, known_objects=known, known_state=state, now=NOW, quiet_minutes=quiet, empty_transfers=empty or []
    )
    return verdict.state, verdict.reason, verdict.grown


@pytest.mark.parametrize(
    ("key", "dataset"),
    [
        ("datasets/spike/a.mrc", "spike"),
        ("datasets/spike/day 1/a.mrc", "spike"),
        ("datasets/ä+b c/a.mrc", "ä+b c"),
        ("datasets/spike/two\nlines.mrc", "spike"),
        ("datasets/spike/", None),
        ("datasets/spike", None),
        ("datasets//a.mrc", None),
        ("reports/spike/a.mrc", None),
        ("x/datasets/spike/a.mrc", None),
    ],
)
def test_dataset_of_an_object(key: str, dataset: str | None) -> None:
    assert dataset_of(key) == dataset


def test_look_sums_up() -> None:
    found = look(
        [("datasets/d/b.eer", 5, 20.0), ("datasets/d/sub/a.MRC", 7, 10.0), ("datasets/d/a.mrc.xml", 1, 30.0)],
        sentinel="DONE",
    )
    assert found == Seen(objects=3, movies=2, bytes=13, first_at=10.0, last_at=30.0, sentinel=False)


def test_look_at_nothing() -> None:
    assert look([], sentinel="DONE") is None


@pytest.mark.parametrize(
    ("key", "sentinel", "found"),
    [
        ("datasets/d/DONE", "DONE", True),
        ("datasets/d/sub/DONE", "DONE", True),
        ("datasets/d/DONE.txt", "DONE", False),
        ("datasets/DONE/a.mrc", "DONE", False),
        ("datasets/d/", "", False),
    ],
)
def test_sentinel_is_a_file_of_that_very_name(key: str, sentinel: str, found: bool) -> None:
    what = look([(key, 0, 1.0)], sentinel=sentinel)
    assert what is not None
    assert what.sentinel is found


@pure
@given(listings, st.randoms(use_true_random=False))
def test_look_does_not_depend_on_the_order(listing: list[tuple[str, int, float]], chance: random.Random) -> None:
    shuffled = chance.sample(listing, len(listing))
    assert look(shuffled, sentinel="DONE") == look(listing, sentinel="DONE")


@pure
@given(listings)
def test_look_counts_each_entry_of_the_listing(listing: list[tuple[str, int, float]]) -> None:
    once, twice = look(listing, sentinel="DONE"), look(listing * 2, sentinel="DONE")
    assert once is not None
    assert twice is not None
    assert (once.objects, once.bytes) == (len(listing), sum(size for _, size, _ in listing))
    assert (twice.objects, twice.movies, twice.bytes) == (2 * once.objects, 2 * once.movies, 2 * once.bytes)
    assert (twice.first_at, twice.last_at, twice.sentinel) == (once.first_at, once.last_at, once.sentinel)


def test_still_arriving() -> None:
    assert verdict_of(seen()) == ("arriving", "still arriving", True)


def test_sentinel_lands_at_once() -> None:
    assert verdict_of(seen(sentinel=True, last_at=NOW)) == ("landed", "sentinel", True)


def test_quiet_time_lands_at_its_very_end() -> None:
    assert verdict_of(seen(last_at=NOW - 3600))[:2] == ("landed", "quiet for 60 minutes")
    assert verdict_of(seen(last_at=NOW - 3599.9))[0] == "arriving"


@pytest.mark.parametrize(
    ("transfers", "state"),
    [
        ([], "arriving"),
        ([NOW - 30], "landed"),
        ([NOW - 60], "arriving"),  # began together with the last object: may have missed it
        ([NOW - 90], "arriving"),
        ([None], "arriving"),
        ([NOW - 30, NOW - 10], "landed"),
        ([NOW - 30, None], "arriving"),
        ([NOW - 30, NOW - 90], "arriving"),
    ],
)
def test_every_microscope_must_have_looked_again(transfers: list[float | None], state: str) -> None:
    found = verdict_of(seen(last_at=NOW - 60), empty=transfers)
    assert found[0] == state
    assert (found[1] == "nothing left to transfer") is (state == "landed")


def test_what_has_landed_stays_landed_and_may_grow() -> None:
    assert verdict_of(seen(last_at=NOW), state="landed", known=3) == ("landed", "landed before", False)
    assert verdict_of(seen(last_at=NOW, objects=4), state="landed", known=3) == ("landed", "landed before", True)


@pure
@given(last_at=st.floats(0, NOW + 3600), quiet=st.integers(1, 10_080), empty=optional_times, sentinel=st.booleans())
def test_never_landed_while_an_object_is_new_and_nothing_else_says_so(
    last_at: float, quiet: int, empty: list[float | None], sentinel: bool
) -> None:
    state, reason, _ = verdict_of(seen(last_at=last_at, sentinel=sentinel), quiet=quiet, empty=empty)
    is_quiet = NOW - last_at >= quiet * 60
    all_empty = bool(empty) and min((-math.inf if began is None else began) for began in empty) > last_at
    assert (state == "landed") == (sentinel or all_empty or is_quiet)
    assert reason.startswith("quiet") == (is_quiet and not sentinel and not all_empty)


@pure
@given(known=st.integers(0, 10), objects=st.integers(1, 10), state=st.sampled_from([None, "arriving", "landed"]))
def test_grown_means_more_than_was_written_down(known: int, objects: int, state: State | None) -> None:
    assert verdict_of(seen(objects=objects), known=known, state=state)[2] is (objects > known)
