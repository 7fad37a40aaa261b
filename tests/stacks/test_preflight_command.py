"""`cryoem preflight`: what it prints, as text and as JSON, and its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

sys.path.insert(0, str(Path(__file__).parent))

from preflight_account import Account, healthy

from cdk_cryoem_stacks.cli import main
from cdk_cryoem_stacks.config_file import load
from cdk_cryoem_stacks.preflight import live, offline, quota_codes
from cdk_cryoem_stacks.preflight.ask import Clients
from cdk_cryoem_stacks.preflight.check import Check, ok, warning
from cdk_cryoem_stacks.preflight.offline import Offline


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment without any."""
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[Check]:
    """The offline part without synthesis: what it says besides that the file is right."""
    said: list[Check] = []

    def look(path: Path, say: object) -> Offline:
        return Offline(config=load(path), checks=(ok("configuration", str(path), "right"), *said))

    monkeypatch.setattr(offline, "look", look)
    return said


@pytest.fixture
def account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick: list[Check]) -> Iterator[Account]:
    """The healthy account, with credentials in the environment, and its cryoem.yaml."""
    with healthy() as account:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        monkeypatch.setattr(Clients, "of", lambda session, region: account.clients)
        YAML().dump(account.config, tmp_path / "cryoem.yaml")
        monkeypatch.chdir(tmp_path)
        yield account


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["preflight", *arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def written(folder: Path, text: str = "name: cryoem\n") -> str:
    (folder / "cryoem.yaml").write_text(text)
    return str(folder / "cryoem.yaml")


def test_without_credentials_one_line_says_so_and_it_is_no_failure(
    quick: list[Check], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written(tmp_path)) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "offline"
    assert lines[1].split()[:2] == ["ok", "configuration:"]
    assert lines[2] == live.SKIPPED
    assert "AWS_PROFILE" in lines[2]
    assert lines[3] == "0 errors, 0 warnings, 1 ok"


def test_a_wrong_file_is_an_error_and_nothing_is_looked_up(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "session", lambda: pytest.fail("there is nothing to compare with"))
    file = written(tmp_path, "name: cryoem\nregoin: x\n")
    assert run(file) == 1
    out = capsys.readouterr().out
    assert f"{file}:2" in out
    assert "Did you mean region?" in out
    assert out.endswith("1 error, 0 warnings, 0 ok\n")


def test_a_missing_file_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(str(tmp_path / "none.yaml")) == 1
    assert "none.yaml" in capsys.readouterr().out


def test_warnings_fail_only_when_they_are_asked_to(quick: list[Check], tmp_path: Path) -> None:
    quick.append(warning("engine", "ParallelCluster", "not asked", "pip install uv"))
    file = written(tmp_path)
    assert run(file) == 0
    assert run(file, "--strict") == 1


def test_a_profile_that_is_not_there_is_an_error(
    quick: list[Check], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert run(written(tmp_path)) == 1
    assert "nobody" in capsys.readouterr().out


def test_with_credentials_the_account_is_looked_at(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--strict") == 0
    out = capsys.readouterr().out
    titles = [line for line in out.splitlines() if not line.startswith(" ")]
    assert titles[:-1] == ["offline", "account", "deployment", "capacity", "network", "data"]
    assert titles[-1].startswith("0 errors, 0 warnings, ")
    assert "->" not in out


def test_an_error_in_the_account_fails_and_is_a_line_with_its_fix_below(
    account: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    account.quotas[quota_codes.G.code] = 64
    assert run() == 1
    lines = capsys.readouterr().out.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.startswith("  error"))
    assert (
        "vCPU quota: Running On-Demand G and VT instances: the quota is 64: too little for lanes[1].max_nodes"
        in lines[at]
    )
    assert lines[at + 1].strip().startswith("-> aws service-quotas request-service-quota-increase --service-code ec2")
    assert lines[-1].startswith("1 error, 0 warnings, ")


def test_offline_looks_up_nothing(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "session", lambda: pytest.fail("it was told not to"))
    assert run("--offline") == 0
    assert "--offline" in capsys.readouterr().out


def test_json(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    account.quotas[quota_codes.G.code] = 500
    assert run("--json") == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert {key: document[key] for key in ("file", "name", "region", "skipped")} == {
        "file": "cryoem.yaml",
        "name": "cryoem",
        "region": "us-east-1",
        "skipped": None,
    }
    assert document["counts"]["warning"] == 1
    assert sum(document["counts"].values()) == len(document["checks"])
    assert all(set(check) == {"group", "name", "subject", "level", "reason", "fix"} for check in document["checks"])
    (found,) = (check for check in document["checks"] if check["level"] == "warning")
    assert (found["group"], found["name"]) == ("capacity", "vCPU quota")


def test_json_says_what_was_not_looked_up(
    quick: list[Check], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(written(tmp_path), "--json") == 0
    assert json.loads(capsys.readouterr().out)["skipped"] == live.SKIPPED


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_the_region_of_the_environment_is_compared(
    account: Account, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "eu-west-1")
    assert run() == 1
    assert "environment or profile say eu-west-1" in capsys.readouterr().out
