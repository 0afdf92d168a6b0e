# Every target makes its own surroundings: `make demo` and `make test` work from a bare clone.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all prove prove-whole prove-quick fuzz lint types imports check bench economics modules clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with everything that is needed to run and test

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Phalanx needs Python 3.11 or newer; name one with: make PYTHON=/path/to/python3.11 setup"; exit 1; }
	@echo "==> creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@echo "==> installing $$(grep -c '==' requirements.lock) pinned packages (hashes checked)"
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import trio, msgpack, nacl, blake3, structlog, wasmtime, lmdb, consensus'
	@touch $@
	@echo "==> ready: $(BIN)/phalanx --help"

demo: setup  ## four validators, a consumer chain, an enclave; one killed and recovered
	@$(BIN)/phalanx demo

test: setup  ## the default tests (under five minutes on two cores)
	@$(BIN)/python -m pytest -n 2 --dist loadfile

test-all: setup  ## the default tests and the slow ones
	@$(BIN)/python -m pytest -n 2 --dist loadfile -m ""

fuzz: setup  ## coverage-guided fuzzing of all decoders, with atheris if it is there; FUZZ=-max_total_time=600
	@$(BIN)/python tests/fuzz/coverage_guided.py $(FUZZ)

prove: setup  ## the machine proof: exhaustive search, Twins, differential, mutants; one table (docs/proof.md)
	@$(BIN)/python -m tests.proof

prove-whole: setup  ## the machine proof with all third views searched: an hour
	@$(BIN)/python -m tests.proof --whole

prove-quick: setup  ## the machine proof in the reduced form that CI runs
	@$(BIN)/python -m tests.proof --quick

lint: setup  ## style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: setup  ## static types, strict
	@$(BIN)/mypy consensus enclaves net node bench

imports: setup  ## who may import whom
	@$(BIN)/lint-imports

check: lint types imports test  ## all that a change must pass

bench: setup  ## finality latency, throughput and chaos, on real processes
	@$(BIN)/phalanx bench finality --validators 4 --blocks 300
	@$(BIN)/phalanx bench throughput --validators 4 --seconds 20
	@$(BIN)/phalanx chaos kill --validators 4 --kills 10 --seconds 60

economics: setup  ## what attacking brings: bench/ECONOMICS.md with its plots (some minutes on two cores)
	@$(BIN)/phalanx bench economics --jobs 2 --report bench

modules: setup  ## rebuild the guests; fails if a byte of the committed .wasm differs (fetches a 100 MB compiler)
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-modules.lock
	@$(BIN)/python -m enclaves.guests.build

clean:  ## remove what the targets made
	rm -rf $(VENV) .devnet .demo build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
