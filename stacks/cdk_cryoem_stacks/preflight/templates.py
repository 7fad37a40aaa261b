"""The templates of a configuration, made as `cdk synth` makes them, with the rules of AWS and cdk-nag."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config
from ..which_file import CONFIG_VARIABLE
from . import addresses
from .check import Check, error, ok
from .places import known_types

NAME = "templates"
_SECONDS = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Synthesis:
    """What came of it: the templates by stack, or what was said instead."""

    templates: Mapping[str, Any]
    violations: tuple[str, ...] = ()
    failure: str = ""


def synthesise(path: Path, folder: Path) -> Synthesis:
    """Run the app on a file, in a process of its own: it writes to the terminal, and a violation ends it."""
    env = os.environ | {CONFIG_VARIABLE: str(path.resolve()), "CDK_OUTDIR": str(folder)}
    command = [sys.executable, "-m", "cdk_cryoem_stacks"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return Synthesis(templates={}, failure=f"it took longer than {_SECONDS} s")
    if done.returncode:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
        violations = tuple(_violations(folder / "validation-report.json"))
        return Synthesis(templates={}, violations=violations, failure=last)
    suffix = ".template.json"
    templates = {file.name.removesuffix(suffix): json.loads(file.read_text()) for file in folder.glob(f"*{suffix}")}
    return Synthesis(templates=templates)


def _violations(report: Path) -> Iterator[str]:
    if not report.exists():
        return
    for plugin in json.loads(report.read_text())["pluginReports"]:
        for violation in plugin["violations"]:
            for construct in violation["violatingConstructs"]:
                where = construct.get("constructPath", "the app")
                yield f"{violation['ruleName']}: {violation['description']} ({where})"


def decide(found: Synthesis) -> Iterator[Check]:
    """What became of the templates."""
    for violation in found.violations:
        mend = "Report it: the stacks must have no findings (a permissions boundary or tags of yours may cause one)"
        yield error(NAME, "rules", violation, mend)
    if found.failure and not found.violations:
        yield error(NAME, "synthesis", found.failure, "python -m cdk_cryoem_stacks shows everything")
    if not found.failure:
        count = sum(len(template.get("Resources", {})) for template in found.templates.values())
        yield ok(
            NAME, "rules", f"{len(found.templates)} stacks, {count} resources, no finding of AWS's rules or cdk-nag"
        )


def decide_addresses(config: Config, found: Synthesis) -> Iterator[Check]:
    """Whether the subnet that the network stack makes is large enough."""
    network = found.templates.get(f"{config.name}-network", {})
    for resource in network.get("Resources", {}).values():
        tags = {tag["Key"]: tag["Value"] for tag in resource.get("Properties", {}).get("Tags", [])}
        if resource["Type"] == "AWS::EC2::Subnet" and tags.get("aws-cdk:subnet-type") == "Private":
            cidr = resource["Properties"]["CidrBlock"]
            need = addresses.wanted(config, known_types(config), file_system_is_there=False, head_node_is_there=False)
            subject = f"network.cidr {config.network.cidr}"
            yield from addresses.decide(subject, addresses.size(cidr), need, mend="A wider network.cidr, /16 at most")
            return
