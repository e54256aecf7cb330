#!/usr/bin/env bash
# Leader and workers: Claude Code plans, spawns agents through the MCP server, reads what they did, and merges it here.
#   examples/claude/leader_worker.sh "Users have roles: a model, a middleware that checks them, and tests"
# Run it in your repository; it needs devsh and claude. In another terminal `devsh orchestrate status --watch` shows the board.
set -euo pipefail

feature=${1:?what is to be built, in one sentence?}

# What the leader is told stands in leader_worker.md. After `devsh setup claude` neither --mcp-config nor mcp__devsh-memory is needed.
# The last rule is for whatever runs your tests. In an interactive session Claude asks instead.
claude -p "$(cat "$(dirname "$0")/leader_worker.md") $feature" \
  --mcp-config '{"mcpServers": {"devsh-memory": {"command": "devsh-memory-mcp", "timeout": 1800000}}}' \
  --allowedTools mcp__devsh-memory "Bash(devsh orchestrate diff:*)" "Bash(devsh orchestrate merge:*)" "Bash(npm test:*)"
