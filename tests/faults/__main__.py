"""python tests/faults: play many schedules, and print how many were good."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from faultmodel.command import main

if __name__ == "__main__":
    main()
