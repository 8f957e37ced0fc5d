#!/usr/bin/env bash
# Training on several processes of one or more machines.
# Usage: bash tools/dist_train.sh CONFIG PROCESSES [arguments of train.py]
# Machines: NNODES, NODE_RANK, MASTER_ADDR and PORT from the environment. Without a GPU the processes
# share the CPU's cores.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: $0 CONFIG PROCESSES [arguments of train.py]" >&2; exit 2; }
CONFIG=$1 PROCESSES=$2
shift 2
python -m torch.distributed.run --nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}" \
  --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}" \
  --nproc_per_node="$PROCESSES" \
  "$(dirname "$0")/train.py" "$CONFIG" --launcher pytorch "$@"
