"""The lanes and the caps as data: one SSM parameter, read by the hooks and by the head node."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

from aws_cdk import Annotations
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from .caps import Cap, caps_problems, caps_warnings
from .lane import Lane, lane_set_problems
from .problems import Problem, require
from .stages import lane_warnings, stage_lanes, stage_problems

MANIFEST_VERSION = 1
_STANDARD_TIER_BYTES = 4096
_ADVANCED_TIER_BYTES = 8192


class LaneManifest(Construct):
    """An SSM parameter with the lanes of a cluster: what cryoSPARC and RELION are to have.

    cluster_name: the cluster they belong to. lanes: the lanes.
    stages: the lane of a processing stage, where another is wanted than `stage_lanes` chooses from its table.
    license_tokens: GPUs that cryoSPARC's licence allows at once, for a warning when the lanes have more.
    caps: what a month, a project or a dataset may cost. Default: none.
    hyper_threading: whether Slurm counts vCPUs (default) or physical cores, as PCS does.
    Free up to 4 KiB (about 15 lanes); above, the advanced tier costs 0.05 USD a month.
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        lanes: Sequence[Lane],
        stages: Mapping[str, str] | None = None,
        license_tokens: int | None = None,
        caps: Sequence[Cap] = (),
        hyper_threading: bool = True,
    ) -> None:
        super().__init__(scope, id)
        self.stage_lanes: Mapping[str, str] = stage_lanes(lanes, stages or {})
        text = manifest_text(
            cluster_name=cluster_name,
            lanes=lanes,
            stage_lanes=self.stage_lanes,
            caps=caps,
            hyper_threading=hyper_threading,
        )
        require(
            f"LaneManifest {id!r}",
            [
                *lane_set_problems([lane.name for lane in lanes]),
                *stage_problems(stages or {}, lanes),
                *caps_problems(caps),
                *size_problems(text),
            ],
        )
        warnings = [*lane_warnings(lanes, self.stage_lanes, license_tokens), *caps_warnings(caps, lanes)]
        for number, warning in enumerate(warnings):
            Annotations.of(self).add_warning_v2(f"cdk-cryoem:lanes{number}", warning)
        self.parameter: ssm.StringParameter = ssm.StringParameter(
            self,
            "Resource",
            string_value=text,
            description="Lanes of the cluster, as the hooks and the head node read them",
            tier=ssm.ParameterTier.ADVANCED if _size(text) > _STANDARD_TIER_BYTES else ssm.ParameterTier.STANDARD,
        )

    @property
    def parameter_name(self) -> str:
        """Name of the SSM parameter."""
        return self.parameter.parameter_name

    def grant_read(self, grantee: iam.IGrantable) -> iam.Grant:
        """Let grantee read the manifest."""
        return iam.Grant.add_to_principal(
            grantee=grantee, actions=["ssm:GetParameter"], resource_arns=[self.parameter.parameter_arn]
        )


def manifest_text(
    *,
    cluster_name: str,
    lanes: Sequence[Lane],
    stage_lanes: Mapping[str, str],
    caps: Sequence[Cap] = (),
    hyper_threading: bool = True,
) -> str:
    """The manifest's JSON; the same lanes always give the same text."""
    document = {
        "version": MANIFEST_VERSION,
        "cluster": cluster_name,
        "lanes": [lane.manifest(hyper_threading=hyper_threading) for lane in lanes],
        "stages": dict(stage_lanes),
        **({"caps": [cap.manifest() for cap in caps]} if caps else {}),
    }
    return json.dumps(document, separators=(",", ":"))


def size_problems(text: str) -> Iterator[Problem]:
    """What is wrong with a manifest of many lanes."""
    if _size(text) > _ADVANCED_TIER_BYTES:
        yield Problem(
            property="lanes", value=f"{_size(text)} bytes", allowed=f"{_ADVANCED_TIER_BYTES} bytes of manifest"
        )


def _size(text: str) -> int:
    return len(text.encode())
