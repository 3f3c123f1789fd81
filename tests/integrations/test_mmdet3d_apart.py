"""mae3d does not need mmdet3d, and says so where it is asked for what does."""

import importlib.util
import subprocess
import sys

import pytest

BLOCKED = """
import sys
sys.modules["mmdet3d"] = None  # as if it were not installed
import mae3d.checkpoints, mae3d.datasets.lidar.prepare, mae3d.engine, mae3d.models
assert not [name for name in sys.modules if name.startswith(("mmdet", "mmcv")) and sys.modules[name] is not None]
from mae3d.errors import MissingExtraError
try:
    import mae3d.integrations.mmdet3d
except MissingExtraError as error:
    print(error)
"""


def test_the_extra_is_named_where_mmdet3d_is_absent():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", BLOCKED], capture_output=True, text=True, check=True)
    assert 'pip install "mae3d[mmdet3d]"' in done.stdout
    assert "tools/install_mmdet3d.sh" in done.stdout


@pytest.mark.parametrize("name", ["centerpoint_sst_20e_nuscenes", "second_r-mae_40e_kitti"])
def test_configs_begin_with_their_command(repository, name):
    path = repository / "configs" / "mmdet3d" / f"{name}.py"
    text = path.read_text()
    assert text.splitlines()[0] == f"# tools/mmdet3d.sh train configs/mmdet3d/{name}.py"
    compile(text, str(path), "exec")


@pytest.mark.skipif(importlib.util.find_spec("mmdet3d") is not None, reason="mmdet3d is installed")
def test_the_tool_says_what_is_missing(repository, tmp_path):
    command = [str(repository / "tools" / "mmdet3d.sh"), "train"]
    done = subprocess.run(command, capture_output=True, text=True, env={"MMDET3D_VENV": str(tmp_path), "PATH": "/bin"})
    assert done.returncode == 1
    assert "tools/install_mmdet3d.sh makes it" in done.stderr
