"""The build: choices and their messages, without compiling."""

import importlib.util
import subprocess
import sys

import pytest


@pytest.fixture
def build(repository, monkeypatch):
    """setup.py as a module, with setup() switched off."""
    import setuptools

    monkeypatch.setattr(setuptools, "setup", lambda **_: None)
    spec = importlib.util.spec_from_file_location("mae3d_setup", repository / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_architectures_become_gencode_flags(build, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0a 12.0+PTX")
    assert build.gencode_flags() == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90a,code=sm_90a",
        "-gencode=arch=compute_120,code=sm_120",
        "-gencode=arch=compute_120,code=compute_120",
    ]


def test_malformed_architecture_is_named(build, monkeypatch):
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "hopper")
    with pytest.raises(SystemExit, match="hopper"):
        build.gencode_flags()


@pytest.mark.parametrize(
    ("wish", "message"), [("0", "MAE3D_CUDA=0"), ("auto", "CPU build"), ("maybe", "must be 0, 1 or unset")]
)
def test_what_is_left_out_is_said(build, monkeypatch, tmp_path, capsys, wish, message):
    (tmp_path / "version.py").write_text("cuda: Optional[str] = None\n")
    (tmp_path / "nvcc").write_text("")
    (tmp_path / "nvcc").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MAE3D_CUDA", wish)
    try:
        assert build.cuda_compiler(tmp_path) is None
        said = capsys.readouterr().out
    except SystemExit as error:
        said = str(error)
    assert message in said


def test_cuda_wish_without_nvcc_is_an_error(build, monkeypatch, tmp_path):
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MAE3D_CUDA", "1")
    with pytest.raises(SystemExit, match="nvcc was not found"):
        build.cuda_compiler(tmp_path)


def test_libraries_hold_no_python_symbol_and_no_unstable_torch_symbol(repository):
    libraries = list((repository / "mae3d/ops/_native").glob("*.so"))
    if not libraries:
        pytest.skip("native libraries were not built")
    for library in libraries:
        listing = subprocess.run(["nm", "-D", "--undefined-only", str(library)], capture_output=True, text=True)
        if listing.returncode:
            pytest.skip("nm is not installed")
        names = [line.split()[-1] for line in listing.stdout.splitlines()]
        foreign = [
            n
            for n in names
            if n.startswith(("Py", "_Py")) or (("c10" in n) and not n.startswith("torch_")) or "_ZN2at" in n
        ]
        assert not foreign, f"{library.name}: {foreign[:5]}"


def test_operator_page_is_up_to_date(repository):
    command = [sys.executable, "docs/generate_operators.py", "--check"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=repository)
    assert result.returncode == 0, result.stderr
