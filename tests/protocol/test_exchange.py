"""The life of one request without a runtime: each action in each state, and then any order of them at all."""

from __future__ import annotations

from typing import Any, Optional

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from runtimeuse_sync import messages as m
from runtimeuse_sync._protocol import exchange as _exchange
from runtimeuse_sync._protocol.codec import RawResult, UnknownMessage
from runtimeuse_sync._protocol.exchange import CANCELLED, Action, Exchange, IllegalTransitionError, State
from runtimeuse_sync.exceptions import (
    AgentRuntimeError,
    CancelledException,
    ConnectionLostError,
    InvocationTimeoutError,
    ProtocolError,
    RuntimeUseError,
)

READY, RUNNING, DRAINING = State.READY, State.RUNNING, State.DRAINING
CANCELLING, SETTLED, OVER = State.CANCELLING, State.SETTLED, State.OVER
DELIVER, ANSWER, JUDGE, RESULT, SKIP = Action.DELIVER, Action.ANSWER, Action.JUDGE, Action.RESULT, Action.SKIP

TEXT = m.AssistantMessageInterface(text_blocks=["hello"])
OUTPUT = m.CommandOutputMessageInterface(stream="stdout", text="t", command="c")
HEARTBEAT = m.HeartbeatMessageInterface(phase="agent", elapsed_ms=1)
ARTIFACT = m.ArtifactUploadRequestMessageInterface(filename="f", filepath="/f")
ERROR = m.ErrorMessageInterface(error="boom", metadata={"a": 1})
LATER_ERROR = m.ErrorMessageInterface(error="later")
WAS_CANCELLED = m.ErrorMessageInterface(error="Request cancelled")
CONFIRM = m.EndSessionConfirmMessage()
RAW_RESULT = RawResult({"data": {"type": "text", "text": "t"}})
TEXT_RESULT = m.ResultMessageInterface(data=m.TextResult(text="t"))
COMMAND_RESULT = m.CommandExecutionResultMessageInterface(results=[])
UNKNOWN = UnknownMessage("future_message")
EVENTS = [TEXT, OUTPUT, HEARTBEAT]
RESULTS = [RAW_RESULT, TEXT_RESULT, COMMAND_RESULT]
MESSAGES = [*EVENTS, *RESULTS, ARTIFACT, ERROR, WAS_CANCELLED, CONFIRM, UNKNOWN]

THE_RESULT = object()
LOST = ConnectionLostError(code=1006, reason="reset")


def an_exchange(state: State, **flags: bool) -> Exchange:
    """One that has come to ``state`` in the usual way."""
    exchange = Exchange(**{"drains": state is DRAINING, "has_artifacts": False, **flags})
    if state is not READY:
        exchange.start()
    if state is DRAINING:
        exchange.resolve(THE_RESULT)
    if state in (CANCELLING, SETTLED):
        exchange.cancel(CancelledException())
    if state is SETTLED:
        exchange.receive(ERROR)
    if state is OVER:
        exchange.resolve(THE_RESULT)
    assert exchange.state is state
    return exchange


def snapshot(exchange: Exchange) -> tuple[Any, ...]:
    return attrs.astuple(exchange, recurse=False)


def assert_illegal(exchange: Exchange, action: Any, *args: Any, **kwargs: Any) -> None:
    """It raises, says why, and changes nothing."""
    before = snapshot(exchange)
    with pytest.raises(IllegalTransitionError, match=f"^not possible while {exchange.state.name}$"):
        action(*args, **kwargs)
    assert snapshot(exchange) == before


# --- the beginning ----------------------------------------------------------------------------------------


def test_it_begins_ready_and_with_no_outcome() -> None:
    exchange = Exchange(drains=True, has_artifacts=True)
    assert exchange.state is READY
    assert (exchange.result, exchange.error, exchange.is_confirmed, exchange.is_over) == (None, None, False, False)
    assert exchange.skips_stale_cancel is False


