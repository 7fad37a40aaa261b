"""The options by which every command of operators is told which system is meant."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..which_file import DEFAULT_HELP


def add_system(parser: argparse.ArgumentParser) -> None:
    """--config, or --name with --region."""
    parser.add_argument("--config", type=Path, metavar="FILE", help=DEFAULT_HELP)
    parser.add_argument("--name", help="name of the system, where its configuration file is not at hand")
    parser.add_argument("--region", help="with --name; default: that of the environment or the profile")
