"""What Lambda may ask of the head node: one SSM document per verb, every parameter with a pattern.

Never AWS-RunShellScript: whoever may send it may run anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk import aws_ssm as ssm
from constructs import Construct

_BIN = '"${CRYOEM_HOME:-/opt/cryoem}/bin/"'
NAME_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""Datasets and recipes that may be named in a command."""
_NODES_PATTERN = "^[A-Za-z0-9-]+=[A-Za-z0-9:_.-]+(,[A-Za-z0-9-]+=[A-Za-z0-9:_.-]+){0,99}$"
_SECONDS_PATTERN = "^[0-9]{1,12}$"
_SESSION_PATTERN = "^P[0-9]{1,9}S[0-9]{1,9}$"
_FENCE_PATTERN = "^[0-9a-f]{64}$"
_FOLDER_PATTERN = "^([A-Za-z0-9_.-]|%[0-9A-F]{2}){1,800}(/([A-Za-z0-9_.-]|%[0-9A-F]{2}){1,800}){0,40}$"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parameter:
    description: str
    pattern: str
    default: str | None = None

    def content(self) -> dict[str, str]:
        content = {"type": "String", "description": self.description, "allowedPattern": self.pattern}
        return content if self.default is None else content | {"default": self.default}


class HeadNodeDocuments(Construct):
    """The verbs of the head node: slurm-status, power-down, register-lanes, start-processing, live-sessions (show and
    pause), backup-database, list-files, stop-head-node.

    Each runs one script of the head node's own, which looks at the truth before it acts and prints one JSON document.
    The names are generated. Costs nothing.
    """

    def __init__(self, scope: Construct, id: str) -> None:
        super().__init__(scope, id)
        self.slurm_status: ssm.CfnDocument = self._document(
            "SlurmStatus", "Queues, running nodes and logins as JSON", "slurm-status", {}
        )
        self.power_down: ssm.CfnDocument = self._document(
            "PowerDown",
            "Power down the named nodes now, each only if it is still in the state it was seen in",
            "power-down --nodes '{{ Nodes }}'",
            {"Nodes": _Parameter(description="node=epoch, separated by commas", pattern=_NODES_PATTERN)},
        )
        self.register_lanes: ssm.CfnDocument = self._document(
            "RegisterLanes",
            "Install new programs if there are any; then give cryoSPARC and RELION the lanes of the manifest, or show them",
            "register-lanes '{{ Mode }}' --manifest-sha256 '{{ ManifestSha256 }}'",
            {
                "Mode": _Parameter(description="show or converge", pattern="^(show|converge)$", default="show"),
                "ManifestSha256": _Parameter(description="The manifest that was decided on", pattern=_FENCE_PATTERN),
            },
            first=f"{_BIN}refresh-programs >&2 || echo 'going on with the programs that are installed' >&2",
            timeout_seconds=600,
        )
        self.start_processing: ssm.CfnDocument = self._document(
            "StartProcessing",
            "Start a processing recipe on a dataset, unless it was started before",
            "start-processing --dataset '{{ Dataset }}' --recipe '{{ Recipe }}' --objects '{{ Objects }}'",
            {
                "Dataset": _Parameter(description="The dataset's name", pattern=NAME_PATTERN),
                "Recipe": _Parameter(description="A recipe installed on the head node", pattern=NAME_PATTERN),
                "Objects": _Parameter(description="How many files the dataset has", pattern="^[0-9]{1,9}$"),
            },
        )

        self.stop_head_node: ssm.CfnDocument = self._document(
            "StopHeadNode",
            "Power the head node off, unless somebody would miss it; back up cryoSPARC's database first",
            "stop-head-node --used-until '{{ UsedUntil }}' --decided-at '{{ DecidedAt }}'",
            {
                "UsedUntil": _Parameter(description="When it was last used, epoch seconds", pattern=_SECONDS_PATTERN),
                "DecidedAt": _Parameter(description="When that was decided, epoch seconds", pattern=_SECONDS_PATTERN),
            },
        )
        self.live_sessions: ssm.CfnDocument = self._document(
            "LiveSessions",
            "Show cryoSPARC Live sessions that hold GPUs and get no exposures",
            "live-sessions show --idle-minutes '{{ IdleMinutes }}'",
            {"IdleMinutes": _Parameter(description="Without an exposure for so long", pattern="^[0-9]{1,5}$")},
        )
        self.pause_live_session: ssm.CfnDocument = self._document(
            "PauseLiveSession",
            "Pause a cryoSPARC Live session, if it is still idle since the moment it was seen",
            "live-sessions pause --session '{{ Session }}' --seen '{{ Seen }}'",
            {
                "Session": _Parameter(description="Project and session, P3S1", pattern=_SESSION_PATTERN),
                "Seen": _Parameter(description="Idle since, epoch seconds", pattern=_SECONDS_PATTERN),
            },
        )
        self.backup_database: ssm.CfnDocument = self._document(
            "BackupDatabase",
            "Back up cryoSPARC's database now, and copy it to the results bucket",
            "backup-database",
            {},
            # It may have to wait for an installation, and a database may have hundreds of gigabytes.
            timeout_seconds=6 * 3600,
        )
        self.list_files: ssm.CfnDocument = self._document(
            "ListFiles",
            "List the files of a folder below /fsx, and put the list into the results bucket",
            "list-files --folder '{{ Folder }}' --checksums '{{ Checksums }}' --key '{{ Key }}'",
            {
                "Folder": _Parameter(
                    description="data/NAME, projects, or . for all; what is no letter, digit, dash, dot or underscore as %XX",
                    pattern=_FOLDER_PATTERN,
                ),
                "Checksums": _Parameter(
                    description="Whether each file is read (yes or no)", pattern="^(yes|no)$", default="no"
                ),
                "Key": _Parameter(description="Name of the list", pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"),
            },
            # A dataset of 10 TB is read in about three hours at 1 GB/s.
            timeout_seconds=12 * 3600,
        )

    def _document(
        self,
        id: str,
        description: str,
        command: str,
        parameters: Mapping[str, _Parameter],
        *,
        first: str | None = None,
        timeout_seconds: int = 120,
    ) -> ssm.CfnDocument:
        content: dict[str, object] = {
            "schemaVersion": "2.2",
            "description": description,
            "mainSteps": [
                {
                    "action": "aws:runShellScript",
                    "name": "run",
                    "inputs": {
                        "timeoutSeconds": str(timeout_seconds),
                        "runCommand": [*([first] if first else []), f"exec {_BIN}{command}"],
                    },
                }
            ],
        }
        if parameters:
            content["parameters"] = {name: parameter.content() for name, parameter in parameters.items()}
        return ssm.CfnDocument(
            self, id, content=content, document_type="Command", document_format="JSON", update_method="NewVersion"
        )

    def grant_send(self, grantee: iam.IGrantable, *documents: ssm.CfnDocument, instance_id: str) -> iam.Grant:
        """Let grantee run the documents on one instance, and read what they print."""
        stack = Stack.of(self)
        grant = iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["ssm:SendCommand"],
            resource_arns=[
                stack.format_arn(service="ec2", resource="instance", resource_name=instance_id),
                *(stack.format_arn(service="ssm", resource="document", resource_name=d.ref) for d in documents),
            ],
        )
        return grant.combine(
            # The action knows no resources (AWS service authorization reference, AWS Systems Manager).
            iam.Grant.add_to_principal(grantee=grantee, actions=["ssm:GetCommandInvocation"], resource_arns=["*"])
        )