def test_it_starts_once() -> None:
    exchange = an_exchange(READY)
    exchange.start()
    assert exchange.state is RUNNING
    assert_illegal(exchange, exchange.start)


@pytest.mark.parametrize("state", [RUNNING, DRAINING, CANCELLING, SETTLED, OVER])
def test_it_starts_only_when_it_is_ready(state: State) -> None:
    exchange = an_exchange(state)
    assert_illegal(exchange, exchange.start)
    assert_illegal(exchange, exchange.start_drain, THE_RESULT)


def test_it_may_start_by_draining_what_earlier_requests_have_left() -> None:
    exchange = Exchange(drains=False, has_artifacts=True)
    exchange.start_drain(THE_RESULT)
    assert exchange.state is DRAINING
    assert exchange.result is THE_RESULT


@pytest.mark.parametrize("state", list(State))
def test_it_is_over_when_it_is_over(state: State) -> None:
    assert an_exchange(state).is_over is (state is OVER)


@pytest.mark.parametrize("name", ["state", "result", "error", "is_confirmed", "last_error"])
def test_it_begins_at_the_beginning(name: str) -> None:
    with pytest.raises(TypeError, match="unexpected keyword"):
        Exchange(drains=False, has_artifacts=False, **{name: None})  # type: ignore[arg-type]


def test_what_it_is_told_is_told_by_name() -> None:
    with pytest.raises(TypeError, match="positional"):
        Exchange(True, True)  # type: ignore[misc]
    exchange = an_exchange(RUNNING)
    with pytest.raises(TypeError, match="positional"):
        exchange.judge(ERROR, True)  # type: ignore[misc]


def test_its_repr_shows_no_result() -> None:
    assert "object" not in repr(an_exchange(DRAINING))


# --- messages: every event in every state --------------------------------------------------------------------

# What to do, and the state behind it. What does not stand here is skipped, and the state stays.
TABLE: dict[State, list[tuple[Any, Action, State]]] = {
    RUNNING: [
        *[(event, DELIVER, RUNNING) for event in EVENTS],
        *[(result, RESULT, RUNNING) for result in RESULTS],
        (ARTIFACT, ANSWER, RUNNING),
        (ERROR, JUDGE, RUNNING),
        (WAS_CANCELLED, JUDGE, RUNNING),
    ],
    DRAINING: [
        *[(event, DELIVER, DRAINING) for event in EVENTS],
        (ARTIFACT, ANSWER, DRAINING),
        (ERROR, JUDGE, DRAINING),
        (CONFIRM, SKIP, OVER),
    ],
    CANCELLING: [
        *[(result, SKIP, SETTLED) for result in RESULTS],
        (ERROR, SKIP, SETTLED),
        (WAS_CANCELLED, SKIP, OVER),
    ],
    SETTLED: [(WAS_CANCELLED, SKIP, OVER)],
}


@pytest.mark.parametrize("state", TABLE)
@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_what_to_do_with_a_message(state: State, message: Any) -> None:
    exchange = an_exchange(state)
    result, error = exchange.result, exchange.error
    expected = [(action, after) for known, action, after in TABLE[state] if known is message] or [(SKIP, state)]
    assert (exchange.receive(message), exchange.state) == expected[0]
    assert exchange.result is result
    assert exchange.error is error
    assert exchange.is_confirmed is (message is WAS_CANCELLED and state is not RUNNING)


def test_the_classes_of_results() -> None:
    assert {type(message) for message in RESULTS} == _exchange.RESULTS


@pytest.mark.parametrize("state", [READY, OVER])
@pytest.mark.parametrize("skips_stale_cancel", [True, False])
def test_before_the_start_and_after_the_end_there_are_no_messages(state: State, skips_stale_cancel: bool) -> None:
    exchange = an_exchange(state, skips_stale_cancel=skips_stale_cancel)
    for message in MESSAGES:
        assert_illegal(exchange, exchange.receive, message)


