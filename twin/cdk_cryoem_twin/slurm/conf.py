"""slurm.conf and gres.conf from a ParallelCluster ClusterConfiguration, named and sized as ParallelCluster does.

Pure. Every scalar may be text, the way CloudFormation sends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cdk_cryoem import instance_shapes

# ParallelCluster's own: 95 % of what EC2 states.
_SCHEDULABLE_MEMORY = 0.95


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSet:
    """The nodes of one compute resource."""

    partition: str
    names: tuple[str, ...]
    cpus: int
    memory_mib: int
    gpus: int
    gpu_model: str


def node_sets(configuration: Mapping[str, Any]) -> list[NodeSet]:
    """All nodes that the queues may have."""
    found = []
    for queue in configuration["Scheduling"]["SlurmQueues"]:
        for resource in queue["ComputeResources"]:
            shapes = [instance_shapes()[name] for name in _types(resource)]
            always_on = int(resource["MinCount"])
            names = tuple(
                f"{queue['Name']}-{'st' if n < always_on else 'dy'}-{resource['Name']}-{n + 1}"
                for n in range(int(resource["MaxCount"]))
            )
            found.append(
                NodeSet(
                    partition=queue["Name"],
                    names=names,
                    cpus=min(shape.vcpus for shape in shapes),
                    memory_mib=int(min(shape.memory_gib for shape in shapes) * 1024 * _SCHEDULABLE_MEMORY),
                    gpus=shapes[0].gpus,
                    gpu_model=shapes[0].gpu_model.lower(),
                )
            )
    return found


def _types(resource: Mapping[str, Any]) -> list[str]:
    if "InstanceType" in resource:
        return [resource["InstanceType"]]
    return [entry["InstanceType"] for entry in resource["Instances"]]


def slurm_conf(
    configuration: Mapping[str, Any],
    *,
    base: Path,
    root: Path,
    host: str,
    user: str,
    controller_port: int,
    node_ports: Sequence[int],
) -> str:
    """The controller's configuration. root: what plays / for absolute paths that the configuration names."""
    sets = node_sets(configuration)
    wanted = sum(len(each.names) for each in sets)
    if wanted > len(node_ports):
        raise ValueError(
            f"the lanes may have {wanted} nodes, the twin has ports for {len(node_ports)}: lower max_nodes"
        )
    settings = configuration["Scheduling"]["SlurmSettings"]
    idle_seconds = int(settings.get("ScaledownIdletime", 10)) * 60
    memory = str(settings.get("EnableMemoryBasedScheduling", "false")).lower() == "true"
    lines = [
        "ClusterName=twin",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmUser={user}",
        f"SlurmdUser={user}",
        f"SlurmctldPort={controller_port}",
        f"SlurmdPort={controller_port}",
        "AuthType=auth/munge",
        f"AuthInfo=socket={base}/munge.sock",
        "CryptoType=crypto/munge",
        "MailProg=/bin/true",
        "MpiDefault=none",
        "ReturnToService=2",
        f"StateSaveLocation={base}/state",
        f"SlurmdSpoolDir={base}/spool/%n",
        f"SlurmctldPidFile={base}/pid/slurmctld.pid",
        f"SlurmdPidFile={base}/pid/slurmd-%n.pid",
        f"SlurmctldLogFile={base}/log/slurmctld.log",
        f"SlurmdLogFile={base}/log/slurmd-%n.log",
        "SlurmctldDebug=info",
        "SlurmdDebug=info",
        "DebugFlags=Power,NO_CONF_HASH",
        # Several slurmd on one machine, on loopback only.
        "CommunicationParameters=NoInAddrAny,NoCtldInAddrAny",
        # This machine has fewer CPUs and less memory than the nodes it plays.
        "SlurmdParameters=config_overrides",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/none",
        "AccountingStorageType=accounting_storage/none",
        "SelectType=select/cons_tres",
        f"SelectTypeParameters={'CR_CPU_Memory' if memory else 'CR_CPU'}",
        "SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0",
        "MinJobAge=300",
        f"SuspendProgram={base}/bin/suspend",
        f"ResumeProgram={base}/bin/resume",
        f"SuspendTime={idle_seconds}",
        "SuspendTimeout=3",
        "ResumeTimeout=60",
        "SuspendRate=0",
        "ResumeRate=0",
        "SlurmctldParameters=idle_on_node_suspend,power_save_interval=1,power_save_min_interval=0",
        "PrivateData=cloud",
        "TreeWidth=65533",
        "GresTypes=gpu",
        *_custom(settings.get("CustomSlurmSettings", []), root),
    ]
    ports = iter(node_ports)
    for each in sets:
        gres = f" Gres=gpu:{each.gpu_model}:{each.gpus}" if each.gpus else ""
        lines += [
            f"NodeName={name} NodeAddr=127.0.0.1 NodeHostname={name} Port={next(ports)} CPUs={each.cpus}"
            f" RealMemory={each.memory_mib}{gres} Features=dynamic,cloud State=CLOUD"
            for name in each.names
        ]
    for number, queue in enumerate(configuration["Scheduling"]["SlurmQueues"]):
        names = [name for each in sets if each.partition == queue["Name"] for name in each.names]
        extra = "".join(f" {key}={value}" for key, value in queue.get("CustomSlurmSettings", {}).items())
        # ParallelCluster makes the first queue the default one.
        default = " Default=YES" if number == 0 else ""
        lines.append(f"PartitionName={queue['Name']} Nodes={','.join(names)} State=UP{default}{extra}")
    return "\n".join(lines) + "\n"


def gres_conf(configuration: Mapping[str, Any], *, devices: Sequence[str]) -> str:
    """A character device for each GPU: Slurm 22.05 counts them so."""
    lines = ["AutoDetect=off"]
    for each in node_sets(configuration):
        if each.gpus:
            files = ",".join(devices[: each.gpus])
            lines += [f"NodeName={name} Name=gpu Type={each.gpu_model} File={files}" for name in each.names]
    return "\n".join(lines) + "\n"


def _custom(settings: Sequence[Mapping[str, str]], root: Path) -> list[str]:
    """The custom settings; absolute paths lie below the twin's root."""
    return [
        f"{key}={root}{value}" if str(value).startswith("/") else f"{key}={value}"
        for entry in settings
        for key, value in entry.items()
    ]
