"""Random systems, always the same ones.

They are made in a process of their own: what hypothesis comes upon depends on the modules that are loaded, hence on which
tests ran before.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from cdk_cryoem_stacks.config import Config

_HERE = Path(__file__)


def random_systems(strategy: str, *arguments: str, many: int) -> list[Config]:
    """What `strategies.STRATEGY(*ARGUMENTS)` comes upon in so many examples."""
    command = [sys.executable, str(_HERE), strategy, str(many), *arguments]
    made = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: list[Config] = pickle.loads(made.stdout)
    return found


def _collect(strategy: str, many: str, *arguments: str) -> list[Config]:
    import strategies
    from hypothesis import HealthCheck, Phase, given, settings

    found: list[Config] = []

    @settings(
        max_examples=int(many), derandomize=True, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(getattr(strategies, strategy)(*arguments))
    def collect(system: Config) -> None:
        found.append(system)

    collect()
    return found


if __name__ == "__main__":
    sys.stdout.buffer.write(pickle.dumps(_collect(*sys.argv[1:])))
