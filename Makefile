# make demo   set up .venv, build csrc/, run the main job on simulated drives, write demo/report.html
# make test   the same set-up, then the whole test suite
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check -qq
NVCC := $(shell command -v nvcc 2>/dev/null)
CSRC := $(shell find csrc -type f)
MMDET3D_VENV ?= .venv-mmdet3d

.DEFAULT_GOAL := help
.PHONY: help install demo demo-objects test test-mmdet3d lint format bench cuda sanitize wheel docs clean

help:
	@echo "make demo      simulate drives, pre-train Voxel-MAE, fine-tune detectors, write demo/report.html"
	@echo "make demo-objects  simulate objects, pre-train Point-MAE, probe it, write demo-objects/report.html"
	@echo "make test      run the test suite"
	@echo "make test-mmdet3d  install mmdet3d 1.4 in an environment of its own (builds mmcv once, ten minutes), test the bridge"
	@echo "make lint      ruff check and format check"
	@echo "make bench     time every operator beside its peers, write docs/benchmarks/"
	@echo "make cuda      compile the CUDA library (needs nvcc, no GPU)"
	@echo "make sanitize  run the operator tests under the address and undefined-behaviour sanitizers"
	@echo "make wheel     build dist/*.whl with CPU and, where nvcc is found, CUDA kernels"
	@echo "make docs      regenerate docs/operators.md from the docstrings"

.venv/.torch: constraints.txt
	@test -x $(BIN)/python || { echo "[1/4] creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "[2/4] installing torch"
	@$(PIP) install -c constraints.txt torch setuptools
	@touch $@

.venv/.native: .venv/.torch setup.py $(CSRC)
	@echo "[3/4] building csrc/"
	@$(BIN)/python setup.py -q build_ext --inplace
	@touch $@

.venv/.dependencies: setup.py constraints.txt | .venv/.native
	@echo "[4/4] installing mae3d and its pinned dependencies (about a minute)"
	@$(PIP) install -c constraints.txt --no-build-isolation -e ".[objects,test,dev]"
	@touch $@

install: .venv/.native .venv/.dependencies

demo: install
	@$(BIN)/python tools/demo.py

demo-objects: install
	@$(BIN)/python tools/demo_objects.py

# Where nvcc is found the CUDA library is compiled too, for one architecture: enough to know that it compiles.
test: install
	@$(PIP) install --no-deps -r requirements-oracles.txt || echo "some peers are not to be had here: their tests are skipped"
	@$(if $(NVCC),TORCH_CUDA_ARCH_LIST=$${TORCH_CUDA_ARCH_LIST:-9.0} $(MAKE) --no-print-directory cuda)
	@$(BIN)/python -m pytest -q

# Everything under tests/integrations that `make test` skips.
test-mmdet3d:
	@tools/install_mmdet3d.sh $(MMDET3D_VENV)
	@MMDET3D_VENV=$(abspath $(MMDET3D_VENV)) $(MMDET3D_VENV)/bin/python -m pytest -q tests/integrations

lint: install
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

format: install
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

bench: install
	@$(BIN)/python benchmarks/run_all.py

cuda: .venv/.torch
	@MAE3D_CUDA=1 $(BIN)/python setup.py -q build_ext --inplace

sanitize: install
	@tools/sanitize.sh $(BIN)/python

wheel: install
	@MAE3D_CUDA=$(if $(NVCC),1,0) $(BIN)/python -m build --wheel --no-isolation

docs: install
	@$(BIN)/python docs/generate_operators.py

clean:
	@rm -rf build dist .venv demo demo-objects *.egg-info mae3d/ops/_native
