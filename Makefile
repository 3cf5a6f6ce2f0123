# Every target sets up what it needs. `make study` tunes a network on real data; `make test` runs all tests.

PYTHON := $(shell for p in python3.12 python3.13 python3.11 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
STUDY ?= studies/digits.toml
STUDY_NAME = $(basename $(notdir $(STUDY)))

.PHONY: study test test-compose lint bench throughput quality convergence soak secrets lock clean

study: .venv/.run
	$(BIN)/tuner run $(STUDY)
	$(BIN)/tuner report $(STUDY_NAME)

test: .venv/.dev
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(ARGS)

# In real containers; where it finds no Docker engine it starts Debian's, as root.
test-compose: .venv/.dev
	$(BIN)/python -m pytest -m compose tests/compose $(ARGS)

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
	$(BIN)/python -m benchmarks.track
	$(BIN)/python -m benchmarks.reproduce

throughput quality: .venv/.bench
	$(BIN)/python -m benchmarks.$@ $(if $(MNIST),--mnist $(MNIST)) $(ARGS)

convergence: .venv/.dev
	$(BIN)/python -m benchmarks.convergence

soak: .venv/.dev
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.scale

# Passwords for docker-compose.yml, each made once; the user that its containers run as owns them. As root that is 10001.
secrets:
	@mkdir -p -m 700 secrets && mkdir -p data reports
	@set -eu; umask 077; set -C; for name in postgres tuner mlflow; do \
		test -s secrets/$$name || head -c 24 /dev/urandom | base64 | tr '+/' '-_' > secrets/$$name; done
	@grep -qs '^TUNER_USER=' .env || { user=$$(id -u):$$(id -g); test "$$(id -u)" -ne 0 || user=10001:10001; echo "TUNER_USER=$$user" >> .env; }
	@test "$$(id -u)" -ne 0 || chown "$$(sed -n 's/^TUNER_USER=//p' .env)" secrets/postgres secrets/tuner secrets/mlflow reports

lock: .venv/.dev
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --extra dev --extra bench --extra gpu \
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