def test_a_message_of_a_subclass_is_one_of_its_kind() -> None:
    class Scored(m.ResultMessageInterface):
        pass

    class Loud(m.AssistantMessageInterface):
        pass

    class Failure(m.ErrorMessageInterface):
        pass

    exchange = an_exchange(RUNNING)
    assert exchange.receive(Scored(data=m.TextResult(text="t"))) is RESULT
    assert exchange.receive(Loud(text_blocks=[])) is DELIVER
    assert exchange.receive(Failure(error="boom")) is JUDGE
    cancelling = an_exchange(CANCELLING)
    assert cancelling.receive(Failure(error="Request cancelled")) is SKIP
    assert cancelling.is_over


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("nonsense", [None, "text", m.CancelMessage(), object()], ids=lambda x: type(x).__name__)
def test_what_no_runtime_sends_is_refused(state: State, nonsense: Any) -> None:
    exchange = an_exchange(state)
    before = snapshot(exchange)
    with pytest.raises(ProtocolError, match=f"^the transport brought a {type(nonsense).__name__}, which is no message"):
        exchange.receive(nonsense)
    assert snapshot(exchange) == before


# --- the result -----------------------------------------------------------------------------------------------


def test_the_result_is_the_end() -> None:
    exchange = an_exchange(RUNNING)
    exchange.resolve(THE_RESULT)
    assert (exchange.state, exchange.result, exchange.error) == (OVER, THE_RESULT, None)


def test_the_result_is_not_the_end_where_more_is_to_come() -> None:
    exchange = an_exchange(RUNNING, drains=True)
    exchange.resolve(THE_RESULT)
    assert (exchange.state, exchange.result, exchange.error) == (DRAINING, THE_RESULT, None)


@pytest.mark.parametrize("state", [READY, DRAINING, CANCELLING, SETTLED, OVER])
def test_there_is_one_result(state: State) -> None:
    exchange = an_exchange(state)
    assert_illegal(exchange, exchange.resolve, object())


# --- errors ---------------------------------------------------------------------------------------------------


def test_an_error_is_the_end() -> None:
    exchange = an_exchange(RUNNING)
    exchange.judge(ERROR, is_soft=False)
    assert exchange.state is OVER
    assert type(exchange.error) is AgentRuntimeError
    assert (exchange.error.error, exchange.error.metadata, exchange.error.result) == ("boom", {"a": 1}, None)


def test_an_error_is_the_end_even_where_artifacts_are_asked_for() -> None:
    exchange = an_exchange(RUNNING, drains=True, has_artifacts=True)
    exchange.judge(ERROR, is_soft=False)
    assert exchange.is_over


@pytest.mark.parametrize("state", [RUNNING, DRAINING])
def test_a_soft_error_changes_nothing(state: State) -> None:
    exchange = an_exchange(state)
    result = exchange.result
    exchange.judge(ERROR, is_soft=True)
    assert (exchange.state, exchange.error, exchange.result) == (state, None, result)


def test_an_error_behind_the_result_has_the_result_with_it() -> None:
    exchange = an_exchange(DRAINING)
    exchange.judge(ERROR, is_soft=False)
    assert exchange.state is OVER
    assert isinstance(exchange.error, AgentRuntimeError)
    assert (exchange.error.error, exchange.error.result, exchange.result) == ("boom", THE_RESULT, THE_RESULT)


def test_an_error_behind_the_result_waits_until_the_artifacts_are_there() -> None:
    exchange = an_exchange(DRAINING, has_artifacts=True)
    exchange.judge(ERROR, is_soft=False)
    assert exchange.state is DRAINING
    assert exchange.receive(ARTIFACT) is ANSWER
    exchange.receive(CONFIRM)
    assert exchange.state is OVER
    assert isinstance(exchange.error, AgentRuntimeError)
    assert (exchange.error.error, exchange.error.result) == ("boom", THE_RESULT)


