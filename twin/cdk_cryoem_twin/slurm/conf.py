"""slurm.conf and gres.conf of a SlurmSpec, for daemons that all run on this machine. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .spec import SlurmSpec


def slurm_conf(
    spec: SlurmSpec, *, base: Path, host: str, user: str, controller_port: int, node_ports: Sequence[int]
) -> str:
    """The controller's configuration."""
    wanted = sum(len(each.names) for each in spec.node_sets)
    if wanted > len(node_ports):
        raise ValueError(
            f"the lanes may have {wanted} nodes, the twin has ports for {len(node_ports)}: lower max_nodes"
        )
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
        f"SelectTypeParameters={'CR_CPU_Memory' if spec.by_memory else 'CR_CPU'}",
        "SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=1,batch_sched_delay=0",
        "MinJobAge=300",
        f"SuspendProgram={base}/bin/suspend",
        f"ResumeProgram={base}/bin/resume",
        f"SuspendTime={spec.idle_seconds}",
        "SuspendTimeout=3",
        "ResumeTimeout=60",
        "SuspendRate=0",
        "ResumeRate=0",
        "SlurmctldParameters=idle_on_node_suspend,power_save_interval=1,power_save_min_interval=0",
        "PrivateData=cloud",
        "TreeWidth=65533",
        "GresTypes=gpu",
        *spec.settings,
    ]
    ports = iter(node_ports)
    for each in spec.node_sets:
        gres = f" Gres=gpu:{each.gpu_model}:{each.gpus}" if each.gpus else ""
        lines += [
            f"NodeName={name} NodeAddr=127.0.0.1 NodeHostname={name} Port={next(ports)} CPUs={each.cpus}"
            f" RealMemory={each.memory_mib}{gres} Features=dynamic,cloud State=CLOUD"
            for name in each.names
        ]
    for partition in spec.partitions:
        names = [name for each in spec.node_sets if each.partition == partition.name for name in each.names]
        extra = "".join(f" {key}={value}" for key, value in partition.settings.items())
        default = " Default=YES" if partition.is_default else ""
        idle = f" SuspendTime={partition.idle_seconds}" if partition.idle_seconds is not None else ""
        lines.append(f"PartitionName={partition.name} Nodes={','.join(names)} State=UP{default}{idle}{extra}")
    return "\n".join(lines) + "\n"


def gres_conf(spec: SlurmSpec, *, devices: Sequence[str]) -> str:
    """A character device for each GPU: Slurm 22.05 counts them so."""
    lines = ["AutoDetect=off"]
    for each in spec.node_sets:
        if each.gpus:
            files = ",".join(devices[: each.gpus])
            lines += [f"NodeName={name} Name=gpu Type={each.gpu_model} File={files}" for name in each.names]
    return "\n".join(lines) + "\n"
