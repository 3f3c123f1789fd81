#!/usr/bin/env bash
# Runs the operator tests on a CPU library built with the address and undefined-behaviour sanitizers.
# usage: tools/sanitize.sh PYTHON [pytest arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1; shift
cxx=${CXX:-g++}
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT

echo "building csrc/ with sanitizers"
MAE3D_SANITIZE=1 "$python" setup.py -q build_ext --build-lib "$target"

# The interpreter is not instrumented, so the runtime is preloaded; leaks of Python itself are not ours.
libraries=$("$cxx" -print-file-name=libasan.so):$("$cxx" -print-file-name=libubsan.so):$("$cxx" -print-file-name=libstdc++.so)
export ASAN_OPTIONS=detect_leaks=0:halt_on_error=1:detect_container_overflow=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export MAE3D_NATIVE_DIR="$target/mae3d/ops/_native"
LD_PRELOAD=$libraries "$python" -m pytest -q -x -p no:cacheprovider tests/ops -k "not compile and not opcheck" "$@"
