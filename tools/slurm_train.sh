#!/usr/bin/env bash
# Training as a Slurm job.
# Usage: bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG GPUS [arguments of train.py]
set -euo pipefail
[ $# -ge 4 ] || { echo "usage: $0 PARTITION JOB_NAME CONFIG GPUS [arguments of train.py]" >&2; exit 2; }
PARTITION=$1 JOB=$2 CONFIG=$3 GPUS=$4
shift 4
PER_NODE=$((GPUS < 8 ? GPUS : 8))
srun -p "$PARTITION" --job-name="$JOB" --gres="gpu:$PER_NODE" --ntasks="$GPUS" \
  --ntasks-per-node="$PER_NODE" --cpus-per-task="${CPUS_PER_TASK:-4}" --kill-on-bad-exit=1 \
  python "$(dirname "$0")/train.py" "$CONFIG" --launcher slurm "$@"
