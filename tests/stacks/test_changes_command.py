"""`cryoem diff`: where the deployed side comes from, what is printed, and the exit status."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from aws_cdk.cx_api import CloudAssembly
from botocore.stub import Stubber

from cdk_cryoem_stacks import cli
from cdk_cryoem_stacks.changes import Change, Effect
from cdk_cryoem_stacks.changes.report import as_json, as_text, exit_status
from cdk_cryoem_stacks.changes.sources import SourceError, deployed, in_folder
from cdk_cryoem_stacks.changes.templates import StackDiff, State

Templates = dict[str, dict[str, Any]]
TEMPLATE: dict[str, Any] = {"Resources": {"A": {"Type": "AWS::SNS::Topic"}}}


@pytest.fixture
def cloudformation() -> Iterator[tuple[Any, Stubber]]:
    client = boto3.client("cloudformation", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    with Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()


def asked(name: str) -> dict[str, str]:
    return {"StackName": name, "TemplateStage": "Original"}


# ---- CloudFormation ------------------------------------------------------------------------------------------------


def test_what_is_deployed_is_asked_for_and_what_is_not_there_is_left_out(cloudformation: tuple[Any, Stubber]) -> None:
    client, stubber = cloudformation
    stubber.add_response("get_template", {"TemplateBody": json.dumps(TEMPLATE)}, asked("n-network"))
    stubber.add_client_error(
        "get_template",
        "ValidationError",
        "Stack with id n-hooks does not exist",
        expected_params=asked("n-hooks"),
    )
    assert deployed(["n-network", "n-hooks"], region="us-east-1", client=client) == {"n-network": TEMPLATE}


@pytest.mark.parametrize(
    ("code", "message", "says"),
    [
        ("AccessDenied", "User x is not authorized", "allow cloudformation:GetTemplate. User x is not authorized"),
        ("ExpiredToken", "The security token is expired", "Log in again"),
        ("ValidationError", "Template format error", "CloudFormation in us-east-1 says of n-network: ValidationError"),
        ("Throttling", "Rate exceeded", "Throttling: Rate exceeded"),
    ],
)
def test_what_cloudformation_refuses_is_said(
    cloudformation: tuple[Any, Stubber], code: str, message: str, says: str
) -> None:
    client, stubber = cloudformation
    stubber.add_client_error("get_template", code, message)
    with pytest.raises(SourceError, match=r"n-network|these credentials") as caught:
        deployed(["n-network"], region="us-east-1", client=client)
    assert says in str(caught.value)


def test_a_template_that_is_not_the_cdks_is_said(cloudformation: tuple[Any, Stubber]) -> None:
    client, stubber = cloudformation
    stubber.add_response("get_template", {"TemplateBody": "Resources:\n  A: {}\n"})
    with pytest.raises(SourceError, match="not JSON"):
        deployed(["n-network"], region="us-east-1", client=client)


def without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))


def test_without_credentials_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_credentials(monkeypatch, tmp_path)
    with pytest.raises(SourceError, match=r"Unable to locate credentials.*AWS_PROFILE.*--against"):
        deployed(["n-network"], region="us-east-1")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(SourceError, match="nobody"):
        deployed(["n-network"], region="us-east-1")


# ---- a folder ------------------------------------------------------------------------------------------------------


def test_a_cloud_assembly_is_read_whole(assembly: CloudAssembly) -> None:
    found = in_folder(Path(assembly.directory))
    assert found == {stack.stack_name: stack.template for stack in assembly.stacks}


def test_a_folder_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no folder that `cdk synth` made"):
        in_folder(tmp_path)
    (tmp_path / "manifest.json").write_text('{"artifacts": {"x": {"type": "aws:cloudformation:stack"}}}')
    with pytest.raises(SourceError, match="no folder that `cdk synth` made"):
        in_folder(tmp_path)


# ---- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def command(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(["diff", *arguments])
        out, err = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, out, err

    return command


@pytest.fixture
def file(root: Path, tmp_path: Path) -> Callable[..., Path]:
    """The committed cryoem.yaml with some lines replaced, beside the recipes that it names."""

    def changed(**lines: str) -> Path:
        text = (root / "cryoem.yaml").read_text()
        for old, new in lines.items():
            assert old in text, old
            text = text.replace(old, new)
        made = tmp_path / "cryoem.yaml"
        made.write_text(text)
        for folder in root.glob("*recipes*"):
            (tmp_path / folder.name).symlink_to(folder)
        return made

    return changed


def test_the_same_file_changes_nothing(
    run: Callable[..., tuple[int, str, str]], root: Path, assembly: CloudAssembly
) -> None:
    code, out, _ = run(str(root / "cryoem.yaml"), "--against", assembly.directory)
    assert code == 0
    lines = out.splitlines()
    assert lines[:5] == [f"{stack.stack_name}: no change" for stack in assembly.stacks]
    assert lines[-1] == "Nothing that is deployed changes"


def test_a_larger_lane_is_live_and_a_smaller_one_stops_the_fleet(
    run: Callable[..., tuple[int, str, str]], file: Callable[..., Path], assembly: CloudAssembly
) -> None:
    code, out, _ = run(str(file(**{"max_nodes: 8": "max_nodes: 9"})), "--against", assembly.directory)
    assert code == 0
    assert "lanes gpu1.max_nodes: 8 -> 9" in out
    assert out.splitlines()[-1] == "The worst of it: live"
    code, out, _ = run(str(file(**{"max_nodes: 8": "max_nodes: 7"})), "--against", assembly.directory)
    assert code == 3
    assert "stops the fleet" in out
    assert "pcluster update-compute-fleet --status STOP_REQUESTED -n cryoem -r us-east-1" in out
    assert re.search(r"CRYOEM_CONFIG=\S*/cryoem\.yaml tools/cdk deploy --all", out), "the file that was compared"
    assert out.splitlines()[-1] == "The worst of it: stops the fleet"


def test_json_has_the_same(
    run: Callable[..., tuple[int, str, str]], file: Callable[..., Path], assembly: CloudAssembly
) -> None:
    changed = file(**{"capacity_gib: 2400": "capacity_gib: 4800"})
    code, out, _ = run(str(changed), "--against", assembly.directory, "--json")
    document = json.loads(out)
    assert code == 0
    assert document["worst"] == "live"
    (storage,) = [stack for stack in document["stacks"] if stack["name"] == "cryoem-storage"]
    (change,) = storage["changes"]
    assert change.pop("path").endswith(".StorageCapacity")
    assert change.pop("what_to_do")
    assert change == {"setting": "file_system.capacity_gib", "old": 2400, "new": 4800, "effect": "live"}


def test_a_wrong_file_is_2_and_a_missing_side_1(
    run: Callable[..., tuple[int, str, str]],
    file: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code, out, err = run(str(file(**{"capacity_gib: 2400": "capacity_gib: 1"})))
    assert (code, out) == (2, "")
    assert "file_system.capacity_gib: got 1" in err
    code, out, err = run(str(file()), "--against", str(tmp_path / "none"))
    assert (code, out) == (1, "")
    assert "cdk synth" in err
    without_credentials(monkeypatch, tmp_path)
    code, out, err = run(str(file()))
    assert (code, out) == (1, "")
    assert err.startswith("cryoem diff: CloudFormation in us-east-1 could not be asked: Unable to locate credentials")


def test_the_context_of_cdk_json_counts(
    run: Callable[..., tuple[int, str, str]],
    root: Path,
    assembly: CloudAssembly,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another bootstrap qualifier is in the landing bucket's policy, and in every asset's address."""
    (tmp_path / "cdk.json").write_text('{"context": {"@aws-cdk/core:bootstrapQualifier": "other"}}')
    monkeypatch.chdir(tmp_path)
    _, out, _ = run(str(root / "cryoem.yaml"), "--against", assembly.directory)
    assert "cdk-other-" in out


