"""The policies of docs/iam.md to archive and to deposit: exactly what is called, and enough, with moto enforcing them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from archive_account import Archive, archive_at_hand
from operate_account import permitted, run

ROOT = Path(__file__).parents[2]
# Named in operate/, which has others besides.
SHARED = {
    *("cloudformation:DescribeStacks", "dynamodb:GetItem", "dynamodb:Query", "dynamodb:UpdateItem"),
    "sts:GetCallerIdentity",
}
# Nobody asks for it by name: S3 does, for who reads an object.
KEY = {"kms:Decrypt"}
# moto has one name for tags of an object and of one of its versions, and takes the end of a version's tags for its own end;
# the twin does neither (tests/twin/test_archive.py).
TAKEN_FOR_A_DELETION = {"s3:DeleteObjectVersion"}
OF_VERSIONS = {"s3:PutObjectVersionTagging", "s3:DeleteObjectVersionTagging"}

# What asks for an action that `archive` does not need.
NEEDED_BY = {
    "dynamodb:Query": [["archive", "krios"]],
    "s3:DeleteObjectTagging": [["archive", "krios-1", "--yes"], ["archive", "krios-1", "--undo"]],
    "s3:GetObject": [["deposit", "krios-1"]],
    "s3:RestoreObject": [["restore", "krios-1", "--yes"]],
}


def section() -> str:
    text = (ROOT / "docs" / "iam.md").read_text()
    (found,) = re.findall(r"^## Archive and deposition\n(.*?)(?=^## )", text, re.M | re.S)
    return str(found)


def policies() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The statements to look, and those to archive and restore."""
    look, act = (json.loads(text)["Statement"] for text in re.findall(r"```json\n(.*?)```", section(), re.S))
    return look, act


def actions(statements: list[dict[str, Any]]) -> set[str]:
    return {action for statement in statements for action in statement["Action"]}


def asked() -> set[str]:
    """The actions that the code names before it calls S3, and those of what it shares with other commands."""
    folder = ROOT / "stacks" / "cdk_cryoem_stacks" / "archive"
    return SHARED | {
        action for file in folder.glob("*.py") for action in re.findall(r'"(s3:[A-Z]\w+)"', file.read_text())
    }


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Archive]:
    with archive_at_hand(monkeypatch, tmp_path) as made:
        yield made


def test_the_documented_policies_name_exactly_the_actions_that_the_code_asks_for() -> None:
    look, act = policies()
    assert actions(look) | actions(act) == asked() | KEY
    assert not actions(look) & actions(act)
    rows = [line for line in section().splitlines() if line.startswith("| `")]
    assert {action for row in rows for action in re.findall(r"`(\w+:\w+)`", row.split("|")[1])} == asked() | KEY


def test_nothing_deletes_an_object_and_who_looks_changes_nothing() -> None:
    look, act = policies()
    assert all(re.match(r"\w+:(Describe|Get|Query|List|Decrypt)", action) for action in actions(look))
    for action in actions(look) | actions(act):
        assert not re.search(
            r":(\*|Delete(?!Object(Version)?Tagging$)|Bypass|PutLifecycle|PutBucket|PutObject$)", action
        )


def test_everything_that_has_a_name_is_named() -> None:
    for statement in [*policies()[0], *policies()[1]]:
        assert (statement["Resource"] == ["*"]) == (statement["Action"] == ["sts:GetCallerIdentity"])
        if "dynamodb:UpdateItem" in statement["Action"]:
            assert statement["Condition"] == {"ForAllValues:StringEquals": {"dynamodb:LeadingKeys": ["dataset"]}}


def test_with_the_first_policy_all_is_seen_and_nothing_is_changed(
    archive: Archive, capsys: pytest.CaptureFixture[str]
) -> None:
    archive.dataset()
    with permitted(archive.system, actions(policies()[0])):
        assert run("archive", "--list") == 0
        assert run("archive", "krios-1", "--json") == 0
        assert run("restore", "krios-1", "--status") == 0
        assert run("deposit", "krios-1") == 0
        capsys.readouterr()
        assert run("archive", "krios-1", "--yes") == 1
        error = capsys.readouterr().err
    assert "these credentials may not dynamodb:UpdateItem: allow it" in error
    assert set(archive.states().values()) == {None}


def test_with_both_everything_is_done(archive: Archive) -> None:
    archive.dataset()
    look, act = policies()
    allowed = actions(look) | actions(act) | TAKEN_FOR_A_DELETION
    with permitted(archive.system, allowed):
        assert run("archive", "krios-1", "--yes") == 0
        assert run("archive", "krios-1", "--undo") == 0
        assert run("archive", "krios-1", "--yes") == 0
    assert archive.move() == 2
    with permitted(archive.system, allowed):
        assert run("restore", "krios-1", "--yes") == 0
        assert run("restore", "krios-1", "--status") == 0
        assert run("archive", "--list") == 0


def test_each_action_that_is_missing_is_named(archive: Archive, capsys: pytest.CaptureFixture[str]) -> None:
    archive.dataset()
    look, act = policies()
    whole = actions(look) | actions(act)
    # AWS denies nobody his own name; moto does not either.
    for missing in sorted(whole - OF_VERSIONS - KEY - {"sts:GetCallerIdentity"}):
        restoring = missing == "s3:RestoreObject"
        for key in archive.current():
            key._storage_class = "DEEP_ARCHIVE" if restoring else "STANDARD"
        with permitted(archive.system, whole - {missing}):
            for command in NEEDED_BY.get(missing, [["archive", "krios-1", "--yes"]]):
                run(*command)
        shown = missing.replace("ObjectTagging", "Object(Version)?Tagging")
        assert re.search(rf"these credentials may not {shown}: allow it", capsys.readouterr().err), missing