def test_of_several_errors_the_first_counts() -> None:
    exchange = an_exchange(DRAINING, has_artifacts=True)
    exchange.judge(ERROR, is_soft=False)
    first = exchange.error
    exchange.judge(LATER_ERROR, is_soft=False)
    assert exchange.error is first


def test_a_soft_error_does_not_excuse_the_next() -> None:
    exchange = an_exchange(DRAINING, has_artifacts=True)
    exchange.judge(ERROR, is_soft=True)
    exchange.judge(LATER_ERROR, is_soft=False)
    assert isinstance(exchange.error, AgentRuntimeError)
    assert exchange.error.error == "later"


@pytest.mark.parametrize("state", [READY, CANCELLING, SETTLED, OVER])
@pytest.mark.parametrize("is_soft", [True, False])
def test_an_error_is_judged_while_there_is_something_to_end(state: State, is_soft: bool) -> None:
    exchange = an_exchange(state)
    assert_illegal(exchange, exchange.judge, ERROR, is_soft=is_soft)


# --- secrets --------------------------------------------------------------------------------------------------

LEAK = m.ErrorMessageInterface(error="401 for s3cret-token and s3cret", metadata={"key": ["s3cret", {"s3cret": 1}]})


def the_error_of(*secrets: str, message: m.ErrorMessageInterface = LEAK) -> AgentRuntimeError:
    exchange = Exchange(drains=False, has_artifacts=False, secrets=secrets)
    exchange.start()
    exchange.judge(message, is_soft=False)
    assert isinstance(exchange.error, AgentRuntimeError)
    return exchange.error


def test_secrets_are_not_in_an_error_the_longer_ones_first() -> None:
    assert str(the_error_of("s3cret", "s3cret-token")) == "401 for [REDACTED] and [REDACTED]"
    assert str(the_error_of("s3cret-token", "s3cret")) == "401 for [REDACTED] and [REDACTED]"
    assert the_error_of("s3cret").error == "401 for [REDACTED]-token and [REDACTED]"


def test_nor_are_they_in_its_metadata() -> None:
    assert "s3cret" not in repr(the_error_of("s3cret", "s3cret-token").metadata)


def test_what_is_no_secret_is_left_alone() -> None:
    assert str(the_error_of()) == LEAK.error
    assert str(the_error_of("", "another")) == LEAK.error
    assert the_error_of().metadata == LEAK.metadata


def test_the_message_itself_is_not_changed() -> None:
    the_error_of("s3cret")
    assert LEAK.error == "401 for s3cret-token and s3cret"


def test_secrets_are_not_in_an_error_that_explains_a_lost_connection() -> None:
    exchange = Exchange(drains=False, has_artifacts=False, secrets=["s3cret-token", "s3cret"])
    exchange.start()
    exchange.judge(LEAK, is_soft=True)
    exchange.disconnect(LOST)
    assert str(exchange.error) == "401 for [REDACTED] and [REDACTED]"


def test_its_repr_shows_no_secret() -> None:
    exchange = Exchange(drains=False, has_artifacts=False, secrets=["s3cret-token", "s3cret"])
    exchange.start()
    exchange.judge(LEAK, is_soft=True)
    assert "s3cret" not in repr(exchange)


# --- cancelling -----------------------------------------------------------------------------------------------


def test_a_cancel_is_sent_once_and_its_error_is_the_outcome() -> None:
    exchange, error = an_exchange(RUNNING), CancelledException()
    assert exchange.cancel(error) is True
    assert (exchange.state, exchange.error) == (CANCELLING, error)
    assert exchange.cancel(InvocationTimeoutError(timeout=1)) is False
    assert (exchange.state, exchange.error) == (CANCELLING, error)


