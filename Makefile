# Rankopt: every target sets up what it needs in .venv; a second call installs nothing.
#   make help            the list
#   make PYTHON=python3.12 test   with another interpreter (for a .venv that does not exist yet)

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

PYTHON ?= python3
WORKERS ?= 2
NAME ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS := constraints.txt
PACKAGES := manifolds rankopt problems

# Test processes run side by side, so each computes with one thread; pictures are drawn without a screen.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMEXPR_NUM_THREADS=1
NO_SCREEN := MPLBACKEND=Agg

# A stamp is touched when its installation has succeeded, and is out of date when the files it came from change.
HAS_VENV := $(VENV)/.stamp-venv
HAS_PROJECT := $(VENV)/.stamp-project
HAS_EXTRAS := $(VENV)/.stamp-extras
HAS_PEERS := $(VENV)/.stamp-peers

.PHONY: help install demo test lint docs bench clean

help:  ## this list
	@echo "Rankopt, Riemannian optimization over subspaces. Targets:"
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

install: $(HAS_PROJECT)  ## set up .venv with the project (editable), pinned by constraints.txt

demo: $(HAS_PROJECT)  ## CCA of image patches and a language model; writes demo-report/index.html and results.json
	$(BIN)/rankopt demo

test: lint docs  ## all that CI runs: linters, types, import order, documentation, tests
	$(ONE_THREAD) $(NO_SCREEN) $(BIN)/python -m pytest -n $(WORKERS) --doctest-modules tests $(PACKAGES)

lint: $(HAS_EXTRAS)  ## ruff, mypy and the one-way imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(HAS_EXTRAS)  ## the site, into docs/_build/html; a warning is an error
	@rm -rf docs/api/generated docs/gallery_built  # pages of names that are gone
	$(NO_SCREEN) $(BIN)/python -m sphinx -W --keep-going -q -b html -d docs/_build/doctrees docs docs/_build/html
	@echo "Documentation: docs/_build/html/index.html"

bench: $(HAS_PEERS)  ## benchmarks against peers (NAME=cca for one); JSON in benchmarks/results/
	@mkdir -p benchmarks/results
	@names="$(NAME)"; \
	if [ -z "$$names" ]; then \
	  names=$$(cd benchmarks && ls -d *.py */__main__.py 2>/dev/null | grep -v '^_' | sed 's/\.py$$//; s/\/__main__$$//' || true); \
	fi; \
	if [ -z "$$names" ]; then echo "No benchmarks in benchmarks/." >&2; exit 1; fi; \
	for name in $$names; do \
	  if [ ! -f "benchmarks/$$name.py" ] && [ ! -f "benchmarks/$$name/__main__.py" ]; then echo "There is no benchmark benchmarks/$$name.py." >&2; exit 1; fi; \
	  echo "== $$name"; $(NO_SCREEN) $(BIN)/python -m "benchmarks.$$name"; \
	done

clean:  ## remove .venv, caches and build products; keep demo-report/ and benchmarks/results/
	rm -rf $(VENV) build dist *.egg-info docs/_build docs/api/generated docs/gallery_built \
	  .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage htmlcov
	find . -path ./.git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +

$(HAS_VENV):
	@command -v $(PYTHON) >/dev/null || { \
	  echo "Rankopt needs Python 3.11 or newer, and there is no '$(PYTHON)' here. Name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Rankopt needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(HAS_PROJECT): $(HAS_VENV) pyproject.toml $(CONSTRAINTS)
	$(PIP) install --quiet -c $(CONSTRAINTS) -e .
	@touch $@

# The extras bring the project along, so that `make demo` after `make test` installs nothing.
$(HAS_EXTRAS): $(HAS_VENV) pyproject.toml $(CONSTRAINTS)
	$(PIP) install --quiet -c $(CONSTRAINTS) -e ".[dev,docs,distributed,files,text]"
	@touch $(HAS_PROJECT) $@

$(HAS_PEERS): benchmarks/requirements.txt pyproject.toml $(CONSTRAINTS) | $(HAS_PROJECT)
	$(PIP) install --quiet -c $(CONSTRAINTS) -r benchmarks/requirements.txt
	@touch $@
