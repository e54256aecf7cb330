#!/usr/bin/env bash
# Review loop with Claude Code: one agent implements, another one reviews, and the first goes on with what the review says
# until it is accepted, in its own session and on its own branch. At most three rounds.
#   examples/claude/review_loop.sh "Let people log in with a passkey"
# Run it in your repository; it needs devsh, jq and claude.
set -euo pipefail

feature=${1:?what is to be built, in one sentence?}

spawn() { devsh orchestrate spawn --json "$@" | jq -r .orchestrationTaskId; }

RUN=$(spawn --agent claude/sonnet "$feature. Add tests, run them, and commit.")

for round in 1 2 3; do
  REVIEW=$(spawn --agent claude/opus --depends-on "$RUN" \
    "Review the changes from task $RUN, which was: $feature. Check for bugs, security issues, and code quality; change nothing.
Write what has to be done before it can be merged. End with a line that is just ACCEPTED or REJECTED.")
  devsh orchestrate wait "$REVIEW" --timeout 1h

  said=$(devsh orchestrate status "$REVIEW" --json | jq -r .result)
  if [ "${said##*$'\n'}" = ACCEPTED ]; then
    echo "accepted in round $round: devsh orchestrate merge $RUN"
    exit 0
  fi
  RUN=$(spawn --resume "$RUN" "A review of your work says what follows. Do it, or say why not. $said")
done
echo "not accepted in three rounds; $RUN works on what was said last" >&2
exit 1
