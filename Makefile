# `make` lists the commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_HOME ?= home
# A client that wants a newer Python than we do; without one its test is skipped.
THIRD_PARTY_SDK := codex-app-server-sdk==0.4.1
PYTHON312 ?= $(or $(shell python3.12 -c 'import sys; print(sys.executable)' 2>/dev/null),$(lastword $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python)))
PORT ?= 8765
# Files of tests that run at once, a process each; more than two want more of Postgres than it gives by default.
AT_ONCE ?= --numprocesses 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help setup run test check without-otel clients chaos fuzz bench scale clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 14

setup: $(VENV)/.done ## a virtual environment with everything in it

$(VENV)/.done: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: setup ## start a whole server in ./home, run a first turn, keep serving (PORT=8765 RUN_HOME=home)
	exec $(BIN)/threadhouse up --home $(RUN_HOME) --port $(PORT) --first-turn

test: setup ## all tests but those below
	$(BIN)/pytest --quiet $(AT_ONCE) --ignore tests/clients --ignore tests/chaos --ignore tests/fuzz --ignore tests/bench

check: setup $(if $(CI),node_modules/.done) ## format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --quiet $(AT_ONCE) --ignore tests/clients --ignore tests/chaos --ignore tests/fuzz --ignore tests/bench

without-otel: $(VENV)/without-otel/.done ## unit tests and a few on the wire, where nothing of OpenTelemetry is installed
	$(VENV)/without-otel/bin/pytest --quiet tests/shared tests/api/test_*.py tests/workers/agent tests/workers/models \
		tests/workers/tasks tests/wire/test_turn.py

$(VENV)/without-otel/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)/without-otel
	$(VENV)/without-otel/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clients: setup node_modules/.done $(VENV)/.clients ## the real codex binary and SDKs against our server
	$(BIN)/pytest --quiet tests/clients

$(VENV)/.clients: $(VENV)/.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[clients]'
ifneq ($(PYTHON312),)
	$(PYTHON312) -m venv $(VENV)/third-party
	$(VENV)/third-party/bin/python -m pip install --quiet --disable-pip-version-check $(THIRD_PARTY_SDK)
endif
	@touch $@

node_modules/.done: package.json
	npm install --no-package-lock --no-audit --no-fund --silent
	@touch $@

chaos: setup ## kills, stops and outages at named points; N=10 times each
	THREADHOUSE_CHAOS_N=$(or $(N),10) $(BIN)/pytest --quiet tests/chaos

fuzz: setup ## N=10000 hostile frames and requests, from a SEED that is printed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	THREADHOUSE_FUZZ_N=$(or $(N),10000) THREADHOUSE_FUZZ_SEED=$(SEED) $(BIN)/pytest --quiet --capture=no tests/fuzz

bench: setup node_modules/.done ## side by side with the original, as ratios; N=2 repeats
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	THREADHOUSE_BENCH_N=$(or $(N),2) $(BIN)/pytest --quiet --capture=no tests/bench

scale: setup ## lists of 10^6 threads in Postgres (POSTGRES=address) and 10^5 in SQLite, against their limits
	$(BIN)/python -m tests.bench.scale $(if $(POSTGRES),--postgres $(POSTGRES))

clean: ## remove what the commands made, ./home apart
	rm -rf $(VENV) node_modules build *.egg-info .mypy_cache .ruff_cache
