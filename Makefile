# Everything here starts from nothing: a machine with Python 3.11 or newer and make.
#   make demo   reads a sample conversation and answers questions about it
#   make test   runs the tests
#   make test-sonar   makes SONAR's own environment (7 GB) and runs its tests
#   make lint   checks the code, the protos, the containers
#   make up     brings the stack up with docker compose, and makes its secrets

SHELL := /bin/bash
PYTHON ?= python3
UV_VERSION := 0.13.8
UV := $(shell command -v uv 2>/dev/null || echo .tools/bin/uv)
RUN := $(UV) run --no-sync
DATA := tests/bench/data/sample

.PHONY: demo test test-sonar sonar-environment lint format up down protos environment clean

environment: .venv/.complete

.tools/bin/uv:
	$(PYTHON) -m venv .tools
	.tools/bin/python -m pip install --quiet uv==$(UV_VERSION)

# torch and its CUDA libraries are most of it: see the README for how long it takes.
.venv/.complete: uv.lock pyproject.toml client/pyproject.toml $(filter .tools/%,$(UV))
	$(UV) sync --frozen --extra all
	@touch $@

# The demo keeps to a data folder of its own, and takes it away afterwards.
demo: environment
	@set -e; export SAPIENCE_DATA_DIR="$$(mktemp -d)"; \
	trap '$(RUN) sapience down >/dev/null 2>&1; rm -rf "$$SAPIENCE_DATA_DIR"' EXIT; \
	$(RUN) sapience demo --data $(DATA)

test: environment
	@if command -v java >/dev/null && command -v mvn >/dev/null; then \
	    $(RUN) scripts/neo4j-local run -- $(CURDIR)/.venv/bin/python -m pytest $(PYTEST); \
	else \
	    echo "no Java and Maven here: the tests against a real Neo4j are skipped"; \
	    $(RUN) python -m pytest $(PYTEST); \
	fi

# SONAR's own library, in an environment of its own beside this one: fairseq2 holds torch and transformers to versions
# of theirs. Only that it is there is asked of the environment; `uv sync` is quick where nothing changed.
sonar-environment: $(filter .tools/%,$(UV))
	UV_PROJECT_ENVIRONMENT=$(CURDIR)/.venv-sonar $(UV) sync --project perception/sonar --frozen

# The checkpoints and what fairseq2 makes of them are made there, and this environment's transformers is held to them.
test-sonar: environment sonar-environment
	@set -e; export SAPIENCE_SONAR_HANDED="$$(mktemp -d)"; trap 'rm -rf "$$SAPIENCE_SONAR_HANDED"' EXIT; \
	.venv-sonar/bin/python -m pytest -c perception/sonar/pyproject.toml --rootdir perception/sonar \
	    perception/sonar/tests; \
	$(RUN) python -m pytest tests/unit/test_sonar_reference.py

lint: environment
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy
	$(RUN) lint-imports
	$(RUN) buf lint
	$(RUN) hadolint deploy/Dockerfile
	$(RUN) docker-compose -f docker-compose.yml config -q
	$(RUN) docker-compose -f docker-compose.yml -f docker-compose.gpu.yml config -q
	$(RUN) docker-compose -f docker-compose.yml -f docker-compose.sonar.yml --profile sonar config -q

format: environment
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

protos: environment
	scripts/generate-protos

up:
	scripts/compose-secrets
	docker compose up --detach --build --wait

down:
	docker compose down

clean:
	rm -rf .venv .venv-sonar .tools
