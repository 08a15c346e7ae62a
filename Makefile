# `make demo` and `make test` do all their own set-up: they need Python 3.11+ and make, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test check format train test-ray test-qemu clean

demo: $(INSTALLED) ## the main job: shipped policies against the static default on a real learning system
	$(BIN)/trimtab demo

test: $(INSTALLED)
	$(BIN)/python -m pytest

check: $(INSTALLED) ## lint, format, types, import contracts: the same as in CI
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test-ray: $(INSTALLED) ## sweeps on a real Ray of this machine
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[ray]'
	$(BIN)/python -m pytest -m ray

test-qemu: $(INSTALLED) ## actuators on cgroup v2 and the units under systemd, in a virtual machine (needs Debian, qemu-system-x86)
	$(BIN)/python tests/qemu/run.py

train: $(INSTALLED) ## make the shipped policies again, the best of five seeds each; the tuning policy meets the allocation just made
	$(BIN)/trimtab train --task allocation --out models
	$(BIN)/trimtab train --task tuning --out models

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Trimtab needs Python 3.11 or newer; $$($(PYTHON) --version) found. Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
