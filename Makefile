# Each command does all of its own set-up on a machine with Python >= 3.11 and make:
#   make quickstart   prepare the phantom, train the three stages, write runs/quickstart/report.html
#   make test         style, all tests
#   make check        style, types, the fast tests: before each commit
#   make docs         the site in site/index.html; a broken link is an error
#   make parity       the networks against their peers, in an environment of their own

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The tested versions, where there is such a file for this Python; any other Python gets the newest that fit.
INTERPRETER := $(firstword $(wildcard $(BIN)/python) $(PYTHON))
CONSTRAINTS := $(wildcard constraints-$(shell $(INTERPRETER) -c 'import sys; print("%d.%d" % sys.version_info[:2])').txt)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix --constraint ,$(CONSTRAINTS))
# How tests are spread over processes: by module, so that what a module prepares is prepared once. Empty: one process.
PYTEST_WORKERS ?= -n 2 --dist loadscope --no-loadscope-reorder
PYTEST := $(BIN)/python -m pytest $(PYTEST_WORKERS)
# Tests read nothing from the user's cache and leave nothing in it. What they compile is kept between runs.
export FETAL_JAX_DATA ?= $(CURDIR)/runs/data
export FETAL_JAX_TEST_CACHE ?= $(CURDIR)/.cache/tests

.PHONY: quickstart test check lint types docs install dev constraints parity clean

quickstart: $(VENV)/run.stamp
	$(BIN)/fetal-jax train --config configs/quickstart.py --workdir runs/quickstart

test: lint
	$(PYTEST)

check: lint types
	$(PYTEST) -m "not slow"

lint: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp
	$(BIN)/mypy

docs: $(VENV)/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

install: $(VENV)/run.stamp

dev: $(VENV)/dev.stamp

# For one version of Python: make constraints PYTHON=python3.12 VENV=.venv-3.12
constraints: $(BIN)/python
	$(BIN)/python .ci/constraints.py

parity: $(VENV)-parity/stamp
	set -e; for script in tests/parity/keras_*.py tests/parity/torch_[!p]*.py; do \
		KERAS_BACKEND=jax $(VENV)-parity/bin/python $$script --check; done

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fetal_jax needs Python 3.11 or later: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: requirements.txt pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(INSTALL) --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp
	$(INSTALL) --editable '.[dev]'
	touch $@

$(VENV)/docs.stamp: $(VENV)/run.stamp
	$(INSTALL) --editable '.[docs]'
	touch $@

$(VENV)-parity/stamp: tests/parity/requirements.txt tests/parity/requirements-torch.txt
	test -x $(VENV)-parity/bin/python || $(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $(word 2,$^)
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-parity .cache runs site
