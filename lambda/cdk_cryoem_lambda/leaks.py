"""Decisions about what costs money and is of use to nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

INSTANCE_SECONDS = 900
"""How old an instance is before it is asked after: one boots in five minutes, and Slurm gives up after 35 only what it
knows of, which is accounted for."""

_TEARDOWN = "export what is not in S3, then delete it (docs/operations.md)"


@dataclass(frozen=True)
class Instance:
    """An EC2 instance that carries the cluster's tag and is paid for."""

    instance_id: str
    private_ip: str
    private_dns: str
    launched_at: float

    @property
    def names(self) -> frozenset[str]:
        """All that Slurm may call it."""
        return frozenset(
            {self.private_ip, self.private_dns, self.private_dns.partition(".")[0], f"ip-{self.private_ip}".replace(".", "-")}
        )  # fmt: skip


@dataclass(frozen=True)
class FileSystem:
    """An FSx file system, with the system it is tagged with."""

    file_system_id: str
    system: str
    created_at: float


@dataclass(frozen=True)
class Leak:
    """Something that costs money, since when, and what to do about it."""

    kind: Literal["instance", "live-session", "file-system"]
    id: str
    since: float
    advice: str

    @property
    def name(self) -> str:
        """Its key among the records."""
        return f"{self.kind}#{self.id}"


def forgotten_instances(
    instances: Iterable[Instance], *, head_node: str, addresses: Sequence[str] | None, asleep: bool, now: float
) -> list[Leak] | None:
    """Instances of the cluster that Slurm does not know; None when the two cannot be compared.

    addresses: of all its nodes that are on; None when Slurm did not say. asleep: the head node is off, and Slurm with it.
    They are told of, not terminated: should an engine name its nodes otherwise, this would kill jobs. Nor can they be
    compared when Slurm has nodes and none of them is found among the instances.
    """
    if addresses is None and not asleep:
        return None
    compute = [instance for instance in instances if instance.instance_id != head_node]
    known = set(addresses or ())
    if known and not any(instance.names & known for instance in compute):
        return None
    reason = "the head node sleeps" if addresses is None else "Slurm has no node there"
    return [
        Leak(
            kind="instance",
            id=instance.instance_id,
            since=instance.launched_at,
            advice=f"{reason}: look at it, then aws ec2 terminate-instances --instance-ids {instance.instance_id}",
        )
        for instance in compute
        if not instance.names & known and now - instance.launched_at >= INSTANCE_SECONDS
    ]


def forgotten_file_systems(found: Iterable[FileSystem], *, system: str, cluster_is_gone: bool) -> list[Leak]:
    """File systems of this system but the newest, which is in use; that one too when there is no cluster any longer."""
    ours = sorted((each for each in found if each.system == system), key=lambda each: each.created_at)
    older, newest = ours[:-1], ours[-1:]
    return [
        Leak(
            kind="file-system",
            id=each.file_system_id,
            since=each.created_at,
            advice=(
                f"a newer one is in use, and this one was retained: {_TEARDOWN}"
                if each in older
                else f"no cluster uses it: {_TEARDOWN}"
            ),
        )
        for each in [*older, *(newest if cluster_is_gone else [])]
    ]


def idle_session(session: Mapping[str, Any]) -> Leak:
    """A Live session as the head node's live-sessions prints it. It is paused by whoever found it."""
    return Leak(
        kind="live-session",
        id=str(session["id"]),
        since=float(session["since"]),
        advice=(
            f"{session['gpus']} GPUs of lane {session['lane']} had no exposure for {session['idle_minutes']} minutes: "
            "it is paused, and goes on when somebody starts it again"
        ),
    )


def over(known: Iterable[Mapping[str, object]], found: Mapping[str, Sequence[Leak] | None]) -> list[str]:
    """Names of leaks that were written down and are not there any longer. found: by kind; None was not looked for."""
    not_looked_for = {kind for kind, leaks in found.items() if leaks is None}
    still = {leak.name for leaks in found.values() for leak in leaks or ()}
    names = {str(item["sk"]) for item in known}
    return sorted(name for name in names - still if name.partition("#")[0] not in not_looked_for)
