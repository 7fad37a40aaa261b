"""The microscopes' ways into the landing bucket."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import CfnOutput, CfnWaitConditionHandle, Stack
from aws_cdk import aws_secretsmanager as secretsmanager
from constructs import Construct

from cdk_cryoem import LandingZone, MicroscopeIngest, NfsShare, SmbShare

from .config import Config
from .config_microscope import MicroscopeConfig


class IngestStack(Stack):
    """One MicroscopeIngest for each microscope."""

    def __init__(
        self, scope: Construct, id: str, *, config: Config, landing_zone: LandingZone, **kwargs: object
    ) -> None:
        super().__init__(scope, id, **kwargs)  # type: ignore[arg-type]
        self.microscopes: Mapping[str, MicroscopeIngest] = {
            microscope.name: MicroscopeIngest(
                self,
                f"Microscope-{microscope.name}",
                share=self._share(microscope),
                landing_bucket=landing_zone.landing_bucket,
                agent_arn=microscope.agent_arn,
                agent_arns=microscope.agent_arns,
                activation_key=microscope.activation_key,
                task_mode=microscope.task_mode,
                schedule_expression=microscope.schedule,
                time_zone=microscope.time_zone,
                bandwidth_limit_mibps=microscope.bandwidth_limit_mibps,
                bandwidth_windows=microscope.windows(),
                software=microscope.software,
                include_patterns=microscope.include_patterns,
                exclude_patterns=microscope.exclude_patterns,
                sentinel=config.landing.sentinel,
                key=landing_zone.key,
            )
            for microscope in config.microscopes
        }
        if not self.microscopes:
            # CloudFormation refuses a stack without resources; this one makes nothing and costs nothing.
            CfnWaitConditionHandle(self, "Nothing")
        for name, ingest in self.microscopes.items():
            CfnOutput(self, f"Task{name.title().replace('-', '')}", value=ingest.task_arn)

    def _share(self, microscope: MicroscopeConfig) -> NfsShare | SmbShare:
        if microscope.nfs is not None:
            return NfsShare(host=microscope.nfs.host, path=microscope.nfs.path)
        smb = microscope.smb
        assert smb is not None, "the configuration has been checked"
        return SmbShare(
            host=smb.host,
            path=smb.path,
            user=smb.user,
            domain=smb.domain,
            password=secretsmanager.Secret.from_secret_complete_arn(
                self, f"Password-{microscope.name}", smb.password_secret_arn
            ),
        )
