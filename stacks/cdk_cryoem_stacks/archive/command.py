"""`cryoem archive`, `restore`, `deposit`: their options, their order, their exit codes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..operate.command import with_system
from ..operate.options import add_system
from ..operate.words import cryoem

if TYPE_CHECKING:
    from ..operate.find import Clients, System
    from .cost import Tier
    from .work import Seen

_TIERS = ("standard", "bulk")
_MOST_DAYS = 365


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The three commands, each with its options."""

    def command(name: str, help: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(
            name, help=help, description=help, epilog="Exit status: 0 done; 1 failed or refused; 2 the input is wrong."
        )
        add_system(parser)
        return parser

    archive = command("archive", "send a finished dataset to S3 Glacier Deep Archive, say its price first")
    archive.add_argument("dataset", nargs="?", help="its name; with --list none")
    archive.add_argument("--list", action="store_true", help="state, size and price of every dataset; changes nothing")
    archive.add_argument("--undo", action="store_true", help="keep what was not moved yet where it is")
    archive.add_argument(
        "--without-receipt", action="store_true", help="although it is not proven that all of it arrived"
    )
    archive.set_defaults(run=_archive)
    restore = command("restore", "have an archived dataset readable for some days, say price and duration first")
    restore.add_argument("dataset", help="its name")
    restore.add_argument("--tier", type=_tier, default="bulk", metavar="{standard,bulk}", help="default: bulk")
    restore.add_argument("--days", type=_days, default=14, help=f"how long, 1 to {_MOST_DAYS}; default: 14")
    restore.add_argument("--status", action="store_true", help="how far it is; changes nothing")
    restore.set_defaults(run=_restore)
    deposit = command("deposit", "list a dataset for its deposition in EMPIAR: files, checksums, image sets")
    deposit.add_argument("dataset", help="its name")
    deposit.add_argument("--output", type=Path, metavar="FOLDER", help="default: deposit-DATASET")
    deposit.set_defaults(run=_deposit)
    for each in (archive, restore):
        each.add_argument("--yes", action="store_true", help="do not ask")
        each.add_argument(
            "--json", action="store_true", help="print one JSON document; without --yes nothing is changed"
        )


def _tier(text: str) -> str:
    if text == "expedited":
        raise argparse.ArgumentTypeError(
            "Deep Archive has no expedited restore: standard is typically there within 12 h, bulk within 48 h"
        )
    if text not in _TIERS:
        raise argparse.ArgumentTypeError(f"got {text}, allowed: {', '.join(_TIERS)}")
    return text


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"got {text}, allowed: whole days, 1 to {_MOST_DAYS}")
    return int(text)


def _archive(parsed: argparse.Namespace) -> int:
    wrong = ""
    if parsed.list and (parsed.dataset or parsed.undo):
        wrong = "--list is of all datasets, and changes nothing"
    elif not parsed.list and not parsed.dataset:
        wrong = "name a dataset, or --list"
    if wrong:
        print(f"cryoem archive: {wrong}", file=sys.stderr)
        return 2

    def act(clients: Clients, found: System) -> None:
        if parsed.list:
            _list(parsed, clients, found)
        elif parsed.undo:
            _undo(parsed, clients, found)
        else:
            _finish(parsed, clients, found)

    return with_system(parsed, _counting(act))


def _list(parsed: argparse.Namespace, clients: Clients, found: System) -> None:
    from dataclasses import asdict

    from . import report, work
    from .prices import GB, usd

    seen = work.look_at_all(clients, found, progress=_progress)
    rows = [report.row(item, each, usd_per_byte=usd("tiering-frequent") / GB) for item, each in seen]
    region = found.target.region
    if parsed.json:
        print(json.dumps([asdict(each) for each in rows], indent=2))
    else:
        print(report.list_text(rows, region=region))


def _finish(parsed: argparse.Namespace, clients: Clients, found: System) -> None:
    from ..operate.ask import Failed
    from ..operate.find import who
    from ..operate.records import Records
    from . import decide, report, work

    seen = work.look(clients, found, parsed.dataset, progress=_progress)
    # Of a system that was found by its name no file was read.
    known = found.target.stop_after_minutes is not None
    verdict = decide.may_archive(
        seen.item,
        seen.receipt,
        seen.rule,
        seen.contents,
        recipe=found.target.recipe if known else None,
        without_receipt=parsed.without_receipt,
    )
    region = found.target.region
    _show(
        parsed, report.archive_document(seen, verdict, region=region), report.archive_text(seen, verdict, region=region)
    )
    if not verdict.allowed:
        raise Failed("; ".join(verdict.refusals).replace("NAME-storage", found.target.storage_stack))
    if not _agreed(parsed, f"Archive {seen.name}?"):
        return
    changed = work.finish(Records(clients, found.table), seen, by=who(clients), progress=_progress)
    first, _ = report.due(seen)
    _say(
        parsed,
        f"{seen.name} is finished: {changed} of {seen.contents.all.files} files were marked now; S3 moves them from"
        f" {report.day(first)} on",
    )


