"""`cryoem land` and `cryoem reopen`: an operator's word on a dataset, beside hooks that land and announce."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import SWEEPER, TABLE, Deployed, at_hand, run

from cdk_cryoem_stacks.operate import land
from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.records import Records

CALLED = (SWEEPER, "Event")
ARRIVING = {"state": "arriving", "objects": 12, "movies": 10, "size_bytes": 10, "last_at": 1000.5}
LANDED = {**ARRIVING, "state": "landed", "reason": "quiet for 180 minutes", "landed_at": 12000.0}
ANNOUNCED = {**LANDED, "announced_at": 12001.0}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployed]:
    """A system that is deployed, credentials for it, and its file."""
    with at_hand(monkeypatch, tmp_path) as system:
        yield system


def test_land_writes_the_operators_word_beside_what_the_hooks_know(
    system: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    system.put("dataset", "krios-1", **ARRIVING)
    before = int(time.time())
    assert run("land", "krios-1", "--reason", "session ended early") == 0
    item = system.get("dataset", "krios-1")
    assert item is not None
    at = item.pop("operator_at")
    assert before <= at <= time.time()
    word = {"operator": "landed", "operator_by": "user/moto", "operator_reason": "session ended early"}
    assert item == {"pk": "dataset", "sk": "krios-1", **ARRIVING, **word}
    assert system.calls == [CALLED]
    assert "krios-1 has landed: the hooks announce it" in capsys.readouterr().out


def test_reopen_keeps_a_dataset_open_until_land(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **ARRIVING)
    assert run("reopen", "krios-1", "--reason", "goes on tomorrow") == 0
    assert "krios-1 is arriving until `cryoem land krios-1`" in capsys.readouterr().out
    item = system.get("dataset", "krios-1")
    assert item is not None
    assert item["operator"] == "arriving"
    assert run("land", "krios-1") == 0
    item = system.get("dataset", "krios-1")
    assert item is not None
    assert item["operator"] == "landed"
    assert "operator_reason" not in item, "the reason was for another word"


def test_reopen_of_a_dataset_that_was_announced(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **ANNOUNCED)
    assert run("reopen", "krios-1") == 1
    error = capsys.readouterr().err
    assert "krios-1 was announced as landed at 1970-01-01" in error
    assert "cannot be taken back" in error
    item = system.get("dataset", "krios-1")
    assert item is not None
    assert "operator" not in item
    assert system.calls == []


def test_land_of_what_has_landed_changes_nothing(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **ANNOUNCED)
    system.put("dataset", "krios-2", **LANDED)
    for name in ("krios-1", "krios-2"):
        assert run("land", name) == 0
        assert f"{name} has landed already" in capsys.readouterr().out
        item = system.get("dataset", name)
        assert item is not None
        assert "operator" not in item


def test_an_announcement_between_the_look_and_the_write_is_not_overruled(system: Deployed) -> None:
    system.put("dataset", "krios-1", **ANNOUNCED)
    records = Records(system.clients, TABLE)
    with pytest.raises(Failed, match="was announced as landed, or its record deleted, at this moment"):
        land.write(records, "krios-1", "arriving", by="user/anna", at=1, reason="")
    assert system.get("dataset", "krios-1") == {"pk": "dataset", "sk": "krios-1", **ANNOUNCED}


@pytest.mark.parametrize("word", ["landed", "arriving"])
def test_a_record_is_never_made(system: Deployed, word: land.Word) -> None:
    with pytest.raises(Failed, match="at this moment"):
        land.write(Records(system.clients, TABLE), "krios-1", word, by="user/anna", at=1, reason="")
    assert system.items() == []


@pytest.mark.parametrize("verb", ["land", "reopen"])
def test_an_unknown_dataset(system: Deployed, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(verb, "krios-1") == 1
    assert "no object of any dataset was seen yet" in capsys.readouterr().err
    for name in ("2026-10-20-krios", "2026-10-21-krios", "glacios"):
        system.put("dataset", name, **ARRIVING)
    assert run(verb, "2026-10-21-kris") == 1
    assert "Did you mean 2026-10-21-krios, 2026-10-20-krios?" in capsys.readouterr().err
    assert run(verb, "KRIOS") == 1
    assert "Did you mean 2026-10-20-krios, 2026-10-21-krios?" in capsys.readouterr().err
    assert run(verb, "talos") == 1
    assert "`cryoem status --json` has the 3 there are" in capsys.readouterr().err
    assert all("operator" not in item for item in system.items())
    assert system.calls == []


def test_a_dry_run_writes_nothing(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **ARRIVING)
    assert run("land", "krios-1", "--dry-run") == 0
    assert f'would write to krios-1 in {TABLE}: {{"operator": "landed"' in capsys.readouterr().out
    system.put("dataset", "krios-1", **ANNOUNCED)
    assert run("land", "krios-1", "--dry-run") == 0
    assert "has landed already" in capsys.readouterr().out
    assert run("reopen", "krios-1", "--dry-run") == 1
    assert system.get("dataset", "krios-1") == {"pk": "dataset", "sk": "krios-1", **ANNOUNCED}
    assert system.calls == []


def test_the_same_word_twice(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **ARRIVING, operator="landed", operator_by="user/anna", operator_at=5)
    assert run("land", "krios-1") == 0
    assert "user/anna said so already, at 1970-01-01" in capsys.readouterr().out
    assert system.calls == [CALLED], "the hooks may not have heard of it"


# --- words and hooks in any order: pure ---------------------------------------------------------------------------------


@given(steps=st.lists(st.sampled_from(["land", "reopen", "look", "quiet", "announce"]), max_size=14))
def test_whatever_the_order_a_dataset_is_announced_once_and_never_against_the_last_word(steps: list[str]) -> None:
    """The hooks as they are meant: they obey the operator's word, else the quiet time; what they announced stays."""
    item: dict[str, Any] = {"sk": "d", "state": "arriving"}
    quiet, announced = False, 0
    for step in steps:
        if step in ("land", "reopen"):
            word: land.Word = "landed" if step == "land" else "arriving"
            try:
                decided = land.decide(item, word)
            except Failed:
                assert step == "reopen"
                assert "announced_at" in item
                continue
            if decided.write:
                assert word == "landed" or "announced_at" not in item
                item["operator"] = word
            else:
                assert item.get("operator") == word or (word == "landed" and item["state"] == "landed")
        elif step == "quiet":
            quiet = True
        elif step == "look" and "announced_at" not in item:
            item["state"] = item.get("operator") or ("landed" if quiet or item["state"] == "landed" else "arriving")
        elif step == "announce" and item["state"] == "landed" and item.get("operator") != "arriving":
            announced += "announced_at" not in item
            item["announced_at"] = 1.0
    assert announced <= 1
    assert not (announced and item.get("operator") == "arriving")
