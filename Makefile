# The verbs of this repository. They need make, bash and Python 3.11 or newer, and no root.

PYTHON ?= python3
ARGS ?=
STAMP := .venv/.installed
# The stamp holds the place it was made for: a copied or moved tree is installed again.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(realpath .))
.PHONY: $(STAMP)
endif

.PHONY: help setup up test check bench-engine bench-gateway torture compile docs clean
.DEFAULT_GOAL := help

help:  ## print these verbs
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' Makefile | while IFS='|' read -r verb text; do \
	    printf '  make %-14s %s\n' "$$verb" "$$text"; done

setup: $(STAMP)  ## create .venv/ and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@PYTHON='$(PYTHON)' scripts/setup.sh

# The trap keeps the shell waiting through Ctrl-C, which the terminal has already sent to the
# process itself; leaving that way (130) is no error.
up: setup  ## start a fabric on this machine; options as ARGS="..."
	@trap : INT; .venv/bin/selvedge up $(ARGS) || { rc=$$?; [ $$rc -eq 130 ] || exit $$rc; }

test: setup  ## run every test; a part of them as ARGS="tests/wire -x"
	@.venv/bin/pytest $(ARGS)

check: setup  ## lint, format, types, the floors and the tidiness of the tree
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/pytest tests/test_layers.py tests/test_tidy.py

bench-engine: setup  ## measure engines on this machine
	@.venv/bin/python -m bench.engine $(ARGS)

bench-gateway: setup  ## compare a PoP with other gateways on one core; see ARGS=--help
	@.venv/bin/python -m bench.gateway $(ARGS)

torture: setup  ## kill, cut and flood a running fabric, then check every receipt
	@.venv/bin/python -m bench.torture $(ARGS)

compile: setup  ## an experiment: the hot path compiled; see docs/performance.md
	@scripts/compile.sh

docs: setup  ## regenerate the documents that are made from tables in the code
	@.venv/bin/selvedge docs --write

clean:  ## remove caches and build outputs; .venv/ stays, and is installed again
	@rm -rf $(STAMP) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist bench/out
	@find src tests bench -type d -name __pycache__ -prune -exec rm -rf {} +
