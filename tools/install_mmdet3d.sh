#!/usr/bin/env bash
# Installs mmdet3d 1.4 and mae3d side by side, for the bridge in mae3d/integrations/mmdet3d (docs/mmdet3d.md).
#
#     tools/install_mmdet3d.sh [VENV]        default: .venv-mmdet3d in the checkout
#
# A torch that the environment already has stays as it is. mmcv 2.1.0, the last release that mmdet3d accepts, is only
# to be had as source: it is built here once (about ten minutes on two cores) and its wheel is kept for the next time.
# An interrupted build goes on where it stopped.
#
# Environment: PYTHON       interpreter for a new environment (python3)
#              MAE3D_JOBS   compiler processes (all cores)
#              MAE3D_CACHE  where the wheel of mmcv is kept (~/.cache/mae3d)
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
venv=${1:-$root/.venv-mmdet3d}
cache=${MAE3D_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mae3d}
jobs=${MAE3D_JOBS:-$(nproc)}
mmcv=2.1.0
torch=$(sed -n 's/^torch==//p' "$root/constraints.txt")

fail() {
    echo "install_mmdet3d: $*" >&2
    exit 1
}

[[ $venv == -* ]] && { sed -n '2,13s/^# \{0,1\}//p' "$0"; exit 2; }
for tool in "${CXX:-c++}" tar; do
    command -v "$tool" >/dev/null || fail "$tool is needed to build mmcv and was not found on PATH"
done

if [[ ! -x $venv/bin/python ]]; then
    echo "[1/5] creating $venv"
    "${PYTHON:-python3}" -m venv "$venv" || fail "could not create a virtual environment at $venv"
fi
venv=$(cd "$venv" && pwd)
python=$venv/bin/python
export PATH=$venv/bin:$PATH # ninja
pip() { "$python" -m pip --disable-pip-version-check -qq "$@"; }
version() { "$python" -c "import importlib.metadata as m; print(m.version('$1'))" 2>/dev/null || true; }

have=$(version torch)
echo "[2/5] torch ${have:-$torch}${have:+, as it is}"
pip install "torch==${have:-$torch}" "setuptools<81" wheel ninja || fail "torch could not be installed"
torch=$(version torch)

# nuscenes-devkit 1.2.0 is named because the resolver otherwise falls back to a release that needs a matplotlib without
# wheels; it asks for numpy < 2, hence numpy 1.26. setuptools: mmengine 0.10.7 imports pkg_resources.
echo "[3/5] mmdet3d 1.4.0, mmdet 3.3.0, mmengine 0.10.7, nuscenes-devkit 1.2.0, mae3d from $root"
pip install --no-build-isolation "torch==$torch" "setuptools<81" mmengine==0.10.7 mmdet==3.3.0 mmdet3d==1.4.0 \
    nuscenes-devkit==1.2.0 -e "$root[test,sparse]" || fail "the set of packages could not be installed, see above"

# The wheel links to this torch and this Python.
tag=$("$python" -c 'import sys; print(f"cp{sys.version_info[0]}{sys.version_info[1]}")')
folder=$cache/mmcv-$mmcv-torch$torch-$tag
wheels() { find "$folder" -maxdepth 1 -name "mmcv-$mmcv-*.whl" 2>/dev/null; }

# GCC reads torch's headers once instead of once per file, if the flags are those of the build (else it says nothing
# and reads them again): 6 seconds a file instead of 25.
precompile_headers() {
    [[ $("${CXX:-c++}" --version) == *"Free Software Foundation"* && ! -e $1.gch ]] || return 0
    local includes
    includes=$("$python" -c 'import sysconfig, torch.utils.cpp_extension as e; print(*(f"-I{p}" for p in
        [*e.include_paths(), sysconfig.get_path("include")]))') || return 0
    # shellcheck disable=SC2086
    "${CXX:-c++}" $CFLAGS -fPIC -I"$(dirname "$1")" $includes -std=c++20 -DTORCH_API_INCLUDE_EXTENSION_H \
        -DTORCH_EXTENSION_NAME=_ext -x c++-header "$1" -o "$1.gch.part" 2>/dev/null && mv "$1.gch.part" "$1.gch" || true
}

build_mmcv() {
    local source=$folder/build/mmcv-$mmcv log=$folder/build.log pid started done_before total=0
    mkdir -p "$folder/build"
    if [[ ! -f $source/.ready ]]; then
        rm -rf "$source"
        pip download --no-deps --no-binary mmcv --no-build-isolation "mmcv==$mmcv" -d "$folder/build" ||
            fail "the source of mmcv $mmcv could not be downloaded"
        tar xzf "$folder/build/mmcv-$mmcv.tar.gz" -C "$folder/build"
        sed -i 's/std=c++1[47]/std=c++20/g' "$source/setup.py" # what torch's headers need
        touch "$source/.ready"
    fi
    export CFLAGS="-O2 -g0" MAX_JOBS=$jobs CCACHE_DISABLE=1 # ccache would read the headers again for every file
    echo "      headers"
    precompile_headers "$source/mmcv/ops/csrc/common/pytorch_cpp_helper.hpp"

    compiled() { { find "$source/build" -name '*.o' 2>/dev/null || true; } | wc -l; }
    done_before=$(compiled)
    started=$SECONDS
    (cd "$source" && exec "$python" -m pip --disable-pip-version-check wheel . -v --no-build-isolation --no-deps \
        -w "$folder") >"$log" 2>&1 &
    pid=$!
    trap 'kill $pid 2>/dev/null' EXIT
    while kill -0 $pid 2>/dev/null; do
        sleep 5
        [[ $total -gt 0 ]] || total=$(cat "$source"/build/temp*/build.ninja 2>/dev/null | grep -c '^build .*\.o: ' || true)
        report_progress "$(compiled)" "$done_before" "$total" $((SECONDS - started))
    done
    trap - EXIT
    wait $pid || {
        echo
        grep -n 'error' "$log" | tail -5 >&2 || true
        fail "mmcv could not be built. The whole output is in $log; the files compiled so far are kept, run this again"
    }
    echo
    rm -rf "$folder/build"
}

report_progress() {
    local now=$1 before=$2 total=$3 elapsed=$4 left="..."
    [[ $total -gt 0 ]] || return 0
    [[ $now -gt $before ]] && left="$(((total - now) * elapsed / (now - before) / 60 + 1)) min left"
    if [[ -t 1 ]]; then
        printf '\r      mmcv: %d of %d files, %s    ' "$now" "$total" "$left"
    elif [[ $now != "${reported:-}" ]]; then
        echo "      mmcv: $now of $total files, $left"
    fi
    reported=$now
}

if [[ -z $(wheels) ]]; then
    echo "[4/5] building mmcv $mmcv for torch $torch with $jobs processes, once; kept in $folder"
    build_mmcv
else
    echo "[4/5] mmcv $mmcv from $folder"
fi
pip install --no-deps "$(wheels | head -1)" || fail "the wheel of mmcv in $folder could not be installed; delete it"

echo "[5/5] checking"
"$python" -m pip --disable-pip-version-check check >/dev/null || "$python" -m pip --disable-pip-version-check check >&2 ||
    fail "the packages above do not fit together"
"$python" -W ignore -c "import mae3d.integrations.mmdet3d" || fail "mae3d.integrations.mmdet3d cannot be imported"
echo "ready: $python"
