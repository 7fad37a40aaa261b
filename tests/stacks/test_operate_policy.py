"""The policies of docs/iam.md for operators: exactly what is called, and enough, with moto enforcing the actions."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import ACCOUNT, REGION, Deployed, at_hand, permitted, run

ROOT = Path(__file__).parents[2]
# What stubs answer, so that moto never sees it.
STUBBED = {
    "lambda:InvokeFunction",
    "ssm:DescribeInstanceInformation",
    "ssm:StartSession",
    "ssm:TerminateSession",
}
# What Session Manager's plugin asks, and not this code.
PLUGIN = {"ssmmessages:OpenDataChannel"}


LISTING = ("listing", "verify")


def section(title: str = "Operators") -> str:
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", (ROOT / "docs" / "iam.md").read_text(), re.M | re.S)
    return str(found)


def policies() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The statements to look, and those to wake and land."""
    look, act = documents()[:2]
    return look, act


def documents() -> list[list[dict[str, Any]]]:
    """The statements of every policy: to look, to wake and land, to connect."""
    return [json.loads(text)["Statement"] for text in re.findall(r"```json\n(.*?)```", section(), re.S)]


def actions(statements: list[dict[str, Any]]) -> set[str]:
    return {action for statement in statements for action in statement["Action"]}


def asked(*modules: str) -> set[str]:
    """The actions that the code names before it calls AWS."""
    folder = ROOT / "stacks" / "cdk_cryoem_stacks" / "operate"
    files = [folder / f"{module}.py" for module in modules]
    # What these alone ask for has a section of its own.
    files = files or [file for file in folder.glob("*.py") if file.stem not in LISTING]
    services = "sts|ec2|cloudformation|dynamodb|lambda|ssm" + ("|s3" if modules else "")
    return {action for file in files for action in re.findall(rf'"((?:{services}):[A-Z]\w+)"', file.read_text())}


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployed]:
    """A system that is deployed, credentials for it, and its file."""
    with at_hand(monkeypatch, tmp_path) as system:
        yield system


def test_the_documented_policies_name_exactly_the_actions_that_the_code_asks_for() -> None:
    every = documents()
    named = set[str]().union(*map(actions, every))
    assert named - PLUGIN == asked()
    assert len(named) == sum(len(actions(each)) for each in every), "each action is in one of them"
    rows = [line for line in section().splitlines() if line.startswith("| `")]
    assert {action for row in rows for action in re.findall(r"`(\w+:\w+)`", row.split("|")[1])} == asked()


def test_the_policy_to_verify_names_what_that_asks_for_besides() -> None:
    text = section("Verifying and listing files")
    (document,) = re.findall(r"```json\n(.*?)```", text, re.S)
    named = actions(json.loads(document)["Statement"])
    # A manifest is read by its version, and under the bucket's key.
    besides = {"cloudformation:DescribeStacks", "s3:GetObjectVersion", "kms:Decrypt"}
    assert named == asked(*LISTING) | besides
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert {action for row in rows for action in re.findall(r"`(\w+:\w+)`", row.split("|")[1])} == named
    for statement in json.loads(document)["Statement"]:
        assert (statement["Resource"] == "*") == (statement["Action"] == ["ssm:GetCommandInvocation"])


def test_what_looks_only_describes_and_queries_and_nothing_is_written_without_its_key() -> None:
    look, act = policies()
    assert all(re.match(r"\w+:(Describe|Query)", action) for action in actions(look))
    for statement in act:
        written = {"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"} & set(statement["Action"])
        if written:
            (kinds,) = statement["Condition"]["ForAllValues:StringEquals"].values()
            assert kinds == (["dataset"] if "dynamodb:UpdateItem" in written else ["request"])
            assert written == set(statement["Action"])


def test_resources_are_named_where_aws_knows_them() -> None:
    """Of what is asked, only these know no resources (AWS service authorization reference)."""
    everything = {"ec2:DescribeInstances", "ssm:DescribeInstanceInformation", "sts:GetCallerIdentity"}
    for statement in [*policies()[0], *policies()[1]]:
        assert (statement["Resource"] == "*") == (set(statement["Action"]) <= everything)
        named = statement["Resource"].replace("REGION", REGION).replace("ACCOUNT", ACCOUNT).replace("NAME", "cryoem")
        assert named == "*" or named in {
            f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/cryoem-hooks/*",
            f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/TABLE",
            f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:SWEEPER",
        }


def test_a_session_is_on_the_head_node_by_the_two_documents_that_are_used_and_ends_only_ones_own() -> None:
    (connect,) = [each for each in documents() if "ssm:StartSession" in actions(each)]
    start, channel, own = connect
    assert start["Action"] == ["ssm:StartSession"]
    assert [resource.rpartition("/")[2] for resource in start["Resource"]] == [
        "INSTANCE", "SSM-SessionManagerRunShell", "AWS-StartPortForwardingSession",
    ]  # fmt: skip
    # Without it a session without a document needs none to be allowed.
    assert start["Condition"] == {"BoolIfExists": {"ssm:SessionDocumentAccessCheck": "true"}}
    assert (set(channel["Action"]), own["Action"]) == (PLUGIN, ["ssm:TerminateSession"])
    assert channel["Resource"].endswith(":session/${aws:userid}-*")
    assert own["Condition"] == {"StringLike": {"ssm:resourceTag/aws:ssmmessages:session-id": ["${aws:userid}"]}}


def test_with_the_first_policy_status_is_answered_and_nothing_else(
    system: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    system.put("dataset", "d", state="arriving")
    with permitted(system, actions(policies()[0])):
        assert run("status") == 0
        capsys.readouterr()
        for command, missing in (
            (["wake"], "dynamodb:PutItem"),
            (["sleep"], "dynamodb:DeleteItem"),
            (["land", "d"], "dynamodb:GetItem"),
        ):
            assert run(*command) == 1
            error = capsys.readouterr().err
            assert f"these credentials may not {missing}" in error
            assert "docs/iam.md, 'Operators', has the whole policy" in error


def test_with_both_everything_is_answered(system: Deployed) -> None:
    look, act = policies()
    system.put("dataset", "d", state="arriving")
    system.pings = 4e9
    with permitted(system, actions(look) | actions(act)):
        assert run("wake", "--wait") == 0
        assert run("wake", "--hours", "1") == 0
        assert run("wake", "--dry-run") == 0
        assert run("sleep") == 0
        assert run("reopen", "d") == 0
        assert run("land", "d") == 0
        assert run("land", "e") == 1
        assert run("status", "--json") == 0


def test_each_action_that_is_missing_is_named(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    look, act = policies()
    whole = actions(look) | actions(act)
    system.pings = 4e9
    # AWS denies nobody his own name; moto does not either.
    for missing in sorted(whole - STUBBED - {"sts:GetCallerIdentity"}):
        system.put("dataset", "d", state="arriving")
        with permitted(system, whole - {missing}):
            for command in (["wake", "--wait"], ["sleep"], ["reopen", "d"], ["status"]):
                run(*command)
            error = capsys.readouterr().err
            assert f"these credentials may not {missing}: allow it" in error, missing
