# `make` lists the commands.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_HOME ?= home
# A client that wants a newer Python than we do; without one its test is skipped.
THIRD_PARTY_SDK := codex-app-server-sdk==0.4.1
PYTHON312 ?= $(or $(shell python3.12 -c 'import sys; print(sys.executable)' 2>/dev/null),$(lastword $(wildcard $(HOME)/.pyenv/versions/3.12.*/bin/python)))
PORT ?= 8765
# Files of tests that run at once, a process each; more than the cores, because tests often wait.
AT_ONCE ?= --numprocesses 4 --dist loadfile
# Slow suites wait for leases and processes most of the time.
TWO_AT_ONCE ?= --numprocesses 2
# Each of the many processes that tests start would compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run test lint check without-otel console console-check console-test console-load console-long console-streams promtool clients chaos upgrade hostile fuzz bench scale machines attacks image-test lock mutants clean

help: ## List these commands.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## /\1\t/' | expand -t 14

setup: $(VENV)/.done ## Create .venv with everything that is needed.

$(VENV)/.done: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

run: setup ## Start a whole server in ./home, run a first turn, and keep serving (PORT=8765 RUN_HOME=home).
	exec $(BIN)/threadhouse up --home $(RUN_HOME) --port $(PORT) --first-turn

test: setup ## Run all tests except those of the commands below.
	$(BIN)/pytest --quiet $(AT_ONCE) --ignore tests/clients --ignore tests/console --ignore tests/chaos --ignore tests/upgrade --ignore tests/fuzz --ignore tests/hostile --ignore tests/bench --ignore tests/image

lint: setup ## Check format, lint and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint $(if $(CI),node_modules/.done) ## Check format, lint and types, and run the tests.
	$(BIN)/pytest --quiet $(AT_ONCE) --ignore tests/clients --ignore tests/console --ignore tests/chaos --ignore tests/upgrade --ignore tests/fuzz --ignore tests/hostile --ignore tests/bench --ignore tests/image

without-otel: $(VENV)/without-otel/.done ## Run unit tests and some wire tests without OpenTelemetry installed.
	$(VENV)/without-otel/bin/pytest --quiet $(AT_ONCE) tests/shared tests/api/test_*.py tests/workers/agent tests/workers/journal tests/workers/models \
		tests/workers/tasks tests/wire/test_turn.py

$(VENV)/without-otel/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)/without-otel
	$(VENV)/without-otel/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

console: setup node_modules/.done ## Build the web console into api/console/dist, and run its unit tests (needs Node 20.19 or newer).
	$(BIN)/python -m api.documentation.openapi | node api/console/scripts/types.mjs api/console/src/protocol/openapi.d.ts
	node_modules/.bin/tsc --project api/console
	node_modules/.bin/vitest run --root api/console
	node_modules/.bin/vite build api/console --logLevel warn

console-check: setup node_modules/.done ## Check that the committed files of the console are what `make console` makes.
	rm -rf build/console && mkdir -p build/console
	$(BIN)/python -m api.documentation.openapi | node api/console/scripts/types.mjs build/console/openapi.d.ts
	diff --brief build/console/openapi.d.ts api/console/src/protocol/openapi.d.ts
	node_modules/.bin/tsc --project api/console
	node_modules/.bin/vitest run --root api/console
	node_modules/.bin/vite build api/console --logLevel warn --outDir ../../build/console/dist
	diff --brief --recursive build/console/dist api/console/dist

console-test: setup node_modules/.done ## Use the console in Chromium against a real server, and save pictures of its pages (PICTURES=build/console-pictures).
	THREADHOUSE_PICTURES=$(abspath $(or $(PICTURES),build/console-pictures)) $(BIN)/pytest --quiet tests/console

console-load: setup node_modules/.done ## Measure frames and memory of the console while models write for SECONDS=600 in ten open threads.
	$(BIN)/python -m tests.bench.console --seconds $(or $(SECONDS),600)

console-long: setup node_modules/.done ## Measure how the console opens and scrolls a thread of ITEMS=10000 items, in 1, 20 and 500 turns.
	$(BIN)/python -m tests.bench.long_thread --items $(or $(ITEMS),10000)

