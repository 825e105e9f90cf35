# Two commands do all their own set-up on a machine with Python >= 3.11 and make:
#   make quickstart   prepare the phantom, train the three stages, write runs/quickstart/report.html
#   make test         style, tests

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Tests read nothing from the user's cache and leave nothing in it.
export FETAL_JAX_DATA ?= $(CURDIR)/runs/data

.PHONY: quickstart test install parity clean

quickstart: $(VENV)/run.stamp
	$(BIN)/fetal-jax train --config configs/quickstart.py --workdir runs/quickstart

test: $(VENV)/dev.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

install: $(VENV)/run.stamp

parity: $(VENV)-parity/stamp
	set -e; for script in tests/parity/keras_*.py tests/parity/torch_[!p]*.py; do \
		KERAS_BACKEND=jax $(VENV)-parity/bin/python $$script --check; done

$(VENV)/run.stamp: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "fetal_jax needs Python 3.11 or later: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/dev.stamp: $(VENV)/run.stamp requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	touch $@

$(VENV)-parity/stamp: tests/parity/requirements.txt tests/parity/requirements-torch.txt
	test -x $(VENV)-parity/bin/python || $(PYTHON) -m venv $(VENV)-parity
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	$(VENV)-parity/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $(word 2,$^)
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-parity runs
