"""Which folder plays the share that a DataSync task reads, as the deployed task says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from .places import Places


def share_of(places: Places, make: Callable[[str], Any], task: str) -> Path:
    """The folder for the task's source location."""
    datasync = make("datasync")
    source = datasync.describe_task(TaskArn=task)["SourceLocationArn"]
    uri = datasync.describe_location_nfs(LocationArn=source)["LocationUri"]
    return places.share / str(uri).removeprefix("nfs://").strip("/")
