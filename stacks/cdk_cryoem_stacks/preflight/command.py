"""`cryoem preflight`: its options, its order, its exit code."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..which_file import DEFAULT_HELP, config_file


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("file", nargs="?", type=Path, default=config_file(), help=DEFAULT_HELP)
    parser.add_argument("--offline", action="store_true", help="look up nothing in the account, credentials or not")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--strict", action="store_true", help="warnings fail too")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """0: nothing is wrong; 1: an error, or with --strict a warning."""
    # Imported here: the CDK and boto3 take seconds.
    from rich.console import Console

    from . import live, offline, report
    from .ask import Clients
    from .check import Check, Group, Level, count

    first = offline.look(parsed.file, lambda line: print(f"cryoem: {line}", file=sys.stderr))
    groups, skipped = [Group(title="offline", checks=first.checks)], ""
    if parsed.offline:
        skipped = "--offline: nothing was looked up in the account"
    elif first.config is not None:
        found = live.session()
        if found is None:
            skipped = live.SKIPPED
        elif isinstance(found, Check):
            groups.append(Group(title="account", checks=[found]))
        else:
            clients = Clients.of(found, first.config.region)
            groups += live.look(clients, first.config, region=os.environ.get("AWS_REGION") or found.region_name)
    if parsed.json:
        print(report.as_json(groups, file=str(parsed.file), config=first.config, skipped=skipped))
    else:
        report.show(Console(highlight=False), groups, skipped=skipped)
    counts = count(groups)
    return int(counts[Level.ERROR] > 0 or (parsed.strict and counts[Level.WARNING] > 0))