def _undo(parsed: argparse.Namespace, clients: Clients, found: System) -> None:
    from ..operate.find import who
    from ..operate.records import Records
    from ..operate.words import several
    from . import work

    seen = work.look(clients, found, parsed.dataset, progress=_progress)
    if parsed.json and not parsed.yes:
        print(json.dumps(_brief(seen), indent=2))
        return
    changed = work.undo(Records(clients, found.table), seen, by=who(clients), progress=_progress)
    moved = seen.contents.archived.files
    told = f"; {several(moved, 'file')} had been moved and stay there: `{cryoem('restore', seen.name)}` makes them readable"
    _say(
        parsed, f"{seen.name} is not finished any more: {several(changed, 'mark')} taken away" + (told if moved else "")
    )
    if parsed.json:
        print(json.dumps({**_brief(seen), "unmarked": changed}, indent=2))


def _brief(seen: Seen) -> dict[str, object]:
    return {"dataset": seen.name, "state": seen.state, "archived": seen.contents.archived.files}


def _restore(parsed: argparse.Namespace) -> int:
    def act(clients: Clients, found: System) -> None:
        from ..operate.ask import Failed
        from ..operate.find import who
        from ..operate.records import Records
        from ..operate.words import several
        from . import decide, report, work

        seen = work.look(clients, found, parsed.dataset, progress=_progress)
        tier: Tier = parsed.tier
        region = found.target.region
        document = report.restore_document(seen, tier=tier, days=parsed.days, region=region)
        if parsed.status:
            print(json.dumps(document, indent=2) if parsed.json else report.status_text(seen))
            return
        verdict = decide.may_restore(seen.name, seen.item.get("archive"), seen.contents)
        if not verdict.allowed:
            raise Failed("; ".join(verdict.refusals))
        _show(parsed, document, report.restore_text(seen, tier=tier, days=parsed.days, region=region))
        if not _agreed(parsed, f"Restore {seen.name}?"):
            return
        answers = work.restore(
            Records(clients, found.table), seen, tier=tier, days=parsed.days, by=who(clients), progress=_progress
        )
        told = ", ".join(f"{several(number, 'file')} {answer}" for answer, number in sorted(answers.items()))
        _say(parsed, f"{seen.name}: {told}. `{cryoem('restore', seen.name, '--status')}` says when all of it is there")

    return with_system(parsed, _counting(act))


def _counting(act: Callable[[Clients, System], None]) -> Callable[[Clients, System], None]:
    """The same, counting with the system's prices."""

    def counting(clients: Clients, found: System) -> None:
        from .prices import counting_with

        with counting_with(found.target.prices, found.target.region):
            act(clients, found)

    return counting


def _deposit(parsed: argparse.Namespace) -> int:
    def act(clients: Clients, found: System) -> None:
        from . import deposit, work

        seen = work.look(clients, found, parsed.dataset, progress=_progress)
        print(deposit.write(seen, parsed.output or Path(f"deposit-{seen.name}")))

    return with_system(parsed, act)


def _show(parsed: argparse.Namespace, document: dict[str, object], text: str) -> None:
    print(json.dumps(document, indent=2) if parsed.json else text)


def _say(parsed: argparse.Namespace, text: str) -> None:
    # Of a JSON document nothing may stand in the way.
    print(text, file=sys.stderr if parsed.json else sys.stdout)


def _agreed(parsed: argparse.Namespace, question: str) -> bool:
    """Whether it is wanted. Errors: Failed when it is not, or nobody can be asked."""
    from ..operate.ask import Failed

    if parsed.yes:
        return True
    if parsed.json:
        return False
    if not sys.stdin.isatty():
        raise Failed("nothing was changed: nobody can be asked here; --yes does it without asking")
    if input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
        raise Failed("nothing was changed")
    return True


def _progress(what: str, done: int, of: int) -> None:
    """One line that is written over, on a terminal alone."""
    if sys.stderr.isatty() and (done % 50 == 0 or done == of):
        print(f"\r{what} {done} of {of} ", end="\n" if done == of else "", file=sys.stderr, flush=True)
