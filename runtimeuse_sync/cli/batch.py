"""``runtimeuse-sync batch``: the agent on many prompts, into a file that can be gone on with."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from typing import Any, Optional

import click

from ..client import Client
from ..exceptions import ConnectionFailedError
from ..jobs import Budget, Outcome, Progress
from ..usage import Usage
from ._answers import Answers, open_answers
from ._endings import FAILED, endings
from ._parameters import (
    connection_options,
    env_option,
    is_url,
    make_client,
    missing,
    secret_option,
    timeout_option,
)
from ._prompts import Prompts, open_prompts
from ._reports import describe, open_report
from ._schema import read_schema
from ._screen import PROGRAM, Screen
from ._streams import silence_closed_pipes

EXAMPLE = f"""Examples:

\b
  {PROGRAM} batch ws://localhost:8080 prompts.jsonl -o answers.jsonl --at-once 8
  {PROGRAM} batch prompts.csv -o answers.jsonl --schema answer.json --budget-usd 5
"""

# Characters of the bar.
_WIDTH = 20


def _budget(text: str) -> Budget:
    try:
        return Budget(cost_usd=float(text))
    except ValueError:
        raise click.BadParameter("write a number of dollars above 0") from None


def _rate(text: str) -> float:
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise click.BadParameter("write how many may begin in a second, such as 0.5")


def _url_and_prompts(first: Optional[str], second: Optional[str]) -> tuple[Optional[str], str]:
    if second is not None:
        return first, second
    if first is None or is_url(first):
        raise missing("PROMPTS")
    return None, first


@click.command(epilog=EXAMPLE)
@click.argument("url", required=False, metavar="[URL]")
@click.argument("prompts", required=False, metavar="PROMPTS")
@click.option("-o", "--output", required=True, metavar="FILE", help="Where the answers go, one JSON object a line.")
@click.option("--at-once", type=click.IntRange(min=1), default=8, show_default=True, help="How many run at once.")
@connection_options
@click.option("-s", "--system-prompt", default="", metavar="TEXT", help="The agent's instructions.")
@click.option("-m", "--model", metavar="NAME", help="The model. Default: the runtime's own.")
@click.option("--schema", type=read_schema, metavar="FILE", help="A JSON schema: each result has to fit it.")
@click.option(
    "--budget-usd", "budget", type=_budget, metavar="DOLLARS", help="Begin no other run once so much has been spent."
)
@click.option("--rate", type=_rate, metavar="NUMBER", help="How many may begin in a second, at most.")
@click.option("--record", "journal", metavar="FILE", help="Append all that goes to and fro to this journal.")
@env_option
@secret_option
@timeout_option(None, "For each run. Default: no limit.")
def batch(
    url: Optional[str],
    prompts: Optional[str],
    output: str,
    at_once: int,
    token: Optional[str],
    headers: Sequence[tuple[str, str]],
    system_prompt: str,
    model: Optional[str],
    schema: Any,
    budget: Optional[Budget],
    rate: Optional[float],
    journal: Optional[str],
    env: Sequence[tuple[str, str]],
    secrets: Sequence[str],
    timeout: Optional[float],
) -> None:
    """Run the agent at URL (default: RUNTIMEUSE_URL) on each of PROMPTS.

    PROMPTS is a file of lines of JSON, {"prompt": "..."} with an "id" if you like, or a .csv file with such columns;
    "-" is standard input. Begun again, it goes on: what has an answer in FILE is not asked again.
    """
    url, prompts = _url_and_prompts(url, prompts)
    client = make_client(url, token, headers)
    report = open_report(as_json=False)
    options: dict[str, Any] = {
        "at_once": at_once,
        "rate": rate,
        "system_prompt": system_prompt,
        "model": model,
        "output_type": schema,
        "agent_env": dict(env) or None,
        "secrets_to_redact": list(secrets),
        "timeout": timeout,
    }
    with report.screen as screen, endings(report):
        with open_prompts(prompts) as asked, open_answers(output) as answers, _recorded(client, journal) as recorded:
            run = _Batch(asked, answers, budget, screen)
            run.run(recorded, options)
        if not run.is_done:
            silence_closed_pipes()
            raise click.exceptions.Exit(FAILED)


def _recorded(client: Client, journal: Optional[str]) -> AbstractContextManager[Client]:
    if journal is None:
        return nullcontext(client)
    from ..journal import record

    return record(client, journal)


class _Batch:
    """The prompts that have no answer yet, as an iterable for ``map``; writes and shows their outcomes."""

    def __init__(self, prompts: Prompts, answers: Answers, budget: Optional[Budget], screen: Screen) -> None:
        self._prompts, self._answers, self._budget, self._screen = prompts, answers, budget, screen
        self._ids: dict[int, str] = {}  # of those that have been taken and have no outcome yet, by their index
        self._total = sum(prompt.id not in answers.done for prompt in prompts)
        self._answered = self._failed = 0
        self._usage = Usage()
        self._is_warned = False  # that the budget cannot be measured

    def __len__(self) -> int:
        return self._total

    def __iter__(self) -> Iterator[str]:
        left = (prompt for prompt in self._prompts if prompt.id not in self._answers.done)
        for index, prompt in enumerate(left):
            if self._is_spent:
                return
            self._ids[index] = prompt.id
            yield prompt.text

    @property
    def _is_spent(self) -> bool:
        return self._budget is not None and self._budget.is_spent(self._usage)

    @property
    def is_done(self) -> bool:
        """Whether each prompt has its answer."""
        return self._answered == self._total

    def run(self, client: Client, options: dict[str, Any]) -> None:
        """Ask the prompts, and write the outcomes."""
        began = time.monotonic()
        self._screen.phase = _bar(0, self._total)
        self._screen.show_progress()
        with closing(client.map(self, on_progress=self._show, **options)) as outcomes:
            for outcome in outcomes:
                self._note(outcome)
        self._sum_up(time.monotonic() - began)

    def _note(self, outcome: Outcome[Any]) -> None:
        name, error = self._ids.pop(outcome.index), outcome.error
        if isinstance(error, ConnectionFailedError) and not self._answered:
            raise error  # not the prompt's fault: the next would fail alike
        self._answers.add(name, outcome)
        self._usage += outcome.usage
        if error is None:
            self._answered += 1
            self._warn(outcome)
        else:
            self._failed += 1
            self._screen.say(f"{name}: {describe(error)}", "red")

    def _warn(self, outcome: Outcome[Any]) -> None:
        if self._budget is not None and not self._is_warned and not self._budget.is_measured_by(outcome.usage):
            self._is_warned = True
            self._screen.say("the runtime does not tell what a run costs: --budget-usd is without effect", "yellow")

    # --- progress -----------------------------------------------------------------------------------

    def _show(self, progress: Progress) -> None:
        words = [_bar(progress.done, self._total)]
        if progress.failed:
            words.append(f"{progress.failed} failed")
        words.append(f"{progress.rate:.1f}/s" if progress.rate >= 1 else f"{progress.rate * 60:.1f}/min")
        if progress.usage.cost_usd is not None:
            words.append(f"${progress.usage.cost_usd:.2f}")
        if progress.seconds_left is not None:
            words.append(f"{_clock(progress.seconds_left)} left")
        self._screen.phase = " · ".join(words)

    def _sum_up(self, seconds: float) -> None:
        words = [f"{self._answered} answered"]
        if self._failed:
            words.append(f"{self._failed} failed")
        if self._answers.done:
            words.append(f"{len(self._answers.done)} before")
        left = self._total - self._answered - self._failed
        if left:
            words.append(f"{left} left, for the budget is spent")
        if self._usage.cost_usd is not None:
            words.append(f"${self._usage.cost_usd:.2f}")
        self._screen.say(f"{', '.join(words)}; {_clock(seconds)}", "green" if self.is_done else "yellow")


def _bar(done: int, total: int) -> str:
    full = _WIDTH * done // max(total, 1)
    return f"{'#' * full}{'-' * (_WIDTH - full)} {done} of {total}"


def _clock(seconds: float) -> str:
    """
    >>> _clock(59.4), _clock(3700)
    ('0:59', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
