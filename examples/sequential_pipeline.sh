#!/usr/bin/env bash
# Sequential pipeline: each agent starts from the branch of the one before.
# Run it anywhere inside a git repository; it needs devsh and jq. It leaves three branches and touches nothing else.
# With a model, replace shell/bash by its name and each script by a sentence.
set -euo pipefail

RUN1=$(devsh orchestrate spawn --json --agent shell/bash \
  '# Implement the greeting
echo "echo Hello, \${1:-world}" > greet.sh' | jq -r '.orchestrationTaskId')

RUN2=$(devsh orchestrate spawn --json --depends-on "$RUN1" --agent shell/bash \
  '# Write a test for the greeting
echo "test \"\$(sh greet.sh you)\" = \"Hello, you\"" > greet_test.sh' | jq -r '.orchestrationTaskId')

RUN3=$(devsh orchestrate spawn --json --depends-on "$RUN2" --agent shell/bash \
  '# Review: run the test against the implementation
sh greet_test.sh && echo "the greeting does what its test says"' | jq -r '.orchestrationTaskId')

devsh orchestrate status "$RUN3" --watch
