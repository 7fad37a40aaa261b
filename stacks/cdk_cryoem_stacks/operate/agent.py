"""`cryoem agent HOST`: ask a DataSync agent for its activation key, and activate it."""

from __future__ import annotations

import argparse
import http.client
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

from ..which_file import DEFAULT_HELP, config_file

if TYPE_CHECKING:
    from mypy_boto3_datasync import DataSyncClient
    from mypy_boto3_sts import STSClient

_KEY = re.compile(r"[A-Z0-9]{5}(-[A-Z0-9]{5}){4}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(:\d{1,5})?|\[[0-9a-fA-F:]+\](:\d{1,5})?")
_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")
_SECONDS = 15
_REACH = (
    "The agent's machine must be on, and this one must reach its port 80; the agent closes it once it is activated. "
    "On the agent's own console, menu entry 0 shows the key too"
)


class NoKey(Exception):
    """The agent gave no key. The text says why, and what to do."""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command with its options."""
    text = "ask a DataSync agent for its activation key, and activate it with --create"
    parser = commands.add_parser(
        "agent", help=text, description=text, epilog="Exit status: 0 done; 1 failed; 2 the input is wrong."
    )
    parser.add_argument("host", metavar="HOST", help="name or address of the agent's machine, which answers on port 80")
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"names region and account; {DEFAULT_HELP}")
    parser.add_argument("--region", help="instead of the file's")
    parser.add_argument(
        "--create",
        action="store_true",
        help="activate it in the account of the file, which the credentials must be of, and print its agent_arn",
    )
    parser.add_argument("--agent-name", metavar="NAME", help="with --create: what DataSync calls it; default: HOST")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """Ask, and act. 0: done; 1: it failed; 2: the input is wrong."""
    if not _HOST.fullmatch(parsed.host):
        print(f"cryoem agent: HOST: got {parsed.host!r}, allowed: a host name or address", file=sys.stderr)
        return 2
    place = _place(parsed)
    if place is None:
        return 2
    region, account = place
    try:
        key = ask_agent(parsed.host, region)
        if not parsed.create:
            print(f"activation_key: {key} # valid for 30 minutes, in {region}")
            return 0
        arn = _create(key, region, account, parsed.agent_name or parsed.host)
    except NoKey as problem:
        print(f"cryoem agent: {problem}", file=sys.stderr)
        return 1
    print(f"agent_arn: {arn}")
    return 0


def ask_agent(host: str, region: str, *, connect: Callable[..., http.client.HTTPConnection] | None = None) -> str:
    """The agent's activation key for a region. Errors: NoKey.

    As "Activating your AWS DataSync agent" (DataSync user guide) says to ask for it.
    """
    query = urlencode({"gatewayType": "SYNC", "activationRegion": region}) + "&no_redirect"
    try:
        # Straight to the agent, whatever proxy the environment names.
        connection = (connect or http.client.HTTPConnection)(host, timeout=_SECONDS)
        try:
            connection.request("GET", f"/?{query}")
            answer = connection.getresponse()
            body = answer.read(10_000).decode(errors="replace")
            return key_of(answer.status, answer.getheader("Location") or "", body)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as problem:
        raise NoKey(f"{host} did not answer: {problem or type(problem).__name__}. {_REACH}") from problem


def key_of(status: int, location: str, body: str) -> str:
    """The key in an agent's answer: its text, or in the address it sends a browser to. Errors: NoKey."""
    told = parse_qs(urlsplit(location).query)
    for text in (body.strip(), *told.get("activationKey", [])):
        if _KEY.fullmatch(text):
            return text
    wrong = ", ".join(told.get("errorType", []))
    if wrong:
        raise NoKey(f"the agent has no key: {wrong}. It must reach DataSync in this region by port 443")
    said = body.strip().splitlines()[0][:80] if body.strip() else "nothing"
    raise NoKey(f"what answered is no DataSync agent: status {status}, {said!r}")


def _place(parsed: argparse.Namespace) -> tuple[str, str | None] | None:
    """The region that is meant, and the account if the file names one; None when the input is wrong, which has been said."""
    if parsed.region is not None:
        if parsed.config is not None or not _REGION.fullmatch(parsed.region):
            wrong = "--config and --region exclude each other" if parsed.config else f"--region: got {parsed.region!r}"
            print(f"cryoem agent: {wrong}", file=sys.stderr)
            return None
        return str(parsed.region), None
    # Imported here: the rules bring the CDK with them, which takes seconds.
    from ..config_file import ConfigError, load

    try:
        config = load(config_file(parsed.config))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None
    return config.region, config.account


def _create(key: str, region: str, account: str | None, name: str) -> str:
    # Imported here: only --create needs boto3 and credentials.
    from .ask import Failed
    from .find import session

    try:
        found = session()
        mine = account_of(found.client("sts", region_name=region), account)
        print(f"activating it in account {mine}, {region}", file=sys.stderr)
        return activate(found.client("datasync", region_name=region), key, name)
    except Failed as problem:
        raise NoKey(f"{problem}. The key was {key}, valid for 30 minutes") from problem


def account_of(sts: STSClient, wanted: str | None) -> str:
    """The account of the credentials. wanted: the file's. Errors: Failed, when it is another one: an agent that is activated in a
    wrong account answers no second time.
    """
    from .ask import Failed, ask

    mine = ask("sts:GetCallerIdentity", sts.get_caller_identity)["Account"]
    if wanted not in (None, mine):
        raise Failed(
            f"nothing was activated: the credentials are of account {mine}, the file is for {wanted}; take others (AWS_PROFILE)"
        )
    return mine


def activate(datasync: DataSyncClient, key: str, name: str) -> str:
    """Activate the agent in the account of the client; returns its ARN. Errors: Failed. IAM: datasync:CreateAgent."""
    from .ask import ask

    plain = re.sub(r"[^a-zA-Z0-9 +=._:@/-]", "-", name)[:256]
    return ask(
        "datasync:CreateAgent",
        lambda: datasync.create_agent(
            ActivationKey=key, AgentName=plain, Tags=[{"Key": "cryoem:made-by", "Value": "cryoem agent"}]
        ),
    )["AgentArn"]
