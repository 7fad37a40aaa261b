"""The real cryosparc-tools client, logged in as the hooks' user."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import boto3


def settings() -> dict[str, str]:
    """The head node's settings."""
    text = (Path(os.environ["CRYOEM_HOME"]) / "etc" / "head-node.env").read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def connect() -> Any:
    """A client of the head node's master."""
    from cryosparc.tools import CryoSPARC

    here = settings()
    secret = boto3.client("secretsmanager", region_name=here["AWS_REGION"]).get_secret_value(
        SecretId=here["CRYOSPARC_SECRET"]
    )
    login = json.loads(secret["SecretString"])
    return CryoSPARC(here["CRYOSPARC_URL"], email=login["email"], password=login["password"])
