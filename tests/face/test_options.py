"""What a call can be told, and what it is told when that cannot be meant."""

from __future__ import annotations

import functools
import logging
import threading
import traceback
from typing import Any, Callable

import attrs
import pytest

from runtimeuse_sync import Client
from runtimeuse_sync import messages as m
from runtimeuse_sync.keywords import ExecuteCommandsKeywords, QueryKeywords, execute_commands_options, query_options
from runtimeuse_sync.options import CallOptions, ExecuteCommandsOptions, QueryOptions

BOTH = [functools.partial(QueryOptions, system_prompt="s"), ExecuteCommandsOptions]
each_class = pytest.mark.parametrize("options", BOTH, ids=["QueryOptions", "ExecuteCommandsOptions"])
Options = Callable[..., Any]


def nothing(*args: Any) -> None:
    """A callback."""


async def coroutine(*args: Any) -> None:
    """What must not be one."""


# --- the options of a call ----------------------------------------------------------------------------------


def test_a_call_needs_no_options() -> None:
    options = CallOptions()
    assert attrs.asdict(options, recurse=False) == dict.fromkeys(
        [
            "on_artifact_upload_request",
            "on_error_message",
            "is_cancelled",
            "timeout",
            "idle_timeout",
            "logger",
            "tick",
        ]
    )


def test_the_options_of_a_call_do_not_change() -> None:
    with pytest.raises(AttributeError):
        CallOptions().timeout = 5  # type: ignore[misc]


@pytest.mark.parametrize("name", ["timeout", "idle_timeout"])
@pytest.mark.parametrize("options", [CallOptions, *BOTH])
def test_durations_are_checked(options: Options, name: str) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a positive number of seconds"):
        options(**{name: 0})
    with pytest.raises(TypeError, match=f"^{name} must be a positive number of seconds"):
        options(**{name: True})
    assert getattr(options(**{name: 2.5}), name) == 2.5


@pytest.mark.parametrize("name", ["on_artifact_upload_request", "on_error_message"])
def test_the_callbacks_of_a_call_are_checked(name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a function or None; got a str"):
        CallOptions(**{name: "x"})
    with pytest.raises(TypeError, match=f"^{name} is an async function"):
        CallOptions(**{name: coroutine})


@each_class
def test_what_bounds_the_call_is_checked_with_the_rest(options: Options) -> None:
    with pytest.raises(TypeError, match="^on_error_message is an async function"):
        options(on_error_message=coroutine)
    with pytest.raises(TypeError, match="^is_cancelled "):
        options(is_cancelled=5)
    with pytest.raises(ValueError, match="^artifacts_dirs needs on_artifact_upload_request"):
        options(artifacts_dirs=["/out"])
    with pytest.raises(ValueError, match="^on_artifact_upload_request needs artifacts_dirs"):
        options(on_artifact_upload_request=nothing)


@each_class
@pytest.mark.parametrize("name", ["on_assistant_message", "on_command_output", "on_heartbeat"])
def test_the_callbacks_of_a_request_are_checked(options: Options, name: str) -> None:
    with pytest.raises(TypeError, match=f"^{name} must be a function or None; got a str$"):
        options(**{name: "x"})


@each_class
def test_what_goes_into_the_message_is_checked_with_the_rest(options: Options) -> None:
    with pytest.raises(TypeError, match=r"^source_id must be a str or None; got a int$"):
        options(source_id=5)
    with pytest.raises(ValueError, match=r"^secrets_to_redact has an empty string in it"):
        options(secrets_to_redact=["a", ""])


def test_a_prompt_is_a_string() -> None:
    with pytest.raises(TypeError, match=r"^prompt must be a str; got a int$"):
        QueryOptions(system_prompt="s").invocation(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("options", [CallOptions, *BOTH])
def test_a_logger_is_something_that_logs(options: Options) -> None:
    logger = logging.LoggerAdapter(logging.getLogger("mine"), {})
    assert options(logger=logger).logger is logger
    with pytest.raises(TypeError, match=r"^logger must be a logging\.Logger or LoggerAdapter, or None; got a str$"):
        options(logger="mine")


@each_class
def test_what_bounds_the_call_is_handed_on(options: Options) -> None:
    event, logger = threading.Event(), logging.getLogger("mine")
    given = {
        "on_artifact_upload_request": nothing,
        "on_error_message": print,
        "is_cancelled": event,
        "timeout": 30,
        "idle_timeout": 5.0,
        "logger": logger,
    }
    assert options(artifacts_dirs=["/out"], **given).call_options() == CallOptions(**given)


def use(options: Any) -> None:
    """As a call does."""
    options.call_options()
    _ = options.invocation("u") if isinstance(options, QueryOptions) else options.message(COMMANDS)


@each_class
@pytest.mark.parametrize(
    ("name", "value"), [("timeout", -1), ("idle_timeout", True), ("source_id", 5), ("on_heartbeat", coroutine)]
)
def test_a_change_of_options_is_checked_at_once(options: Options, name: str, value: Any) -> None:
    changed = options()
    with pytest.raises((TypeError, ValueError), match=name):
        setattr(changed, name, value)
    assert getattr(changed, name) is None
    use(changed)


@each_class
@pytest.mark.parametrize("used", ["call_options", "message"])
def test_what_has_to_fit_together_is_checked_again_when_it_is_used(options: Options, used: str) -> None:
    changed = options()
    changed.artifacts_dirs = ["/out"]  # alone it cannot be refused: the callback may come next
    with pytest.raises(ValueError, match="^artifacts_dirs needs on_artifact_upload_request"):
        changed.call_options() if used == "call_options" else use(changed)
    changed.on_artifact_upload_request = nothing
    use(changed)
    changed.secrets_to_redact.append("")
    with pytest.raises(ValueError, match="^secrets_to_redact has an empty string in it"):
        use(changed)


@each_class
def test_what_was_put_into_a_list_is_checked_when_it_is_used(options: Options) -> None:
    changed = options()
    changed.secrets_to_redact.append(5)
    with pytest.raises(TypeError, match="^secrets_to_redact must be a list of str"):
        use(changed)


WRITE = r'write json\.dumps\(\{"type": "json_schema", "schema": schema\}\)'


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("", ValueError, f"is not JSON: {WRITE}$"),
        ("{'type': 'json_schema'}", ValueError, f"is not JSON: {WRITE}$"),
        ("[" * 100_000, ValueError, f"is not JSON: {WRITE}$"),
        ("{}", ValueError, f"has no wrapper around the schema: {WRITE}$"),
        ("[]", ValueError, f"has no wrapper around the schema: {WRITE}$"),
        ('{"type": "object", "properties": {}}', ValueError, f"has no wrapper around the schema: {WRITE}$"),
        ('{"type": "json_schema"}', ValueError, f"has no wrapper around the schema: {WRITE}$"),
        ('{"type": "json_schema", "schema": "{}"}', TypeError, f"has a schema that is no object: {WRITE}"),
    ],
    ids=range(8),
)
def test_an_output_schema_that_no_runtime_takes_is_refused(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=f"^output_format_json_schema_str {said}"):
        QueryOptions(system_prompt="s", output_format_json_schema_str=text)
    changed = QueryOptions(system_prompt="s")
    changed.output_format_json_schema_str = text
    with pytest.raises(error, match=said):
        changed.invocation("u")
    invocation = m.InvocationMessage(system_prompt="s", user_prompt="u", output_format_json_schema_str=text)
    with pytest.raises(error, match=said):
        Client("ws://localhost:1").stream(invocation)


