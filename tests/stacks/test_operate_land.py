"""`cryoem land` and `cryoem reopen`: an operator's word on a dataset, beside hooks that land and announce."""

from __future__ import annotations

import shlex
import subprocess
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

from cdk_cryoem_lambda import datasets
from cdk_cryoem_stacks.operate import land, words
from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.records import Records

CALLED = (SWEEPER, "Event")
ARRIVING = {"state": "arriving", "objects": 12, "movies": 10, "size_bytes": 10, "last_at": 1000.5}
LANDED = {**ARRIVING, "state": "landed", "reason": "quiet for 180 minutes", "landed_at": 12000.0}


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
    assert "krios-1 has landed: the hooks write it down and announce it" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["my grid 2", "it's", "$(reboot)", "-x", "plain"])
def test_a_command_that_is_printed_can_be_typed_as_it_is(name: str) -> None:
    said = land.decide({"sk": name, **ARRIVING}, "arriving").say
    typed = said.split("until `")[1].rsplit("`, however")[0]
    ran = subprocess.run(["bash", "-c", f'printf "%s\\0" {typed}'], capture_output=True, text=True, check=True)
    parts = ran.stdout.split("\0")[:-1]
    assert [each for each in parts if each != "--"] == ["cryoem", "land", name]
    assert ("--" in parts) is name.startswith("-")
    typed = words.cryoem("archive", name, "--undo")
    parsed = shlex.split(typed)
    assert parsed[parsed.index("--") + 1 if "--" in parsed else 2] == name
    assert "--undo" in parsed


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


def test_reopen_of_a_dataset_that_has_landed(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **LANDED)
    assert run("reopen", "krios-1") == 1
    error = capsys.readouterr().err
    assert "krios-1 landed at 1970-01-01" in error
    assert "(quiet for 180 minutes) and was announced; that cannot be taken back" in error
    assert system.get("dataset", "krios-1") == {"pk": "dataset", "sk": "krios-1", **LANDED}
    assert system.calls == []


def test_land_of_what_has_landed_changes_nothing(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **LANDED)
    assert run("land", "krios-1") == 0
    assert "krios-1 landed at 1970-01-01" in capsys.readouterr().out
    assert system.get("dataset", "krios-1") == {"pk": "dataset", "sk": "krios-1", **LANDED}


@pytest.mark.parametrize("verb", ["land", "reopen"])
def test_a_dataset_of_which_nothing_is_left(system: Deployed, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **{**ARRIVING, "state": "gone"})
    assert run(verb, "krios-1") == 1
    assert "nothing is left of krios-1" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["landed", "arriving"])
def test_a_landing_between_the_look_and_the_write_is_not_overruled(system: Deployed, word: land.Word) -> None:
    system.put("dataset", "krios-1", **LANDED)
    records = Records(system.clients, TABLE)
    with pytest.raises(Failed, match="krios-1 landed at this moment, or its record was deleted"):
        land.write(records, "krios-1", word, by="user/anna", at=1, reason="")
    assert system.get("dataset", "krios-1") == {"pk": "dataset", "sk": "krios-1", **LANDED}


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
    system.put("dataset", "krios-1", **LANDED)
    assert run("land", "krios-1", "--dry-run") == 0
    assert "nothing is to be done" in capsys.readouterr().out
    assert run("reopen", "krios-1", "--dry-run") == 1
    assert system.get("dataset", "krios-1") == {"pk": "dataset", "sk": "krios-1", **LANDED}
    assert system.calls == []


def test_the_same_word_twice(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("dataset", "krios-1", **ARRIVING, operator="landed", operator_by="user/anna", operator_at=5)
    assert run("land", "krios-1") == 0
    assert "user/anna said so already, at 1970-01-01" in capsys.readouterr().out
    assert system.calls == [CALLED], "the hooks may not have heard of it"


# --- words and hooks in any order: pure ---------------------------------------------------------------------------------


@given(steps=st.lists(st.sampled_from(["land", "reopen", "quiet", "look"]), max_size=14))
def test_whatever_the_order_the_last_word_before_the_landing_holds(steps: list[str]) -> None:
    """With the shipped decision of the hooks. What they wrote down as landed is announced, and stays."""
    item: dict[str, Any] = {"sk": "d", "state": "arriving"}
    last_at, landings = 10_000.0, 0
    for step in steps:
        if step in ("land", "reopen"):
            word: land.Word = "landed" if step == "land" else "arriving"
            try:
                decided = land.decide(item, word)
            except Failed:
                assert (step, item["state"]) == ("reopen", "landed")
                continue
            if decided.write:
                assert item["state"] == "arriving"
                item["operator"] = word
            assert item["state"] == "landed" or item["operator"] == word
        elif step == "quiet":
            last_at = 0.0
        else:
            seen = datasets.Seen(objects=1, movies=1, bytes=1, first_at=0.0, last_at=last_at, sentinel=False)
            verdict = datasets.judge(
                seen,
                known_state=item["state"],
                now=10_800.0,
                quiet_minutes=180,
                empty_transfers=[],
                operator=item.get("operator"),
            )
            landings += verdict.state == "landed" and item["state"] != "landed"
            item["state"] = verdict.state
            if item["state"] == "arriving":
                assert item.get("operator") == "arriving" or (last_at and "operator" not in item)
    assert landings <= 1
    assert not (landings and item.get("operator") == "arriving")
