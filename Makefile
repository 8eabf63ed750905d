# `make demo` and `make test` each work as the first command after a clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test test-fast test-lowest lint types format train compat notebooks clean

# The base install is all the demo needs.
demo: $(VENV)/.base
	@$(BIN)/python examples/demo.py
	@echo
	@echo '$$ rerank query "which commands set everything up" README.md CONTRIBUTING.md -n 3'
	@$(BIN)/rerank query "which commands set everything up" README.md CONTRIBUTING.md -n 3

test: $(VENV)/.dev
	$(BIN)/python -m pytest --cov --cov-report=term

# Without the tests that build torch checkpoints or import other people's frameworks: seconds, all day long.
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not torch and not compat and not notebooks" -q

# The built wheel with the lower bounds of pyproject.toml, as uv resolves them, and the tests that need no torch.
test-lowest:
	rm -rf dist && $(PYTHON) -m venv --clear .venv-lowest
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	.venv-lowest/bin/uv build --quiet --wheel --out-dir dist
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
		"$$(echo dist/*.whl)[test]"
	.venv-lowest/bin/pytest -m "not torch and not compat" -q -o pythonpath=

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The bundled models, made again: make train DATA=... OUT=... (some four hours on two cores; training/README.md).
DATA ?= ../shared/data
OUT ?= build/training
train: $(VENV)/.dev
	$(BIN)/python -m training --data $(DATA) --out $(OUT) --evaluate

# Other people's clients and servers, each in an environment of its own (compat/README.md): some 6 GB, no part of CI.
# make compat WHO="vllm voyageai" runs some of it.
compat: $(VENV)/.dev
	$(BIN)/python -m compat.run $(WHO)

# The notebooks' outputs, made again; the tests run them as well, and compare.
notebooks: $(VENV)/.dev
	$(BIN)/python notebooks/run.py

clean:
	rm -rf $(VENV) .venv-lowest dist build .coverage

$(VENV)/.base: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the base package ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing everything the tests need ..."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.base
