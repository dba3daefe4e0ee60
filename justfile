# Tasks of contributors. `just` alone lists them; `pip install -e '.[dev]'` brings the command.

bin := env("VIRTUAL_ENV", justfile_directory() / ".venv") / "bin"

# List the tasks
default:
    @{{ just_executable() }} --list --unsorted

# Linter, types and unit tests: under a minute
fast: lint types
    {{ bin }}/python -m pytest -q -n auto --maxprocesses 4 tests/unit tests/house

# Style
lint:
    {{ bin }}/ruff check .
    {{ bin }}/ruff format --check .

# Put the files into shape
format:
    {{ bin }}/ruff check --fix .
    {{ bin }}/ruff format .

# Types and import contracts
types:
    {{ bin }}/mypy --strict
    {{ bin }}/lint-imports

# A part of the tests: just test tests/bridge -k ranges
test *what:
    {{ bin }}/python -m pytest -q -n 3 {{ what }}

# The whole default suite
tests:
    {{ bin }}/python -m pytest -n 3

# The large sizes of a part: just full tests/faults
full *what:
    {{ bin }}/python -m pytest -m full -n 0 -s {{ what }}

# Build the documentation and check its links
docs:
    {{ bin }}/python -m docs_build --site out/site

# What CI runs
all:
    bash .ci/run

# Compare speed with another commit, on a quiet machine
bench-against ref:
    {{ bin }}/python -m tests.bench --against {{ ref }}

# Install the pre-commit hooks
hooks:
    {{ bin }}/pre-commit install
