#!/usr/bin/env bash
#SBATCH --job-name=cryosparc_P1_J2_class_2D_new
#SBATCH --comment="anna: class_2D_new"
#SBATCH --partition=cpu
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=124518M
#SBATCH --time=2880
#SBATCH --exclusive
#SBATCH --output=/dev/null

cd -- '/fsx/projects/two
lines/J1' && exec >"slurm-$SLURM_JOB_ID.out" 2>&1

/cryosparc/cryosparc_worker/bin/cryosparcw run --project P1 --job J2 --master_hostname ip-10-20-0-5 >'/fsx/projects/two
lines/J1/job.log' 2>&1