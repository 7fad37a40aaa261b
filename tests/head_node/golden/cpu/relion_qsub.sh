#!/usr/bin/env bash
#SBATCH --job-name="XXXnameXXX"
#SBATCH --partition=cpu
#SBATCH --nodes=1
#SBATCH --ntasks=XXXmpinodesXXX
#SBATCH --cpus-per-task=XXXthreadsXXX
#SBATCH --mem-per-cpu=3891M
#SBATCH --time="XXXextra1XXX"
#SBATCH --output="XXXoutfileXXX"
#SBATCH --error="XXXerrfileXXX"
#SBATCH --open-mode=append

launch() {
    if ((XXXmpinodesXXX > 1)); then
        ${RELION_MPIRUN:-mpirun --oversubscribe --bind-to none} -n XXXmpinodesXXX "$@"
    else
        "$@"
    fi
}

launch XXXcommandXXX
