"""The licence id and the hooks' login, from Secrets Manager. They exist in memory, and in cryoSPARC's own config.sh (0600).

Needs boto3.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import boto3

from .outcome import Mask, Refused
from .settings import NONE, Settings


@dataclass(frozen=True)
class Login:
    """The cryoSPARC user that registers lanes and starts processing."""

    email: str
    password: str


def _secret(here: Settings, arn: str) -> str:
    client: Any = boto3.client("secretsmanager", region_name=here.region)
    return str(client.get_secret_value(SecretId=arn)["SecretString"])


def license_id(here: Settings, mask: Mask) -> str:
    """The licence id: the whole secret, or its key license_id."""
    arn = here.cryosparc_license_secret
    if arn in ("", NONE):
        raise Refused("cryoSPARC needs a licence: the setup names no secret that has it (cryosparc_license_secret)")
    text = _secret(here, arn).strip()
    mask.add(text)
    if text.startswith("{"):
        text = str(json.loads(text).get("license_id", "")).strip()
        mask.add(text)
    # It goes into curl's configuration and into config.sh, so nothing in it may mean anything there.
    if not re.fullmatch(r"[A-Za-z0-9-]{8,64}", text):
        raise Refused(f"the secret {arn} holds no licence id: plain text, or JSON with the key license_id, is expected")
    return text


def hooks_login(here: Settings, mask: Mask) -> Login:
    """The login that the stack made up."""
    found = json.loads(_secret(here, here.cryosparc_secret))
    return Login(email=str(found["email"]), password=mask.add(str(found["password"])))
