"""`cryoem wake`, `sleep`, `connect`, `land`, `reopen`, `status`: their options, their order, their exit codes."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..which_file import config_file
from .options import add_system

if TYPE_CHECKING:
    from .find import Clients, System, Target

_SHORTEST_HOURS, _LONGEST_HOURS = 0.25, 72.0


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands, each with its options."""

    def command(name: str, help: str, *, changes: bool = True) -> argparse.ArgumentParser:
        parser = commands.add_parser(
            name, help=help, description=help, epilog="Exit status: 0 done; 1 failed; 2 the input is wrong."
        )
        add_system(parser)
        if changes:
            parser.add_argument("--dry-run", action="store_true", help="print what would be written; write nothing")
        return parser

    wake = command("wake", "start the head node if it sleeps, and keep it awake for some hours")
    wake.add_argument(
        "--hours",
        type=_hours,
        default=2.0,
        help=f"{_SHORTEST_HOURS} to {_LONGEST_HOURS:.0f}; default: 2. An earlier request is never shortened",
    )
    wake.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        help="show how it wakes until it can be logged into; default: on a terminal",
    )
    wake.add_argument(
        "--timeout", type=_minutes, default=15.0, metavar="MINUTES", help="how long --wait waits; default: 15"
    )
    wake.set_defaults(run=_wake)
    command(
        "sleep", "withdraw the request of `cryoem wake`; the head node stops when nothing else needs it"
    ).set_defaults(run=_sleep)
    connect = command("connect", "reach cryoSPARC's pages, a shell or the desktop on the head node by Session Manager")
    connect.add_argument("way", nargs="?", choices=("ui", "shell", "desktop"), default="ui", help="default: ui")
    connect.add_argument(
        "--port", type=_port, help="of this machine; default: 61000 for ui, 8443 for desktop, or a free one"
    )
    connect.add_argument("--wake", action="store_true", help="start the head node if it sleeps; a terminal is asked")
    connect.add_argument("--hours", type=_hours, default=2.0, help="how long --wake keeps it awake; default: 2")
    connect.add_argument("--timeout", type=_minutes, default=15.0, metavar="MINUTES", help="for waking; default: 15")
    connect.set_defaults(run=_connect)
    land = command("land", "say that a dataset is complete")
    land.set_defaults(run=_word, word="landed")
    reopen = command("reopen", "say that a dataset is not complete, however quiet it is, until `cryoem land`")
    reopen.set_defaults(run=_word, word="arriving")
    for each in (land, reopen):
        each.add_argument("dataset", help="its name: the folder's name on the microscope's share")
        each.add_argument("--reason", default="", help="kept with the dataset and shown by `cryoem status`")
    status = command("status", "show on one page what the system does, and what its jobs cost", changes=False)
    status.add_argument("--json", action="store_true", help="print one JSON document")
    status.set_defaults(run=_status)
    verify = command(
        "verify",
        "compare a dataset on the share, in the bucket and on the file system with its manifest",
        changes=False,
    )
    verify.add_argument("dataset", help="its name: the folder's name on the microscope's share")
    verify.add_argument(
        "--checksums", action="store_true", help="read every file on the file system; cold ones come back from S3"
    )
    verify.add_argument(
        "--share",
        type=Path,
        metavar="FOLDER",
        help="the microscope's share as it is mounted here; its files are read too",
    )
    verify.add_argument(
        "--microscope",
        metavar="NAME",
        help="with --share: whose patterns say what is left out there; default: all agree",
    )
    verify.add_argument(
        "--json", action="store_true", help="print one JSON document, with every file that is not verified"
    )
    verify.set_defaults(run=_verify)


def _hours(text: str) -> float:
    return _number(text, _SHORTEST_HOURS, _LONGEST_HOURS)


def _minutes(text: str) -> float:
    return _number(text, 1, 120)


def _port(text: str) -> int:
    # Below 1024 only root may listen.
    if not text.isdecimal() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"got {text}, allowed: 1024 to 65535")
    return int(text)