@pytest.mark.parametrize(("state", "after"), [(READY, OVER), (DRAINING, OVER), (SETTLED, SETTLED), (OVER, OVER)])
def test_where_nothing_runs_no_cancel_is_sent(state: State, after: State) -> None:
    exchange, error = an_exchange(state), InvocationTimeoutError(timeout=1)
    first = exchange.error
    assert exchange.cancel(error) is False
    assert exchange.state is after
    assert exchange.error is (error if state in (READY, DRAINING) else first)


def test_leaving_early_is_a_cancel_without_an_error() -> None:
    exchange = an_exchange(RUNNING)
    assert exchange.cancel() is True
    assert (exchange.state, exchange.error) == (CANCELLING, None)


def test_leaving_while_draining_keeps_the_error_that_waits() -> None:
    exchange = an_exchange(DRAINING, has_artifacts=True)
    exchange.judge(ERROR, is_soft=False)
    waiting = exchange.error
    assert exchange.cancel() is False
    assert (exchange.state, exchange.error) == (OVER, waiting)


def test_a_cancel_while_draining_comes_before_the_error_that_waits() -> None:
    exchange, error = an_exchange(DRAINING, has_artifacts=True), CancelledException()
    exchange.judge(ERROR, is_soft=False)
    exchange.cancel(error)
    assert exchange.error is error


def test_the_answer_to_a_cancel_confirms_it() -> None:
    assert CANCELLED == "Request cancelled"
    exchange = an_exchange(CANCELLING)
    exchange.receive(WAS_CANCELLED)
    assert (exchange.is_over, exchange.is_confirmed) == (True, True)


@pytest.mark.parametrize(
    "words", ["", "Out of memory", "Request", "Request cancelled.", "request cancelled", "timeout"]
)
def test_an_error_in_other_words_confirms_nothing(words: str) -> None:
    exchange = an_exchange(CANCELLING)
    exchange.receive(m.ErrorMessageInterface(error=words))
    assert (exchange.state, exchange.is_confirmed) == (SETTLED, False)


def test_an_error_in_the_same_words_that_nobody_asked_for_confirms_nothing() -> None:
    exchange = an_exchange(RUNNING)
    assert exchange.receive(WAS_CANCELLED) is JUDGE
    assert exchange.is_confirmed is False


@pytest.mark.parametrize("last_word", [*RESULTS, ERROR], ids=lambda message: type(message).__name__)
def test_a_last_word_that_crossed_the_cancel_settles_it_but_is_not_the_outcome(last_word: Any) -> None:
    exchange = an_exchange(CANCELLING)
    error = exchange.error
    exchange.receive(last_word)
    assert (exchange.state, exchange.is_confirmed) == (SETTLED, False)
    for message in MESSAGES:
        if message is not WAS_CANCELLED:
            assert (exchange.receive(message), exchange.state) == (SKIP, SETTLED)
    exchange.receive(WAS_CANCELLED)
    assert (exchange.state, exchange.is_confirmed, exchange.error, exchange.result) == (OVER, True, error, None)


# --- an answer to the request before ----------------------------------------------------------------------------


@pytest.mark.parametrize("state", [RUNNING, DRAINING])
def test_the_answer_to_an_earlier_cancel_is_skipped_once(state: State) -> None:
    exchange = an_exchange(state, skips_stale_cancel=True)
    assert (exchange.receive(WAS_CANCELLED), exchange.state) == (SKIP, state)
    assert (exchange.skips_stale_cancel, exchange.is_confirmed) == (False, False)
    assert exchange.receive(WAS_CANCELLED) is (JUDGE if state is RUNNING else SKIP)


@pytest.mark.parametrize("message", [*EVENTS, *RESULTS, ARTIFACT, ERROR, UNKNOWN], ids=lambda x: type(x).__name__)
def test_no_other_message_is_stale(message: Any) -> None:
    exchange = an_exchange(RUNNING, skips_stale_cancel=True)
    assert exchange.receive(message) is an_exchange(RUNNING).receive(message)
    assert exchange.skips_stale_cancel is True


