# PlantPulse 厂脉. `make help` lists the targets that a person needs.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
WEB := api/web
NODESETS := simulators/nodesets
WEB_SOURCES := $(shell find $(WEB) -type f -not -path '*/node_modules/*' -not -path '*/dist/*' 2>/dev/null)
export PATH := $(PATH):/usr/sbin

.PHONY: help demo test test-long check audit bench bench-long soak figures locks openapi docs format setup-demo setup-test clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

# --- what a machine needs; each stamp is rebuilt only when its source has changed ---------------

.venv/uv.stamp: deploy/locks/uv.txt deploy/setup/venv.sh
	deploy/setup/venv.sh $(PYTHON)
	@touch $@

.venv/run.stamp: .venv/uv.stamp deploy/locks/all.txt pyproject.toml
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r deploy/locks/all.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev.stamp: .venv/run.stamp deploy/locks/dev.txt
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r deploy/locks/dev.txt
	@touch $@

.venv/system-demo.stamp: deploy/setup/system-packages.sh
	@mkdir -p .venv
	deploy/setup/system-packages.sh demo
	@touch $@

.venv/system-test.stamp: deploy/setup/system-packages.sh
	@mkdir -p .venv
	deploy/setup/system-packages.sh test
	@touch $@

$(NODESETS)/node_modules/.stamp: $(NODESETS)/package-lock.json
	npm ci --prefix $(NODESETS) --no-audit --no-fund --loglevel=error
	@touch $@

$(WEB)/node_modules/.stamp: $(WEB)/package-lock.json
	npm ci --prefix $(WEB) --no-audit --no-fund --loglevel=error
	@touch $@

$(WEB)/dist/.stamp: $(WEB)/node_modules/.stamp $(WEB_SOURCES)
	npm run --silent build --prefix $(WEB)
	@touch $@

setup-demo: .venv/run.stamp .venv/system-demo.stamp $(NODESETS)/node_modules/.stamp $(WEB)/dist/.stamp
setup-test: .venv/dev.stamp .venv/system-test.stamp $(NODESETS)/node_modules/.stamp $(WEB)/dist/.stamp

# --- what a person does ------------------------------------------------------------------------

demo: setup-demo ## a simulated plant, its gateway and the county's portal; Ctrl-C ends it; DEMO_SECONDS=90 ends by itself
	@exec $(BIN)/python -m simulators.demo

TEST_PROCESSES ?= 2
test: setup-test ## the whole test suite, each file in one of TEST_PROCESSES=2
	npm test --silent --prefix $(WEB)
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

test-long: setup-test ## the tests that take minutes each
	$(BIN)/python -m pytest -m long

check: .venv/dev.stamp $(WEB)/node_modules/.stamp ## format, lint, types, import contracts, locks, licences, documents
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python deploy/checks/locks.py
	$(BIN)/python deploy/checks/licences.py
	$(BIN)/python -m api.openapi --check
	$(BIN)/python -m tests.documents --check
	npm run --silent check --prefix $(WEB)

audit: .venv/dev.stamp $(WEB)/node_modules/.stamp ## known vulnerabilities of every dependency (needs the internet)
	$(BIN)/python deploy/checks/audit.py

HOURS ?= 72
soak: setup-test ## a plant, its gateway and a county for HOURS=72, one JSON object an hour: memory slope, descriptors, losses
	$(BIN)/python -m tests.soak --hours $(HOURS)

figures: .venv/dev.stamp ## the definitions' behaviour, drawn into docs/images/figures
	$(BIN)/python -m tests.figures

bench-long: setup-test ## the benchmarks that hold a whole county
	$(BIN)/python -m tests.benchmarks --long $(if $(ONLY),--only $(ONLY))

bench: setup-test ## benchmarks, one JSON object a line; ONLY=metrics runs one group
	$(BIN)/python -m tests.benchmarks $(if $(ONLY),--only $(ONLY))

# --- what a developer does ---------------------------------------------------------------------

format: .venv/dev.stamp ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: .venv/dev.stamp $(WEB)/node_modules/.stamp ## api/openapi.json and the portal's types from the routes
	$(BIN)/python -m api.openapi --write
	npm run --silent types --prefix $(WEB)

docs: .venv/dev.stamp ## the generated parts of the documents
	$(BIN)/python -m tests.documents --write

COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-find-links --no-emit-index-url --custom-compile-command "make locks"
locks: .venv/uv.stamp ## new lock files from pyproject.toml
	$(COMPILE) deploy/locks/uv.in -o deploy/locks/uv.txt
	$(COMPILE) --all-extras pyproject.toml -o deploy/locks/dev.txt
	$(COMPILE) --extra gateway --extra gateway-outputs --extra county --extra sim --extra build -c deploy/locks/dev.txt pyproject.toml -o deploy/locks/all.txt
	for tier in gateway county sim; do $(COMPILE) --extra $$tier -c deploy/locks/dev.txt pyproject.toml -o deploy/locks/$$tier.txt; done
	$(COMPILE) --extra gateway --extra gateway-outputs -c deploy/locks/dev.txt pyproject.toml -o deploy/locks/gateway-outputs.txt

clean: ## everything that was built or installed here
	rm -rf .venv $(WEB)/node_modules $(WEB)/dist $(NODESETS)/node_modules var .mypy_cache .ruff_cache .pytest_cache .hypothesis
