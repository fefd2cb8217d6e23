# Every target sets up .venv by itself where it is missing or older than what it is made from.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo app test check bench format

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Firsthand needs Python 3.11 or newer; name one with: make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet -c constraints.txt -e . --group dev
	touch $@

demo: .venv/ready
	$(BIN)/firsthand demo

app: .venv/ready
	$(BIN)/firsthand index add ui/demo/gallery --name "demo gallery"
	$(BIN)/firsthand serve

test: .venv/ready
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile

bench: .venv/ready
	$(BIN)/python -m ui.bench speed
	$(BIN)/python -m ui.bench generation
	$(BIN)/python -m ui.bench detection

format: .venv/ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