@pytest.mark.parametrize("state", [CANCELLING, SETTLED])
def test_once_cancelled_the_answer_is_its_own(state: State) -> None:
    exchange = an_exchange(state, skips_stale_cancel=True)
    exchange.receive(WAS_CANCELLED)
    assert (exchange.is_over, exchange.is_confirmed) == (True, True)
    assert exchange.skips_stale_cancel is True


# --- the end of the connection ------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [READY, RUNNING])
def test_a_lost_connection_is_the_outcome_where_there_is_none(state: State) -> None:
    exchange = an_exchange(state)
    exchange.disconnect(LOST)
    assert (exchange.state, exchange.error, exchange.result) == (OVER, LOST, None)


@pytest.mark.parametrize("state", [DRAINING, CANCELLING, SETTLED, OVER])
def test_a_lost_connection_changes_no_outcome(state: State) -> None:
    exchange = an_exchange(state)
    result, error = exchange.result, exchange.error
    exchange.disconnect(LOST)
    assert (exchange.state, exchange.result, exchange.error) == (OVER, result, error)


def test_a_lost_connection_does_not_hide_an_error_that_waits() -> None:
    exchange = an_exchange(DRAINING, has_artifacts=True)
    exchange.judge(ERROR, is_soft=False)
    waiting = exchange.error
    exchange.disconnect(LOST)
    assert exchange.error is waiting


def test_the_runtime_s_last_words_explain_a_lost_connection() -> None:
    exchange = an_exchange(RUNNING)
    exchange.judge(LATER_ERROR, is_soft=True)
    exchange.judge(ERROR, is_soft=True)
    exchange.disconnect(LOST)
    assert type(exchange.error) is AgentRuntimeError
    assert (exchange.error.error, exchange.error.metadata, exchange.error.result) == ("boom", {"a": 1}, None)
    assert exchange.error.__cause__ is LOST


def test_they_do_not_explain_what_must_not_be_sent() -> None:
    exchange, fault = an_exchange(RUNNING), ProtocolError("a masked frame; only clients mask")
    exchange.judge(ERROR, is_soft=True)
    exchange.disconnect(fault)
    assert exchange.error is fault
    assert fault.__cause__ is None


# --- patience -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [DRAINING, CANCELLING, SETTLED])
def test_who_has_waited_long_enough_may_stop_and_the_outcome_stands(state: State) -> None:
    exchange = an_exchange(state)
    result, error = exchange.result, exchange.error
    exchange.stop_waiting()
    assert (exchange.state, exchange.result, exchange.error) == (OVER, result, error)
    assert exchange.is_confirmed is False


@pytest.mark.parametrize("state", [READY, RUNNING, OVER])
def test_a_request_that_runs_is_not_waited_for_but_cancelled(state: State) -> None:
    exchange = an_exchange(state)
    assert_illegal(exchange, exchange.stop_waiting)


# --- any runtime, any caller, any order ---------------------------------------------------------------------------


def outcome(exchange: Exchange) -> Any:
    return exchange.result if exchange.error is None else exchange.error


# When a rule may be played. Named, since an old hypothesis reads the source of a lambda at each action.


def not_started(machine: AnyRequest) -> bool:
    return machine.exchange.state is READY


def under_way(machine: AnyRequest) -> bool:
    return machine.exchange.state not in (READY, OVER)


def waiting(machine: AnyRequest) -> bool:
    return machine.exchange.state in (DRAINING, CANCELLING, SETTLED)


def over(machine: AnyRequest) -> bool:
    return machine.exchange.is_over


