"""Names of items and regions, and what was probably meant by a wrong one."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection

_REGION = re.compile(r"[a-z]{2}(-[a-z]+)+-\d")


def nearest(name: str, known: Collection[str]) -> str:
    """A question with the names that are nearest, nothing where none is near."""
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f"Did you mean {' or '.join(near)}?" if near else ""


def is_region(name: str) -> bool:
    """Whether it is a region that botocore knows; new ones come with newer versions of it."""
    return _REGION.fullmatch(name) is not None and name in regions()


@functools.cache
def regions() -> frozenset[str]:
    """The regions that botocore knows, of all partitions that are open to the public."""
    import botocore.session

    session = botocore.session.get_session()
    return frozenset(
        region
        for partition in ("aws", "aws-cn", "aws-us-gov")
        for region in session.get_available_regions("ec2", partition_name=partition)
    )
