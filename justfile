# Everything runs in the environment that ./try prepares.

set positional-arguments

# Lists the recipes.
default:
    @just --list

# Prepares the environment, with the tools for developing.
setup:
    ./try exec python --version

# What a commit has to pass.
check: lint types floors test

# Tests; arguments go to pytest.
test *arguments:
    ./try test "$@"

lint:
    ./try exec ruff check
    ./try exec ruff format --check

# Mends what ruff can mend.
format:
    ./try exec ruff check --fix
    ./try exec ruff format

types:
    ./try exec mypy

# Which module may import which.
floors:
    ./try exec lint-imports

# Promises that no test holds yet.
uncovered:
    ./try exec python tests/requirements.py

# Kills at random (`--kills N --seed S`), or one fault of each kind at every boundary (`--boundaries 1`).
faults *arguments:
    ./try exec python -m tests.faults "$@"

# Measurements.
bench *arguments:
    ./try exec python -m benchmarks "$@"

# Writes schemas/ anew from the records.
schemas:
    ./try exec python -m devsh_memory_mcp.store.schemas

# Makes the terminal pictures in docs/ anew, from a real run.
captures:
    ./try exec python -m docs.captures

demo *arguments:
    ./try demo "$@"

# Proves the memory root; --repair mends it.
fsck *arguments:
    ./try fsck "$@"

# README's commands in a Debian with python3 and git alone; root, debootstrap and the network are needed.
bare-debian *commands:
    tests/debian/bare.sh "$@"

# What continuous integration runs; it installs system packages.
ci:
    .ci/run
