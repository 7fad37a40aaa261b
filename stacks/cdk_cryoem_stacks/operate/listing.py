"""What is on the file system: a list that the head node makes, and this machine reads from the results bucket."""

from __future__ import annotations

import gzip
import json
import secrets
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .ask import Failed, ask, find
from .find import Clients, System
from .wake import look
from .words import span

if TYPE_CHECKING:
    from mypy_boto3_ssm.type_defs import GetCommandInvocationResultTypeDef

DOCUMENT = "ListFilesDocument"
"""Output of the hooks' stack: the SSM document of the head node's list-files."""
# Of a command invocation (SSM API reference, GetCommandInvocation).
_UNDER_WAY = ("Pending", "InProgress", "Delayed", "Cancelling")
# As long as the document lets it run.
_LONGEST_SECONDS = 12 * 3600.0
_SAY_SECONDS = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedFile:
    """One line of a listing.

    path: below the root of the file system, such as data/em-1/a.mrc; a byte of it that is no UTF-8 is a lone surrogate, as
    in Python's own file names. kind: file, link, folder (only one that could not be read) or other. mtime: epoch seconds.
    hsm: what Lustre knows of the file's copy in S3, of exists, dirty, released, archived and lost; empty for a file that was
    never exported, None where it cannot be asked (no Lustre, no regular file). sha256: when it was asked for and the file
    could be read. error: why something of it could not be read, or empty.
    """

    path: str
    kind: str
    size: int
    mtime: float
    hsm: frozenset[str] | None = None
    sha256: str | None = None
    error: str = ""

    @classmethod
    def parse(cls, line: bytes) -> ListedFile:
        """From a line."""
        found: Mapping[str, Any] = json.loads(line)
        return cls(
            path=found["path"],
            kind=found["kind"],
            size=int(found["size"]),
            mtime=float(found["mtime"]),
            hsm=None if found["hsm"] is None else frozenset(found["hsm"]),
            sha256=found.get("sha256"),
            error=found.get("error", ""),
        )


def file_listing(
    clients: Clients,
    system: System,
    *,
    folder: str,
    checksums: bool = False,
    say: Callable[[str], None] | None = None,
    seconds: float = _LONGEST_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[ListedFile]:
    """Every file below a folder of the file system, by name, as the head node sees it now.

    folder: below /fsx, such as data/em-1 or projects; "." for all of it. checksums: whether each file is read, which brings
    a released one back from S3. say: told what is waited for; default: standard error. The list is complete before the
    first file is returned. Errors: Failed, also when the head node does not run.
    """
    tell = say or _to_standard_error
    instance, document = system.head_node, system.output(DOCUMENT)
    state = look(clients, instance).state
    if state != "running":
        raise Failed(f"the head node is {state}, and only it sees the file system: cryoem wake")
    key = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(4)}"
    parameters = {"Folder": [escaped(folder)], "Checksums": ["yes" if checksums else "no"], "Key": [key]}
    sent = find(
        "ssm:SendCommand",
        lambda: clients.ssm.send_command(
            DocumentName=document, InstanceIds=[instance], TimeoutSeconds=60, Parameters=parameters
        ),
        unless=("InvalidInstanceId",),
    )
    if sent is None:
        raise Failed("the head node runs, and takes no commands yet: cryoem wake --wait")
    printed = _outcome(clients, sent["Command"]["CommandId"], system, folder, tell, seconds, clock, pause)
    body = ask(
        "s3:GetObject", lambda: clients.s3.get_object(Bucket=printed["bucket"], Key=printed["key"])["Body"].read()
    )
    return (ListedFile.parse(line) for line in gzip.decompress(body).splitlines())


def escaped(folder: str) -> str:
    """A folder as the document's pattern takes it: every unusual byte as %XX."""
    return urllib.parse.quote(folder, safe="/", errors="surrogateescape").replace("~", "%7E")


def _outcome(
    clients: Clients,
    command: str,
    system: System,
    folder: str,
    say: Callable[[str], None],
    seconds: float,
    clock: Callable[[], float],
    pause: Callable[[float], None],
) -> Mapping[str, Any]:
    """What the command printed in the end."""
    began = said = clock()
    while True:
        answer = find(
            "ssm:GetCommandInvocation",
            lambda: clients.ssm.get_command_invocation(CommandId=command, InstanceId=system.head_node),
            # For a moment after it was sent.
            unless=("InvocationDoesNotExist",),
        )
        if answer is not None and answer["Status"] not in _UNDER_WAY:
            return _printed(answer, folder)
        waited = clock() - began
        if waited >= seconds:
            raise Failed(f"the head node has not listed {folder!r} after {span(waited)} (command {command})")
        if clock() - said >= _SAY_SECONDS:
            said = clock()
            # What it says of its progress, Systems Manager shows only at its end.
            say(f"the head node lists {folder}: {span(waited)}")
        pause(min(5.0, 0.5 + waited / 10))


def _printed(answer: GetCommandInvocationResultTypeDef, folder: str) -> Mapping[str, Any]:
    if answer["Status"] != "Success":
        words = answer["StandardErrorContent"].strip().splitlines()
        told = [line.removeprefix("list-files: ") for line in words if line.startswith("list-files: ")][-1:] or words[
            -3:
        ]
        raise Failed(f"the head node did not list {folder!r}: {' '.join(told) or answer['Status']}")
    try:
        found: Mapping[str, Any] = json.loads(answer["StandardOutputContent"])
    except ValueError as error:
        raise Failed(f"list-files printed {answer['StandardOutputContent'][:200]!r}, no JSON") from error
    return found


def _to_standard_error(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
