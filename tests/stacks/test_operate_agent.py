"""`cryoem agent`: the key is asked of the agent itself, and the agent activated when that is wanted."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest
from botocore.stub import Stubber

from cdk_cryoem_stacks import cli
from cdk_cryoem_stacks.operate import find
from cdk_cryoem_stacks.operate.agent import NoKey, activate, key_of
from cdk_cryoem_stacks.operate.ask import Failed

KEY = "ABCDE-12345-FGHIJ-67890-KLMNO"
ARN = "arn:aws:datasync:eu-west-1:111122223333:agent/agent-0123456789abcdef0"


@contextmanager
def agent(status: int = 200, body: str = KEY, location: str = "") -> Iterator[tuple[str, list[str]]]:
    """An agent on this machine: its address, and what it was asked."""
    asked: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["agent", *arguments])
    return int(ended.value.code or 0)


def test_the_key_is_asked_of_the_agent_whatever_proxy_there_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with agent(body=f"{KEY}\n") as (host, asked):
        assert run(host, "--region", "eu-west-1") == 0
    assert asked == ["/?gatewayType=SYNC&activationRegion=eu-west-1&no_redirect"]
    assert capsys.readouterr().out == f"activation_key: {KEY} # valid for 30 minutes, in eu-west-1\n"


def test_the_file_names_the_region(tmp_path: Path) -> None:
    file = tmp_path / "em.yaml"
    file.write_text("name: em\nregion: ap-northeast-1\n")
    with agent() as (host, asked):
        assert run(host, "--config", str(file)) == 0
    assert "activationRegion=ap-northeast-1" in asked[0]


@contextmanager
def account(monkeypatch: pytest.MonkeyPatch, number: str = "111122223333") -> Iterator[Stubber]:
    """Credentials of an account; what DataSync is asked there."""
    session = boto3.Session("testing", "testing")
    clients = {name: session.client(name, region_name="eu-west-1") for name in ("datasync", "sts")}
    monkeypatch.setattr(session, "client", lambda name, region_name: {"eu-west-1": clients}[region_name][name])
    monkeypatch.setattr(find, "session", lambda: session)
    identity = {"Account": number, "Arn": f"arn:aws:iam::{number}:user/ada", "UserId": "AIDA"}
    with Stubber(clients["sts"]) as sts, Stubber(clients["datasync"]) as datasync:
        sts.add_response("get_caller_identity", identity, {})
        yield datasync
        sts.assert_no_pending_responses()
        datasync.assert_no_pending_responses()


def created(stub: Stubber, name: str) -> None:
    tags = [{"Key": "cryoem:made-by", "Value": "cryoem agent"}]
    stub.add_response("create_agent", {"AgentArn": ARN}, {"ActivationKey": KEY, "AgentName": name, "Tags": tags})


def test_create_activates_it_and_prints_the_line_for_the_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with agent() as (host, _), account(monkeypatch) as stub:
        created(stub, "krios hall 2")
        assert run(host, "--region", "eu-west-1", "--create", "--agent-name", "krios hall 2") == 0
    told = capsys.readouterr()
    assert told.out == f"agent_arn: {ARN}\n"
    assert told.err == "activating it in account 111122223333, eu-west-1\n"


@pytest.mark.parametrize(("number", "code"), [("111122223333", 0), ("444455556666", 1)])
def test_it_is_activated_in_the_account_of_the_file_alone(
    number: str, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "em.yaml"
    file.write_text("name: em\nregion: eu-west-1\naccount: '111122223333'\n")
    with agent() as (host, _), account(monkeypatch, number) as stub:
        if code == 0:
            created(stub, host)
        assert run(host, "--config", str(file), "--create") == code
    said = capsys.readouterr().err
    wrong = f"nothing was activated: the credentials are of account {number}, the file is for 111122223333"
    assert (wrong in said) is (code == 1)
    assert (f"The key was {KEY}, valid for 30 minutes" in said) is (code == 1)


def test_a_name_that_datasync_would_not_take_is_made_one() -> None:
    client = boto3.Session("testing", "testing").client("datasync", region_name="eu-west-1")
    with Stubber(client) as stub:
        expected = {
            "ActivationKey": KEY,
            "AgentName": "Kr-os -1-",
            "Tags": [{"Key": "cryoem:made-by", "Value": "cryoem agent"}],
        }
        stub.add_response("create_agent", {"AgentArn": ARN}, expected)
        assert activate(client, KEY, "Kríos (1)") == ARN


def test_a_refusal_of_aws_keeps_the_key(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> boto3.Session:
        raise Failed("no credentials")

    monkeypatch.setattr(find, "session", nobody)
    with agent() as (host, _):
        assert run(host, "--region", "eu-west-1", "--create") == 1
    assert f"no credentials. The key was {KEY}, valid for 30 minutes" in capsys.readouterr().err


def test_nobody_answers(capsys: pytest.CaptureFixture[str]) -> None:
    with agent() as (host, _):
        gone = host
    assert run(gone, "--region", "eu-west-1") == 1
    said = capsys.readouterr().err
    assert said.startswith(f"cryoem agent: {gone} did not answer: ")
    assert "closes it once it is activated" in said


@pytest.mark.parametrize(
    ("status", "location", "body", "said"),
    [
        (200, "", "<html>\nA printer", "status 200, '<html>'"),
        (404, "", "", "status 404, 'nothing'"),
        (302, "http://console/?errorType=PRIVATE_LINK_ENDPOINT_UNREACHABLE", "", "PRIVATE_LINK_ENDPOINT_UNREACHABLE"),
    ],
)
def test_what_answers_has_no_key(status: int, location: str, body: str, said: str) -> None:
    with pytest.raises(NoKey, match=said):
        key_of(status, location, body)


def test_a_key_in_the_address_that_a_browser_is_sent_to() -> None:
    assert key_of(302, f"https://console.aws.amazon.com/datasync?gatewayType=SYNC&activationKey={KEY}", "") == KEY


@pytest.mark.parametrize("host", ["", "http://agent", "agent/x", "a b", "agent;ls"])
def test_what_is_no_host(host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(host, "--region", "eu-west-1") == 2
    assert "allowed: a host name or address" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--region", "Ireland"], "--region: got 'Ireland'"),
        (["--region", "eu-west-1", "--config", "x.yaml"], "exclude each other"),
        (["--config", "none.yaml"], "none.yaml:1: none.yaml: got"),
    ],
)
def test_wrong_input(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("10.0.0.9", *arguments) == 2
    assert said in capsys.readouterr().err
