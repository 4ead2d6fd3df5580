.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

help:  ## what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-11s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.installed-dev: $(STAMP) pyproject.toml constraints.txt
	$(BIN)/pip install --quiet -c constraints.txt --group dev
	$(BIN)/pip install --quiet --no-deps --upgrade --target $(VENV)/torchaudio 'torchaudio>=2.9'  # to compare with; not importable
	@touch $@

setup: $(STAMP)  ## make .venv and install tformer into it

demo: $(STAMP)  ## train, use and score five small models on built-in data: a few minutes
	$(BIN)/tformer quickstart

demo-all: $(STAMP)  ## the same with all steps of the recipes, which their headers give scores of
	$(BIN)/tformer quickstart --full

test: $(VENV)/.installed-dev  ## the tests
	$(BIN)/python -m pytest -m "not slow and not gpu" --numprocesses auto --maxprocesses 8 --dist worksteal

test-all: $(VENV)/.installed-dev  ## the slow tests too
	$(BIN)/python -m pytest

LOWEST := .venv-lowest
EVERYTHING := .[text,speech,demo,images,numbers,huggingface,lineage]

test-lowest:  ## the tests with the lowest versions that pyproject.toml allows, in a venv of their own
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/pip install --quiet uv
	$(LOWEST)/bin/uv pip install --python $(LOWEST) --resolution lowest-direct -e '$(EVERYTHING)'
	$(LOWEST)/bin/uv pip install --python $(LOWEST) pytest pytest-xdist sacremoses kaldi-native-fbank
	$(LOWEST)/bin/python -m pytest -m "not slow and not gpu" --ignore tests/e2e --numprocesses auto --maxprocesses 8 --dist worksteal

PACKAGES := $(filter-out tformer_cli/data,$(patsubst %/__init__.py,%,$(wildcard tformer_cli/*/__init__.py tformer_cli/data/*/__init__.py)))
COVERED := $(sort $(PACKAGES:=/*)) tformer_cli/*.py

coverage: $(VENV)/.installed-dev  ## lines that the tests execute: at least 85 % of each package, in any process
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -m "not slow and not gpu" --numprocesses auto --maxprocesses 8 --dist worksteal
	$(BIN)/coverage combine --quiet
	@rm -f .coverage.*  # empty, of processes that tests killed
	@set -f; status=0; for files in $(COVERED); do \
		printf '%-26s' "$$files"; $(BIN)/coverage report --include="$$files" --format=total --precision=1 --fail-under=85 || status=1; \
	done; exit $$status

mutants: $(VENV)/.installed-dev  ## changes of the code that no test notices (hours; PATTERN='tformer_cli.train.optim*' for some)
	$(BIN)/pip install --quiet -c constraints.txt --group mutants
	OMP_NUM_THREADS=1 $(BIN)/mutmut run $(PATTERN)
	$(BIN)/mutmut results | sed '/: not checked$$/d' | tee mutants/survivors.txt

lint: $(VENV)/.installed-dev  ## style, layers of packages, dependencies
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache
	$(BIN)/deptry .

format: $(VENV)/.installed-dev  ## lay the code out
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.installed-dev  ## types
	$(BIN)/pyright

bench: $(VENV)/.installed-dev  ## tformer and its peers on the same work, in one run
	$(BIN)/python benchmarks/run.py

bench-loss: $(VENV)/.installed-dev  ## hashes of a short seeded run of every family, to compare before and after a change
	$(BIN)/python benchmarks/loss_hashes.py

lineage: $(VENV)/.installed-dev  ## the experiments of docs/lineage.md, hours; EXPERIMENT='NAME...' for some
	$(BIN)/python -m laboratory $(EXPERIMENT)

lineage-quick: $(VENV)/.installed-dev  ## the same with little training: 12 minutes
	$(BIN)/python -m laboratory --quick $(EXPERIMENT)

wheel: $(VENV)/.installed-dev  ## a wheel in dist/
	$(BIN)/python -m build --wheel --outdir dist

clean:  ## remove what was built (not runs)
	rm -rf $(VENV) $(LOWEST) dist build .pytest_cache .ruff_cache .import_linter_cache .coverage .benchmark-env* benchmarks/work mutants

.PHONY: help setup demo demo-all test test-all test-lowest coverage mutants lint format types bench bench-loss lineage lineage-quick wheel clean
