#!/usr/bin/env bash
#SBATCH --job-name="XXXnameXXX"
#SBATCH --partition=everything
#SBATCH --nodes=1-4
#SBATCH --ntasks=XXXmpinodesXXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH --mem=1094451M
#SBATCH --time="XXXextra1XXX"
#SBATCH --output="XXXoutfileXXX"
#SBATCH --error="XXXerrfileXXX"
#SBATCH --open-mode=append
#SBATCH --use-min-nodes
#SBATCH --gres=gpu:8

launch() {
    if ((XXXmpinodesXXX > 1)); then
        ${RELION_MPIRUN:-mpirun --oversubscribe --bind-to none --map-by node} -n XXXmpinodesXXX "$@"
    else
        "$@"
    fi
}

launch XXXcommandXXX
