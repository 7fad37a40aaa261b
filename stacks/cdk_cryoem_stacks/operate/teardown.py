"""`cryoem teardown`: what would be lost with the file system, and the commands that destroy a system in the right order.

It deletes nothing. It refuses as long as anything could be lost, or could still be written while somebody deletes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..flags import DELETE_CONTEXT
from . import export
from .ask import Failed, ask, find
from .find import Clients, Storage, System, Target
from .listing import ListedFile, file_listing
from .records import Item, Records
from .status import nodes_on
from .unsaved import DATASETS_PREFIX, PROJECTS_PREFIX, Loss, Stored, losses
from .words import listed, several, size

SHOWN = 20
"""How many of the files are shown; --json has all."""
_PROJECTS = "/projects"
_WEB_ADDRESS = "WebAddress"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """Whether a system may be destroyed. refusals: why it may not yet; lost: files that S3 has not as they are."""

    refusals: Sequence[str]
    lost: Sequence[Loss]
    commands: Sequence[str]

    @property
    def safe(self) -> bool:
        """Nothing would be lost."""
        return not self.refusals and not self.lost

    def document(self) -> dict[str, Any]:
        """All of it as JSON's own values."""
        return {
            "safe": self.safe,
            "refusals": list(self.refusals),
            "files": len(self.lost),
            "bytes": sum(loss.size for loss in self.lost),
            "lost": [asdict(loss) for loss in self.lost],
            "commands": list(self.commands) if self.safe else [],
        }


def look(
    clients: Clients,
    found: System,
    storage: Storage,
    *,
    say: Callable[[str], None],
    exports: bool = False,
    web: str = "",
) -> Verdict:
    """The verdict. exports: first export what is below /projects and not in S3. web: name of the load balancer, if there is one.
    Errors: Failed, also when the file system cannot be listed because the head node sleeps.
    """
    why_not = refusals(clients, found, storage)
    # While somebody writes, a list is old before it is complete.
    if why_not:
        return Verdict(refusals=why_not, lost=(), commands=())
    lost = unsaved(clients, found, storage, say=say)
    if exports and any(loss.path.startswith("projects/") for loss in lost):
        (projects,) = (a for a in export.associations(clients, storage.file_system) if _folder(a) == _PROJECTS)
        export.export(clients, storage.file_system, projects, say=say)
        lost = unsaved(clients, found, storage, say=say)
        # Somebody may have begun to write meanwhile.
        why_not = refusals(clients, found, storage)
    return Verdict(
        refusals=why_not,
        lost=lost,
        commands=() if lost or why_not else commands(found.target, web),
    )


def refusals(clients: Clients, found: System, storage: Storage) -> list[str]:
    """Why it is too early: somebody may write, or nobody can say what is in S3. Errors: Failed."""
    described = find(
        "fsx:DescribeFileSystems",
        lambda: clients.fsx.describe_file_systems(FileSystemIds=[storage.file_system]),
        unless=("FileSystemNotFound",),
    )
    if described is None:
        raise Failed(
            f"FSx knows no file system {storage.file_system}: there is nothing on it to lose any more"
            " (docs/file-system.md, 'Restore', for a new one)"
        )
    return [
        *_not_well(described["FileSystems"][0], export.associations(clients, storage.file_system)),
        *_at_work(export.tasks(clients, storage.file_system)),
        *_writing([node.id for node in nodes_on(clients, found)], Records(clients, found.table).items("dataset")),
    ]


