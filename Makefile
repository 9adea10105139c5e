# Two commands do everything: `make run` runs the product, `make test` passes its tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Every core has a share of the tests, and takes of the others' when it is through.
CORES := -n logical --dist worksteal

.PHONY: run test check bench soak clean lock
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

# flake8 has the rules of async code alone (`.flake8`), and reads slowly: what has no word of it is left out.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/flake8 $$(grep -rlE '^ *(async (def|with|for) |(from|import) (trio|asyncio|anyio))' --include='*.py' bff nurseries chaos tests)
	$(BIN)/lint-imports

# The kit is traced, and no branch of it is left untried. What is live has deadlines of real time, and the machine to
# itself. Where CI is set, each virtual test runs twice, and fails where the two runs differ.
test: check
	$(BIN)/pytest tests/nurseries --cov --cov-report=term-missing:skip-covered --cov-fail-under=100
	$(BIN)/pytest tests/live
	$(BIN)/pytest --ignore=tests/nurseries --ignore=tests/live $(CORES)

bench: $(READY)
	@$(BIN)/python -m chaos.hotel.bench

soak: $(READY)
	$(BIN)/pytest tests/live -m "soak or not soak"
	$(BIN)/pytest --ignore=tests/live -m "soak or not soak" --determinism=double $(CORES)

# Needs uv; the lock names no registry host.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url \
		--no-header --no-annotate pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) .bff build *.egg-info
