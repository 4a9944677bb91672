# kmsgw: every task of a developer. `make help` lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What the benchmark compares with has needs of its own, which are none of the product's.
PEERS := .venv-bench
PROTOS := $(wildcard proto/kmsgw/v1/*.proto)
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Hundreds of processes are started here. Where they may keep no bytecode, each compiles all that it imports: half of a
# worker's start.
unexport PYTHONDONTWRITEBYTECODE
# compat: the tree is on the module path as it is. With setuptools' own finder a folder that is named kmsgw, such as the
# clone seen from the folder above, is taken for the package.
EDITABLE := --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
.DEFAULT_GOAL := help
.PHONY: help demo run test check services proto proto-check policies lint types imports fuzz faults loops loadtest bench soak flood audit-bench audit-cost man lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.runs ## tell the whole story on the embedded store; its state stays in build/demo
	$(BIN)/python docs/demo/story.py

run: $(VENV)/.runs ## start a gateway for trying things, in build/run; Ctrl-C ends it
	$(BIN)/python docs/demo/run.py

# Tests wait a lot, so three processes keep two cores busy. Each takes whole files, in the order of tests/conftest.py.
PARALLEL := -n 3 --dist loadfile --no-loadscope-reorder --durations 15

# What depends on how calls are taken and answered. `make test` runs the shorter ones with threads too.
WIRE_TESTS := tests/integration/test_client.py tests/integration/test_attacks.py tests/integration/test_flood.py

test: services $(VENV)/.develops ## install what the tests need, and run every check and test
	$(MAKE) --no-print-directory -j 2 --output-sync=target check
	$(BIN)/python -m pytest $(PARALLEL)
	KMSGW_TEST_LOOP=threads $(BIN)/python -m pytest $(PARALLEL) tests/integration/test_client.py tests/integration/test_attacks.py -k "not programs_of_the_guide and not restart"

check: $(VENV)/.develops lint types imports proto-check policies ## run every static check

lint: $(VENV)/.develops ## check style
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.develops ## check types
	$(BIN)/mypy

imports: $(VENV)/.develops ## check who imports whom
	$(BIN)/lint-imports --no-logo

proto: $(VENV)/.develops ## generate kmsgw/v1 from proto/
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=. --grpc_python_out=. --pyi_out=. $(PROTOS)

proto-check: $(VENV)/.develops ## lint the contract, and fail where kmsgw/v1 is not what proto/ generates
	$(BIN)/buf lint proto
	rm -rf build/proto && mkdir -p build/proto
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out=build/proto --grpc_python_out=build/proto --pyi_out=build/proto $(PROTOS)
	@for made in build/proto/kmsgw/v1/*; do \
	  cmp "$$made" "kmsgw/v1/$$(basename "$$made")" || { echo 'kmsgw/v1 is stale: run `make proto`'; exit 1; }; done
	@for kept in kmsgw/v1/*_pb2*; do \
	  test -e "build/proto/$$kept" || { echo "$$kept is of no file in proto/: remove it"; exit 1; }; done

policies: $(VENV)/.develops ## validate the shipped policies and run their cases
	$(BIN)/kmsgw policy validate policies
	$(BIN)/kmsgw policy test --failed policies

services: ## install the servers that the tests use (as root): SoftHSM2, PostgreSQL, strace, Go
	@.ci/services

fuzz: services $(VENV)/.develops ## send 100,000 generated inputs to every RPC
	KMSGW_FUZZ_INPUTS=100000 $(BIN)/python -m pytest tests/faults/test_fuzz.py --timeout 7200

faults: services $(VENV)/.develops ## kill workers, fill disks, stop servers: the long form
	KMSGW_FAULTS=long KMSGW_TEST_PATIENCE=1 $(BIN)/python -m pytest tests/faults tests/integration/test_rewrap_run.py tests/unit/rewrapping tests/unit/reading tests/unit/audit/test_settling_poison.py tests/contract/test_second_factor.py tests/contract/test_lifecycle_walk.py --timeout 7200
	KMSGW_TEST_LOOP=threads KMSGW_FAULTS=long $(BIN)/python -m pytest $(WIRE_TESTS) tests/faults/test_daemon.py tests/faults/test_worker_kill.py tests/faults/test_full_disk.py tests/faults/test_open_intents.py --timeout 7200

loops: services $(VENV)/.develops ## run every contract, integration and fault test with threads instead of the default loop
	KMSGW_TEST_LOOP=threads $(BIN)/python -m pytest $(PARALLEL) tests/contract tests/integration tests/faults

loadtest: $(VENV)/.develops ## put a gateway of its own under load and write build/loadtest/report.html
	$(BIN)/python -m loadtests.run

bench: $(PEERS)/.measures ## measure kmsgw beside OpenBao; writes build/bench.html and .json; BENCH=--short: just try
	@.ci/services bench
	$(PEERS)/bin/python -m loadtests.bench.run $(BENCH)

flood: $(VENV)/.develops ## measure what an honest caller notices while another floods; FLOOD=--help
	$(BIN)/python -m loadtests.flood $(FLOOD)

AUDIT ?= verify
audit-bench: $(VENV)/.develops ## make an audit log of 2 million entries, and measure; AUDIT=verify, see AUDIT=--help
	$(BIN)/python -m loadtests.audit_bench build
	$(BIN)/python -m loadtests.audit_bench $(AUDIT)

soak: $(VENV)/.develops ## a million calls in ten minutes: does anything grow or leak? SOAK='--minutes 2 --calls 100000'
	@.ci/services bench
	$(BIN)/python -m loadtests.soak $(SOAK)

audit-cost: $(VENV)/.develops ## what durability adds to a call, against a log in memory; COST=--help
	@.ci/services bench
	$(BIN)/python -m loadtests.audit_cost $(COST)

man: $(VENV)/.runs ## write the manual pages of kmsgw into build/man
	$(BIN)/kmsgw man --folder build/man

lock: $(VENV)/.develops ## pin the newest versions that pyproject.toml allows, with hashes
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --allow-unsafe --no-header --upgrade -o requirements.lock pyproject.toml
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --allow-unsafe --no-header --upgrade -c requirements.lock --extra demo -o requirements-demo.lock pyproject.toml
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --allow-unsafe --no-header --upgrade -c requirements-demo.lock --extra demo --extra tracing --extra dev -o requirements-dev.lock pyproject.toml
	$(BIN)/pip-compile -q --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --strip-extras --allow-unsafe --no-header --upgrade --extra bench -o requirements-bench.lock pyproject.toml

clean: ## remove what was built; the virtual environment stays
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'kmsgw needs Python 3.11 or newer'; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); .ci/services venv && $(PYTHON) -m venv $(VENV); }

# What runs the product and its demonstration.
$(VENV)/.runs: requirements-demo.lock pyproject.toml | $(VENV)/bin/python
	@test -e $(VENV)/.develops || echo 'installing what kmsgw needs into $(VENV): a minute or two'
	@test -e $(VENV)/.develops || $(BIN)/pip install -q --no-compile --require-hashes -r requirements-demo.lock
	@PYTHONWARNINGS=ignore $(BIN)/pip install -q $(EDITABLE)
	@touch $@

# What checks and tests it, besides.
$(VENV)/.develops: requirements-dev.lock pyproject.toml | $(VENV)/bin/python
	@echo 'installing what the checks and tests need into $(VENV): some minutes'
	@$(BIN)/pip install -q --no-compile --require-hashes -r requirements-dev.lock
	@PYTHONWARNINGS=ignore $(BIN)/pip install -q $(EDITABLE)
	@touch $@ $(VENV)/.runs

# What the benchmark runs in.
$(PEERS)/.measures: requirements-bench.lock pyproject.toml | $(VENV)/bin/python
	@echo 'installing what the benchmark needs into $(PEERS): a minute or two'
	@$(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/pip install -q --require-hashes -r requirements-bench.lock
	@PYTHONWARNINGS=ignore $(PEERS)/bin/pip install -q $(EDITABLE)
	@touch $@