@each_class
def test_options_have_defaults(options: Options) -> None:
    made = attrs.asdict(options(), recurse=False)
    assert made.pop("secrets_to_redact") == []
    assert made.pop("system_prompt", "s") == "s"
    assert set(made.values()) == {None}


@each_class
def test_two_have_no_list_in_common(options: Options) -> None:
    assert options().secrets_to_redact is not options().secrets_to_redact


@each_class
def test_options_are_given_by_name(options: Options) -> None:
    with pytest.raises(TypeError, match="positional"):
        options("Be brief.")
    with pytest.raises(TypeError, match="unexpected keyword"):
        options(timeot=5)


def test_a_query_needs_no_system_prompt() -> None:
    assert QueryOptions().invocation("Hello").system_prompt == ""


@pytest.mark.parametrize(
    ("keywords", "options"), [(QueryKeywords, QueryOptions), (ExecuteCommandsKeywords, ExecuteCommandsOptions)]
)
def test_every_option_is_a_keyword_of_the_same_type(keywords: Any, options: type) -> None:
    # As they are written: what is written is not all subscriptable in Python 3.9.
    hints = {name: hint.__forward_arg__ for name, hint in keywords.__annotations__.items()}
    assert hints == {a.name: a.type for a in attrs.fields(options)}


def test_the_options_of_a_call_are_the_nearest_that_are_given() -> None:
    defaults, options = QueryOptions(model="small", timeout=5), QueryOptions(model="large")
    assert query_options(None, None, {}) == QueryOptions()
    assert query_options(defaults, None, {}) == defaults
    assert query_options(defaults, options, {}) == options
    assert query_options(defaults, None, {"timeout": 9}) == QueryOptions(model="small", timeout=9)
    assert query_options(defaults, options, {"timeout": 9}) == QueryOptions(model="large", timeout=9)
    assert defaults == QueryOptions(model="small", timeout=5)


def test_commands_take_of_the_defaults_what_is_theirs_as_well() -> None:
    defaults = QueryOptions(model="small", timeout=5, secrets_to_redact=["s3cret"])
    expected = ExecuteCommandsOptions(timeout=5, secrets_to_redact=["s3cret"])
    assert execute_commands_options(defaults, None, {}) == expected
    assert execute_commands_options(defaults, None, {"timeout": 9}) == attrs.evolve(expected, timeout=9)
    assert execute_commands_options(defaults, ExecuteCommandsOptions(), {}) == ExecuteCommandsOptions()


