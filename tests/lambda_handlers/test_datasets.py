from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdk_cryoem_lambda.datasets import (
    Seen,
    State,
    dataset_of,
    judge,
    look,
    look_again_on_hint,
    look_again_on_sweep,
)

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
    what: Seen,
    *,
    state: State | None = None,
    quiet: int = 60,
    empty: list[float | None] | None = None,
    operator: str | None = None,
) -> tuple[str, str]:
    verdict = judge(
        what, known_state=state, now=NOW, quiet_minutes=quiet, empty_transfers=empty or [], operator=operator
    )
    assert verdict.landed_before is (state == "landed")
    return verdict.state, verdict.reason


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


def test_folders_are_no_files() -> None:
    """The recipe waits until the file system has as many files as were counted."""
    folders = [("datasets/d/", 0, 1.0), ("datasets/d/sub/", 0, 99.0)]
    assert look(folders, sentinel="") is None
    assert look([*folders, ("datasets/d/sub/a.mrc", 7, 10.0)], sentinel="") == Seen(
        objects=1, movies=1, bytes=7, first_at=10.0, last_at=10.0, sentinel=False
    )


@pytest.mark.parametrize(
    ("key", "sentinel", "found"),
    [
        ("datasets/d/DONE", "DONE", True),
        ("datasets/d/sub/DONE", "DONE", True),
        ("datasets/d/DONE.txt", "DONE", False),
        ("datasets/DONE/a.mrc", "DONE", False),
        ("datasets/d/a", "", False),
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
    assert verdict_of(seen()) == ("arriving", "still arriving")


def test_sentinel_lands_at_once() -> None:
    assert verdict_of(seen(sentinel=True, last_at=NOW)) == ("landed", "sentinel")


def test_quiet_time_lands_at_its_very_end() -> None:
    assert verdict_of(seen(last_at=NOW - 3600)) == ("landed", "quiet for 60 minutes")
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


@pytest.mark.parametrize("operator", [None, "arriving", "landed"])
def test_what_has_landed_stays_landed(operator: str | None) -> None:
    assert verdict_of(seen(last_at=NOW), state="landed", operator=operator) == ("landed", "landed before")


def test_what_was_gone_arrives_like_anything_new() -> None:
    assert verdict_of(seen(), state="gone") == ("arriving", "still arriving")
    assert verdict_of(seen(sentinel=True), state="gone") == ("landed", "sentinel")


@pure
@given(
    last_at=st.floats(0, NOW + 3600),
    quiet=st.integers(1, 10_080),
    empty=optional_times,
    sentinel=st.booleans(),
    state=st.sampled_from([None, "arriving", "gone"]),
    word=st.sampled_from(["arriving", "landed"]),
)
def test_what_an_operator_says_goes_before_everything_else(
    last_at: float, quiet: int, empty: list[float | None], sentinel: bool, state: State | None, word: str
) -> None:
    what = seen(last_at=last_at, sentinel=sentinel)
    found = verdict_of(what, state=state, quiet=quiet, empty=empty, operator=word)
    assert found[0] == word
    assert "operator" in found[1]
    assert verdict_of(what, state=state, quiet=quiet, empty=empty, operator="what nobody says") == verdict_of(
        what, state=state, quiet=quiet, empty=empty
    )


@pure
@given(last_at=st.floats(0, NOW + 3600), quiet=st.integers(1, 10_080), empty=optional_times, sentinel=st.booleans())
def test_never_landed_while_an_object_is_new_and_nothing_else_says_so(
    last_at: float, quiet: int, empty: list[float | None], sentinel: bool
) -> None:
    state, reason = verdict_of(seen(last_at=last_at, sentinel=sentinel), quiet=quiet, empty=empty)
    is_quiet = NOW - last_at >= quiet * 60
    all_empty = bool(empty) and min((-math.inf if began is None else began) for began in empty) > last_at
    assert (state == "landed") == (sentinel or all_empty or is_quiet)
    assert reason.startswith("quiet") == (is_quiet and not sentinel and not all_empty)


def known(objects: int, *, looked_ago: float, state: str = "arriving", landed_ago: float = 60) -> dict[str, object]:
    return {"objects": objects, "state": state, "looked_at": NOW - looked_ago, "landed_at": NOW - landed_ago}


@pytest.mark.parametrize(
    ("objects", "looked_ago", "looks"),
    [
        (0, 0, True),
        (999, 0, True),
        (1000, 59.9, False),
        (1000, 60, True),
        (50_000, 2999.9, False),
        (50_000, 3000, True),
    ],
)
def test_a_hint_is_worth_a_listing_every_minute_for_each_thousand_objects(
    objects: int, looked_ago: float, looks: bool
) -> None:
    assert look_again_on_hint(known(objects, looked_ago=looked_ago), now=NOW, sentinel=False) is looks
    assert look_again_on_hint(known(objects, looked_ago=looked_ago), now=NOW, sentinel=True)


@pytest.mark.parametrize("state", ["landed", "gone"])
def test_a_hint_of_what_is_not_arriving_is_always_worth_it(state: str) -> None:
    """A late object is rare, and after a day nothing else tells of it."""
    assert look_again_on_hint(known(50_000, looked_ago=0, state=state, landed_ago=90_000), now=NOW, sentinel=False)
    assert look_again_on_hint({}, now=NOW, sentinel=False)


@pure
@given(objects=st.integers(0, 10**6), arrivals=st.lists(st.floats(0, 600), max_size=60))
def test_no_storm_of_hints_lists_more_pages_than_two_in_three_seconds(objects: int, arrivals: list[float]) -> None:
    pages, looked_at, listed = objects // 1000 + 1, NOW, 0
    for at in sorted(arrivals):
        item = {"objects": objects, "state": "arriving", "looked_at": looked_at}
        if look_again_on_hint(item, now=NOW + at, sentinel=False):
            listed, looked_at = listed + pages, NOW + at
    if pages > 1:
        assert listed <= 600 / 3 * 2


@pytest.mark.parametrize("state", ["arriving", "gone"])
def test_a_sweep_looks_at_what_has_not_landed_each_time(state: str) -> None:
    assert look_again_on_sweep(known(50_000, looked_ago=0, state=state), now=NOW)
    assert look_again_on_sweep({}, now=NOW)


@pytest.mark.parametrize(
    ("objects", "landed_ago", "looked_ago", "looks"),
    [
        (10, 0, 0, True),
        (10, 86_399, 300, True),
        (10, 86_400, 300, False),
        (1000, 3600, 35.9, False),
        (1000, 3600, 36, True),
        (50_000, 3600, 1799, False),
        (50_000, 3600, 1800, True),
        (50_000, 90_000, 90_000, False),
    ],
)
def test_a_sweep_looks_at_what_has_landed_for_a_day_the_less_the_larger_it_is(
    objects: int, landed_ago: float, looked_ago: float, looks: bool
) -> None:
    item = known(objects, looked_ago=looked_ago, state="landed", landed_ago=landed_ago)
    assert look_again_on_sweep(item, now=NOW) is looks
