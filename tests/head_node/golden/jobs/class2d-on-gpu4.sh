#!/usr/bin/env bash
#SBATCH --job-name=cryosparc_P1_J2_class_2D_new
#SBATCH --comment="anna: class_2D_new"
#SBATCH --partition=gpu4
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --mem=49152M
#SBATCH --time=2880
#SBATCH --gres=gpu:4
#SBATCH --chdir="/fsx/projects/spike/CS-spike/J2"
#SBATCH --output="/fsx/projects/spike/CS-spike/J2/slurm-%j.out"

export CRYOSPARC_CACHE_NUM_THREADS=8

/cryosparc/cryosparc_worker/bin/cryosparcw run --project P1 --job J2 --master_hostname ip-10-20-0-5 > /fsx/projects/spike/CS-spike/J2/job.log 2>&1