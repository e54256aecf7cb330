#!/usr/bin/env bash
# Review loop: one agent implements, a second one looks at what it did, and the first step is repeated until the review passes.
# Run it anywhere inside a git repository; it needs devsh and jq.
set -euo pipefail

for round in 1 2 3; do
  RUN=$(devsh orchestrate spawn --json --agent shell/bash "# Implement feature X, round $round
for line in \$(seq $round); do echo \"line \$line\"; done > feature.txt" | jq -r '.orchestrationTaskId')
  devsh orchestrate status "$RUN" --watch

  REVIEW=$(devsh orchestrate spawn --json --agent shell/bash --depends-on "$RUN" "# Review task $RUN
lines=\$(wc -l < feature.txt)
echo \"feature.txt has \$lines lines, wanted are 2\"
test \"\$lines\" -ge 2" | jq -r '.orchestrationTaskId')
  if devsh orchestrate wait "$REVIEW"; then
    echo "accepted in round $round: $(devsh orchestrate status "$RUN" --json | jq -r .branch)"
    exit 0
  fi
done
echo "not accepted" >&2
exit 1
