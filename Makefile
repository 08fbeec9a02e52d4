# Every target makes and fills the virtual environment it needs: nothing but Python, pip and make has to be there.
#
#   make test PYTHON=python3.12 VENV=.venv-3.12      another interpreter, beside the first
#   make test ARGS="-k catching_up -x"               words for pytest, the demo or the benchmarks

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
SOAK_MINUTES ?= 30
FROM ?= --editable .

BIN := $(VENV)/bin
VERSIONS := 3.11 3.12 3.13

.DEFAULT_GOAL := help
.PHONY: help demo demo-flights docs wheel test test-wheel test-others test-all soak mutants check bench format clean

# Two installations into one environment must not run at the same time.
.NOTPARALLEL:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.filled-demo ## watch an emulator publish half a million events through the bus
	@$(BIN)/python -m examples.emulator $(ARGS)

demo-flights: $(VENV)/.filled-flights ## watch a year of flights become a small database of delays, through a kill
	@$(BIN)/python -m examples.flights $(ARGS)

test: $(VENV)/.filled-flights $(VENV)/.filled-test ## run the tests (they run the examples too)
	$(BIN)/python -X dev -m pytest --dist worksteal --tx '2*popen//python=$(BIN)/python -X dev' $(ARGS)

wheel: $(VENV)/.filled-wheel ## build what is published, into dist/, and have it checked
	@rm -rf dist
	$(BIN)/python -m build --quiet --outdir dist .
	$(BIN)/python -m twine check --strict dist/*

test-wheel: wheel ## run the tests on the installed wheel, instead of on these sources
	@rm -rf .venv-wheel
	$(MAKE) --no-print-directory test VENV=.venv-wheel FROM="$$(echo dist/*.whl)"

test-others: ## run the tests on each other Python that is found
	@own=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	for version in $(VERSIONS); do \
	    [ "$$version" = "$$own" ] && continue; \
	    found=; \
	    for python in python$$version "$$HOME"/.pyenv/versions/$$version.*/bin/python; do \
	        "$$python" -c '' 2>/dev/null && found=$$python && break; \
	    done; \
	    if [ -z "$$found" ]; then echo "Python $$version: not found, not tested"; continue; fi; \
	    echo "Python $$version:"; \
	    $(MAKE) --no-print-directory test PYTHON="$$found" VENV=.venv-$$version || exit; \
	done

test-all: test test-others ## run the tests on this Python and on each other that is found

soak: $(VENV)/.filled-flights $(VENV)/.filled-test ## try to break the promises for SOAK_MINUTES (30)
	$(BIN)/python -m tests.reliability --minutes $(SOAK_MINUTES) $(ARGS)

mutants: $(VENV)/.filled-flights $(VENV)/.filled-test ## break the library on purpose, and see that the tests notice
	$(BIN)/python -m tests.reliability.mutants $(ARGS)

check: $(VENV)/.filled-dev ## ruff, mypy --strict, pyright and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

bench: $(VENV)/.filled-bench ## run the benchmarks beside their limits and peers
	$(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.filled-docs ## the documentation as a site, into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet $(ARGS)
	@echo "site/index.html"

format: $(VENV)/.filled-check ## put the code into shape
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

clean: ## remove the environments, the caches and what was built
	rm -rf .venv .venv-* dist site .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find src tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +

# Where Python came without ensurepip (Debian packs it apart), its own pip fills the environment.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("asyncbus needs Python 3.11 or newer, this is %d.%d; try: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv $(VENV) || $(PYTHON) -m venv --without-pip --clear $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m pip --python $(BIN)/python install --quiet pip
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'  # the first with --group
	@touch $@

# One stamp a dependency group: `make demo` need not wait for what only the benchmarks use.
$(VENV)/.filled-%: pyproject.toml | $(VENV)/.made
	@echo "filling $(VENV) for: $*"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(FROM) --group $*
	@touch $@
