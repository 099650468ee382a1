"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Callable, Optional, TypeVar

import click

from .._common.validation import check_seconds
from ..client import Client

F = TypeVar("F", bound=Callable[..., Any])

URL_VARIABLE = "RUNTIMEUSE_URL"
TOKEN_VARIABLE = "RUNTIMEUSE_TOKEN"

# Seconds between two calls of Screen.tick, where there is one: the progress line appears so much late at most.
_TICK = 0.1


def _environment(name: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise click.BadParameter(f"the environment variable {name} is not set")
    return value


def _variable(text: str) -> tuple[str, str]:
    """``NAME=VALUE``, or ``NAME`` for a variable of our own environment."""
    name, equals, value = text.partition("=")
    if not name:
        raise click.BadParameter("write NAME or NAME=VALUE")
    return name, value if equals else _environment(name)


def _token(text: str) -> str:
    if not text.strip():
        raise click.BadParameter("the token is empty")
    return text


def _secret(name: str) -> str:
    """The value of an environment variable, which must not be empty: that would redact nothing."""
    secret = _environment(name)
    if not secret:
        raise click.BadParameter(f"the environment variable {name} is empty")
    return secret


def _header(text: str) -> tuple[str, str]:
    """``HEADER=NAME``: a header, and the environment variable that holds its value."""
    header, _, variable = text.partition("=")
    if not (header and variable):
        raise click.BadParameter("write HEADER=NAME, as in X-Access-Token=MY_TOKEN")
    return header, _environment(variable)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
        check_seconds("it", seconds)
    except ValueError:
        raise click.BadParameter("write a positive number of seconds") from None
    return seconds


def timeout_option(default: Optional[float], text: str) -> Callable[[F], F]:
    """``--timeout SECONDS``."""
    return click.option(
        "--timeout", type=_seconds, metavar="SECONDS", default=default, show_default=default is not None, help=text
    )


token_option = click.option(
    "--token",
    type=_token,
    metavar="TOKEN",
    envvar=TOKEN_VARIABLE,
    help=f"The bearer token. Better set {TOKEN_VARIABLE}: others see a command's arguments.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
env_option = click.option(
    "-e",
    "--env",
    type=_variable,
    metavar="NAME[=VALUE]",
    multiple=True,
    help="An environment variable for it; without VALUE, as it is here. Repeatable.",
)
secret_option = click.option(
    "--secret-env",
    "secrets",
    type=_secret,
    metavar="NAME",
    multiple=True,
    help="An environment variable whose value the runtime must not send back. Repeatable.",
)


def connection_options(command: F) -> F:
    """The token and other headers of the connection."""
    header = click.option(
        "--header-env",
        "headers",
        type=_header,
        metavar="HEADER=NAME",
        multiple=True,
        help="A header for the connection, its value from an environment variable. Repeatable.",
    )
    return token_option(header(command))


def is_url(word: str) -> bool:
    """Whether ``word`` is meant as a runtime's URL, and not as a prompt or a command."""
    return word.startswith(("ws://", "wss://", "http://", "https://"))


def missing(name: str, hint: Optional[str] = None) -> click.UsageError:
    """The error for an argument that was left out."""
    return click.MissingParameter(hint, param_hint=f"'{name}'", param_type="argument")


def url_or_default(url: Optional[str]) -> str:
    """``url``, or what the environment says if it is None.

    Raises:
        click.UsageError: there is none.
    """
    url = os.environ.get(URL_VARIABLE) if url is None else url
    if not url:
        raise missing("URL", f"{URL_VARIABLE} is not set either.")
    return url


def make_client(url: Optional[str], token: Optional[str], headers: Sequence[tuple[str, str]]) -> Client:
    """The client for ``url``, or for that of the environment, with what ``connection_options`` give."""
    given = dict(headers)
    if token:
        given["Authorization"] = f"Bearer {token}"
    name = URL_VARIABLE if url is None else "URL"
    try:
        return Client(url_or_default(url), headers=given, cancel_poll_interval=_TICK)
    except (TypeError, ValueError) as error:
        # The library's error names its own argument; this one names the command's option.
        raise click.UsageError(str(error).replace("ws_url", name)) from None
