"""`cryoem plan`: its options, its order, its exit codes."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..which_file import DEFAULT_HELP, config_file

if TYPE_CHECKING:
    from ..config import Config
    from ..operate.find import Clients, System
    from .calibration import Dataset
    from .planning import Answer

_UNITS = {"m": 1 / 60, "min": 1 / 60, "": 1.0, "h": 1.0, "d": 24.0}


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command with its options."""
    what = "say what a dataset will take and cost, find better lanes for it; changes nothing without --write"
    parser = commands.add_parser(
        "plan",
        help=what,
        description=what,
        epilog="Exit status: 0 done; 1 no plan does what is asked; 2 the input is wrong. Needs no AWS credentials, but for --measured.",
    )
    parser.add_argument("dataset", nargs="?", help="cgrp, glp1r, spike (published), or any name with its sizes")
    parser.add_argument("--movies", type=_number(1, 10_000_000, "movies", whole=True), metavar="N")
    parser.add_argument("--size-tb", type=_number(0.000_001, 1000, "TB"), metavar="TB", help="of movies, 10^12 bytes")
    parser.add_argument(
        "--particles", type=_number(1, 10_000_000_000, "particles", whole=True), metavar="N", help="picked"
    )
    parser.add_argument(
        "--box", type=_number(16, 4096, "pixels", whole=True), metavar="PIXELS", help="edge of a particle's image"
    )
    parser.add_argument("--config", type=Path, default=config_file(), metavar="FILE", help=DEFAULT_HELP)
    parser.add_argument("--prices", type=Path, metavar="FILE", help="your own, over the package's (`cryoem prices`)")
    parser.add_argument(
        "--deadline", type=_hours, metavar="TIME", help="for one dataset: 24h, 90m, 2d; finds the cheapest"
    )
    parser.add_argument(
        "--budget",
        type=_number(0.01, 1e9, "USD"),
        metavar="USD",
        help="for the nodes of one dataset; finds the fastest",
    )
    parser.add_argument("--any", action="store_true", help="look at all instance types, not at the file's lanes alone")
    parser.add_argument("--spot", action="store_true", help="spot capacity, too (with --any: alone)")
    parser.add_argument("--sure", action="store_true", help="compare the slowest and dearest of each range")
    parser.add_argument(
        "--per-month",
        type=_number(0, 10_000, "datasets"),
        default=4.0,
        metavar="N",
        help="datasets a month; default: 4",
    )
    parser.add_argument(
        "--keep-months", type=_number(0, 1200, "months"), default=3.0, metavar="N", help="movies stay in S3; default: 3"
    )
    parser.add_argument(
        "--grant", type=_number(1, 1e12, "USD"), metavar="USD", help="a year's budget: how many datasets it pays"
    )
    parser.add_argument(
        "--measured",
        metavar="PROJECT",
        help="a project of this system that computed such a dataset: its jobs say how long; wants credentials",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--picture", type=Path, metavar="FILE.svg", help="draw the plans: hours across, USD up")
    parser.add_argument("--write", action="store_true", help="change the file as the plan says; comments stay")
    parser.set_defaults(run=run, name=None, region=None)


def _number(least: float, most: float, what: str, *, whole: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or (whole and not value.is_integer()):
            raise argparse.ArgumentTypeError(f"got {text}, allowed: {least:,.6g} to {most:,.0f} {what}")
        return int(value) if whole else value

    return parse


def _hours(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(m|min|h|d|)", text.strip())
    if not found or not 0 < float(found[1]) * _UNITS[found[2]] <= 24 * 365:
        raise argparse.ArgumentTypeError(f"got {text}, allowed: a time like 24h, 90m or 2d, up to a year")
    return float(found[1]) * _UNITS[found[2]]


def run(parsed: argparse.Namespace) -> int:
    """0: done; 1: no plan does what is asked, or the file was not written; 2: the input is wrong."""
    # Imported here: the rules bring the CDK with them, which takes seconds.
    from ..config_file import ConfigError, load
    from ..prices import NoPrice, PriceFileError
    from ..prices import load as load_prices
    from .choose import NoWay, Prices
    from .planning import Request, plan

    dataset = _dataset(parsed)
    if isinstance(dataset, str):
        print(f"cryoem plan: {dataset}", file=sys.stderr)
        return 2
    try:
        config = load(parsed.config)
        prices = Prices(table=load_prices(parsed.prices), region=config.region)
    except (ConfigError, PriceFileError) as error:
        print(error, file=sys.stderr)
        return 2
    jobs: list[dict[str, Any]] = []
    if parsed.measured:
        code = _jobs(parsed, jobs)
        if code:
            return code
    request = Request(
        dataset=dataset,
        config=config,
        prices=prices,
        deadline_hours=parsed.deadline,
        budget_usd=parsed.budget,
        any_type=parsed.any,
        spot=parsed.spot,
        sure=parsed.sure,
        per_month=parsed.per_month,
        keep_months=parsed.keep_months,
        grant_usd=parsed.grant,
        project=parsed.measured or "",
        jobs=jobs,
    )
    try:
        return _show(parsed, plan(request), config)
    except (NoWay, NoPrice) as problem:
        print(f"cryoem plan: {problem}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever reads has read enough; what Python still holds would be refused at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"cryoem plan: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1


def _jobs(parsed: argparse.Namespace, jobs: list[dict[str, Any]]) -> int:
    """Read the records of all jobs. Exit codes as those of the operators' commands."""
    from ..operate.command import with_system
    from ..operate.records import Records

    def act(clients: Clients, found: System) -> None:
        jobs.extend(Records(clients, found.table).items("job"))

    return with_system(parsed, act)


def _dataset(parsed: argparse.Namespace) -> Dataset | str:
    """The dataset that is meant, or what is wrong with it."""
    from .calibration import Dataset, datasets

    known = datasets().get(parsed.dataset or "")
    given = {
        "movies": parsed.movies,
        "gb": None if parsed.size_tb is None else parsed.size_tb * 1000,
        "particles": parsed.particles,
        "box": parsed.box,
    }
    options = {"movies": "--movies", "gb": "--size-tb", "particles": "--particles", "box": "--box"}
    if known is not None and not any(value is not None for value in given.values()):
        return known
    missing = [options[name] for name, value in given.items() if value is None and known is None]
    if missing:
        name = f"DATASET: got {parsed.dataset!r}, allowed: " if parsed.dataset else "name a dataset: "
        return f"{name}{', '.join(datasets())}, or any name with its sizes; missing: {', '.join(missing)}"
    sizes = {name: getattr(known, name) if value is None else value for name, value in given.items()}
    name = f"{parsed.dataset}, other sizes" if known is not None else parsed.dataset or "dataset"
    return Dataset(name=name, **sizes)


def _show(parsed: argparse.Namespace, answer: Answer, config: Config) -> int:
    from . import edit, page
    from .choose import NoWay

    dataset = answer.request.dataset
    change = edit.change(answer.chosen, config, answer.request.prices, box=dataset.box)
    before = parsed.config.read_text(encoding="utf-8")
    after = edit.edited(before, change, config) if change else before
    patch = edit.difference(before, after, parsed.config.name)
    if parsed.json:
        print(json.dumps(page.document(answer, change, patch, file=str(parsed.config)), indent=2))
    else:
        print(page.text(answer, change, patch, file=parsed.config.name))
    if parsed.picture is not None:
        parsed.picture.write_text(_picture(answer), encoding="utf-8")
    if parsed.write and change:
        from ..config_file import ConfigError

        try:
            edit.write(parsed.config, after)
        except ConfigError as error:
            raise NoWay(f"{parsed.config} was left as it is: {error}") from error
        print(f"{parsed.config} is changed; `cryoem diff` says what deploying it would do", file=sys.stderr)
    return 0


def _picture(answer: Answer) -> str:
    from .choose import hours, usd
    from .page import dataset_text
    from .picture import Curve, Point, chart

    curves = [
        Curve(name="the best plans", kind="stairs", points=[Point(x=plan.hours, y=plan.usd) for plan in answer.plans])
    ]
    for name, chosen in (("as the file has it", answer.as_is), ("this plan", answer.chosen)):
        if chosen is not None:
            time, price = hours(chosen), usd(chosen)
            point = Point(x=time.likely, y=price.likely, low=(time.low, price.low), high=(time.high, price.high))
            curves.append(Curve(name=name, points=[point]))
    title = dataset_text(answer.request.dataset)
    return chart(curves, title=title, across="hours", up=f"USD for GPU nodes, {answer.request.prices.region}")
