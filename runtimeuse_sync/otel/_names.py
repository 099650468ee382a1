"""All names of spans, attributes and metrics. They are only here: the conventions change from version to version."""

from __future__ import annotations

from typing import Final

#: The instrumentation scope.
SCOPE: Final = "runtimeuse_sync"

# --- of the GenAI semantic conventions, 1.41 ------------------------------------------------------------

OPERATION: Final = "gen_ai.operation.name"
INVOKE_AGENT: Final = "invoke_agent"
PROVIDER: Final = "gen_ai.provider.name"
MODEL: Final = "gen_ai.request.model"
OUTPUT_TYPE: Final = "gen_ai.output.type"
OUTPUT_IS_JSON: Final = "json"
CONVERSATION: Final = "gen_ai.conversation.id"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
SYSTEM_INSTRUCTIONS: Final = "gen_ai.system_instructions"
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"

DURATION_METRIC: Final = "gen_ai.client.operation.duration"
TOKEN_METRIC: Final = "gen_ai.client.token.usage"
TOKEN_TYPE: Final = "gen_ai.token.type"
INPUT: Final = "input"
OUTPUT: Final = "output"
#: The boundaries of the metrics' buckets: seconds, and tokens.
SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = tuple(4**power for power in range(14))

# --- of the general conventions -------------------------------------------------------------------------

ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

# --- our own --------------------------------------------------------------------------------------------

# Operations that the conventions have no name for.
EXECUTE_COMMANDS: Final = "execute_commands"
END_SESSION: Final = "end_session"

CONNECT_SPAN: Final = "connect"
PHASE_SPAN: Final = "phase"
DRAIN_SPAN: Final = "drain"
PHASE: Final = "runtimeuse.phase"
SOURCE: Final = "runtimeuse.source_id"
COMMANDS: Final = "runtimeuse.commands"
COST: Final = "runtimeuse.usage.cost_usd"
TURNS: Final = "runtimeuse.usage.turns"

ERROR_EVENT: Final = "runtimeuse.error"
ERROR_TEXT: Final = "runtimeuse.error.text"
ARTIFACT_EVENT: Final = "runtimeuse.artifact"
ARTIFACT_PATH: Final = "runtimeuse.artifact.path"
