#!/usr/bin/env bash
# Parallel fan-out: independent tasks at the same time, each on a branch of its own; then what they came to.
# Run it anywhere inside a git repository; it needs devsh and jq.
set -euo pipefail

devsh orchestrate new "Fan-out example" > /dev/null

for part in auth api db; do
  devsh orchestrate spawn --agent shell/bash --name "$part" "# Note about $part
sleep 1
echo 'looked at $part' > 'note-$part.txt'" &
done
wait

for id in $(devsh orchestrate list --status running --json | jq -r '.[].orchestrationTaskId'); do
  devsh orchestrate status "$id" --watch &
done
wait

devsh orchestrate wait --timeout 1m > /dev/null
devsh orchestrate results
