#!/usr/bin/env bash
# Sequential pipeline with Claude Code: one agent builds, one writes tests for what it built, one reviews both.
#   examples/claude/sequential_pipeline.sh "Let people log in with a passkey"
# Each starts from the branch of the one before and is told what that one did. Run it in your repository; it needs devsh and claude.
set -euo pipefail

feature=${1:?what is to be built, in one sentence?}

devsh orchestrate new "$feature"

devsh orchestrate spawn --agent claude/sonnet --name build \
  "$feature. Do it the way similar things are done in this repository, keep the change small, and commit it."

devsh orchestrate spawn --agent claude/sonnet --name tests --depends-on build \
  "Write tests for what the task build has done: $feature. Cover its errors too. Run them, and commit them."

devsh orchestrate spawn --agent claude/opus --name review --depends-on tests \
  "Review the implementation and the tests of: $feature. Look for bugs, for holes in security and for tests that prove nothing.
Change nothing. Say what you found, the worst first, with file and line."

devsh orchestrate status --watch || true # the board, live; Ctrl-C leaves the agents at work
devsh orchestrate results                # the review, the branches, and the line that merges them
