"""The lanes of the manifest, rendered for their two clients: cryoSPARC cluster targets and RELION queues; and the stages."""

from __future__ import annotations

import csv
import functools
import hashlib
import json
import shlex
import string
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

CUSTOM_VARIABLES: Mapping[str, str] = {
    "time_limit_minutes": "stop the job after so many minutes; never more than the lane's limit, which is the default",
    "ram_multiplier": "memory asked of Slurm = what the job declares x this, in place of the lane's own factor",
    "exclusive": "yes: the whole node for this job, with all its memory",
}
"""What people may set for one job when they queue it, for a lane, or for the instance; a job's value comes first.

Values are text that people typed. Each is made a number within bounds, or compared; none is ever copied into a script.
"""

# Jinja2, filled in by cryoSPARC for each job; only filters that every Jinja2 has. @name@ is filled in here.
#
# What Slurm makes of an #SBATCH line was found out on a real one (22.05). Within double quotes only \ and " mean something,
# and a backslash before them makes them plain. In --output a % means something too, and a backslash is dropped and switches
# %j off, so that nothing names a file in such a folder. A newline ends the line whatever is around it. For those two the
# job's own shell opens the output; else Slurm does, because it also writes there why it ended a job.
#
# One node and one task always: with more tasks Slurm may spread a job over nodes. GPUs are asked for only where there are
# some, because Slurm refuses an empty gres; too many are left in, because Slurm says best what is wrong with them.
_CLUSTER_SCRIPT = r"""#!/usr/bin/env bash
{#- Custom variables: @custom_variables@. -#}
{%- set dir = job_dir_abs|string %}
{%- set log = job_log_path_abs|default(dir ~ '/job.log')|string %}
{%- set creator = (job_creator|default('')|string)[:80]|replace('\n', ' ')|replace('\r', ' ')|replace('=', ' ') %}
{%- set kind = (job_type|default('')|string|select('in', '@letters@')|join)[:64] %}
{%- set whole_node = exclusive|default('no')|string|trim|lower in ['yes', 'true', 'on', '1'] %}
{%- set asked = ram_multiplier|default('')|string|float(0) %}
{%- set usual = @multiplier@ * @factors@.get(job_type|default('')|string, 1) %}
{%- set wanted = ram_gb|float * 1024 * (asked if asked > 0 else usual) %}
{%- set minutes = time_limit_minutes|default('')|string|float(0) %}
#SBATCH --job-name=cryosparc_{{ project_uid }}_{{ job_uid }}{{ '_' ~ kind if kind else '' }}
#SBATCH --comment="{{ (creator ~ ': ' ~ job_type|default('job'))|replace('\\', '\\\\')|replace('"', '\\"') }}"
#SBATCH --partition=@partition@
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={{ [[@vcpus@, num_cpu|int]|min, 1]|max }}
#SBATCH --mem={{ @memory_mib@ if whole_node else [[@memory_mib@, wanted]|min, 1024]|max|int }}M
#SBATCH --time={{ [[@minutes@, minutes if minutes > 0 else @minutes@]|min, 1]|max|int }}
{%- if num_gpu|int > 0 %}
#SBATCH --gres=gpu:{{ num_gpu|int }}
{%- endif %}
{%- if whole_node %}
#SBATCH --exclusive
{%- endif %}
{%- if '\n' not in dir %}
#SBATCH --chdir="{{ dir|replace('\\', '\\\\')|replace('"', '\\"') }}"
{%- endif %}
{%- if '\n' not in dir and '\\' not in dir %}
#SBATCH --output="{{ dir|replace('%', '%%')|replace('"', '\\"') }}/slurm-%j.out"
{%- else %}
#SBATCH --output=/dev/null

cd -- @dir_quoted@ && exec >"slurm-$SLURM_JOB_ID.out" 2>&1
{%- endif %}
@cache@
{% if run_args is defined and log|select('in', ' \t\n\r\'"\\$`!*?[](){}<>|&;#~')|list -%}
@worker_quoted@ run {{ run_args }} >@log_quoted@ 2>&1
{%- else -%}
{{ run_cmd }}
{%- endif %}
"""

