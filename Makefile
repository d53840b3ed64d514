# The verbs of this project. Everything else is in CONTRIBUTING.md.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: help quickstart test test-fast lint format docs bench-cli bench-launch mutate-checks lock clean

help:
	@echo "make quickstart   a real SGLang server and real vectors (ARGS=--once stops it)"
	@echo "make test         all tests, against a real server on the CPU"
	@echo "make test-fast    the tests that need no server"
	@echo "make lint         ruff, mypy, import-linter, yamllint"
	@echo "make format       ruff's formatting and its safe fixes"
	@echo "make docs         what the docs take from the program: schema, tables"
	@echo "make bench-cli    how long the command line takes, into docs/benchmarks.md"
	@echo "make bench-launch how long a start takes, into docs/benchmarks.md"
	@echo "make mutate-checks what no test notices when a check is broken"
	@echo "make lock         the pinned versions in constraints/, anew"
	@echo "make clean        remove .venv and what the tools cached"

quickstart:
	@$(PYTHON) tools/bootstrap.py server
	@$(BIN)/sgl-embed quickstart $(ARGS)

test:
	@$(PYTHON) tools/bootstrap.py server dev
	@$(BIN)/pytest -m "not gpu and not cluster and not long" $(ARGS)

test-fast:
	@$(PYTHON) tools/bootstrap.py dev
	@$(BIN)/pytest -n auto -m "not server and not gpu and not cluster and not long" $(ARGS)

lint:
	@$(PYTHON) tools/bootstrap.py dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/yamllint --strict .

format:
	@$(PYTHON) tools/bootstrap.py dev
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

docs:
	@$(PYTHON) tools/bootstrap.py dev
	@$(BIN)/python tools/write_docs.py

bench-cli:
	@$(PYTHON) tools/bootstrap.py server
	@$(BIN)/python tools/bench_cli.py

bench-launch:
	@$(PYTHON) tools/bootstrap.py server
	@$(BIN)/python tools/bench_launch.py

mutate-checks:
	@$(PYTHON) tools/bootstrap.py dev
	@$(BIN)/python tools/mutate_checks.py $(ARGS)

lock:
	@$(PYTHON) tools/bootstrap.py dev
	@$(PYTHON) tools/lock.py $(BIN)/uv

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
