"""Which configuration file is meant where nobody names one: the same for the CDK app and for every command."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

CONFIG_VARIABLE = "CRYOEM_CONFIG"
DEFAULT_CONFIG = "cryoem.yaml"
DEFAULT_HELP = f"default: what {CONFIG_VARIABLE} names, else {DEFAULT_CONFIG}"


def config_file(given: Path | None = None) -> Path:
    """The file that was given, else that of the variable CRYOEM_CONFIG, else cryoem.yaml."""
    return given or Path(os.environ.get(CONFIG_VARIABLE) or DEFAULT_CONFIG)


def cdk(file: Path | None) -> str:
    """How tools/cdk is called so that it takes this file. file: None when nobody knows it."""
    if file is None or (str(file) == DEFAULT_CONFIG and not os.environ.get(CONFIG_VARIABLE)):
        return "tools/cdk"
    return f"{CONFIG_VARIABLE}={shlex.quote(str(file))} tools/cdk"