def _not_well(file_system: Mapping[str, Any], associations: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if file_system["Lifecycle"] != "AVAILABLE":
        yield f"the file system is {file_system['Lifecycle']}, not AVAILABLE"
    there = {_folder(each): each for each in associations}
    for folder, each in sorted(there.items()):
        if each["Lifecycle"] != "AVAILABLE":
            told = (each.get("FailureDetails") or {}).get("Message", "")
            yield f"the association on {folder} is {each['Lifecycle']}, not AVAILABLE" + (f": {told}" if told else "")
    for folder in ("/data", _PROJECTS):
        if folder not in there:
            yield f"there is no association on {folder}, so nothing of it is known to be in S3"


def _at_work(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for task in tasks:
        if task["Lifecycle"] in export.RUNNING:
            yield f"the task {task['TaskId']} ({task['Type']}) has not ended; FSx would not delete the file system either"


def _writing(nodes: Sequence[str], datasets: Sequence[Item]) -> Iterator[str]:
    if nodes:
        yield f"{several(len(nodes), 'node')} on, whose jobs may write: {listed(nodes)}"
    arriving = sorted(str(item["sk"]) for item in datasets if item.get("state") == "arriving")
    if arriving:
        yield f"still arriving: {listed(arriving)}; `cryoem land DATASET` says that one is complete"


def unsaved(clients: Clients, found: System, storage: Storage, *, say: Callable[[str], None]) -> list[Loss]:
    """Every file of the file system that S3 has not as it is. Errors: Failed."""
    say("asking S3 what is there")
    landing = objects(clients, storage.landing_bucket, DATASETS_PREFIX)
    results = objects(clients, storage.results_bucket, PROJECTS_PREFIX)
    files: Iterator[ListedFile] = file_listing(clients, found, folder=".", say=say)
    return list(losses(files, landing=landing, results=results))


def objects(clients: Clients, bucket: str, prefix: str) -> dict[str, Stored]:
    """All objects below a prefix. A million take some 300 MB of memory and two minutes. Errors: Failed."""

    def read() -> dict[str, Stored]:
        pages = clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {
            each["Key"]: Stored(size=each["Size"], at=each["LastModified"].timestamp())
            for page in pages
            for each in page.get("Contents", [])
        }

    return ask("s3:ListBucket", read)


def web_address(clients: Clients, target: Target) -> str:
    """The name of the load balancer of section `web`, empty when there is none. Errors: Failed."""
    stack = f"{target.name}-cluster"
    answer = find(
        "cloudformation:DescribeStacks",
        lambda: clients.cloudformation.describe_stacks(StackName=stack),
        unless=("ValidationError",),
    )
    outputs = answer["Stacks"][0].get("Outputs", []) if answer else []
    return next((each.get("OutputValue", "") for each in outputs if each.get("OutputKey") == _WEB_ADDRESS), "")


def commands(target: Target, web: str = "") -> list[str]:
    """What destroys a system, in the only order that works. Movies and results stay in their buckets.

    web: name of its load balancer, whose deletion protection would end the first `destroy` half-way.
    """
    name, cdk = target.name, target.cdk
    return [
        *([unprotect(web, target.region)] if web else []),
        f"{cdk} destroy {name}-hooks {name}-cluster {name}-ingest",
        f"{cdk} deploy {name}-storage -c {DELETE_CONTEXT}={name}",
        f"{cdk} destroy {name}-storage {name}-network",
    ]


def unprotect(web: str, region: str) -> str:
    """What switches off the deletion protection of the load balancer of this name."""
    arn = (
        f"aws elbv2 describe-load-balancers --region {region} --output text"
        f" --query \"LoadBalancers[?DNSName=='{web}'].LoadBalancerArn\""
    )
    return (
        f"aws elbv2 modify-load-balancer-attributes --region {region}"
        f" --attributes Key=deletion_protection.enabled,Value=false --load-balancer-arn $({arn})"
    )


def as_text(verdict: Verdict, storage: Storage) -> str:
    """The verdict for people."""
    if verdict.safe:
        return "\n".join(
            [
                "Everything on the file system is in S3, as it is. Let nobody log in from now on, and destroy in this order:",
                "",
                *(f"  {line}" for line in verdict.commands),
                "",
                "Once the cluster is destroyed, nobody can write any more. What is deployed then turns both keys of deletion:"
                " it takes `deletion: {allowed: [file_system]}` in the file (docs/data-protection.md, 'Two keys').",
                f"s3://{storage.landing_bucket} and s3://{storage.results_bucket} stay, with every version; movies are"
                " deleted by the break-glass role alone (docs/operations.md, 'Deleting a movie').",
            ]
        )
    lines = [f"- {reason}" for reason in verdict.refusals]
    if verdict.lost:
        lines.append(
            f"{several(len(verdict.lost), 'file')} ({size(sum(loss.size for loss in verdict.lost))}) would be lost:"
        )
        shown = list(itertools.islice(verdict.lost, SHOWN))
        lines += [f"  {json.dumps(loss.path, ensure_ascii=True)}  {size(loss.size)}  {loss.why}" for loss in shown]
        if len(verdict.lost) > SHOWN:
            lines.append(f"  and {len(verdict.lost) - SHOWN} more; --json has all of them")
    return "\n".join(lines)


def _folder(association: Mapping[str, Any]) -> str:
    return str(association["FileSystemPath"]).rstrip("/")
