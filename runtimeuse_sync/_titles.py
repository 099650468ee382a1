"""A request in a line, for people: in tables, and where a test says which call is missing."""

from __future__ import annotations

from typing import Any

from . import CommandExecutionMessage, InvocationMessage, Redactor
from ._common.words import harmless

# Characters of a prompt, or of commands.
_LONGEST = 60


def title(request: Any) -> str:
    r"""A title of ``request``: its prompt or commands, without secrets and control characters.

    >>> title(InvocationMessage(system_prompt="", user_prompt="Tidy up,\nplease."))
    'invoke: Tidy up, please.'
    """
    if isinstance(request, InvocationMessage):
        return f"invoke: {_shown(request.user_prompt, request)}"
    if isinstance(request, CommandExecutionMessage):
        return f"exec: {_shown('; '.join(item.command for item in request.commands), request)}"
    return "end of session"


def _shown(words: str, request: Any) -> str:
    return harmless(Redactor(request.secrets_to_redact).text(words), _LONGEST)
