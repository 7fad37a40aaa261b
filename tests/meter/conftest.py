"""The fakes of the hooks and the head node's programs on the path."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_ROOT = _HERE.parents[1]
sys.path[:0] = [
    str(_HERE),
    str(_ROOT / "tests" / "lambda_handlers"),
    str(_ROOT / "constructs" / "cdk_cryoem" / "head_node" / "lib"),
]
