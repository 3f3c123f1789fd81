#!/usr/bin/env bash
# Train under SLURM. A run saves when its time is nearly up; the same command again continues it.
#   GPUS=16 GPUS_PER_NODE=8 tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
# CPUS_PER_TASK (default 8), TIME and SRUN_ARGS are passed on.
set -euo pipefail
[ $# -ge 3 ] || { sed -n '2,4p' "$0"; exit 2; }
partition=$1 job=$2 config=$3
shift 3
cd "$(dirname "$0")/.."
gpus=${GPUS:-8}
per_node=${GPUS_PER_NODE:-8}
[ "$gpus" -ge "$per_node" ] || per_node=$gpus
export PYTHONPATH=.${PYTHONPATH:+:$PYTHONPATH}
export MASTER_PORT="${MASTER_PORT:-$((20000 + RANDOM % 20000))}"
# --signal: SIGTERM reaches the processes two minutes early; they save and exit, and --resume auto continues.
# shellcheck disable=SC2086
exec srun --partition="$partition" --job-name="$job" --ntasks="$gpus" --ntasks-per-node="$per_node" \
    --gres=gpu:"$per_node" --cpus-per-task="${CPUS_PER_TASK:-8}" --kill-on-bad-exit=1 --signal=TERM@120 \
    ${TIME:+--time="$TIME"} ${SRUN_ARGS:-} \
    "${PYTHON:-python}" -u tools/train.py "$config" --launcher slurm --resume auto "$@"