# cryoSPARC copies particles with two threads by default, and a lane's disk is empty each time a node boots.
_CACHE = """
export CRYOSPARC_CACHE_NUM_THREADS={{ [[8, num_cpu|int]|min, 2]|max }}
"""

# RELION fills in XXX...XXX by plain replacement and knows no conditions, so each lane has its own template. It writes no
# mpirun into a queue's script, and repeats the last line for a job of several commands. A site's RELION_MPIRUN goes first.
_RELION_SCRIPT = """#!/usr/bin/env bash
#SBATCH --job-name="XXXnameXXX"
#SBATCH --partition=@partition@
#SBATCH --nodes=@nodes@
#SBATCH --ntasks=XXXmpinodesXXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH @memory@
#SBATCH --time="XXXextra1XXX"
#SBATCH --output="XXXoutfileXXX"
#SBATCH --error="XXXerrfileXXX"
#SBATCH --open-mode=append
@more@
launch() {
    if ((XXXmpinodesXXX > 1)); then
        ${RELION_MPIRUN:-@mpirun@} -n XXXmpinodesXXX "$@"
    else
        "$@"
    fi
}

launch XXXcommandXXX
"""

# No more processes than Slurm gave CPUs, but Open MPI counts them otherwise (RELION issue 1074); and threads of a process
# want more than the one core it would be bound to.
_MPIRUN = "mpirun --oversubscribe --bind-to none"
# What a facility runs that has published it (cryoem-services of Diamond: 5 processes, 8 threads on 4 GPUs).
_RELION_THREADS = 8
_RELION_MOST_PROCESSES = 64

_TABLE = Path(__file__).parent / "stages.csv"


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
        "qsub_cmd_tpl": f"{slurm}sbatch {_quoted_if_needed('script_path_abs')}",
        "qstat_cmd_tpl": f"{slurm}squeue --noheader --jobs {{{{ cluster_job_id }}}}",
        "qdel_cmd_tpl": f"{slurm}scancel {{{{ cluster_job_id }}}}",
        "qinfo_cmd_tpl": f"{slurm}sinfo --partition {lane['partition']}",
    }
    script = _fill(
        _CLUSTER_SCRIPT,
        custom_variables=", ".join(CUSTOM_VARIABLES),
        letters=string.ascii_letters + string.digits + "_",
        partition=lane["partition"],
        vcpus=lane["vcpus"],
        memory_mib=lane["memory_mib"],
        minutes=lane["time_limit_minutes"],
        multiplier=lane["memory_multiplier"],
        factors=json.dumps(memory_factors()),
        dir_quoted=_quoted_in_script("dir"),
        log_quoted=_quoted_in_script("log"),
        worker_quoted=shlex.quote(worker),
        cache=_CACHE if cache else "",
    )
    return {
        "cluster_info.json": json.dumps(info, indent=2) + "\n",
        "cluster_script.sh": script,
        **_relion(lane, slurm=slurm, scratch=cache_root if lane["cache_gb"] else "", home=home),
    }


def render_stages(stages: Mapping[str, str]) -> Dict[str, str]:
    """For the manifest's stages (stage: lane), two files for people and recipes: stages.json and stages.env.

    stages.json has the lane of each stage, and of each job type of cryoSPARC and of RELION; stages.env has LANE_<STAGE>.
    """
    types: Dict[str, Dict[str, str]] = {"cryosparc": {}, "relion": {}}
    for row in _table():
        for client, found in types.items():
            if row["stage"] in stages:
                found.update(dict.fromkeys(row[f"{client}_job_types"].split(), stages[row["stage"]]))
    names = {f"LANE_{stage.upper().replace('-', '_')}": lane for stage, lane in stages.items()}
    return {
        "stages.json": json.dumps({"stages": dict(stages), **types}, indent=2) + "\n",
        "stages.env": _exports(names),
    }


