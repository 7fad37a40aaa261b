"""Which lane a job type belongs on, as the head node's files say, and what that lane has, as the manifest says.

Needs boto3.
"""

from __future__ import annotations

import json
from typing import Any, Dict, Mapping

import boto3

from .outcome import Later, Refused
from .settings import Settings


def types(here: Settings, client: str) -> Dict[str, str]:
    """The lane of each job type of a client, cryosparc or relion. Errors: Later before the first lanes are registered."""
    path = here.lanes / "stages.json"
    if not path.is_file():
        raise Later("the lanes are not registered yet")
    found: Dict[str, str] = json.loads(path.read_text())[client]
    return found


def lane_of(lanes: Mapping[str, str], job_type: str) -> str:
    """The lane of a job type. Errors: Refused for a type that no stage has."""
    if job_type not in lanes:
        raise Refused(f"no stage has the job type {job_type}, so that it has no lane")
    return lanes[job_type]


def manifest(here: Settings) -> Dict[str, Mapping[str, Any]]:
    """The lanes of the manifest by name."""
    ssm = boto3.client("ssm", region_name=here.region)
    text = ssm.get_parameter(Name=here.manifest_parameter)["Parameter"]["Value"]
    return {str(lane["name"]): lane for lane in json.loads(text)["lanes"]}
