#!/usr/bin/env bash
#SBATCH --job-name="XXXnameXXX"
#SBATCH --partition=gpu4
#SBATCH --nodes=1
#SBATCH --ntasks=XXXmpinodesXXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH --mem=186777M
#SBATCH --time="XXXextra1XXX"
#SBATCH --output="XXXoutfileXXX"
#SBATCH --error="XXXerrfileXXX"
#SBATCH --open-mode=append
#SBATCH --gres=gpu:4

launch() {
    if ((XXXmpinodesXXX > 1)); then
        ${RELION_MPIRUN:-mpirun --oversubscribe --bind-to none} -n XXXmpinodesXXX "$@"
    else
        "$@"
    fi
}

launch XXXcommandXXX
