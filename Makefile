# The template's verbs, the same as in a generated project; `make help` lists them.
# A verb is changed by what stands behind it, such as `make soak MINUTES=1`, and by no variable of the environment.
PYTHON := python3
VENV := .venv
READY := $(VENV)/.ready
BIN := $(abspath $(VENV))/bin
LIVE := {{cookiecutter.project_slug}}
DEMO := build/demo
TOOLS := 'cookiecutter>=2.7,<3' 'cruft>=2.15,<3' 'hatchling>=1.25' 'packaging>=24' 'pyyaml>=6'
PIP = '$(BIN)/pip' --disable-pip-version-check
export PATH := $(BIN):$(PATH)
# What was set for another Python, pip or uv would break the one in $(VENV), or install elsewhere.
unexport PYTHONHOME PYTHONPATH PYTHONOPTIMIZE PYTHONSAFEPATH PYTHONWARNINGS VIRTUAL_ENV
unexport PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_NO_DEPS PIP_DRY_RUN
unexport UV_PYTHON UV_SYSTEM_PYTHON UV_BREAK_SYSTEM_PACKAGES
WORKERS := 2
# What `make bench` does; 0 leaves BACKLOG or ROWS out.
SEED := 1
ROUNDS := 5
MESSAGES := 50000
BACKLOG := 1000000
ROWS := 10000000
BENCH := build/bench
PEERS := $(BENCH)/peers
BAKED := $(abspath $(BENCH))/aiopg/acme-orders
# The live project in the environment of the template: nothing is installed twice. Its place is given relatively,
# because the name of a folder around it may have spaces, which make takes for two names.
UP := $(if $(filter /%,$(VENV)),,../)
IN_LIVE = $(MAKE) --no-print-directory -C '$(LIVE)' VENV='$(UP)$(VENV)' -o '$(UP)$(READY)' WORKERS=$(WORKERS)

.DEFAULT_GOAL := help
.PHONY: help setup demo dev dev-stop dev-reset test test-template matrix faults versions soak attack bench pictures check bake readiness verify

help: ## list these verbs
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16

setup: $(READY) ## install what is needed

$(READY): pyproject.toml $(LIVE)/pyproject.toml
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": say PYTHON=python3.13 or the like behind the verb")'
	@echo 'installing into $(VENV), a minute the first time'
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python '$(PYTHON)' '$(VENV)' && \
		uv pip install --quiet --python '$(BIN)/python' -e './$(LIVE)' --group './$(LIVE)/pyproject.toml:dev' $(TOOLS); \
	else \
		'$(PYTHON)' -m venv '$(VENV)' && \
		$(PIP) install --quiet 'pip>=25.1' && \
		$(PIP) install --quiet -e './$(LIVE)' --group './$(LIVE)/pyproject.toml:dev' $(TOOLS); \
	fi
	@touch '$(READY)'

demo: $(READY) ## generate a project into build/demo and run its demo
	@rm -rf '$(DEMO)' && mkdir -p '$(DEMO)'
	@cookiecutter . --no-input --default-config --output-dir '$(DEMO)'
	@$(MAKE) --no-print-directory -C '$(DEMO)/acme-orders' VENV='$(UP:../=../../../)$(VENV)' -o '$(UP:../=../../../)$(READY)' demo

dev: $(READY) ## the live project until Ctrl-C, on servers that stay
	@$(IN_LIVE) dev

dev-stop: $(READY) ## stop these servers; their data stays
	@$(IN_LIVE) dev-stop

dev-reset: $(READY) ## stop them, and throw their data away
	@$(IN_LIVE) dev-reset

# One worker more than elsewhere: many of these tests wait, for a process to start or for one to give up.
test: $(READY) ## all tests of the template and of the live project
	@$(IN_LIVE) test WORKERS=$$(($(WORKERS) + 1))
	@$(MAKE) --no-print-directory test-template

test-template: $(READY) ## the tests of the template alone
	@root="$$PWD" && cd '$(LIVE)' && python -m dev.servers --broker rabbitmq -- \
		sh -c "cd '$$root' && exec python -m pytest $(ONLY) -n $$(($(WORKERS) + 1)) --dist worksteal"

matrix: $(READY) ## those tests of the template that make all choices, ways and verbs; hours
	@$(MAKE) --no-print-directory test-template ONLY='-m matrix'

faults: $(READY) ## every fault on real servers, 10,000 interleavings, and an account of it all
	@$(IN_LIVE) faults

# Debian's stable and testing; each is fetched once. PostgreSQL 15 has to be installed.
versions: $(READY) ## the same faults on newer RabbitMQs: 4.0 and 4.3, unpacked into build/; schema changes on PostgreSQL 15
	@for suite in trixie forky; do \
		server=$$(python -m tests.debian $$suite build/rabbitmq) && \
		TEST_RABBITMQ_SERVER="$$server" $(IN_LIVE) faults || exit 1; \
	done
	@$(MAKE) --no-print-directory test-template ONLY="-m '' -k postgresql_15"

soak: $(READY) ## random faults under load for MINUTES=15, with MESSAGES=20000 and SEED=1
	@$(IN_LIVE) soak

attack: $(READY) ## hostile input, held sockets, kills, lost rights beside GOOD=10000 messages, for MINUTES=10
	@$(IN_LIVE) attack

bench: $(READY) $(PEERS)/.ready ## the service against FastStream and a hand-written loop; writes benchmarks/RESULTS.md
	@rm -rf '$(BENCH)/aiopg' '$(BENCH)/psycopg'
	@for driver in aiopg psycopg; do \
		cookiecutter . --no-input --default-config --output-dir "$(BENCH)/$$driver" database_driver=$$driver chassis_tests=yes >/dev/null; \
	done
	@root="$$PWD" && cd '$(BAKED)' && PYTHONPATH='$(BAKED)/src:$(BAKED)' python "$$root/benchmarks/compare.py" \
		--seed $(SEED) --rounds $(ROUNDS) --messages $(MESSAGES) --backlog $(BACKLOG) --rows $(ROWS) \
		--bakes "$$root/$(BENCH)" --peers-python "$$root/$(PEERS)/bin/python" --output "$$root/$(BENCH)/results.json"
	@'$(PEERS)/bin/python' benchmarks/report.py '$(BENCH)/results.json'
	@echo 'written: benchmarks/RESULTS.md and its plot'

$(PEERS)/.ready: benchmarks/requirements.txt
	@echo 'installing FastStream, SQLAlchemy and asyncpg into $(PEERS), for the comparison alone'
	@'$(PYTHON)' -m venv '$(PEERS)' && '$(PEERS)/bin/pip' install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	@touch '$@'

pictures: $(READY) ## draw docs/pictures/ from what a generated project says
	@rm -rf '$(DEMO)' && mkdir -p '$(DEMO)' docs/pictures
	@cookiecutter . --no-input --default-config --output-dir '$(DEMO)' >/dev/null
	@python docs/draw.py '$(DEMO)/acme-orders' '$(abspath $(VENV))'

check: $(READY) ## formatting, lint, types, import contracts; of the template and the live project
	@ruff format --check . && ruff check . && mypy
	@$(IN_LIVE) check

bake: $(READY) ## ask the questions and generate a project into build/
	@mkdir -p build && cookiecutter . --output-dir build

readiness: $(READY) ## the live project's production-readiness checklist
	@$(IN_LIVE) readiness

verify: $(READY) ## the live project's alerts, dashboard, runbook, models and brokers are what its code says
	@$(IN_LIVE) verify
