"""What a synthesis costs beside importing what it needs, and how templates grow with lanes.

Times are ratios to an import of the same modules in a fresh process, taken in turn in one run: seconds are this machine's.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

_ROOT = Path(__file__).parents[1]
_ROUNDS = 5
_GOAL = 1.3
# Each does what the one before it does, and something more.
_STEPS = {
    "import": "the modules alone",
    "build": "and the five stacks, without cdk-nag",
    "synth": "and their templates and assets",
    "nag": "and cdk-nag's checks",
    "rules": "and aws-cdk-lib's own rules: what `make synth` does",
}
_BODY_BYTES = 1_000_000
_RESOURCES = 500
# AWS PCS takes ten node groups and ten queues a cluster (PCS user guide, internal quotas).
_PCS_LANES = 10


def _step(name: str) -> None:
    """One measured process."""
    import cdk_cryoem_stacks.app as stacks
    from cdk_cryoem_stacks.config_file import load

    if name == "import":
        return
    with tempfile.TemporaryDirectory() as folder:
        app = stacks.make_app(outdir=folder)
        config = load(_ROOT / "cryoem.yaml")
        if name in ("build", "synth"):
            with mock.patch.object(stacks, "Validations"):
                stacks.build(app, config, config_folder=_ROOT)
        else:
            stacks.build(app, config, config_folder=_ROOT)
        if name != "build":
            app.synth()


def _seconds(name: str) -> float:
    env = os.environ | {"CDK_VALIDATION": "true" if name == "rules" else "false"}
    began = time.perf_counter()
    subprocess.run([sys.executable, __file__, name], check=True, env=env, capture_output=True)
    return time.perf_counter() - began


def _warm() -> tuple[float, float, float]:
    """Building one system again and again in one process: the first time, the best later time, its wait for jsii."""
    import jsii._kernel.providers.process as process

    import cdk_cryoem_stacks.app as stacks
    from cdk_cryoem_stacks.config_file import load

    config = load(_ROOT / "cryoem.yaml")
    waited, send = [0.0], process._NodeProcess.send

    def timed(self: object, *given: object) -> object:
        began = time.perf_counter()
        try:
            return send(self, *given)  # type: ignore[arg-type]
        finally:
            waited[0] += time.perf_counter() - began

    taken = []
    with mock.patch.object(process._NodeProcess, "send", timed), mock.patch.object(stacks, "Validations"):
        for _ in range(_ROUNDS):
            waited[0], began = 0.0, time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                stacks.build(stacks.make_app(outdir=folder), config, config_folder=_ROOT)
            taken.append((time.perf_counter() - began, waited[0]))
    return (taken[0][0], *min(taken[1:]))


def _times() -> None:
    for name in _STEPS:
        _seconds(name)  # caches of Python and jsii
    best = dict.fromkeys(_STEPS, float("inf"))
    for _ in range(_ROUNDS):
        for name in _STEPS:
            best[name] = min(best[name], _seconds(name))
    print(f"{'process':>8}  {'ratio to import':>15}  what it does")
    for name, what in _STEPS.items():
        print(f"{name:>8}  {best[name] / best['import']:>15.2f}  {what}")
    ratio = best["synth"] / best["import"]
    print(
        f"synth without cdk-nag to import: {ratio:.2f}; the goal was {_GOAL}: {'met' if ratio <= _GOAL else 'not met'}"
    )
    first, later, waited = _warm()
    print(
        f"built again in the same process it takes {later / first:.2f} of the first time: the rest was loading JavaScript"
    )
    print(f"of that later time, {waited / later:.0%} is waiting for jsii")


def _sizes() -> Iterator[str]:
    os.environ["CDK_VALIDATION"] = "false"
    import cdk_cryoem.lane_manifest as manifest
    import cdk_cryoem_stacks.app as stacks
    from cdk_cryoem_stacks.config import Config

    def cluster(engine: str, lanes: int) -> tuple[int, int]:
        """Bytes and resources of the cluster's template."""
        pcs = {"pcs": {"ami_id": "ami-0a1b2c3d4e5f60718", "size": "LARGE"}} if engine == "pcs" else {}
        shape = {"instance_types": ["g5.4xlarge", "g6e.4xlarge"], "gpus": 1, "max_nodes": 8}
        config = Config.model_validate(
            {"name": "cryoem", "engine": engine, "lanes": [shape | {"name": f"gpu1-{n}"} for n in range(lanes)], **pcs}
        )
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(stacks, "Validations"),
            mock.patch.object(manifest, "lane_warnings", return_value=[]),
        ):
            app = stacks.make_app(outdir=folder)
            stacks.build(app, config, config_folder=_ROOT)
            made = app.synth().get_stack_by_name("cryoem-cluster")
            return Path(made.template_full_path).stat().st_size, len(made.template["Resources"])

    yield f"{'engine':>15}  {'lanes':>5}  {'bytes':>8}  {'of 1 MB':>7}  {'resources':>9}  {'of 500':>6}"
    for engine in ("parallelcluster", "pcs"):
        for lanes in (1, 10, 50):
            note = "  more than PCS takes" if engine == "pcs" and lanes > _PCS_LANES else ""
            try:
                size, resources = cluster(engine, lanes)
            except ValueError:  # pydantic's and CryoEmError both are
                note += "  refused: an SSM parameter holds no such manifest; counted as if it did"
                with mock.patch.object(manifest, "_ADVANCED_TIER_BYTES", _BODY_BYTES):
                    size, resources = cluster(engine, lanes)
            yield (
                f"{engine:>15}  {lanes:>5}  {size:>8}  {size / _BODY_BYTES:>7.1%}  {resources:>9}"
                f"  {resources / _RESOURCES:>6.1%}{note}"
            )


def main() -> None:
    """Print both tables; nothing fails."""
    if len(sys.argv) > 1:
        _step(sys.argv[1])
        return
    _times()
    print()
    for line in _sizes():
        print(line, flush=True)


if __name__ == "__main__":
    main()
