# make help says what there is. Needs python3 (with venv), a C++ compiler, make and PyPI.
# Everything is installed into .venv; stamp files there see to it that nothing is done twice.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
BENCH_BUNDLE := demo/cell.edgead
RESULTS := benchmarks/results
PIP := $(BIN)/python -m pip --disable-pip-version-check

# Python files are used where they lie; only these call for a new installation.
NATIVE := pyproject.toml setup.py constraints.txt $(shell find csrc -type f)
CPP := $(shell find csrc tests benchmarks \
         -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh')

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test lint format bench clean distclean

help:
	@echo 'make demo       train, export, qualify and evaluate on solar cells (about 10 minutes)'
	@echo 'make test       run the tests                  ARGS="-k preprocess" passes on to pytest'
	@echo 'make lint       ruff, mypy and clang-format'
	@echo 'make format     let ruff and clang-format rewrite the files'
	@echo 'make bench      time the kernels and, after make demo, Detector.score over bare inference'
	@echo 'make install    only set up .venv, with edgead installed in place'
	@echo 'make clean      remove build outputs, caches and the demo; distclean removes .venv too'
	@echo
	@echo 'PYTHON=python3.12 make …     another Python (3.10 or newer) for a new .venv'

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo 'make: Python 3.10 or newer is wanted: make … PYTHON=python3.12' >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { echo 'make: no virtual environment: install the package python3-venv' >&2; exit 1; }
	@$(PIP) install --quiet 'pip>=23'
	@touch $@

$(VENV)/.installed: $(VENV)/.made $(NATIVE)
	@echo 'installing edgead[train,demo,test] into $(VENV); the first time takes some minutes'
	@$(PIP) install --quiet -e '.[train,demo,test]' -c constraints.txt
	@touch $@

$(VENV)/.lint: $(VENV)/.made constraints.txt
	@$(PIP) install --quiet ruff mypy clang-format -c constraints.txt
	@touch $@

install: $(VENV)/.installed

demo: $(VENV)/.installed
	@$(BIN)/python examples/demo.py $(ARGS)

test: $(VENV)/.installed
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run -Werror $(CPP)

format: $(VENV)/.lint
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/kernels.py --json $(RESULTS)/kernels.json
	@if [ -d $(BENCH_BUNDLE) ]; then set -x; \
	  $(BIN)/python benchmarks/overhead.py $(BENCH_BUNDLE) --json $(RESULTS)/overhead.json; \
	else echo 'overhead: no $(BENCH_BUNDLE) to time: make demo first'; fi

# The packages in .venv stay; the stamp goes, so that the next make builds edgead again.
clean:
	rm -rf build dist demo *.egg-info edgead/*.so
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -f $(VENV)/.installed

distclean: clean
	rm -rf $(VENV)
