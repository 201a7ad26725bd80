#!/bin/bash
# A script on the GPUs of one or several machines of a SLURM cluster, one process per GPU:
#   sbatch scripts/slurm.sh pipeline experiment=renderpeople data.root=DIR                                       1 x 8 GPUs
#   sbatch --nodes=4 scripts/slurm.sh pretrain experiment=partnet data.root=DIR training.pretrain.pairs=32       4 x 8 GPUs
# Options of sbatch (--partition, --account, --time, --gpus-per-node) go before the script. A job that is requeued resumes.
#SBATCH --job-name=mvdecor
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=64
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
program=$1
shift
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first_node=${nodes%%$'\n'*} # not "| head -n 1": it may end before scontrol has written all, and pipefail makes that a failure
# a machine whose processes end takes those of the other machines with it
exec srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" -m torch.distributed.run \
    --nnodes="$SLURM_NNODES" --nproc_per_node="$SLURM_GPUS_ON_NODE" --rdzv_id="$SLURM_JOB_ID" --rdzv_backend=c10d \
    --rdzv_endpoint="$first_node:$((20000 + SLURM_JOB_ID % 40000))" "scripts/$program.py" "$@"