console-streams: setup node_modules/.done ## Compare the console's state after each stream of tests/wire with thread/read (KEEP=1: renew the recordings of its tests).
	rm -rf build/console-streams
	THREADHOUSE_STREAMS=$(abspath build/console-streams) $(BIN)/pytest --quiet $(AT_ONCE) tests/wire
	node api/console/scripts/streams.mjs build/console-streams $(if $(KEEP),api/console/src/state/recordings/wire)

promtool: $(BIN)/promtool ## Put promtool into .venv, for the tests of Prometheus' rules (Debian, amd64 or arm64).

$(BIN)/promtool: | $(VENV)/.done
	rm -rf $(VENV)/prometheus
	mkdir $(VENV)/prometheus
	cd $(VENV)/prometheus && apt-get download --quiet=2 prometheus && dpkg --extract prometheus_*.deb .
	mv $(VENV)/prometheus/usr/bin/promtool $@
	rm -rf $(VENV)/prometheus

clients: setup node_modules/.done $(VENV)/.clients ## Run the tests with the real codex program and SDKs.
	$(BIN)/pytest --quiet $(TWO_AT_ONCE) --dist loadfile tests/clients

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

chaos: setup ## Kill and stop processes, cut connections and take Redis away at named points, N=10 times each (CUTS=30).
	THREADHOUSE_CHAOS_N=$(or $(N),10) THREADHOUSE_CHAOS_CUTS=$(CUTS) $(BIN)/pytest --quiet $(if $(filter 1,$(N)),$(TWO_AT_ONCE) --dist worksteal,--capture=no) tests/chaos

upgrade: setup ## Run each earlier release beside this version, while turns and streams continue.
	$(BIN)/pytest --quiet tests/upgrade

hostile: setup ## Run the tests of what a hostile user may try, N=300 of them random steps from a SEED that is printed.
	THREADHOUSE_HOSTILE_STEPS=$(N) THREADHOUSE_HOSTILE_SEED=$(SEED) $(BIN)/pytest --quiet $(TWO_AT_ONCE) --dist loadfile tests/hostile

fuzz: setup ## Send N=10000 hostile frames and requests, from a SEED that is printed.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	THREADHOUSE_FUZZ_N=$(or $(N),10000) THREADHOUSE_FUZZ_SEED=$(SEED) $(BIN)/pytest --quiet --capture=no tests/fuzz

bench: setup node_modules/.done ## Compare with the original, and the hosted shape with the embedded one, N=2 repeats, and print ratios.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	THREADHOUSE_BENCH_N=$(or $(N),2) $(BIN)/pytest --quiet --capture=no tests/bench

scale: setup ## Time lists of 10^6 threads in Postgres (POSTGRES=URL) and 10^5 in SQLite, and check their limits.
	$(BIN)/python -m tests.bench.scale $(if $(POSTGRES),--postgres $(POSTGRES))

machines: setup ## Measure the CPU of a turn in SHAPES=1x1,1x2,2x2 (API x workers), each process on an address of its own (root, Linux).
	$(BIN)/python -m tests.bench.machines $(if $(SHAPES),--shapes $(SHAPES))

attacks: setup ## Measure what hostile connections do to another user, ROUNDS=3 times, and print ratios.
	$(BIN)/python -m tests.bench.attacks --rounds $(or $(ROUNDS),3)

image-test: setup $(if $(CI),node_modules/.done) ## Build the image and run deploy/compose.yaml with it, without a container engine (as root, on Debian).
	$(BIN)/python -m tests.image

LOCK := $(BIN)/uv pip compile --quiet --system-certs --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock'

lock: setup ## Pin what the image installs: write deploy/requirements*.txt anew after a change of pyproject.toml (UPGRADE=1: the newest).
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[lock]'
	$(LOCK) $(if $(UPGRADE),--upgrade) --extra otel pyproject.toml --output-file deploy/requirements.txt
	$(LOCK) $(if $(UPGRADE),--upgrade) deploy/requirements-build.in --output-file deploy/requirements-build.txt

mutants: setup ## Break N=150 random places, from a SEED that is printed, and list those that no unit test notices.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[mutants]'
	$(BIN)/python -m tests.mutants --count $(or $(N),150) $(if $(SEED),--seed $(SEED))

clean: ## Remove what these commands created, except ./home.
	rm -rf .cache/image-test $(VENV) node_modules build *.egg-info .mypy_cache .ruff_cache
