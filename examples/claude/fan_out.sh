#!/usr/bin/env bash
# Parallel fan-out with Claude Code: an agent for each file, all at the same time, each in a checkout and on a branch of its own.
#   examples/claude/fan_out.sh src/auth.ts src/api.ts src/db.ts
# Run it in your repository; it needs devsh and claude.
set -euo pipefail

: "${1:?which files?}"

devsh orchestrate new "Bugs in $*"

for file in "$@"; do
  devsh orchestrate spawn --agent claude/haiku --timeout 30m \
    "Look for bugs in $file. Mend those that you can prove with a test which failed before, and commit each with its test.
Leave all other files alone: somebody else works on them." &
done
wait # for the spawns; the agents run on by themselves

devsh orchestrate status --watch || true # the board, live; Ctrl-C leaves the agents at work
devsh orchestrate results                # says which of the branches conflict with each other
