# Two commands do everything: `make run` runs the product, `make test` passes its tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Every core has a share of the tests, and takes of the others' when it is through.
CORES := -n logical --dist worksteal
SPREE := tests/live/test_killing_spree.py
# Two at a time, each one's lines together where this make can do so (4.0).
TOGETHER := $(MAKE) --no-print-directory --jobs 2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

# What one process has compiled, the hundreds that follow need not: whoever forbids it elsewhere does not mean here.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test check lint types async layers kit live bench audit soak clean lock
.DEFAULT_GOAL := run

# Set-up happens once, and again only when the lock or the project file changes.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; v in ((3, 11), (3, 12)) or sys.exit("bff needs Python 3.11 or 3.12, and $(PYTHON) is %d.%d: try make PYTHON=python3.11" % v)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY)
	@$(BIN)/bff up

# What reads the code, side by side: no one of them fills two cores. flake8 has the rules of async code alone
# (`.flake8`), and reads slowly: what has no word of it is left out.
check: $(READY)
	+@$(TOGETHER) lint types async layers

lint types async layers kit: $(READY)
lint:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
types:
	$(BIN)/mypy
async:
	$(AFTERWARDS) $(BIN)/python -P tests/house/async_rules.py $$(grep -rlE '^ *(async (def|with|for) |(from|import) (trio|asyncio|anyio))' --include='*.py' bff nurseries chaos tests)
layers:
	$(BIN)/lint-imports
# The kit is traced, and no branch of it is left untried.
kit:
	$(BIN)/pytest tests/nurseries --cov --cov-report=term-missing:skip-covered --cov-fail-under=100

# What is live has deadlines of real time: two at once at most, and beside them only what waits until nobody else wants
# a core; the spree, which takes all there is, by itself.
# Where CI is set, each virtual test runs twice, and fails where the two runs differ.
test: $(READY)
	+@$(TOGETHER) types kit lint layers
	+@$(TOGETHER) live async AFTERWARDS='nice -n 19'
	$(BIN)/pytest $(SPREE)
	$(BIN)/pytest --ignore=tests/nurseries --ignore=tests/live $(CORES)

live: $(READY)
	$(BIN)/pytest tests/live --ignore=$(SPREE) -n 2 --dist worksteal

bench: $(READY)
	@$(BIN)/python -m chaos.hotel.bench

# Whether anything is known against what the lock names, and a list of what is installed. Asks the network, which
# neither `test` nor `check` does.
audit: $(READY)
	@$(BIN)/python .ci/audit.py

soak: $(READY)
	$(BIN)/pytest tests/live -m "soak or not soak"
	$(BIN)/pytest --ignore=tests/live -m "soak or not soak" --determinism=double $(CORES)

# Needs uv; the lock names no registry host.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url \
		--no-header --no-annotate pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .bff build *.egg-info
