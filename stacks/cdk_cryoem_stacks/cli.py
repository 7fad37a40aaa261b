"""The `cryoem` command."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from .archive import command as archive
from .changes import command as diff
from .dataset_report import command as dataset_report
from .money import command as money
from .operate import agent
from .operate import command as operate
from .operate import save_command as save
from .plan import command as plan
from .preflight import command as preflight
from .prices import command as prices
from .which_file import DEFAULT_HELP, config_file

# Not imported by name: the twin is part of a checkout, not of the installed package.
_TWIN = "cdk_cryoem_twin.cli"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command. Exit code 0: done; 1: it failed; 2: the input is wrong."""
    parser = argparse.ArgumentParser(
        prog="cryoem", description="One cryo-EM system from one configuration file, on AWS or on this machine."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="check a configuration file and say everything that is wrong with it")
    check.add_argument("file", nargs="?", type=Path, default=config_file(), help=DEFAULT_HELP)
    check.set_defaults(run=_check)
    show = commands.add_parser("schema", help="write the JSON Schema of the configuration file, for editors")
    show.add_argument("--output", type=Path, help="file to write (default: standard output)")
    show.set_defaults(run=_schema)
    preflight.add_options(commands.add_parser("preflight", help="look for what would make a deployment fail"))
    diff.add_options(commands.add_parser("diff", help="say what a deployment would do to the system that runs"))
    operate.add_commands(commands)
    save.add_commands(commands)
    agent.add_command(commands)
    archive.add_commands(commands)
    dataset_report.add_command(commands)
    money.add_commands(commands)
    plan.add_command(commands)
    prices.add_options(
        commands.add_parser("prices", help="list the prices that are counted with, or get those of today")
    )
    commands.add_parser("twin", help="run the whole system on this machine")
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["twin"]:
        # Past this parser, which would take the twin's own --help for its own.
        sys.exit(_twin(given[1:]))
    parsed = parser.parse_args(given)
    sys.exit(parsed.run(parsed))


def _check(parsed: argparse.Namespace) -> int:
    # Imported where it is used: the rules bring the CDK with them, which takes seconds.
    from .config_file import ConfigError, load

    try:
        config = load(parsed.file)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 2
    lanes = ", ".join(f"{lane.name} ({lane.max_nodes} x {lane.instance_types[0]})" for lane in config.all_lanes())
    print(f"{parsed.file}: right. {config.name} in {config.region} with {config.engine}; lanes {lanes}")
    for warning in config.warnings():
        print(f"{parsed.file}: warning: {warning}")
    return 0


def _schema(parsed: argparse.Namespace) -> int:
    from .config_file import schema

    if parsed.output is None:
        sys.stdout.write(schema())
    else:
        parsed.output.write_text(schema())
    return 0


def _twin(arguments: Sequence[str]) -> int:
    if importlib.util.find_spec("cdk_cryoem_twin") is None:
        print("cryoem: the twin is part of a checkout of cdk-cryoem, not of the installed package", file=sys.stderr)
        return 2
    code: int = importlib.import_module(_TWIN).main(arguments)
    return code


if __name__ == "__main__":
    main()