def test_it_writes_nothing_and_starts_without_the_cdk(root: Path, tmp_path: Path) -> None:
    code = "import sys, cdk_cryoem_stacks.cli; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert not {"aws_cdk", "boto3"} & set(ran.stdout.split())
    assert list(tmp_path.iterdir()) == []


# ---- the report ----------------------------------------------------------------------------------------------------


def stack(*changes: Change) -> StackDiff:
    return StackDiff(name="n-cluster", state=State.CHANGED, changes=changes)


def change(effect: Effect, path: str = "A.B", **given: Any) -> Change:
    return Change(**{"path": path, "old": 1, "new": 2, "effect": effect} | given)


@pytest.mark.parametrize("effect", list(Effect))
def test_the_exit_status_is_3_from_an_interruption_on(effect: Effect) -> None:
    harmless = {Effect.NOTHING, Effect.LIVE, Effect.DRAINS, Effect.REMADE}
    diffs = [stack(change(Effect.LIVE), change(effect))]
    assert exit_status(diffs) == (0 if effect in harmless else 3)
    if effect is not Effect.NOTHING:
        assert as_text(diffs, []).splitlines()[-1] == f"The worst of it: {effect}"
        assert json.loads(as_json(diffs, []))["worst"] == effect.name.lower()


def test_advice_stands_once_and_is_referred_to() -> None:
    stop = change(Effect.STOPS_FLEET, what_to_do="Stop it:\n  pcluster stop", setting="lanes a.max_nodes")
    text = as_text([stack(stop, change(Effect.STOPS_FLEET, what_to_do=stop.what_to_do))], ["A note"])
    assert text.splitlines() == [
        "n-cluster: changes",
        "  stops the fleet         lanes a.max_nodes: 1 -> 2  (1)",
        "                          A.B",
        "  stops the fleet         A.B: 1 -> 2  (1)",
        "",
        "What to do, and what is lost and kept:",
        "  (1) Stop it:",
        "        pcluster stop",
        "",
        "A note",
        "",
        "The worst of it: stops the fleet",
    ]


def test_tags_and_what_only_follows_are_one_line_each() -> None:
    tags = [change(Effect.LIVE, f"R{number}.Tags[a].Value") for number in range(3)]
    follows = change(Effect.LIVE, "Q.Target", old={"Ref": "X"}, new={"Ref": "X (made anew)"})
    lines = as_text([stack(*tags, follows)], []).splitlines()
    assert lines[1:3] == [
        "  live                    1 resource: name what is made anew",
        "  live                    3 resources: have other tags",
    ]


def test_a_system_that_is_not_there_is_said_to_be() -> None:
    text = as_text([StackDiff(name="n-network", state=State.CREATED)], [])
    assert text.splitlines() == [
        "n-network: would be created",
        "",
        "Nothing of it is deployed: everything would be created",
    ]


def test_a_cluster_of_another_version_is_noted(root: Path) -> None:
    from cdk_cryoem_stacks.changes.command import _notes

    assert _notes({"a": {"url": "x/parallelcluster/3.16.1/templates"}}) == []
    (note,) = _notes({"a": {"url": "x/parallelcluster/3.17.0/templates"}})
    assert "3.17.0" in note