class AnyRequest(RuleBasedStateMachine):
    """A runtime of any generation, or of none, against a caller who may do anything at any moment."""

    @initialize(has_artifacts=st.booleans(), has_commands=st.booleans(), stale=st.booleans(), only_drains=st.booleans())
    def begin(self, has_artifacts: bool, has_commands: bool, stale: bool, only_drains: bool) -> None:
        self.exchange = Exchange(
            drains=has_artifacts or has_commands, has_artifacts=has_artifacts, skips_stale_cancel=stale
        )
        self.only_drains = only_drains
        self.cancels_sent = 0
        self.results: list[Any] = []
        self.left_early = False
        self.reported = False
        self.final: Optional[tuple[Any, Any]] = None

    # The driver.

    @precondition(not_started)
    @rule()
    def start(self) -> None:
        if self.only_drains:
            self.results.append(THE_RESULT)
            self.exchange.start_drain(THE_RESULT)
        else:
            self.exchange.start()

    @precondition(under_way)
    @rule(message=st.sampled_from(MESSAGES), is_soft=st.booleans(), is_good=st.booleans())
    def a_message_comes(self, message: Any, is_soft: bool, is_good: bool) -> None:
        action = self.exchange.receive(message)
        if action is not SKIP:
            assert self.cancels_sent == 0
            assert not self.exchange.is_over
        if action is JUDGE:
            assert isinstance(message, m.ErrorMessageInterface)
            self.reported = True
            self.exchange.judge(message, is_soft=is_soft)
        elif action is RESULT:
            assert message in RESULTS
            self._a_result_comes(is_good)
        elif action is ANSWER:
            assert message is ARTIFACT
        elif action is DELIVER:
            assert message in EVENTS

    def _a_result_comes(self, is_good: bool) -> None:
        if is_good:
            self.results.append(THE_RESULT)
            self.exchange.resolve(THE_RESULT)
        else:
            self.exchange.disconnect(ProtocolError("a bad result"))

    @rule(error=st.sampled_from([None, CancelledException(), InvocationTimeoutError(timeout=1)]))
    def the_caller_gives_up(self, error: Optional[RuntimeUseError]) -> None:
        state = self.exchange.state
        sends = self.exchange.cancel(error)
        assert sends is (state is RUNNING)
        self.cancels_sent += sends
        self.left_early |= error is None and state in (READY, RUNNING)

    @precondition(waiting)
    @rule()
    def the_driver_has_waited_long_enough(self) -> None:
        self.exchange.stop_waiting()

    @rule(error=st.sampled_from([LOST, ConnectionLostError(code=1005), ProtocolError("a bad frame")]))
    def the_connection_ends(self, error: RuntimeUseError) -> None:
        self.exchange.disconnect(error)
        assert self.exchange.is_over

    @precondition(over)
    @rule(message=st.sampled_from(MESSAGES))
    def a_message_comes_too_late(self, message: Any) -> None:
        with pytest.raises(IllegalTransitionError):
            self.exchange.receive(message)

    # What always holds.

    @invariant()
    def one_result_and_one_cancel_at_most(self) -> None:
        assert len(self.results) <= 1
        assert self.cancels_sent <= 1
        assert self.exchange.result is (THE_RESULT if self.results else None)

    @invariant()
    def the_first_outcome_stays(self) -> None:
        if self.exchange.is_over:
            now = (self.exchange.result, self.exchange.error)
            self.final = self.final or now
            assert self.final[0] is now[0]
            assert self.final[1] is now[1]

    @invariant()
    def the_end_has_an_outcome_unless_nobody_waited_for_it(self) -> None:
        if self.exchange.is_over:
            assert outcome(self.exchange) is not None or self.left_early

    @invariant()
    def only_what_the_runtime_said_is_reported(self) -> None:
        if isinstance(self.exchange.error, AgentRuntimeError):
            assert self.reported

    @invariant()
    def only_a_cancelled_request_is_confirmed_as_such(self) -> None:
        if self.exchange.is_confirmed and not self.results:
            assert self.cancels_sent == 1

    def teardown(self) -> None:
        """However far it has come, one thing ends it."""
        if hasattr(self, "exchange") and not self.exchange.is_over:
            self.exchange.disconnect(LOST)
            self.the_end_has_an_outcome_unless_nobody_waited_for_it()
            assert self.exchange.is_over