def test_keywords_are_checked_as_options_are() -> None:
    with pytest.raises(ValueError, match="timeout must be a positive number"):
        query_options(QueryOptions(), None, {"timeout": -1})
    with pytest.raises(TypeError, match="sytem_prompt"):
        query_options(None, None, {"sytem_prompt": "Be brief."})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(TypeError, match=r"^options must be QueryOptions\(\.\.\.\); got a dict$"):
        query_options(None, {}, {})  # type: ignore[arg-type]


@each_class
def test_secrets_and_callbacks_are_not_in_a_repr(options: Options) -> None:
    extra = {"agent_env": {"TOKEN": "s3cret"}} if options is not ExecuteCommandsOptions else {}
    shown = repr(options(secrets_to_redact=["s3cret"], source_id="run-1", on_assistant_message=nothing, **extra))
    assert "s3cret" not in shown
    assert "nothing" not in shown
    assert "source_id='run-1'" in shown


@each_class
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"secrets_to_redact": "s3cret"}, "secrets_to_redact must be a list of str"),
        ({"secrets_to_redact": ["s3cret", ""]}, "secrets_to_redact has an empty string"),
        ({"secrets_to_redact": ["s3cret"], "timeout": 0}, "timeout must be"),
        ({"secrets_to_redact": ["s3cret"], "artifacts_dirs": ["/out"]}, "artifacts_dirs needs"),
    ],
)
def test_no_frame_of_a_refusal_shows_a_secret(options: Options, given: dict[str, Any], said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        options(**given)
    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    inside = [frame for frame in report.stack if frame.filename != __file__]
    assert inside
    assert "s3cret" not in "".join(str(frame.locals) for frame in inside)


# --- the messages that options make ---------------------------------------------------------------------------

COMMANDS = [m.CommandInterface(command="make")]
DOWNLOADS = [m.RuntimeEnvironmentDownloadableInterface(download_url="u", working_dir="/w")]
SHARED = {
    "source_id": "run-1",
    "secrets_to_redact": ["a"],
    "artifacts_dirs": ["/out"],
    "artifacts_ignore_content": "*.tmp",
}


def test_a_query_makes_an_invocation() -> None:
    given = {
        "system_prompt": "Be brief.",
        "model": "m",
        "output_format_json_schema_str": '{"type": "json_schema", "schema": {}}',
        "agent_env": {"A": "b"},
        "pre_agent_downloadables": DOWNLOADS,
        "pre_agent_invocation_commands": COMMANDS,
        "post_agent_invocation_commands": COMMANDS,
        **SHARED,
    }
    options = QueryOptions(**given, on_artifact_upload_request=nothing, timeout=5)
    assert options.invocation("Hello") == m.InvocationMessage(user_prompt="Hello", **given)


def test_commands_make_a_command_execution() -> None:
    given = {"pre_execution_downloadables": DOWNLOADS, **SHARED}
    options = ExecuteCommandsOptions(**given, on_artifact_upload_request=nothing, timeout=5)
    assert options.message(COMMANDS) == m.CommandExecutionMessage(commands=COMMANDS, **given)
    assert options.message(tuple(COMMANDS)).commands == COMMANDS


def test_options_that_are_unset_stay_so() -> None:
    assert QueryOptions(system_prompt="s").invocation("u") == m.InvocationMessage(system_prompt="s", user_prompt="u")
    assert ExecuteCommandsOptions().message(COMMANDS) == m.CommandExecutionMessage(commands=COMMANDS)


@pytest.mark.parametrize("name", ["secrets_to_redact", "source_id"])
def test_a_value_of_the_wrong_type_is_refused_before_anything_is_sent(name: str) -> None:
    with pytest.raises(TypeError, match=name):
        QueryOptions(system_prompt="s", **{name: 5}).invocation("u")
    with pytest.raises(TypeError, match=name):
        ExecuteCommandsOptions(**{name: 5}).message(COMMANDS)


def test_every_option_of_a_call_or_a_message_can_be_given_to_a_query() -> None:
    own = {"on_assistant_message", "on_command_output", "on_heartbeat"}
    files = {"uploads", "downloads"}
    call = set(attrs.fields_dict(CallOptions)) - {"tick"}  # which is for streams alone
    invocation = set(attrs.fields_dict(m.InvocationMessage)) - {"user_prompt", "message_type"}
    execution = set(attrs.fields_dict(m.CommandExecutionMessage)) - {"commands", "message_type"}
    assert set(attrs.fields_dict(QueryOptions)) == own | files | call | invocation
    assert set(attrs.fields_dict(ExecuteCommandsOptions)) == own | call | execution
