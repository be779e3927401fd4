# `make demo` and `make test` set up everything they need; the second run starts at once.
#
#   make demo    train LoopWM in simulation, plan with it, drive the arm through the bridge
#   make test    the tests
#   make slow    the slow tests: wheel and sdist in a bare environment, long simulations
#   make lint    ruff, mypy, import rules
#   make wheel   wheel and sdist in dist/
#   make clean   removes the environment, builds and caches (never runs/)
#
# Settings, e.g. `make demo ARGS="seed=3"`:
#   ARGS         overrides for `loopwm demo`
#   PYTEST_ARGS  arguments for pytest, e.g. PYTEST_ARGS="-k cem -x"
#   PYTHON       the interpreter to build the environment from (3.11 or newer)
#   VENV         where the environment lies (.venv)
#   TORCH_INDEX  a package index for torch alone. On Linux the default index hands out the CUDA build (several GB);
#                TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the small CPU build instead.

SHELL := /bin/sh
VENV ?= .venv
PYTHON ?=
TORCH_INDEX ?=
ARGS ?=
PYTEST_ARGS ?=

PY = $(VENV)/bin/python
PIP = "$(PY)" -m pip --disable-pip-version-check
STAMP = $(VENV)/.loopwm-installed
CONSTRAINTS = constraints/tested.txt
# One process for each core, up to four; PYTEST_ARGS="-n 0" goes back to one.
PARALLEL = -n auto --maxprocesses 4 --dist worksteal

.PHONY: demo test slow lint format wheel clean setup help
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

help:
	@sed -n 's/^#   \{0,1\}//p' Makefile | sed '/^$$/d'

setup: $(STAMP)

demo: $(STAMP)
	"$(VENV)/bin/loopwm" demo $(ARGS)

test: $(STAMP)
	"$(PY)" -m pytest $(PARALLEL) $(PYTEST_ARGS)

slow: $(STAMP)
	"$(PY)" -m pytest -m slow -n auto --maxprocesses 2 --dist loadfile $(PYTEST_ARGS)

lint: $(STAMP)
	"$(PY)" -m ruff check .
	"$(PY)" -m mypy
	"$(VENV)/bin/lint-imports" --no-cache

format: $(STAMP)
	"$(PY)" -m ruff check --fix .

wheel: $(STAMP)
	"$(PY)" -m build --no-isolation --outdir dist .

clean:
	if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage .coverage.* htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml $(CONSTRAINTS)
	@set -e; \
	python=; old=; \
	for candidate in $(or $(PYTHON),python3 python3.13 python3.12 python3.11); do \
	  version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
	  if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then python=$$candidate; break; fi; \
	  old="$$old $$candidate ($$version)"; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "make: Python 3.11 or newer is needed, found:$${old:- none}; install one, or name it:" \
	    "make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	if ! "$(PY)" -m pip --version >/dev/null 2>&1; then \
	  echo "Making $(VENV) with $$python ($$version)"; \
	  "$$python" -m venv "$(VENV)" || { \
	    echo "make: $$python cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }; \
	fi
	@if [ -n "$(TORCH_INDEX)" ]; then $(PIP) install -c $(CONSTRAINTS) --index-url "$(TORCH_INDEX)" torch; fi
	@echo "Installing loopwm-robot and what it needs into $(VENV) (a minute or a few, once)"
	@$(PIP) install $(if $(CI),--quiet) -e '.[dev]' -c $(CONSTRAINTS)
	@touch "$@"
