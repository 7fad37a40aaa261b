"""`cryoem diff`: its options, its order, its exit code."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ..which_file import DEFAULT_HELP, cdk, config_file
from . import report
from .policies import parallel_cluster_table
from .resources import Template
from .sources import SourceError, deployed, in_folder, synthesised
from .templates import StackDiff, stack_changes


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.epilog = (
        "Exit status: 0 nothing changes, or only live; 3 something is left behind, cut off, interrupted, stopped or"
        " replaced, or is protected less;"
        " 1 what is deployed cannot be read; 2 the file is wrong."
    )
    parser.add_argument("file", nargs="?", type=Path, default=config_file(), help=DEFAULT_HELP)
    parser.add_argument(
        "--against", type=Path, metavar="DIR", help="compare with the templates of a folder (cdk.out), not with AWS"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(parsed: argparse.Namespace) -> int:
    """0: nothing changes, or only live; 1: the other side cannot be had; 2: the file is wrong; 3: see report.NEEDS_YOU."""
    # The templates are compared, not judged: `make synth` does that. It is read when the CDK starts.
    os.environ.setdefault("CDK_VALIDATION", "false")
    # Imported here: the CDK takes seconds.
    from cdk_cryoem import CryoEmError

    from ..config_file import ConfigError, load

    try:
        config = load(parsed.file)
        new = synthesised(config, config_folder=parsed.file.parent)
    except (ConfigError, CryoEmError) as error:
        print(error, file=sys.stderr)
        return 2
    try:
        old = in_folder(parsed.against) if parsed.against else deployed(new, region=config.region)
    except SourceError as error:
        print(f"cryoem diff: {error}", file=sys.stderr)
        return 1
    diffs = [_for_the_file(diff, parsed.file) for diff in stack_changes(old, new)]
    write = report.as_json if parsed.json else report.as_text
    print(write(diffs, _notes(new)))
    return report.exit_status(diffs)


def _for_the_file(diff: StackDiff, file: Path) -> StackDiff:
    """The same, with commands that take this file: tools/cdk by itself takes another one."""
    calls = cdk(file)
    changes = (
        replace(change, what_to_do=change.what_to_do.replace("tools/cdk ", f"{calls} ")) for change in diff.changes
    )
    return replace(diff, changes=tuple(changes))


def _notes(templates: Mapping[str, Template]) -> list[str]:
    known = parallel_cluster_table().version
    versions = set(re.findall(r"/parallelcluster/(\d+\.\d+\.\d+)/", json.dumps(templates)))
    return [
        f"Update policies are those of ParallelCluster {known}; the cluster is of {version}, which may say otherwise"
        for version in sorted(versions - {known})
    ]
