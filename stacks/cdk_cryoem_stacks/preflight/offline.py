"""Everything that needs no credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ..config import Config
from ..config_file import ConfigError, load
from . import arns, engine, templates
from .check import Check, error, ok


@dataclass(frozen=True, kw_only=True, slots=True)
class Offline:
    """The configuration, unless it is wrong, and the checks."""

    config: Config | None
    checks: tuple[Check, ...]


def look(path: Path, say: Callable[[str], None]) -> Offline:
    """Configuration file, ARNs, templates, ParallelCluster's validators. A wrong file ends it."""
    try:
        config = load(path)
    except ConfigError as problem:
        wrong = [
            error("configuration", f"{f.file}:{f.line}", str(f.problem), f"docs/configuration.md; cryoem check {path}")
            for f in problem.findings
        ]
        return Offline(config=None, checks=tuple(wrong))
    return Offline(config=config, checks=tuple(_checks(config, path, say)))


def _checks(config: Config, path: Path, say: Callable[[str], None]) -> Iterator[Check]:
    lanes, microscopes = len(config.all_lanes()), len(config.microscopes)
    yield ok("configuration", str(path), f"right: lanes {lanes}, microscopes {microscopes}, engine {config.engine}")
    yield from arns.decide(config, account=config.account)
    with TemporaryDirectory(prefix="cryoem-preflight-") as folder:
        made = templates.synthesise(path, Path(folder))
    yield from templates.decide(made)
    yield from templates.decide_addresses(config, made)
    cluster = made.templates.get(f"{config.name}-cluster")
    if cluster is not None:
        yield from engine.look(cluster, say)
