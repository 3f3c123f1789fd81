#!/usr/bin/env bash
# Runs a tool of mmdet3d (train, test, ...) in the environment that tools/install_mmdet3d.sh made.
#
#     tools/mmdet3d.sh train configs/mmdet3d/centerpoint_sst_20e_nuscenes.py --work-dir work_dirs/centerpoint
#     tools/mmdet3d.sh test configs/mmdet3d/centerpoint_sst_20e_nuscenes.py work_dirs/centerpoint/epoch_20.pth
#
# Environment: MMDET3D_VENV  the environment, if it is not .venv-mmdet3d in the checkout
set -euo pipefail

python=${MMDET3D_VENV:-$(cd "$(dirname "$0")/.." && pwd)/.venv-mmdet3d}/bin/python
[[ -x $python ]] || { echo "mmdet3d.sh: no $python; tools/install_mmdet3d.sh makes it" >&2; exit 1; }
[[ $# -gt 0 && $1 != -* ]] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
tools=$("$python" -c 'import importlib.util as u; print(u.find_spec("mmdet3d").submodule_search_locations[0])')/.mim/tools
[[ -f $tools/$1.py ]] || { echo "mmdet3d.sh: no tool '$1' in $tools" >&2; exit 1; }
# mmengine 0.10.7 writes training state that torch >= 2.6 does not load by default: needed for --resume and test.
# It lifts torch's guard against files that run code: take checkpoints from where you would take programs.
export TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1
exec "$python" "$tools/$1.py" "${@:2}"