@functools.cache
def _table() -> Tuple[Dict[str, str], ...]:
    lines = [line for line in _TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return tuple(csv.DictReader(lines))


def memory_factors() -> Dict[str, float]:
    """cryoSPARC's job types that need more memory than the lane's multiplier gives, and how many times as much."""
    rows = [row for row in _table() if float(row["memory"]) != 1]
    return {name: float(row["memory"]) for row in rows for name in row["cryosparc_job_types"].split()}


def _relion(lane: Mapping[str, Any], *, slurm: str, scratch: str, home: str) -> Dict[str, str]:
    gpus, vcpus, nodes = int(lane["gpus"]), int(lane["vcpus"]), int(lane.get("nodes_per_job", 1))
    threads = min(_RELION_THREADS, vcpus)
    if gpus > 1:
        # One process a GPU and one that leads them (RELION issue 1074). One GPU needs no leader, and VDAM refuses MPI.
        processes = gpus + 1
        threads = min(threads, max(1, vcpus // processes))
    else:
        processes = 1 if gpus else max(1, min(vcpus // threads, _RELION_MOST_PROCESSES))
    directives: List[str] = []
    if nodes > 1:
        # Slurm takes as many nodes of a range as there are, unless told otherwise.
        directives.append("--use-min-nodes")
    if gpus:
        directives.append(f"--gres=gpu:{gpus}")
    script = _fill(
        _RELION_SCRIPT,
        partition=lane["partition"],
        nodes=1 if nodes == 1 else f"1-{nodes}",
        # All GPUs of a node are the job's, so is its memory. Without GPUs others fit beside it, if it takes its share only.
        memory=f"--mem={lane['memory_mib']}M" if gpus else f"--mem-per-cpu={lane['memory_mib'] // vcpus}M",
        more="".join(f"#SBATCH {directive}\n" for directive in directives),
        # In turn over the nodes: the leader's node gets one process more than the others.
        mpirun=_MPIRUN if nodes == 1 else f"{_MPIRUN} --map-by node",
    )
    environment = {
        "RELION_QUEUE_USE": "yes",
        "RELION_QUEUE_NAME": lane["partition"],
        "RELION_QSUB_COMMAND": f"{slurm}sbatch",
        "RELION_QSUB_TEMPLATE": f"{home}/lanes/{lane['name']}/relion_qsub.sh",
        "RELION_QSUB_EXTRA_COUNT": "1",
        "RELION_QSUB_EXTRA1": "Time limit (minutes):",
        "RELION_QSUB_EXTRA1_DEFAULT": str(lane["time_limit_minutes"]),
        "RELION_QSUB_EXTRA1_HELP": f"The job is stopped after so long. The lane allows {lane['time_limit_minutes']}.",
        "RELION_QSUB_NRMPI": str(processes),
        "RELION_QSUB_NRTHREADS": str(threads),
        "RELION_MPI_MAX": str(max(_RELION_MOST_PROCESSES, gpus * nodes + 1)),
        "RELION_THREAD_MAX": str(vcpus),
        "RELION_SCRATCH_DIR": scratch,
    }
    return {"relion_qsub.sh": script, "relion.env": _exports(environment)}


def _exports(environment: Mapping[str, str]) -> str:
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())


def _fill(template: str, **values: object) -> str:
    for name, value in values.items():
        template = template.replace(f"@{name}@", str(value))
    return template


def _quoted(variable: str) -> str:
    """Jinja2 that puts a variable's text into single quotes, for a shell and for Python's shlex."""
    return "'{{ " + variable + r"|replace('\'', '\'\\\'\'')" + " }}'"


def _quoted_in_script(variable: str) -> str:
    """The same for a batch script, in which sbatch refuses a carriage return before a newline even within quotes."""
    return _quoted(variable).replace(" }}", r"|replace('\r', '\'$\'\\r\'\'') }}")


def _quoted_if_needed(variable: str) -> str:
    """The same, with the quotes only where a shell or shlex would take the text apart."""
    special = r"""' \t\n\r\'"\\$`!*?[](){}<>|&;#~'"""
    condition = f"{variable}|select('in', {special})|list"
    return f"{{% if {condition} %}}{_quoted(variable)}{{% else %}}{{{{ {variable} }}}}{{% endif %}}"
