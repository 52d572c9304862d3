# Each target sees to its own set-up: what the machine lacks, then the venv. A second run finds it done.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
FLOORS := .venv-floors
# What a person adds: make run ARGS='--listen 127.0.0.1:9000', make test ARGS='tests/protocol -k frame'
ARGS ?=

.PHONY: help run test lint floors interop venv bench bench-report profile bench-ledger bench-revocation campaigns pins clean install uninstall deb system-test

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## set up, then a CA in ./ca-dev, in the foreground until Ctrl-C
	@tools/packages python run
	@tools/venv $(VENV) newest
	@exec $(BIN)/ca_start_dev $(ARGS)

test: ## set up, then every check and every test
	@tools/packages python run deb test
	@$(MAKE) lint
	tools/reachable $(BIN)/python $(BIN)/pytest $(ARGS)

lint: venv ## ruff, mypy, the import law
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

floors: ## the tests again, with the lowest versions that pyproject.toml allows
	@tools/packages python run deb test
	@tools/venv $(FLOORS) floors
	tools/reachable $(FLOORS)/bin/python $(FLOORS)/bin/pytest $(ARGS)

interop: ## what others say of what is signed: zlint, Go, Java, rustls, NSS, strongSwan, … (two minutes, and a download)
	@tools/packages python run test interop
	@tools/venv $(VENV) newest
	$(BIN)/pytest tests/interop $(ARGS)

venv: ## .venv with the project (editable) and its tools, newest versions
	@tools/packages python
	@tools/venv $(VENV) newest

bench: ## our full stack and cfssl, nginx, other stores, growth, revocation (20 minutes; ARGS=... to narrow it)
	@tools/packages python run bench
	@tools/venv $(VENV) newest
	$(BIN)/python -m bench $(ARGS)

# What draws and what profiles is no part of make test, hence not in every venv.
BENCH_TOOLS = $(BIN)/python -c 'import matplotlib' 2>/dev/null && test -x $(BIN)/py-spy || \
  $(BIN)/python -W ignore -m pip --disable-pip-version-check install --quiet --editable '.[bench]'

bench-report: venv ## docs/performance.png and the tables of docs/performance.md (ARGS='bench/results/DATE.json')
	@$(BENCH_TOOLS)
	$(BIN)/python -m bench.plot $(ARGS)
	$(BIN)/python -m bench.report --into docs/performance.md $(ARGS)

profile: ## where both processes spend their time under load: bench/results/profile/ (ARGS='--key rsa2048')
	@tools/packages python run bench
	@tools/venv $(VENV) newest
	@$(BENCH_TOOLS)
	$(BIN)/python -m bench.profile $(ARGS)

bench-ledger: venv ## a ledger of a million certificates next to an empty one (five minutes, 4 GB in TMPDIR)
	$(BIN)/python -m bench.ledger_million $(ARGS)

bench-revocation: venv ## what issuance notices of 100,000 revocations
	$(BIN)/python -m bench.revocation $(ARGS)

campaigns: ## the long forms of what make test does for a moment: kills, a hostile frontend, revocation (an hour)
	@tools/packages python run test
	@tools/venv $(VENV) newest
	SIGNERD_KILLS=500 SIGNERD_MESSAGES=100000 SIGNERD_STEPS=100000 tools/reachable $(BIN)/python \
	  $(BIN)/pytest tests/hostile/test_kill.py tests/hostile/test_taken_over_frontend.py tests/hostile/test_revocation.py

pins: ## make requirements.txt anew: newest versions, by hash, for deployments
	@tools/packages python
	@tools/pins

clean: ## remove what the targets made; ./ca-dev, which is somebody's CA, stays
	rm -rf $(VENV) $(FLOORS) build dist *.egg-info .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# --- Deployment: what packaging/ and tests/system do ------------------------------------------------
# DESTDIR=, PREFIX=, LIBDIR=, UNITDIR=, PYTHON= on the command line reach packaging/install, which explains them.
install: ## for production: /opt/signerd, commands, units, man pages (DESTDIR=, PREFIX=)
	@tools/packages python
	@packaging/install

uninstall: ## take away what install put there; the CA itself stays
	@packaging/uninstall

deb: ## dist/signerd_VERSION_ARCH.deb: the same as a Debian package
	@tools/packages python deb
	@packaging/deb/build

system-test: ## all of tests/system, the long ones too: what runs in production, under a booted systemd
	@tools/packages python run deb test
	@tools/venv $(VENV) newest
	SYSTEM_TESTS=all $(BIN)/pytest tests/system $(ARGS)
