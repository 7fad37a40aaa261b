"""The machine image that head node and nodes start from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..parallel_cluster_check import PARALLEL_CLUSTER_VERSION
from .ask import Clients, ask, find
from .check import Check, error, ok
from .places import Site

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import ImageTypeDef

NAME = "image"
# ParallelCluster's own table (OS_TO_IMAGE_NAME_PART_MAP, 3.16.1), for the systems that we accept.
_NAMES = {"ubuntu2204": "ubuntu-2204-lts-hvm", "ubuntu2404": "ubuntu-2404-lts-hvm"}


def official_name(operating_system: str, version: str = PARALLEL_CLUSTER_VERSION) -> str:
    """What ParallelCluster's official images for Intel and AMD are called, with a star for their date."""
    return f"aws-parallelcluster-{version}-{_NAMES[operating_system]}-x86_64-*"


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """The engine's image."""
    if site.config.engine == "pcs":
        ami = site.config.pcs.ami_id if site.config.pcs else None
        if ami is not None:
            answer = find(
                "ec2:DescribeImages",
                lambda: clients.ec2.describe_images(ImageIds=[ami]),
                missing=("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"),
            )
            images = answer["Images"] if answer else []
            yield decide_own(ami, images[0] if images else None, region=site.region)
        return
    name = official_name(site.config.head_node.operating_system)

    def official() -> list[str]:
        filters = [{"Name": "name", "Values": [name]}, {"Name": "state", "Values": ["available"]}]
        # Official images are deprecated after a while, and can be used all the same.
        found = clients.ec2.describe_images(Owners=["amazon"], Filters=filters, IncludeDeprecated=True)["Images"]  # type: ignore[arg-type]
        return sorted(image["Name"] for image in found if "Name" in image)

    yield decide_official(name, ask("ec2:DescribeImages", official), region=site.region)


def decide_official(name: str, found: list[str], *, region: str) -> Check:
    """Whether ParallelCluster finds its image."""
    if found:
        return ok(NAME, "head_node.operating_system", found[-1])
    reason = f"AWS has no image {name} in {region}"
    mend = f"Take another operating_system, or a region of pcluster list-official-images ({PARALLEL_CLUSTER_VERSION})"
    return error(NAME, "head_node.operating_system", reason, mend)


def decide_own(ami: str, image: ImageTypeDef | None, *, region: str) -> Check:
    """Whether an image of one's own can be started."""
    subject, mend = (
        "pcs.ami_id",
        f"aws ec2 describe-images --owners self --region {region}; docs/pcs.md says how to make one",
    )
    if image is None:
        return error(NAME, subject, f"there is no {ami} in {region}, or it is not shared with this account", mend)
    state, architecture = image.get("State", "available"), image.get("Architecture", "x86_64")
    if state != "available":
        return error(NAME, subject, f"{ami} is {state}", mend)
    if architecture != "x86_64":
        return error(NAME, subject, f"{ami} is for {architecture}, the lanes' types are x86_64", mend)
    return ok(NAME, subject, f"{ami} ({image.get('Name', 'without a name')})")
