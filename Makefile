# Two commands set everything up: `make demo` (install, main job) and `make test` (install, whole test suite).

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: help setup demo test native-test lint check format bench docs clean

help:
	@echo "make setup   create $(VENV), install tilth and its development tools"
	@echo "make demo    install, then run the main job: from this machine's Python to a model and a report"
	@echo "make test    install, then run the whole test suite"
	@echo "make native-test   random texts through the native core under AddressSanitizer and UBSan"
	@echo "make check   lint, types and the fast tests"
	@echo "make bench   run the benchmarks against their peers"
	@echo "make docs    build the documentation into site/"

# Without an NVIDIA GPU, Linux takes PyTorch's CPU build where its index can be reached: 200 MB instead of several GB.
TORCH_INDEX ?= $(if $(and $(filter Linux,$(shell uname -s)),$(if $(shell command -v nvidia-smi),,none)),https://download.pytorch.org/whl/cpu)
REACHED = $(PYTHON) -c 'import urllib.request as u; u.urlopen("$(TORCH_INDEX)/torch/", timeout=10)' 2>/dev/null
PIP := $(BIN)/python -m pip install --constraint constraints.txt --disable-pip-version-check
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find native -name '*.cpp' -o -name '*.h' -o -name '*.inc')

# The environment is up to date when its mark is newer than what decides about it: `.tilth` for what tilth needs to run,
# `.installed` for the development tools as well.
$(VENV)/.tilth: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "tilth needs Python 3.11 or newer; say which with `make PYTHON=python3.12 ...`")'
	@echo "[1/3] A virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "[2/3] PyTorch: the largest download, 200 MB without CUDA"
	@if $(REACHED); then $(PIP) --no-deps --index-url $(TORCH_INDEX) torch; else $(PIP) torch; fi
	@echo "[3/3] tilth and what it needs; its tokenizer is compiled, which takes about a minute"
	@$(PIP) --editable .
	@touch $@

$(VENV)/.installed: $(VENV)/.tilth
	@echo "Development tools: linter, type checker, test runner and the reference libraries that tests compare with"
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"], sep="\n")' > $(VENV)/dev.txt
	@$(PIP) --requirement $(VENV)/dev.txt
	@touch $@

setup: $(VENV)/.installed

demo: $(VENV)/.tilth
	$(BIN)/tilth run quickstart

# Tests run side by side, a file in one process; one thread each, because threads that compete are slower than one.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

test: setup
	$(PYTEST)

FUZZ_SECONDS ?= 20
FUZZ_SOURCES := $(wildcard tests/native/*.cpp) native/unicode/character_class.cpp \
	$(filter-out native/tokenizer/bind%.cpp native/tokenizer/line_array.cpp,$(wildcard native/tokenizer/*.cpp))

# Needs only a C++20 compiler. line_array.cpp is compiled as a part of fuzz_allocation.cpp.
build/fuzz_tokenizer: $(FUZZ_SOURCES) $(wildcard native/*/*.h native/*/*.inc tests/native/*.h)
	mkdir -p build
	$(CXX) -std=c++20 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -Inative $(FUZZ_SOURCES) -o $@ -pthread

native-test: build/fuzz_tokenizer
	build/fuzz_tokenizer $(FUZZ_SECONDS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

check: lint
	$(PYTEST) -m "not slow"

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(PIP) --quiet --requirement benchmarks/requirements.txt
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

docs: setup
	$(BIN)/python -m pip install --quiet --requirement docs/requirements.txt
	$(BIN)/mkdocs build --strict

clean:
	rm -rf build site .pytest_cache .ruff_cache .hypothesis
