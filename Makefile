# Every target sets up what it needs in its own virtual environment; only Python 3.11 or newer is required.

VENV   ?= .venv
BIN    := $(VENV)/bin
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	  command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  && echo $$p && break; done)
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help demo test check drills format docs clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.run ## set up and tag a small sample library, offline
	@$(BIN)/python run.py demo

test: $(VENV)/.dev ## set up and run all tests, four at a time: most of them wait
	$(BIN)/python -m pytest -n 4 --dist worksteal

check: $(VENV)/.dev ## format, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

drills: $(VENV)/.dev ## kill it, fill its disk, stop its database; a table of what was lost (nothing)
	cd tests && $(abspath $(BIN))/python -m drills $(DRILLS)

format: $(VENV)/.dev ## put the code in shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/.run ## write docs/configuration.md and configs/default.yaml anew from the settings
	$(BIN)/python -m pipeline.config.reference

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "tagpipe needs Python 3.11 or newer: set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) install -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(BIN)/python
	@$(PIP) install -c constraints.txt -e '.[check]'
	@touch $@ $(VENV)/.run
