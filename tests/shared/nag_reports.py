"""Whole apps under every pack of cdk-nag, and what the reports say."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aws_cdk
import cdk_nag
import pytest
from aws_cdk import App, Validations
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_s3 as s3

from cdk_cryoem import CryoEmPlatform, LandingZone, PrivateNetwork
from cdk_cryoem.checks import CryoEmChecks
from cdk_cryoem_stacks.acknowledgements import (
    acknowledge_everywhere,
    acknowledge_landing_zone,
    acknowledge_own_network,
    acknowledge_platform,
    acknowledge_second_copy,
)
from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config

AT_EACH_SYNTHESIS = ("AwsSolutions", "CryoEmChecks")
IN_TESTS_ONLY = ("NIST.800.53.R5", "HIPAA.Security", "PCI.DSS.321", "Serverless")


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: its pack, its rule, the path of the resource, and for an acknowledged one the reason."""

    pack: str
    rule: str
    path: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """What all packs say of one app."""

    violations: list[Finding]
    acknowledged: list[Finding]


def add_other_packs(app: App) -> None:
    """The packs that are not part of each synthesis."""
    Validations.of(app).add_plugins(
        cdk_nag.NIST80053R5Checks(app),
        cdk_nag.HIPAASecurityChecks(app),
        cdk_nag.PCIDSS321Checks(app),
        cdk_nag.ServerlessChecks(app),
    )


def of_system(config: Config, outdir: Path, *, folder: Path) -> Said:
    """What every pack says of a system."""
    app = make_app(outdir=str(outdir))
    build(app, config, config_folder=folder)
    add_other_packs(app)
    return synthesised(app)


def of_example(script: Path, outdir: Path, monkeypatch: pytest.MonkeyPatch) -> Said:
    """What every pack says of an example, which is run as it stands."""
    apps: list[App] = []

    class Checked(App):
        def __init__(self, **props: Any) -> None:
            super().__init__(outdir=str(outdir), **props)
            apps.append(self)

        def synth(self, **_options: Any) -> Any:
            """Put off until the packs are there."""

    with monkeypatch.context() as patched:
        patched.setattr(aws_cdk, "App", Checked)
        runpy.run_path(str(script), run_name="__main__")
    (app,) = apps
    acknowledge_everywhere(app)
    for construct in app.node.find_all():
        if isinstance(construct, CryoEmPlatform):
            acknowledge_platform(construct)
        if isinstance(construct, LandingZone):
            acknowledge_landing_zone(construct)
        if isinstance(construct, ec2.Vpc) and not isinstance(construct.node.scope, PrivateNetwork):
            acknowledge_own_network(construct)
        if isinstance(construct, s3.Bucket) and construct.node.path == "second-copy/Movies":
            acknowledge_second_copy(construct)
    Validations.of(app).add_plugins(cdk_nag.AwsSolutionsChecks(app), CryoEmChecks(app))
    add_other_packs(app)
    return synthesised(app, App.synth)


def synthesised(app: App, synth: Any = None) -> Said:
    """Synthesise an app, whatever its packs say, and read the report."""
    try:
        (synth or type(app).synth)(app)
    except RuntimeError as error:
        assert str(error).startswith("ValidationFailed"), error
    return of_report(app)


def of_report(app: App) -> Said:
    """What the report of a synthesised app says."""
    reports = json.loads((Path(app.outdir) / "validation-report.json").read_text())["pluginReports"]
    assert not [report["metadata"] for report in reports if "error" in report.get("metadata", {})], "a pack broke"
    reports = [report for report in reports if report["pluginName"] in (*AT_EACH_SYNTHESIS, *IN_TESTS_ONLY)]
    return Said(
        [found for report in reports for found in _findings(report, "violations")],
        [found for report in reports for found in _findings(report, "suppressedViolations")],
    )


def _findings(report: dict[str, Any], kind: str) -> Iterator[Finding]:
    for each in report.get(kind) or []:
        for where in each["violatingConstructs"]:
            yield Finding(
                report["pluginName"],
                each["ruleName"].removeprefix(f"{report['pluginName']}-"),
                masked_path(where["constructPath"]),
                each.get("reason", ""),
            )


def masked_path(path: str) -> str:
    """A path without the system's name, names of microscopes and what is generated."""
    path = re.sub(r"^[a-z]+-(?=(network|storage|ingest|cluster|hooks)/)", "", path)
    path = re.sub(r"Microscope-[^/]+", "Microscope", path)
    path = re.sub(r"SqsEventSource:[^/]+", "SqsEventSource", path)
    path = re.sub(r"[^/]+@[^/]+", "address", path)
    path = re.sub(r"(Public|Private)Subnet\d", r"\1Subnet", path)
    path = re.sub(r"(?<=/from )[a-z]+cluster[A-Za-z]+[0-9A-F]{8}", "itself", path)
    return re.sub(r"-[0-9a-f]{6}(?=/|$)", "", path).removesuffix("/Resource")
