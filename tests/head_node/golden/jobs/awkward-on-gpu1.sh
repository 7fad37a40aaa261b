#!/usr/bin/env bash
#SBATCH --job-name=cryosparc_P1_J2_flex_train
#SBATCH --comment="anna \"maria\" o'brien: flex_train"
#SBATCH --partition=gpu1
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=62259M
#SBATCH --time=90
#SBATCH --gres=gpu:1
#SBATCH --chdir="/fsx/projects/anna's \"best\" 100%/CS-a/J7"
#SBATCH --output="/fsx/projects/anna's \"best\" 100%%/CS-a/J7/slurm-%j.out"

export CRYOSPARC_CACHE_NUM_THREADS=4

/cryosparc/cryosparc_worker/bin/cryosparcw run --project P1 --job J2 --master_hostname ip-10-20-0-5 >'/fsx/projects/anna'\''s "best" 100%/CS-a/J7/job.log' 2>&1