import subprocess
import sys

import pytest
import torch

from mae3d import env
from mae3d.ops import _library


def test_report_names_versions_and_every_operator():
    text = env.describe()
    assert torch.__version__ in text
    for name in _library.OPERATORS:
        assert name in text


def test_module_runs_as_a_command(repository):
    result = subprocess.run([sys.executable, "-m", "mae3d.env"], capture_output=True, text=True, cwd=repository)
    assert result.returncode == 0, result.stderr
    assert "cpu kernels" in result.stdout


def test_every_operator_has_a_cpu_kernel_when_the_library_is_built():
    if _library.UNAVAILABLE["cpu"] is not None:
        pytest.skip(_library.UNAVAILABLE["cpu"])
    missing = [name for name, devices in env.kernel_table().items() if not devices["cpu"]]
    assert not missing, f"no compiled CPU kernel for {missing}"
