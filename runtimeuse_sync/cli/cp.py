"""``runtimeuse-sync cp``: a file or folder into a sandbox, or out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Optional

import click

from ._endings import Failure, endings
from ._parameters import connection_options, is_url, make_client, timeout_option
from ._reports import open_report
from ._screen import PROGRAM, Screen

EXAMPLE = f"""Examples:

\b
  {PROGRAM} cp src ws://localhost:8080:/srv/src --ignore '*.pyc'
  {PROGRAM} cp ws://localhost:8080:/srv/out/report.pdf ./
  {PROGRAM} cp :/srv/out out
"""

# Characters of the bar.
_WIDTH = 20


@click.command(epilog=EXAMPLE)
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@connection_options
@click.option("--ignore", metavar="PATTERN", multiple=True, help="A gitignore line of what stays here. Repeatable.")
@timeout_option(None, "For all of it. Default: no limit.")
def cp(
    source: str,
    target: str,
    token: Optional[str],
    headers: Sequence[tuple[str, str]],
    ignore: Sequence[str],
    timeout: Optional[float],
) -> None:
    """Copy a file or folder to a sandbox, or from it.

    One of FROM and TO is a path here; the other is URL:PATH, or :PATH with the URL of RUNTIMEUSE_URL. PATH is absolute.
    A folder becomes TO; a file does too, unless TO ends in a slash and so says which folder it goes into.
    """
    from_there, to_there = _remote(source), _remote(target)
    if (from_there is None) == (to_there is None):
        raise click.UsageError("one of FROM and TO must be in a sandbox: ws://localhost:8080:/srv/src, or :/srv/src")
    if from_there and ignore:
        raise click.UsageError("--ignore is for what is copied to a sandbox")
    url = (from_there or to_there or (None,))[0]
    client = make_client(url, token, headers)
    report = open_report(as_json=False)
    with report.screen, endings(report):
        progress = _Progress(report.screen)
        report.screen.show_progress()
        options: dict[str, Any] = {
            "on_progress": progress.show,
            "timeout": timeout,
            "is_cancelled": report.screen.tick,
        }
        try:
            if to_there:
                client.upload(source, to_there[1], ignore="\n".join(ignore), **options)
            elif from_there:
                client.download(from_there[1], target, **options)
        except ValueError as error:  # what the source holds
            raise Failure(str(error)) from None


def _remote(word: str) -> Optional[tuple[Optional[str], str]]:
    """The URL, or None for that of the environment, and the path there; None for a path here.

    >>> _remote("ws://localhost:8080:/srv"), _remote(":/srv"), _remote("src")
    (('ws://localhost:8080', '/srv'), (None, '/srv'), None)
    """
    if word.startswith(":/"):
        return None, word[1:]
    if not is_url(word):
        return None
    scheme, mark, rest = word.partition("://")
    host, colon, path = rest.partition(":/")
    if not colon:
        raise click.UsageError("the path in the sandbox is missing, as in ws://localhost:8080:/srv/src")
    return scheme + mark + host, f"/{path}"


class _Progress:
    """The bar in the line that tells what is going on."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        screen.phase = "copying"

    def show(self, done: int, total: int) -> None:
        """Show the progress; used as ``on_progress``."""
        full = _WIDTH * done // max(total, 1)
        bar = "#" * full + "-" * (_WIDTH - full)
        self._screen.phase = f"{bar} {done / 2**20:.1f} of {total / 2**20:.1f} MiB"
