"""`cryoem cost` and `cryoem cap`: their options, their order, their exit codes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..operate.command import with_system
from ..operate.options import add_system

if TYPE_CHECKING:
    from ..operate.find import Clients, System
    from ..operate.records import Records
    from .limits import Limit

_EPILOG = "Exit status: 0 done; 1 failed; 2 the input is wrong."
_LONGEST_DAYS = 366


def add_commands(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The commands, each with its options."""
    text = "what jobs cost, by lane, project and user; what nodes cost besides; what is left of each cap"
    cost = commands.add_parser("cost", help=text, description=text, epilog=_EPILOG)
    add_system(cost)
    period = cost.add_mutually_exclusive_group()
    period.add_argument("--month", type=_month, metavar="YYYY-MM", help="default: this month, UTC")
    period.add_argument("--always", action="store_true", help="everything there ever was, by project")
    cost.add_argument("--project", help="one project alone: the folder below /fsx/projects, or a dataset's name")
    cost.add_argument("--check", action="store_true", help="add the jobs up again, and compare")
    cost.add_argument(
        "--billed", action="store_true", help="show what AWS billed, too: Cost Explorer takes 0.01 USD for it"
    )
    cost.add_argument("--json", action="store_true", help="print one JSON document")
    cost.set_defaults(run=_cost)
    text = "show the caps, or give one of them more for a time"
    cap = commands.add_parser("cap", help=text, description=text, epilog=_EPILOG)
    add_system(cap)
    cap.add_argument("what", nargs="?", choices=("show", "raise", "restore"), default="show", help="default: show")
    cap.add_argument("cap", nargs="?", metavar="CAP", help="its name, to raise or restore it")
    cap.add_argument("--project", help="whose limit, where each has its own")
    cap.add_argument("--usd", type=_usd, help="the new limit, not what is added")
    cap.add_argument("--days", type=_days, default=30.0, help=f"for how long; default: 30, at most {_LONGEST_DAYS}")
    cap.add_argument("--reason", default="", help="why; kept with it, and shown")
    cap.add_argument("--dry-run", action="store_true", help="print what would be written; write nothing")
    cap.add_argument("--json", action="store_true", help="print one JSON document")
    cap.set_defaults(run=_cap)


def _month(text: str) -> str:
    try:
        return datetime.strptime(text, "%Y-%m").strftime("%Y-%m")
    except ValueError:
        raise argparse.ArgumentTypeError(f"got {text}, allowed: a year and a month, such as 2026-11") from None


