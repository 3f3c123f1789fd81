#!/usr/bin/env bash
# Train on the GPUs of one machine, or as one node of several.
#   tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
#   NNODES=2 NODE_RANK=0 MASTER_ADDR=host tools/dist_train.sh CONFIG GPUS
set -euo pipefail
[ $# -ge 2 ] || { sed -n '2,4p' "$0"; exit 2; }
config=$1 gpus=$2
shift 2
cd "$(dirname "$0")/.."
nodes=(--standalone)
if [ "${NNODES:-1}" -gt 1 ]; then
    nodes=(--nnodes "$NNODES" --node-rank "${NODE_RANK:?set NODE_RANK to this node: 0, 1, ...}"
        --master-addr "${MASTER_ADDR:?set MASTER_ADDR to the first node}" --master-port "${MASTER_PORT:-29500}")
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-4}"
PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH} exec "${PYTHON:-python}" -m torch.distributed.run "${nodes[@]}" \
    --nproc-per-node "$gpus" tools/train.py "$config" --launcher pytorch "$@"
