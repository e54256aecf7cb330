#!/usr/bin/env bash
# First past the post: several attempts at the same thing, the first that ends wins, the others are cancelled. Their work is kept.
# Run it anywhere inside a git repository; it needs devsh and jq.
set -euo pipefail

ids=()
for seconds in 1 20 30; do
  ids+=("$(devsh orchestrate spawn --json --agent shell/bash "# An attempt that takes $seconds s
sleep $seconds; echo 'by the attempt of $seconds s' > answer.txt" | jq -r '.orchestrationTaskId')")
done

devsh orchestrate wait "${ids[@]}" --any --timeout 1m
for id in "${ids[@]}"; do
  if [ "$(devsh orchestrate status "$id" --json | jq -r .status)" != completed ]; then
    devsh orchestrate cancel "$id"
  fi
done
