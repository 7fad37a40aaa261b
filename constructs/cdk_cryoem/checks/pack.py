"""The pack: what cdk-nag and the CDK see of the rules."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from aws_cdk import (
    CfnResource,
    IPolicyValidationContext,
    PolicyValidationPluginReport,
    PolicyViolatingResource,
    PolicyViolation,
    Stage,
)
from cdk_nag import NagPack
from constructs import IConstruct

from .buckets import BUCKET_RULES
from .delivery import DELIVERY_RULES
from .file_systems import FILE_SYSTEM_RULES
from .nodes import NODE_RULES
from .rule import Finding, Rule
from .templates import Templates

PACK = "CryoEmChecks"
"""Name of the pack; its rules' ids begin with it."""
RULES: tuple[Rule, ...] = (*BUCKET_RULES, *FILE_SYSTEM_RULES, *DELIVERY_RULES, *NODE_RULES)
"""Every rule of the pack."""


class CryoEmChecks(NagPack):
    """Checks of what carries movies and what costs money, for any app that makes such resources.

    `Validations.of(app).add_plugins(CryoEmChecks(app))` checks every stack of the app, nested ones too. Findings are
    acknowledged as those of any other pack, by `CryoEmChecks::CryoEmChecks-<rule>`. docs/checks.md has the rules.

    scope: the app. verbose: say with each finding why it matters. write_suppressions_to_cloud_formation: as in every
    pack of cdk-nag.

    The rules read the synthesised templates of the app, together: most of them are about two resources, which may be in
    two stacks. What only a deployment knows is not judged. Resources that no rule knows are not looked at.
    """

    def __init__(
        self,
        scope: IConstruct | None = None,
        *,
        verbose: bool = False,
        write_suppressions_to_cloud_formation: bool = False,
    ) -> None:
        super().__init__(
            scope, verbose=verbose, write_suppressions_to_cloud_formation=write_suppressions_to_cloud_formation
        )
        self._pack_name = PACK
        self._says_why = verbose

    @property
    def name(self) -> str:
        """The pack's name."""
        return PACK

    @property
    def rule_ids(self) -> list[str]:
        """The ids of all rules."""
        return [f"{PACK}-{rule.name}" for rule in RULES]

    @property
    def version(self) -> str:
        """The library's version."""
        return version("cdk-cryoem")

    def validate(self, context: IPolicyValidationContext) -> PolicyValidationPluginReport:
        """What is found in the templates that were just synthesised."""
        return self._report(read(context.template_paths))

    def validate_scope(self, scope: IConstruct) -> PolicyValidationPluginReport:
        """What is found in the app or stage of scope, which is synthesised for that."""
        stage = scope if isinstance(scope, Stage) else Stage.of(scope)
        assert stage is not None, "validate_scope needs a construct of an app"
        return self._report(read(stack.template_full_path for stack in stage.synth().stacks_recursively))

    def _check_resource(self, node: CfnResource) -> None:
        """No single resource is looked at: both entries above judge the templates as a whole."""
        raise RuntimeError("CryoEmChecks judges whole apps: call validate_scope, or add it to Validations")

    def _report(self, documents: Mapping[str, Mapping[str, Any]]) -> PolicyValidationPluginReport:
        violations = list(self._violations(Templates(documents)))
        success = all(violation.severity != "error" for violation in violations)
        return PolicyValidationPluginReport(success=success, violations=violations)

    def _violations(self, templates: Templates) -> Iterator[PolicyViolation]:
        for rule, findings in broken(templates):
            yield PolicyViolation(
                rule_name=f"{PACK}-{rule.name}",
                description=f"{rule.info} {rule.explanation}" if self._says_why else rule.info,
                severity=rule.level,
                violating_resources=[
                    PolicyViolatingResource(
                        resource_logical_id=found.resource.logical_id,
                        template_path=found.resource.template,
                        locations=[found.where],
                    )
                    for found in findings
                ],
            )


def broken(templates: Templates) -> Iterator[tuple[Rule, list[Finding]]]:
    """The rules that are broken, each with what breaks it."""
    for rule in RULES:
        findings = list(rule.find(templates))
        if findings:
            yield rule, findings


def read(paths: Iterable[str]) -> dict[str, Mapping[str, Any]]:
    """The templates at these paths, with those of their nested stacks that the app makes itself."""
    documents: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        for each in (path, *_nested(Path(path))):
            documents[each] = json.loads(Path(each).read_text())
    return documents


def _nested(template: Path) -> Iterator[str]:
    """Templates of nested stacks are assets of the outermost stack."""
    listed = template.with_name(template.name.removesuffix(".template.json") + ".assets.json")
    if listed.is_file():
        for asset in json.loads(listed.read_text()).get("files", {}).values():
            source = asset.get("source", {}).get("path", "")
            if source.endswith(".nested.template.json"):
                yield str(template.with_name(source))
