"""Where the two sides come from: what CloudFormation has deployed, a folder of templates, a configuration file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .resources import Template

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient

    from ..config import Config

_CREDENTIALS = {
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidClientTokenId",
    "RequestExpired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"}


class SourceError(Exception):
    """A side cannot be had. Its text says why, and what to do."""


def synthesised(config: Config, *, config_folder: Path) -> dict[str, Template]:
    """The templates of a configuration by stack name. Nothing is written beside it."""
    from ..app import build, make_app  # here, because the CDK comes with it

    with tempfile.TemporaryDirectory(prefix="cryoem-diff-") as folder:
        app = make_app(outdir=folder)
        for name, value in _context(Path.cwd()).items():
            app.node.set_context(name, value)
        build(app, config, config_folder=config_folder)
        return {stack.stack_name: stack.template for stack in app.synth().stacks}


def _context(folder: Path) -> dict[str, Any]:
    """What the CDK's CLI would hand to the app from here: another bootstrap qualifier is in the templates too."""
    context: dict[str, Any] = {}
    for name in ("cdk.context.json", "cdk.json"):
        file = folder / name
        if file.is_file():
            found = json.loads(file.read_text())
            context |= found.get("context") or {} if name == "cdk.json" else found
    context |= json.loads(os.environ.get("CDK_CONTEXT_JSON") or "{}")
    return context


def in_folder(folder: Path) -> dict[str, Template]:
    """The templates of a cloud assembly (cdk.out) by stack name. Errors: SourceError if it is none."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        return {
            artifact["properties"].get("stackName", name): json.loads(
                (folder / artifact["properties"]["templateFile"]).read_text()
            )
            for name, artifact in manifest["artifacts"].items()
            if artifact["type"] == "aws:cloudformation:stack"
        }
    except (OSError, ValueError, KeyError) as error:
        raise SourceError(f"{folder} is no folder that `cdk synth` made: {error}") from error


def deployed(names: Iterable[str], *, region: str, client: CloudFormationClient | None = None) -> dict[str, Template]:
    """The templates that CloudFormation has deployed, without the stacks that are not there. Errors: SourceError."""
    try:
        import boto3
        from botocore.config import Config as ClientConfig
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise SourceError("boto3 is missing: pip install 'cdk-cryoem[app]'") from error
    found: dict[str, Template] = {}
    try:
        settings = ClientConfig(connect_timeout=10, read_timeout=30, retries={"total_max_attempts": 4})
        client = client or boto3.client("cloudformation", region_name=region, config=settings)
        for name in names:
            template = _deployed(client, name, region)
            if template is not None:
                found[name] = template
    except BotoCoreError as error:  # no credentials, no profile of that name, no network
        raise SourceError(
            f"CloudFormation in {region} could not be asked: {error}. Set credentials as for the AWS command line"
            " (AWS_PROFILE), or compare with a folder: --against cdk.out"
        ) from error
    return found


def _deployed(client: CloudFormationClient, name: str, region: str) -> Template | None:
    from botocore.exceptions import ClientError

    try:
        body: object = client.get_template(StackName=name, TemplateStage="Original")["TemplateBody"]
    except ClientError as error:
        code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        if code == "ValidationError" and "does not exist" in message:
            return None
        if code in _DENIED:
            raise SourceError(
                f"These credentials may not read the template of {name}: allow cloudformation:GetTemplate. {message}"
            ) from error
        if code in _CREDENTIALS:
            raise SourceError(f"AWS does not take these credentials: {message}. Log in again") from error
        raise SourceError(f"CloudFormation in {region} says of {name}: {code}: {message}") from error
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError as error:
            raise SourceError(f"The template of {name} is not JSON: it was not deployed by the CDK") from error
    assert isinstance(body, Mapping)
    return body