AnyRequest.TestCase.settings = settings(stateful_step_count=20, deadline=None)
TestAnyRequest = AnyRequest.TestCase


# --- the four generations, message by message ---------------------------------------------------------------------


@attrs.define
class Played:
    """What a driver that does as it is told has made of a conversation."""

    exchange: Exchange
    delivered: list[Any] = attrs.field(factory=list)
    answered: int = 0


def play(exchange: Exchange, script: list[Any], *, soft: bool = False) -> Played:
    """Messages are received; an exception means that the connection ends with it."""
    played = Played(exchange)
    exchange.start()
    for entry in script:
        if isinstance(entry, RuntimeUseError):
            exchange.disconnect(entry)
            continue
        action = exchange.receive(entry)
        played.answered += action is ANSWER
        if action is JUDGE:
            exchange.judge(entry, is_soft=soft)
        if action is RESULT:
            exchange.resolve(entry)
        if action in (DELIVER, RESULT):
            played.delivered.append(entry)
    return played


CLOSED = ConnectionLostError(code=1005)


def one_shot(**flags: bool) -> Exchange:
    return Exchange(**{"drains": False, "has_artifacts": False, **flags})


def test_a_run_with_artifacts_on_0_4_ends_with_the_close() -> None:
    played = play(one_shot(drains=True, has_artifacts=True), [TEXT, ARTIFACT, TEXT_RESULT, ARTIFACT, CLOSED])
    assert (played.delivered, played.answered) == ([TEXT, TEXT_RESULT], 2)
    assert (played.exchange.is_over, outcome(played.exchange)) == (True, TEXT_RESULT)


def test_a_post_agent_error_of_0_9_comes_with_the_result() -> None:
    played = play(one_shot(drains=True), [TEXT_RESULT, TEXT, ERROR])
    assert played.delivered == [TEXT_RESULT, TEXT]
    assert isinstance(played.exchange.error, AgentRuntimeError)
    assert played.exchange.error.result is TEXT_RESULT


def test_a_run_with_artifacts_on_0_15_ends_with_the_confirmation() -> None:
    script = [HEARTBEAT, OUTPUT, TEXT, TEXT_RESULT, ARTIFACT, ARTIFACT, ARTIFACT, CONFIRM]
    played = play(one_shot(drains=True, has_artifacts=True), script)
    assert (played.delivered, played.answered) == ([HEARTBEAT, OUTPUT, TEXT, TEXT_RESULT], 3)
    assert (played.exchange.is_over, outcome(played.exchange)) == (True, TEXT_RESULT)


@pytest.mark.parametrize("soft", [True, False])
def test_an_error_in_mid_run(soft: bool) -> None:
    played = play(one_shot(), [TEXT, ERROR] + [OUTPUT, TEXT_RESULT] * soft, soft=soft)
    assert played.exchange.is_over
    assert played.delivered == ([TEXT, OUTPUT, TEXT_RESULT] if soft else [TEXT])
    assert isinstance(outcome(played.exchange), m.ResultMessageInterface if soft else AgentRuntimeError)


def test_a_close_without_a_result_is_never_a_silent_end() -> None:
    assert play(one_shot(), [TEXT, CLOSED]).exchange.error is CLOSED
    assert isinstance(play(one_shot(), [ERROR, CLOSED], soft=True).exchange.error, AgentRuntimeError)


def test_a_request_behind_a_cancelled_one_starts_clean() -> None:
    played = play(one_shot(skips_stale_cancel=True), [WAS_CANCELLED, TEXT, TEXT_RESULT])
    assert (played.delivered, outcome(played.exchange)) == ([TEXT, TEXT_RESULT], TEXT_RESULT)
