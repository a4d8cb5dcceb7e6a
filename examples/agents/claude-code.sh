#!/bin/sh
# Claude Code on a model of one's own, over /v1/messages. Start the server first:
#   telechat serve MODEL --any-model-name --api-key "$TELECHAT_API_KEY"
export ANTHROPIC_BASE_URL="${TELECHAT_URL:-http://127.0.0.1:8000}"
export ANTHROPIC_AUTH_TOKEN="${TELECHAT_API_KEY:-EMPTY}"
export ANTHROPIC_MODEL="${TELECHAT_MODEL:-TeleChat3-Coder-36B-Thinking}"
export ANTHROPIC_SMALL_FAST_MODEL="$ANTHROPIC_MODEL"
export CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1
exec claude "$@"
