# Two commands set everything up: `make demo` (install, main job) and `make test` (install, whole test suite).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help setup demo test lint check format bench docs clean

help:
	@echo "make setup   create $(VENV) and install tilth with its development tools"
	@echo "make demo    install, then run the main job: from this machine's Python to a model and a report"
	@echo "make test    install, then run the whole test suite"
	@echo "make check   lint, types and the fast tests"
	@echo "make bench   run the benchmarks against their peers"
	@echo "make docs    build the documentation into site/"

# The environment stands when its mark is newer than what decides about it.
$(VENV)/.installed: pyproject.toml constraints.txt CMakeLists.txt $(shell find native -name '*.cpp' -o -name '*.h' -o -name '*.inc')
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tilth needs Python 3.11 or newer; say which with `make PYTHON=python3.12 ...`")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

setup: $(VENV)/.installed

demo: setup
	$(BIN)/tilth run quickstart

test: setup
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

check: lint
	$(BIN)/python -m pytest -m "not slow"

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --requirement benchmarks/requirements.txt
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

docs: setup
	$(BIN)/python -m pip install --quiet --requirement docs/requirements.txt
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build site .pytest_cache .ruff_cache .hypothesis
