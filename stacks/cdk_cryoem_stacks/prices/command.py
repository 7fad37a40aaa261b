"""`cryoem prices`: its options, its order, its exit codes."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..which_file import DEFAULT_HELP, config_file

if TYPE_CHECKING:
    from ..config import Config


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "List the prices that all commands count with, or get those of today from AWS. Every price says its region, its date"
        " and its source."
    )
    parser.epilog = (
        "Exit status: 0 done; 1 failed, or some prices were refused or not understood (the others are written);"
        " 2 the input is wrong. Reading prices costs nothing."
    )
    parser.add_argument("what", nargs="?", choices=("list", "refresh"), default="list", help="default: list")
    parser.add_argument("--region", help="default: that of the configuration, else us-east-1")
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"{DEFAULT_HELP}, where there is one; with refresh: its types alone",
    )
    parser.add_argument("--find", default="", metavar="TEXT", help="list: only items with TEXT in their name")
    parser.add_argument("--json", action="store_true", help="list: print one JSON document")
    parser.add_argument("--output", type=Path, metavar="FILE", help="refresh: file to write; its other rows stay")
    parser.add_argument(
        "--zone",
        help="refresh: availability zone of the spot prices; default: that of the configuration, else the middle one of each type",
    )
    parser.add_argument(
        "--accept",
        action="store_true",
        help="refresh: take prices that moved by more than a factor 3, and spot above on demand",
    )
    parser.add_argument("--dry-run", action="store_true", help="refresh: print what would be written; write nothing")
    parser.set_defaults(run=_prices)


def _prices(parsed: argparse.Namespace) -> int:
    from .faults import PriceFileError
    from .items import is_region, nearest, regions

    wrong = _misused(parsed)
    if wrong:
        return _refuse(wrong)
    try:
        config = _config(parsed)
    except ValueError as error:
        return _refuse(str(error))
    region = parsed.region or (config.region if config else "us-east-1")
    if not is_region(region):
        return _refuse(f"--region: got {region}, allowed: a region of AWS. {nearest(region, regions())}".rstrip(". "))
    if parsed.zone and not re.fullmatch(rf"{region}[a-z]", parsed.zone):
        return _refuse(f"--zone: got {parsed.zone}, allowed: a zone of {region}, as {region}a")
    try:
        return _list(parsed, config, region) if parsed.what == "list" else _refresh(parsed, config, region)
    except PriceFileError as error:
        print(error, file=sys.stderr)
        return 2


def _refuse(why: str) -> int:
    print(why if "\n" in why else f"cryoem prices: {why}", file=sys.stderr)
    return 2


def _misused(parsed: argparse.Namespace) -> str:
    """What is wrong with the options together."""
    if parsed.what == "refresh":
        if parsed.output is None and not parsed.dry_run:
            return "refresh needs --output FILE, or --dry-run"
        if parsed.find or parsed.json:
            return "--find and --json are for list"
        if parsed.output is not None and not parsed.output.resolve().parent.is_dir():
            return f"--output: got {parsed.output}, allowed: a file in a folder that is there"
    elif parsed.output or parsed.zone or parsed.accept or parsed.dry_run:
        return "--output, --zone, --accept and --dry-run are for refresh"
    return ""


def _config(parsed: argparse.Namespace) -> Config | None:
    """The configuration that is meant, None for none. Errors: ValueError with everything that is wrong with it."""
    path = parsed.config
    if path is None:
        path = config_file()
        if parsed.region or not path.is_file():
            return None
    # Brings the CDK with it, which takes seconds.
    from ..config_file import ConfigError, load

    try:
        # The file of prices that it names may not be there yet: refresh is what writes it.
        return load(path, with_prices=parsed.what == "list")
    except ConfigError as error:
        raise ValueError(f"{error}\n") from error


def _list(parsed: argparse.Namespace, config: Config | None, region: str) -> int:
    from . import report
    from .items import nearest
    from .table import load

    table = config.price_table() if config else load()
    names = sorted({price.item for price in table})
    found = [table.usd(name, region) for name in names if parsed.find.lower() in name]
    if not found:
        print(
            f"cryoem prices: no item has {parsed.find!r} in its name. {nearest(parsed.find, names)}".rstrip(),
            file=sys.stderr,
        )
        return 1
    print(json.dumps(report.list_document(found), indent=2) if parsed.json else report.list_text(found, region))
    return 0


def _refresh(parsed: argparse.Namespace, config: Config | None, region: str) -> int:
    from datetime import UTC, datetime

    from ..operate.ask import Failed
    from . import aws, report
    from .compare import compare
    from .file import read, write
    from .offers import NOT_ASKED
    from .table import load, units

    if region.startswith("cn-"):
        return _refuse("AWS China's prices are in CNY: this table has USD alone")
    output = parsed.output
    own = read(output, items=units()) if output is not None and output.exists() else []
    try:
        found = aws.find(
            aws.connect(region),
            region=region,
            instance_types=_types(config if parsed.config else None),
            zone=parsed.zone or (config.network.availability_zone if config and config.region == region else None),
            now=datetime.now(UTC),
            progress=_progress,
        )
    except Failed as problem:
        print(f"cryoem prices: {problem}", file=sys.stderr)
        return 1
    outcome = compare(found, region=region, table=load(), own=own, accept=parsed.accept)
    print(report.outcome_text(outcome))
    print("not asked for, type them in by hand: " + ", ".join(NOT_ASKED))
    if not any(not change.refused for change in outcome.changes):
        print("nothing was written: no price was taken", file=sys.stderr)
        return 1
    if parsed.dry_run:
        print("nothing was written: --dry-run")
    else:
        try:
            kept = write(output, outcome.rows, head=_head())
        except OSError as error:
            print(f"cryoem prices: {output} was not written: {error}", file=sys.stderr)
            return 1
        print(f"{output} is written" + (f"; the old one is {kept}" if kept else ""))
    return 0 if outcome.is_whole else 1


def _types(config: Config | None) -> list[str]:
    """The instance types to ask for: those of a configuration, or of the whole table."""
    from .table import load

    if config is not None:
        named = {name for lane in config.all_lanes() for name in lane.instance_types}
        return sorted(named | {config.head_node.instance_type})
    suffix = ":on-demand"
    return sorted(
        price.item.removeprefix("ec2:").removesuffix(suffix) for price in load() if price.item.endswith(suffix)
    )


def _head() -> list[str]:
    from .offers import NOT_ASKED

    return [
        "List prices, USD without tax, written by `cryoem prices refresh`: the first step of prices in steps. Rows of your own stay.",
        *(f"Not asked for: {item}: {why}." for item, why in NOT_ASKED.items()),
    ]


def _progress(done: int, of: int) -> None:
    """One line that is written over, on a terminal alone."""
    if sys.stderr.isatty() and (done % 5 == 0 or done == of):
        print(f"\rasking AWS, {done} of {of} ", end="\n" if done == of else "", file=sys.stderr, flush=True)
