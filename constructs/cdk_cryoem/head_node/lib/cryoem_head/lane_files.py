"""One lane of the manifest, rendered for its two clients: a cryoSPARC cluster target and a RELION queue."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Dict, Mapping

# Jinja2, filled in by cryoSPARC for each job. One node and one task always: with more tasks Slurm may spread a job over
# nodes. GPUs are asked for only where there are some, because Slurm refuses an empty gres.
_CLUSTER_SCRIPT = """#!/usr/bin/env bash
#SBATCH --job-name=cryosparc_{{{{ project_uid }}}}_{{{{ job_uid }}}}
#SBATCH --partition={partition}
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={{{{ num_cpu }}}}
#SBATCH --mem={{{{ [(ram_gb|float * {multiplier} * 1024)|int, {memory_mib}]|min }}}}M
#SBATCH --time={{{{ time_limit_minutes|default({minutes}) }}}}
#SBATCH --output={{{{ job_dir_abs }}}}/slurm-%j.out
#SBATCH --error={{{{ job_dir_abs }}}}/slurm-%j.out
#SBATCH --chdir={{{{ job_dir_abs }}}}
{{%- if num_gpu > 0 %}}
#SBATCH --gres=gpu:{{{{ num_gpu }}}}
{{%- endif %}}

{{{{ run_cmd }}}}
"""

# RELION fills in XXX...XXX by plain replacement and knows no conditions, so each lane has its own template.
# Memory by CPU: without it Slurm gives a job the whole node's, and no second job fits beside it.
_RELION_SCRIPT = """#!/usr/bin/env bash
#SBATCH --job-name=XXXnameXXX
#SBATCH --partition={partition}
#SBATCH --nodes=1
#SBATCH --ntasks=XXXmpinodesXXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH --mem-per-cpu={memory_mib_per_cpu}M
#SBATCH --time={minutes}
#SBATCH --output=XXXoutfileXXX
#SBATCH --error=XXXerrfileXXX
{gres}
XXXcommandXXX
"""


def digest(files: Mapping[str, str]) -> str:
    """A fingerprint of a lane's rendered files."""
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def render(lane: Mapping[str, Any], *, worker: str, cache_root: str, sbatch: str, home: str) -> Dict[str, str]:
    """The lane's files by name: cluster_info.json, cluster_script.sh, relion_qsub.sh, relion.env."""
    slurm = f"{sbatch}/" if sbatch else ""
    cache = f"{cache_root}/cryosparc-cache" if lane["cache_gb"] else ""
    info = {
        "name": lane["name"],
        "title": f"{lane['name']} ({lane['gpus']} GPU)" if lane["gpus"] else f"{lane['name']} (CPU)",
        "worker_bin_path": worker,
        "cache_path": cache,
        "cache_reserve_mb": 10000,
        # Nine tenths of the disk: the rest is for what jobs write there besides.
        "cache_quota_mb": lane["cache_gb"] * 900 if cache else None,
        "send_cmd_tpl": "{{ command }}",
        "qsub_cmd_tpl": f"{slurm}sbatch {{{{ script_path_abs }}}}",
        "qstat_cmd_tpl": f"{slurm}squeue --noheader --jobs {{{{ cluster_job_id }}}}",
        "qdel_cmd_tpl": f"{slurm}scancel {{{{ cluster_job_id }}}}",
        "qinfo_cmd_tpl": f"{slurm}sinfo --partition {lane['partition']}",
    }
    script = _CLUSTER_SCRIPT.format(
        partition=lane["partition"],
        multiplier=lane["memory_multiplier"],
        memory_mib=lane["memory_mib"],
        minutes=lane["time_limit_minutes"],
    )
    relion = _RELION_SCRIPT.format(
        partition=lane["partition"],
        minutes=lane["time_limit_minutes"],
        memory_mib_per_cpu=lane["memory_mib"] // lane["vcpus"],
        gres=f"#SBATCH --gres=gpu:{lane['gpus']}\n" if lane["gpus"] else "",
    )
    environment = {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": lane["partition"],
        "RELION_QSUB_COMMAND": f"{slurm}sbatch",
        "RELION_QSUB_TEMPLATE": f"{home}/lanes/{lane['name']}/relion_qsub.sh",
        # One process a GPU and one that leads them (RELION issue 1074).
        "RELION_QSUB_NRMPI": str(lane["gpus"] + 1 if lane["gpus"] > 1 else 1),
        "RELION_QSUB_NRTHREADS": str(max(1, lane["vcpus"] // max(2, lane["gpus"] + 1))),
        "RELION_MPI_MAX": "64",
        "RELION_THREAD_MAX": str(lane["vcpus"]),
        "RELION_SCRATCH_DIR": cache_root if lane["cache_gb"] else "",
    }
    exports = "".join(f"export {name}={value}\n" for name, value in environment.items())
    return {
        "cluster_info.json": json.dumps(info, indent=2) + "\n",
        "cluster_script.sh": script,
        "relion_qsub.sh": relion,
        "relion.env": exports,
    }