def _number(text: str, most: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= most:
        raise argparse.ArgumentTypeError(f"got {text}, allowed: above 0, at most {most:g}")
    return number


def _usd(text: str) -> float:
    return _number(text, 1e9)


def _days(text: str) -> float:
    return _number(text, _LONGEST_DAYS)


def _cost(parsed: argparse.Namespace) -> int:
    from ..operate.ask import Failed
    from ..operate.records import Records
    from . import report, spending

    def act(clients: Clients, found: System) -> None:
        now = time.time()
        month = spending.ALWAYS if parsed.always else parsed.month or spending.month_of(now)
        records = Records(clients, found.table)
        totals = records.items(spending.KIND)
        # Jobs are named by their ends, and one that ended in a month began at most so long before it.
        since = 0.0 if parsed.always else spending.bounds(month)[0]
        jobs = records.items("job", since=f"{int(since):012d}")
        seen = spending.spending(
            totals,
            month=month,
            lives=records.items("node-life"),
            jobs=jobs,
            datasets=[str(item["sk"]) for item in records.items("dataset")],
            now=now,
        )
        if parsed.project is not None:
            seen = _only(seen, parsed.project)
        limits = _limits(clients, found, records, totals, now=now)
        wrong = spending.differences(totals, jobs, month=month) if parsed.check and not parsed.always else []
        billed = _billed(clients, found, month, now=now) if parsed.billed and not parsed.always else None
        if parsed.json:
            document = {**seen.document(), "caps": [_plain(each) for each in limits], "differences": wrong}
            if parsed.billed:
                document["billed"] = dataclasses.asdict(billed) if billed else None
            print(json.dumps(document, indent=2))
        else:
            print(report.cost_text(seen, limits if parsed.project is None else ()))
            if parsed.billed and not parsed.always:
                print(report.bill_text(seen, billed))
            if parsed.check and not wrong:
                print(f"checked: the totals are the sums of {seen.total.jobs} jobs")
        if wrong:
            raise Failed("the totals are not the sums of the jobs: " + "; ".join(wrong))

    return with_system(parsed, act)


def _only(seen: Any, project: str) -> Any:
    from ..operate.ask import Failed

    totals = seen.by.get("project", {})
    if project not in totals:
        names = ", ".join(name or "(none)" for name in list(totals)[:10]) or "none"
        raise Failed(f"project {project!r} has no job that ended in {seen.month}; projects are {names}")
    return dataclasses.replace(seen, total=totals[project], by={"project": {project: totals[project]}}, nodes=None)


def _billed(clients: Clients, found: System, month: str, *, now: float) -> Any:
    from .bill import bill

    return bill(
        clients.cost_explorer, system=found.target.name, month=month, today=datetime.fromtimestamp(now, UTC).date()
    )


def _caps(clients: Clients, found: System) -> list[Mapping[str, Any]]:
    from ..operate.ask import ask

    name = found.output("LaneManifest")
    text = ask("ssm:GetParameter", lambda: clients.ssm.get_parameter(Name=name))["Parameter"]["Value"]
    caps: list[Mapping[str, Any]] = json.loads(text).get("caps", [])
    return caps


def _limits(clients: Clients, found: System, records: Records, totals: list[Any], *, now: float) -> list[Limit]:
    from . import limits, spending

    month = spending.month_of(now)
    return list(limits.limits(_caps(clients, found), totals, records.items(limits.KIND), month=month, now=now))


def _plain(limit: Limit) -> dict[str, Any]:
    return {**dataclasses.asdict(limit), "left_usd": limit.left_usd}


def _cap(parsed: argparse.Namespace) -> int:
    from ..operate.ask import Failed
    from ..operate.find import who
    from ..operate.records import Records
    from . import limits, report, spending

    def show(clients: Clients, found: System, records: Records) -> None:
        rows = _limits(clients, found, records, records.items(spending.KIND), now=time.time())
        if parsed.json:
            print(json.dumps([_plain(each) for each in rows], indent=2))
        elif rows:
            print("\n".join(report.cap_rows(rows)))
        else:
            print("there are no caps, or nothing was spent of them; section caps of the configuration file makes one")

    def act(clients: Clients, found: System) -> None:
        records = Records(clients, found.table)
        if parsed.what == "show":
            show(clients, found, records)
            return
        wrong = limits.wrong_scope(_caps(clients, found), parsed.cap or "", parsed.project)
        if wrong:
            raise Failed(wrong)
        scope = parsed.cap if parsed.project is None else f"{parsed.cap}#{parsed.project}"
        if parsed.what == "restore":
            if parsed.dry_run:
                there = records.item(limits.KIND, scope)
                print(f"would withdraw the raised limit of {scope}" if there else f"{scope} was not raised")
                return
            gone = records.delete(limits.KIND, scope)
            print(f"{scope} has its own limit again" if gone else f"{scope} was not raised")
            return
        if parsed.usd is None or not parsed.reason.strip():
            raise Failed("to raise a cap say how much and why: --usd LIMIT --reason TEXT")
        now = int(time.time())
        until = now + round(parsed.days * 86_400)
        if parsed.dry_run:
            print(f"would set the limit of {scope} to {parsed.usd:,.2f} USD for {parsed.days:g} days: {parsed.reason}")
            return
        limits.raise_limit(
            records, scope, usd=parsed.usd, until=until, by=who(clients), reason=parsed.reason.strip(), now=now
        )
        print(
            f"{scope} may cost {parsed.usd:,.2f} USD until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M} UTC;"
            " jobs that were held for it start within seconds while the head node is awake"
        )

    return with_system(parsed, act)