def _number(text: str, least: float, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(f"got {text}, allowed: {least:g} to {most:g}")
    return number


def _target(parsed: argparse.Namespace) -> Target | None:
    """The system that is meant, or None when the input is wrong, which has been said."""
    from .find import Target, session

    if parsed.name:
        # boto3 itself reads AWS_DEFAULT_REGION alone.
        region = parsed.region or os.environ.get("AWS_REGION") or session().region_name
        if parsed.config or not region:
            wrong = "--config and --name exclude each other" if parsed.config else "--name wants --region"
            print(f"cryoem {parsed.command}: {wrong}", file=sys.stderr)
            return None
        return Target(name=parsed.name, region=region)
    if parsed.region:
        print(f"cryoem {parsed.command}: --region is for --name; the file names its region", file=sys.stderr)
        return None
    # Imported here: the rules bring the CDK with them, which takes seconds.
    from cdk_cryoem.ingest_patterns import excluded

    from ..config_file import ConfigError, load

    file = config_file(parsed.config)
    try:
        config = load(file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return None
    return Target(
        name=config.name,
        region=config.region,
        account=config.account,
        stop_after_minutes=config.head_node.stop_after_minutes,
        recipe=config.processing.on_landed or "" if config.processing else "",
        has_cryosparc=config.cryosparc is not None,
        has_desktop=config.head_node.remote_desktop_from is not None,
        file=file,
        leaves_out={each.name: excluded(each.software, each.exclude_patterns) for each in config.microscopes},
        prices=config.price_table(),
    )


def _with_system(parsed: argparse.Namespace, act: Callable[[Clients, System], None]) -> int:
    """Find the system and act. 0: done; 1: failed; 2: the input is wrong."""
    # Imported here, as everything that brings boto3: `cryoem check` need not wait for it.
    from .ask import Failed
    from .find import Clients, session, system

    try:
        target = _target(parsed)
        if target is None:
            return 2
        clients = Clients(session(), target.region)
        act(clients, system(clients, target))
    except Failed as problem:
        print(f"cryoem {parsed.command}: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\ncryoem {parsed.command}: interrupted; what was written stands", file=sys.stderr)
        return 1
    return 0


with_system = _with_system
"""For the commands of other packages."""


def _wake(parsed: argparse.Namespace) -> int:
    from . import wake
    from .find import who
    from .records import Records

    def act(clients: Clients, found: System) -> None:
        now = int(time.time())
        wanted = wake.Request(until=now + round(parsed.hours * 3600), by=who(clients), at=now)
        records = Records(clients, found.table)
        if parsed.dry_run:
            there = wake.standing(records)
            if there is not None and there.until >= wanted.until:
                print(f"nothing would be written: {there}")
            else:
                print(f"would write to {found.table}: {json.dumps(wanted.item())}")
            print(f"would call {found.sweeper}; the head node is {wake.look(clients, found.head_node).state}")
            return
        holds = wake.write(records, wanted)
        print(
            f"{found.target.name}: {holds}"
            + ("" if holds is wanted else "; that stands from before, and is not shortened")
        )
        _hint(parsed, clients, found)
        waits = sys.stdout.isatty() if parsed.wait is None else parsed.wait
        if waits:
            wake.watch(
                lambda: wake.look(clients, found.head_node),
                hint=lambda: _hint(parsed, clients, found),
                say=lambda text: print(f"{time.time() - now:5.0f} s  {text}", flush=True),
                seconds=parsed.timeout * 60,
            )
        print(("Log in: " if waits else "Log in when it is awake: ") + wake.connect(found))

    return _with_system(parsed, act)


def _sleep(parsed: argparse.Namespace) -> int:
    from . import wake
    from .records import Records

    def act(clients: Clients, found: System) -> None:
        records = Records(clients, found.table)
        if parsed.dry_run:
            there = wake.standing(records)
            print(f"would withdraw: {there}" if there else "nothing would be withdrawn: there is no request")
        else:
            item = records.delete(wake.KIND, wake.NAME)
            print(f"withdrawn: {wake.Request.parse(item)}" if item else "there was no request")
            _hint(parsed, clients, found)
        keeps = wake.keepers(
            records.items("dataset"),
            records.last("job"),
            stop_after_minutes=found.target.stop_after_minutes,
            recipe=found.target.recipe,
            now=time.time(),
        )
        for reason in keeps:
            print(f"keeps it awake: {reason}")
        print(
            "A login, a job, a node that is on, a running recipe and the hours of head_node.awake keep it awake too; no"
            " record has them: `who`, `squeue` and `sinfo` on the head node do, and the file"
        )

    return _with_system(parsed, act)


def _connect(parsed: argparse.Namespace) -> int:
    from . import connect, wake
    from .ask import Failed
    from .find import who
    from .records import Records

    began = time.time()

    def wants_it_awake(state: str) -> bool:
        if parsed.wake or not sys.stdin.isatty():
            return bool(parsed.wake)
        answer = input(f"The head node is {state}. Wake it for {parsed.hours:g} hours? [Y/n] ")
        return answer.strip().lower() in ("", "y", "yes")

    def act(clients: Clients, found: System) -> None:
        for line in connect.needs(parsed.way, found):
            print(line, file=sys.stderr)
        port = None
        if parsed.way != "shell":
            port = connect.free_port(parsed.port, connect.PORTS[parsed.way])
        wanted = connect.request(found, parsed.way, port)
        if parsed.dry_run:
            print(f"would start a session: {json.dumps(wanted)}")
            print(f"the head node is {wake.look(clients, found.head_node).state}")
            print(f"by {connect.plugin()}")
            return
        plugin = connect.plugin()
        warning = connect.plugin_warning(plugin)
        if warning:
            print(f"cryoem connect: {warning}", file=sys.stderr)

        def request_it() -> None:
            now = int(time.time())
            asked = wake.Request(until=now + round(parsed.hours * 3600), by=who(clients), at=now)
            print(f"{found.target.name}: {wake.write(Records(clients, found.table), asked)}")
            _hint(parsed, clients, found)

        connect.reach(
            lambda: wake.look(clients, found.head_node),
            wants_it_awake=wants_it_awake,
            request_it=request_it,
            hint=lambda: _hint(parsed, clients, found),
            say=lambda text: print(f"{time.time() - began:5.0f} s  {text}", flush=True),
            seconds=parsed.timeout * 60,
        )
        session = connect.begin(clients, found, wanted)
        try:
            print(*connect.welcome(parsed.way, port), sep="\n", flush=True)
            code = connect.run(session, plugin, keeps_interrupts=parsed.way == "shell")
        finally:
            connect.end(clients, session)
        if code:
            raise Failed(f"{plugin} ended with {code}; the session {session.id} is closed")

    return _with_system(parsed, act)


def _word(parsed: argparse.Namespace) -> int:
    from . import land
    from .ask import Failed
    from .find import who
    from .records import Records

    def act(clients: Clients, found: System) -> None:
        records = Records(clients, found.table)
        item = records.item(land.KIND, parsed.dataset)
        if item is None:
            raise Failed(land.unknown(parsed.dataset, (str(each["sk"]) for each in records.items(land.KIND))))
        decided = land.decide(item, parsed.word)
        if decided.write and parsed.dry_run:
            word = {"operator": parsed.word, "operator_by": who(clients), "operator_reason": parsed.reason}
            print(f"would write to {parsed.dataset} in {found.table}: {json.dumps(word)}")
            return
        if decided.write:
            now = int(time.time())
            land.write(records, parsed.dataset, parsed.word, by=who(clients), at=now, reason=parsed.reason)
        print(decided.say)
        if not parsed.dry_run:
            _hint(parsed, clients, found)

    return _with_system(parsed, act)


def _status(parsed: argparse.Namespace) -> int:
    from . import report, status

    def act(clients: Clients, found: System) -> None:
        seen = status.look(clients, found, now=time.time())
        print(json.dumps(seen.document(), indent=2) if parsed.json else report.as_text(seen))

    return _with_system(parsed, act)


def _verify(parsed: argparse.Namespace) -> int:
    from . import land, left_out, verify, verify_text
    from .ask import Failed
    from .find import storage
    from .records import Records

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def act(clients: Clients, found: System) -> None:
        records = Records(clients, found.table)
        if records.item(land.KIND, parsed.dataset) is None:
            raise Failed(land.unknown(parsed.dataset, (str(each["sk"]) for each in records.items(land.KIND))))
        bucket = storage(clients, found.target).landing_bucket
        seen = verify.look(
            clients,
            found,
            bucket,
            parsed.dataset,
            checksums=parsed.checksums,
            share=parsed.share,
            leaves_out=left_out.of(found.target.leaves_out, parsed.microscope) if parsed.share else None,
            say=say,
        )
        # A name may hold bytes that are no UTF-8.
        text = json.dumps(seen.document(), indent=2) if parsed.json else verify_text.as_text(seen)
        print(text.encode(errors="backslashreplace").decode())
        if not seen.verified:
            raise Failed(f"not all of {parsed.dataset} is verified")

    return _with_system(parsed, act)


def _hint(parsed: argparse.Namespace, clients: Clients, found: System) -> None:
    """Call the sweeper. Without it the same happens within five minutes, so that a failure is told and no more."""
    from .ask import Failed
    from .find import hint

    try:
        hint(clients, found)
    except Failed as problem:
        print(f"cryoem {parsed.command}: {problem}. The next sweep comes within five minutes", file=sys.stderr)
