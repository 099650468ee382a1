"""The options of a call as its keywords: what type checkers know of them, and what they make together."""

from __future__ import annotations

from functools import wraps
from typing import Any, Callable, Optional, TypedDict, TypeVar, cast

import attrs

from . import messages as m
from ._common.validation import check_type
from .options import (
    ExecuteCommandsOptions,
    IsCancelledCallback,
    Logger,
    OnArtifactUploadRequestCallback,
    OnAssistantMessageCallback,
    OnCommandOutputCallback,
    OnErrorMessageCallback,
    OnHeartbeatCallback,
    QueryOptions,
    Transfers,
)


class StreamKeywords(TypedDict, total=False):
    """The keywords of ``stream(invocation)``.

    >>> keywords: StreamKeywords = {"timeout": 60}
    >>> QueryOptions(**keywords).timeout
    60
    """

    on_artifact_upload_request: Optional[OnArtifactUploadRequestCallback]
    on_error_message: Optional[OnErrorMessageCallback]
    is_cancelled: Optional[IsCancelledCallback]
    timeout: Optional[float]
    idle_timeout: Optional[float]
    logger: Optional[Logger]


class InvokeKeywords(StreamKeywords, total=False):
    """The keywords of ``invoke``, without the result's class and callback.

    >>> keywords: InvokeKeywords = {"timeout": 60, "on_heartbeat": print}
    >>> QueryOptions(**keywords).timeout
    60
    """

    on_assistant_message: Optional[OnAssistantMessageCallback]
    on_command_output: Optional[OnCommandOutputCallback]
    on_heartbeat: Optional[OnHeartbeatCallback]


class _RequestKeywords(InvokeKeywords, total=False):
    source_id: Optional[str]
    secrets_to_redact: list[str]
    artifacts_dirs: Optional[list[str]]
    artifacts_ignore_content: Optional[str]


class QueryKeywords(_RequestKeywords, total=False):
    """The fields of ``QueryOptions``, as keywords of a call.

    >>> keywords: QueryKeywords = {"system_prompt": "Be brief.", "timeout": 60}
    >>> QueryOptions(**keywords).timeout
    60
    """

    system_prompt: str
    model: Optional[str]
    output_format_json_schema_str: Optional[str]
    agent_env: Optional[dict[str, str]]
    pre_agent_downloadables: Optional[list[m.RuntimeEnvironmentDownloadableInterface]]
    pre_agent_invocation_commands: Optional[list[m.CommandInterface]]
    post_agent_invocation_commands: Optional[list[m.CommandInterface]]
    uploads: Optional[Transfers]
    downloads: Optional[Transfers]


class ExecuteCommandsKeywords(_RequestKeywords, total=False):
    """The fields of ``ExecuteCommandsOptions``, as keywords of a call.

    >>> keywords: ExecuteCommandsKeywords = {"timeout": 60}
    >>> ExecuteCommandsOptions(**keywords).timeout
    60
    """

    pre_execution_downloadables: Optional[list[m.RuntimeEnvironmentDownloadableInterface]]


FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def _emptying_keywords(function: FunctionT) -> FunctionT:
    """``function``, which empties the keywords of a call that it refuses: frames of its callers hold them as well."""

    @wraps(function)
    def checked(defaults: Any, options: Any, keywords: Any) -> Any:
        try:
            return function(defaults, options, keywords)
        except (TypeError, ValueError):
            keywords.clear()
            raise

    return cast(FunctionT, checked)


@_emptying_keywords
def query_options(
    defaults: Optional[QueryOptions], options: Optional[QueryOptions], keywords: QueryKeywords
) -> QueryOptions:
    """The options of one call: ``options`` instead of the client's ``defaults``, and ``keywords`` over either."""
    if options is not None:
        check_type("options", options, QueryOptions, "QueryOptions(...)")
    base = options or defaults
    if base is None:
        return QueryOptions(**keywords)
    return attrs.evolve(base, **keywords) if keywords else base


@_emptying_keywords
def execute_commands_options(
    defaults: Optional[QueryOptions], options: Optional[ExecuteCommandsOptions], keywords: ExecuteCommandsKeywords
) -> ExecuteCommandsOptions:
    """The options of commands; of ``defaults`` it takes the fields that commands have as well."""
    if options is not None:
        check_type("options", options, ExecuteCommandsOptions, "ExecuteCommandsOptions(...)")
        return attrs.evolve(options, **keywords) if keywords else options
    inherited = {} if defaults is None else defaults._fields_of(ExecuteCommandsOptions)
    return ExecuteCommandsOptions(**{**inherited, **keywords})
