"""`cryoem export` and `teardown`: their options, their order, their exit codes."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from .command import with_system
from .options import add_system

if TYPE_CHECKING:
    from .find import Clients, System


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands, each with its options."""

    def command(name: str, help: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(
            name, help=help, description=help, epilog="Exit status: 0 done; 1 failed; 2 the input is wrong."
        )
        add_system(parser)
        return parser

    export = command("export", "export what is below /projects and not in S3 yet, while the system is in use")
    export.add_argument("--dry-run", action="store_true", help="say what is not in S3; export nothing")
    export.set_defaults(run=_export)
    teardown = command(
        "teardown", "say what would be lost with the file system, or how to destroy the system; deletes nothing"
    )
    teardown.add_argument(
        "--export", action="store_true", help="first export what is below /projects and not in S3 yet"
    )
    teardown.add_argument("--json", action="store_true", help="print one JSON document, with every file")
    teardown.set_defaults(run=_teardown)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _export(parsed: argparse.Namespace) -> int:
    from . import catch_up
    from .ask import Failed
    from .find import storage

    def act(clients: Clients, found: System) -> None:
        done = catch_up.run(
            clients, found, storage(clients, found.target), say=_say, clock=time.time, only_look=parsed.dry_run
        )
        print(catch_up.as_text(done))
        if done.missed:
            raise Failed("not all of /projects is in S3")

    return with_system(parsed, act)


def _teardown(parsed: argparse.Namespace) -> int:
    from . import teardown
    from .ask import Failed
    from .find import storage

    def act(clients: Clients, found: System) -> None:
        kept = storage(clients, found.target)
        web = teardown.web_address(clients, found.target)
        verdict = teardown.look(clients, found, kept, say=_say, exports=parsed.export, web=web)
        print(json.dumps(verdict.document(), indent=2) if parsed.json else teardown.as_text(verdict, kept))
        if not verdict.safe:
            raise Failed("nothing of this system may be destroyed yet")

    return with_system(parsed, act)
