#!/usr/bin/env bash
{#- Custom variables: time_limit_minutes, ram_multiplier, exclusive. -#}
{%- set dir = job_dir_abs|string %}
{%- set log = job_log_path_abs|default(dir ~ '/job.log')|string %}
{%- set creator = (job_creator|default('')|string)[:80]|replace('\n', ' ')|replace('\r', ' ')|replace('=', ' ') %}
{%- set kind = (job_type|default('')|string|select('in', 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_')|join)[:64] %}
{%- set whole_node = exclusive|default('no')|string|trim|lower in ['yes', 'true', 'on', '1'] %}
{%- set asked = ram_multiplier|default('')|string|float(0) %}
{%- set usual = 2.0 * {"hetero_refine": 1.5, "class_3D": 1.5, "reference_motion_correction": 2.0, "flex_prep": 2.0, "flex_meshprep": 2.0, "flex_train": 2.0, "flex_highres": 2.0, "flex_generate": 2.0}.get(job_type|default('')|string, 1) %}
{%- set wanted = ram_gb|float * 1024 * (asked if asked > 0 else usual) %}
{%- set minutes = time_limit_minutes|default('')|string|float(0) %}
#SBATCH --job-name=cryosparc_{{ project_uid }}_{{ job_uid }}{{ '_' ~ kind if kind else '' }}
#SBATCH --comment="{{ (creator ~ ': ' ~ job_type|default('job'))|replace('\\', '\\\\')|replace('"', '\\"') }}"
#SBATCH --partition=live
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={{ [[48, num_cpu|int]|min, 1]|max }}
#SBATCH --mem={{ 186777 if whole_node else [[186777, wanted]|min, 1024]|max|int }}M
#SBATCH --time={{ [[2880, minutes if minutes > 0 else 2880]|min, 1]|max|int }}
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

cd -- '{{ dir|replace('\'', '\'\\\'\'')|replace('\r', '\'$\'\\r\'\'') }}' && exec >"slurm-$SLURM_JOB_ID.out" 2>&1
{%- endif %}

export CRYOSPARC_CACHE_NUM_THREADS={{ [[8, num_cpu|int]|min, 2]|max }}

{% if run_args is defined and log|select('in', ' \t\n\r\'"\\$`!*?[](){}<>|&;#~')|list -%}
/cryosparc/cryosparc_worker/bin/cryosparcw run {{ run_args }} >'{{ log|replace('\'', '\'\\\'\'')|replace('\r', '\'$\'\\r\'\'') }}' 2>&1
{%- else -%}
{{ run_cmd }}
{%- endif %}
