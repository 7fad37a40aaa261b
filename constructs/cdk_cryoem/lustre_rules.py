"""What FSx for Lustre accepts. CloudFormation's schema and the CDK catch few of these before a deployment fails.

Sources: FSx API model (botocore 1.44.5), AWS::FSx schemas of 2026-10-20, the FSx for Lustre user guide.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence

from .problems import Problem, known

DEPLOYMENT_TYPES = ("PERSISTENT_2", "SCRATCH_2")
THROUGHPUTS_MIBPS = (125, 250, 500, 1000)
EVENTS = ("NEW", "CHANGED", "DELETED")
MAX_ASSOCIATIONS = 8
_MAX_CAPACITY_GIB = 1_000_000


def capacity_problems(capacity_gib: int) -> Iterator[Problem]:
    """1200, 2400, then multiples of 2400 GiB."""
    if not known(capacity_gib):
        return
    if (
        not (capacity_gib == 1200 or (capacity_gib > 0 and capacity_gib % 2400 == 0))
        or capacity_gib > _MAX_CAPACITY_GIB
    ):
        most = _MAX_CAPACITY_GIB // 2400 * 2400
        below = min(max(1200, capacity_gib // 2400 * 2400), most)
        above = 1200 if capacity_gib <= 1200 else min((capacity_gib // 2400 + 1) * 2400, most)
        near = f"{below} or {above}" if below != above else str(above)
        yield Problem(
            property="capacity_gib",
            value=capacity_gib,
            allowed="1200, 2400, or a multiple of 2400",
            fix=f"The nearest that FSx accepts: {near}",
        )


def file_system_problems(
    *,
    deployment_type: str,
    capacity_gib: int,
    throughput_mibps_per_tib: int | None,
    metadata_iops: int | None,
    lustre_version: str,
) -> Iterator[Problem]:
    """Everything wrong with the shape of a Lustre file system that is to carry data repository associations."""
    yield from capacity_problems(capacity_gib)
    if deployment_type not in DEPLOYMENT_TYPES:
        yield Problem(
            property="deployment_type",
            value=deployment_type,
            allowed=" or ".join(DEPLOYMENT_TYPES),
            fix="SCRATCH_1 and Intelligent-Tiering have no data repository associations, PERSISTENT_1 is superseded",
        )
    persistent = deployment_type == "PERSISTENT_2"
    if persistent and throughput_mibps_per_tib is None:
        yield Problem(
            property="throughput_mibps_per_tib",
            value=None,
            allowed=f"one of {THROUGHPUTS_MIBPS}",
            fix="PERSISTENT_2 cannot be created without it",
        )
    if throughput_mibps_per_tib is not None and known(throughput_mibps_per_tib):
        if not persistent:
            yield Problem(
                property="throughput_mibps_per_tib",
                value=throughput_mibps_per_tib,
                allowed="nothing with SCRATCH_2, which always has 200",
            )
        elif throughput_mibps_per_tib not in THROUGHPUTS_MIBPS:
            yield Problem(
                property="throughput_mibps_per_tib",
                value=throughput_mibps_per_tib,
                allowed=f"one of {THROUGHPUTS_MIBPS}",
            )
    if metadata_iops is not None and known(metadata_iops):
        if not persistent:
            yield Problem(property="metadata_iops", value=metadata_iops, allowed="nothing with SCRATCH_2")
        elif metadata_iops not in (1500, 3000, 6000) and (metadata_iops % 12000 or not 0 < metadata_iops <= 192_000):
            yield Problem(
                property="metadata_iops",
                value=metadata_iops,
                allowed="1500, 3000, 6000, or a multiple of 12000 up to 192000",
            )
    if known(lustre_version) and lustre_version not in ("2.12", "2.15"):
        yield Problem(
            property="lustre_version",
            value=lustre_version,
            allowed="2.12 or 2.15",
            fix="2.10 has no automatic import; FSx's own default is older than you want, so it is always set",
        )


def generation_problems(generation: int) -> Iterator[Problem]:
    """The first file system is 1, each one that takes its place has the next number."""
    if known(generation) and not 1 <= generation <= 1000:
        yield Problem(property="generation", value=generation, allowed="1 to 1000")


def association_problems(
    *, path: str, data_repository_path: str, import_events: Sequence[str], export_events: Sequence[str]
) -> Iterator[Problem]:
    """Everything wrong with one data repository association."""
    if known(path) and not re.fullmatch(r"(/[A-Za-z0-9._-]+)+", path):
        yield Problem(
            property="path",
            value=path,
            allowed="an absolute path below the root, such as /data",
            fix="An association on / would have to be the only one",
        )
    if known(data_repository_path) and not data_repository_path.startswith("s3://"):
        yield Problem(property="data_repository_path", value=data_repository_path, allowed="s3://BUCKET/PREFIX/")
    for prop, events in (("import_events", import_events), ("export_events", export_events)):
        for event in events:
            if event not in EVENTS:
                yield Problem(property=prop, value=event, allowed=", ".join(EVENTS))
    if "DELETED" in export_events:
        yield Problem(
            property="export_events",
            value="DELETED",
            allowed="NEW, CHANGED",
            fix="With DELETED, an rm on the file system deletes the object in S3",
        )
    if "DELETED" in import_events and export_events:
        yield Problem(
            property="import_events",
            value="DELETED",
            allowed="NEW, CHANGED on a path that also exports",
            fix="A deletion in S3 would remove results that were not exported yet",
        )


def association_set_problems(paths: Sequence[str], repositories: Sequence[str]) -> Iterator[Problem]:
    """What is wrong with a file system's associations taken together."""
    if len(paths) > MAX_ASSOCIATIONS:
        yield Problem(property="associations", value=len(paths), allowed=f"{MAX_ASSOCIATIONS} at most")
    for prop, values in (("path", paths), ("data_repository_path", repositories)):
        settled = sorted(value.rstrip("/") + "/" for value in values if known(value))
        for first, second in itertools.pairwise(settled):
            if second.startswith(first):
                yield Problem(
                    property=prop, value=f"{first} and {second}", allowed="places that do not lie within each other"
                )
