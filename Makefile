# Every target sets up what it needs. `make study` tunes a network on real data; `make test` runs all tests.

PYTHON := $(shell for p in python3.12 python3.13 python3.11 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STUDY ?= studies/digits.toml
STUDY_NAME = $(basename $(notdir $(STUDY)))

.PHONY: study test lint bench throughput quality convergence soak lock clean

study: .venv/.run
	$(BIN)/tuner run $(STUDY)
	$(BIN)/tuner report $(STUDY_NAME)

test: .venv/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --package tuner
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python -m benchmarks.solo_loop
	$(BIN)/python -m benchmarks.overhead
	$(BIN)/python -m benchmarks.layers
	$(BIN)/python -m benchmarks.optimizer_step
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python -m benchmarks.capacity

throughput quality: .venv/.bench
	$(BIN)/python -m benchmarks.$@ $(if $(MNIST),--mnist $(MNIST)) $(ARGS)

convergence: .venv/.dev
	$(BIN)/python -m benchmarks.convergence

soak: .venv/.dev
	$(BIN)/python -m benchmarks.soak

lock: .venv/.dev
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --extra bench \
		--no-annotate --no-header pyproject.toml --output-file requirements.lock

clean:
	rm -rf .venv .tuner *.report build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

.venv/bin/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11, 3.12 or 3.13 with venv is needed" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.run: requirements.lock pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable .
	@touch $@

.venv/.dev: .venv/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[dev]'
	@touch $@

.venv/.bench: .venv/.dev
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock --editable '.[bench]'
	@touch $@
