# The verbs of this repository. They need make, bash and Python 3.11 or newer, and no root.

PYTHON ?= python3
ARGS ?=
STAMP := .venv/.installed
# The hot path as extension modules, where a C compiler could make them.
COMPILED := PYTHONPATH='$(CURDIR)/build/compiled'
# The stamp holds the place it was made for: a copied or moved tree is installed again.
ifneq ($(shell cat $(STAMP) 2>/dev/null),$(realpath .))
.PHONY: $(STAMP)
endif

.PHONY: help setup up test check bench-engine bench-gateway bench-routing bench-ledger bench-sim
.PHONY: bench-instructions bench-log bench-compare bench-live bench-money bench-policy torture
.PHONY: bench-cache bench-plan compile wheel docs clean
.DEFAULT_GOAL := help

help:  ## print these verbs
	@sed -n 's/^\([a-z-]*\):.*  ## /\1|/p' Makefile | while IFS='|' read -r verb text; do \
	    printf '  make %-14s %s\n' "$$verb" "$$text"; done

setup: $(STAMP)  ## create .venv/ and install everything into it

$(STAMP): pyproject.toml constraints.txt
	@PYTHON='$(PYTHON)' scripts/setup.sh

# The trap keeps the shell waiting through Ctrl-C, which the terminal has already sent to the
# process itself; leaving that way (130) is no error.
up: ARGS_COMPILE := --try
up: compile  ## start a fabric on this machine; options as ARGS="..."
	@trap : INT; \
	    $(COMPILED) .venv/bin/selvedge up $(ARGS) || { rc=$$?; [ $$rc -eq 130 ] || exit $$rc; }

# Twice: the sources, then what is compiled of them, with the tests of its rooms.
HOT := -m 'not engine' $(addprefix tests/,adapters attack exchange headroom ledger pop residency \
    routing wire test_compiled.py)
test: compile  ## run every test; a part of them as ARGS="tests/wire -x"
	@.venv/bin/pytest $(ARGS)
	@[ ! -e build/compiled/.compiled ] || \
	    $(COMPILED) .venv/bin/pytest $(or $(ARGS),$(HOT))

check: setup  ## lint, format, types, the floors and the tidiness of the tree
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy
	@.venv/bin/pytest tests/test_layers.py tests/test_tidy.py

bench-engine: compile  ## measure engines on this machine
	@$(COMPILED) .venv/bin/python -m bench.engine $(ARGS)

bench-gateway: compile  ## compare a PoP with other gateways on one core; see ARGS=--help
	@.venv/bin/python -m bench.gateway $(ARGS)

bench-instructions: compile  ## instructions a request, by callgrind: steady on a busy machine
	@$(COMPILED) .venv/bin/python -m bench.instructions $(ARGS)

bench-routing: compile  ## measure one routing decision among 160 GPU PoPs
	@$(COMPILED) .venv/bin/python -m bench.routing $(ARGS)

bench-ledger: compile  ## what admission and receipts cost, and what quotas keep in memory
	@$(COMPILED) .venv/bin/python -m bench.ledger $(ARGS)

bench-policy: compile  ## one residency decision among 4,100 PoPs, and compiling 1,000 tenants
	@$(COMPILED) .venv/bin/python -m bench.policy $(ARGS)

bench-log: compile  ## what a PoP's transparency log costs: bench/out/log.json
	@$(COMPILED) .venv/bin/python -m bench.log $(ARGS)

bench-money: setup  ## the invoice of ten million receipts: bench/out/money.json
	@.venv/bin/python -m bench.money $(ARGS)

bench-cache: compile  ## the answer cache: hits, wrong ones, look-ups: bench/out/cache.json
	@$(COMPILED) .venv/bin/python -m bench.cache $(ARGS)

bench-plan: compile  ## the operator's questions, at full size: bench/out/plan.json; see ARGS=--help
	@$(COMPILED) .venv/bin/python -m bench.plan $(ARGS)

bench-sim bench-compare: ARGS_COMPILE := --sim
bench-sim: compile  ## how fast the simulator is; parts of it as ARGS="engines"
	@$(COMPILED) .venv/bin/python -m bench.sim $(ARGS)

bench-compare: compile  ## the policies on fleet-4100, ten seeds: bench/out/compare.json
	@$(COMPILED) .venv/bin/python -m bench.compare $(ARGS)

bench-live: compile  ## conversations on real engines by three policies: bench/out/live.json
	@$(COMPILED) .venv/bin/python -m bench.live $(ARGS)

torture: compile  ## kill, cut and flood a running fabric, then check every receipt
	@$(COMPILED) .venv/bin/python -m bench.torture $(ARGS)

compile: setup  ## the hot path as extension modules in build/compiled/, where it has changed
	@scripts/compile.sh $(ARGS_COMPILE)

wheel: ARGS_COMPILE := --must
wheel: compile  ## dist/: the package to install at a PoP, compiled for this Python and platform
	@SELVEDGE_COMPILED=build/compiled PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip wheel \
	    -q --disable-pip-version-check --no-deps -w dist . && ls dist/*.whl

docs: setup  ## regenerate the documents that are made from tables in the code
	@.venv/bin/selvedge docs --write

clean:  ## remove caches and build outputs; .venv/ stays, and is installed again
	@rm -rf $(STAMP) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist bench/out
	@find src tests bench -type d -name __pycache__ -prune -exec rm -rf {} +
