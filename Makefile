# SPDX-License-Identifier: Apache-2.0
#
#   make run      set up, then boot a guest to a shell in this terminal (Ctrl-] q leaves)
#   make test     set up, then run everything: style, types, layers, unit, differential and guest tests
#   make lint     style, types and layers only
#   make bench    measure the engine, against QEMU where it is installed
#   make clean    remove what was set up here (not the images in the cache folder)
#
# Each sets up what it needs first. Arguments: make run ARGS="debian --cpus 2", make test TESTS=tests/unit.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed-run
INSTALLED_DEV := $(VENV)/.installed-dev
WORKERS ?= 2
TESTS ?= tests
# A run that hangs as a whole is ended with its summary, well before a build server ends it without one; and it
# ends with the first worker that dies: pytest-xdist (3.8) waits for ever for work it gives out a second time.
TESTS_AT_MOST ?= 40m
ARGS ?=

.PHONY: run test lint bench clean oracles lint-style lint-types
.DEFAULT_GOAL := run

run: $(INSTALLED)
	@$(BIN)/inn run $(ARGS)

# A fast word first: `test_tiny` runs one block on every engine (and compiles the engine's artifacts, which are
# kept in the cache folder). Then one pytest run in the order tests/conftest.py gives, so that its summary, the
# last thing printed, counts everything. A file's tests stay together, on one worker.
test: lint oracles
	@$(BIN)/python -m pytest -q -x tests/test_tiny.py
	@timeout --foreground --signal=INT --kill-after=60 $(TESTS_AT_MOST) \
		$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0 -r sfE $(TESTS)

lint: lint-style lint-types
	@$(BIN)/lint-imports --no-logo

lint-style: $(INSTALLED_DEV)
	@$(BIN)/ruff check src tests $(wildcard benchmarks)

lint-types: $(INSTALLED_DEV)
	@$(BIN)/mypy

# The outside oracles: QEMU and the cross compiler. Without root the tests that need them skip and say why.
oracles:
	@tests/oracle/install || echo "make: going on without the outside oracles; the tests that need them skip" >&2

bench: $(INSTALLED)
	@$(BIN)/inn bench $(ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(INSTALLED): $(VENV)/bin/pip pyproject.toml
	@echo "installing innkeeper into $(VENV)" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(INSTALLED_DEV): $(VENV)/bin/pip pyproject.toml
	@echo "installing innkeeper and its test tools into $(VENV)" >&2
	@$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(INSTALLED)

$(VENV)/bin/pip:
	@.ci/check-python $(PYTHON)
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
