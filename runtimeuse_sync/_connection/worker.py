"""The connection thread: it alone connects, reads, decodes, writes, pings and closes.

With one thread around the socket there is no lock around TLS, and nothing that a caller does, or fails to do,
keeps pings from being answered.
"""

from __future__ import annotations

import logging
import selectors
import ssl
from collections import deque
from collections.abc import Collection
from typing import Any, Callable, Optional

from .._common.deadline import Deadline
from .._common.wakeup import Waker
from .._protocol.frames import Binary, Close, Event, FrameDecoder, Opcode, Payload, Ping, encode_close, encode_frame
from ..exceptions import ConnectionFailedError, ConnectionLostError, ProtocolError, RuntimeUseError
from .connecting import AbandonedError, Dialer, Selector, Socket, Stream
from .failures import system_failure, words
from .inbox import Inbox
from .keepalive import Keepalive
from .settings import ConnectionSettings

logger = logging.getLogger(__name__)

# Beyond 128 KiB malloc takes each buffer from the kernel, and gives it back: page faults cost more than the reads.
READ_SIZE = 64 * 1024
# How much to read, at most, before the caller hears of it: between two batches both threads want the interpreter.
BATCH_SIZE = 256 * 1024
# How much may wait undelivered before the thread stops reading: bytes on the wire, and what an object takes
# beyond them.
BACKLOG_LIMIT = 8 * 1024 * 1024
MESSAGE_OVERHEAD = 200
# Seconds to wait, after the end, for the peer to read the goodbye and close.
LINGER = 1.0
_ABNORMAL = 1006
# What a read without anything to read raises.
_NOTHING_YET = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Worker:
    """What the thread runs. Attributes without a remark are touched by the thread alone."""

    def __init__(
        self, dialer: Dialer, settings: ConnectionSettings, decode: Callable[[Payload], Any], deadline: Deadline
    ) -> None:
        self.is_open = False  # read by the caller
        self.has_dialed = False  # read by the caller
        self.last_classes: Collection[type] = ()  # written by the caller, before the first send
        self.waker = Waker()
        self.inbox = Inbox(BACKLOG_LIMIT, self.waker.wake)
        self._dialer = dialer
        self._decode = decode
        self._connect_deadline = deadline
        self._outbox: deque[bytes] = deque()  # appended to by any thread
        self._close_by: Optional[Deadline] = None  # written by any thread: the caller is done with this
        self._decoder = FrameDecoder(settings.max_message_size)
        self._keepalive = Keepalive(settings.ping_interval, settings.ping_timeout)
        self._unsent = memoryview(b"")
        self._write_wants_read = False  # TLS has to read before it can write
        self._end: Optional[RuntimeUseError] = None  # why it ended; the first reason wins
        self._uncounted = 0  # bytes read of a message that is not complete
        self._is_done = False  # the last that was wanted has come
        self._leave_by: Optional[Deadline] = None  # how long to wait for the peer after the end
        self._write_error: Optional[OSError] = None
        self._close_sent = False
        self._peer_closed = False
        self._gone = False  # the socket is of no more use

    # --- any thread ---------------------------------------------------------------------------------

    def send(self, frame: bytes) -> None:
        self._outbox.append(frame)
        self.waker.wake()

    def close(self, timeout: float) -> None:
        self._close_by = Deadline(timeout)
        self.waker.wake()

    def abandon(self) -> None:
        self.close(0.0)

    # --- the thread's life --------------------------------------------------------------------------

    def run(self) -> None:
        try:
            self.waker.open()
            if self._close_by is not None:  # its wake came too early to be noticed
                raise AbandonedError
            stream = self._dialer.dial(self.waker, lambda: self._close_by is None, self._connect_deadline)
            self.has_dialed = True
            self._serve(stream)
        except RuntimeUseError as error:
            self._finish(error)
        except AbandonedError:
            self._lose(_ABNORMAL, "closed before it was open")
        except Exception as error:  # noqa: BLE001 - the caller must hear of it, whatever it is
            self._fail(error)
        finally:
            self.has_dialed = True
            self.waker.close()
            # A safety net, after SystemExit or a killed greenlet: nobody may wait for ever.
            self._lose(_ABNORMAL, "the connection thread ended")

    def _serve(self, stream: Stream) -> None:
        logger.debug("connected to %s", self._dialer.endpoint)
        self._keepalive.heard()
        self.is_open = True
        if not self._outbox:  # a caller that has sent something waits for an answer, not for this
            self.inbox.wake()
        try:
            with Selector() as selector:
                self._loop(stream, selector)
        except OSError as error:
            self._lose(_ABNORMAL, words(error), error)
        finally:
            stream.sock.close()
        broken = self._write_error
        self._lose(_ABNORMAL, words(broken) if broken else "closed on this side", broken)
        outcome = getattr(self._end, "code", type(self._end).__name__)
        logger.debug("connection to %s ended (%s)", self._dialer.endpoint, outcome)

    def _loop(self, stream: Stream, selector: selectors.BaseSelector) -> None:
        sock = stream.sock
        selector.register(self.waker, selectors.EVENT_READ)
        registered = 0
        if stream.early_data:
            self._take(self._decoder.feed(stream.early_data), len(stream.early_data))
        while not self._is_over():
            self._say_goodbye()
            self._flush(sock)
            reads = self._reads()
            if reads and not registered & selectors.EVENT_READ:
                self._keepalive.heard()  # what the peer has said meanwhile is still unread
            registered = _register(selector, sock, registered, self._interest(reads))
            patience = self._patience(sock, reads)
            ready = [key.fileobj for key, _ in selector.select(patience)]
            if not ready or not patience:
                # Judged before the next attempt to write: the system takes a little more although nobody reads.
                self._keep_alive(reads)
            if self.waker in ready:
                self.waker.clear()
            if reads and (sock in ready or _has_decrypted(sock)):
                self._read(sock)

    def _is_leaving(self) -> bool:
        return self._end is not None or self._close_by is not None or self._is_done

    def _is_over(self) -> bool:
        deadlines = self._deadlines()
        if not deadlines:
            return False
        if self._peer_closed and self._close_sent and not self._unsent:
            return True
        return self._gone or any(deadline.expired for deadline in deadlines)

    def _deadlines(self) -> list[Deadline]:
        return [deadline for deadline in (self._close_by, self._leave_by) if deadline is not None]

    def _interest(self, reads: bool) -> int:
        write = self._unsent and not self._write_wants_read
        return (selectors.EVENT_READ if reads else 0) | (selectors.EVENT_WRITE if write else 0)

    def _reads(self) -> bool:
        """Not while the inbox is full. On the way out, what comes is thrown away, so there is room."""
        return self._is_leaving() or not self.inbox.is_full()

    def _patience(self, sock: Socket, reads: bool) -> float:
        """Seconds until there is something to do without being woken."""
        if reads and _has_decrypted(sock):
            return 0.0
        deadlines = self._deadlines()
        return min(deadline.remaining() for deadline in deadlines) if deadlines else self._keepalive.pause()

    def _fail(self, error: Exception) -> None:
        name = words(error) if isinstance(error, OSError) else type(error).__name__
        if self.is_open:
            self._lose(_ABNORMAL, f"{name} in the connection thread", error)
        else:
            failure = not_started(self._dialer, name)
            if isinstance(error, OSError):
                failure = system_failure(self._dialer.endpoint, error)
            failure.__cause__ = error
            self._finish(failure)

    # --- the end ------------------------------------------------------------------------------------

    def _finish(self, error: RuntimeUseError) -> None:
        if self._end is None:
            _drop_frames(error)
            self._end = error
            self._leave_by = Deadline(LINGER)
            self.inbox.end(error)

    def _lose(self, code: int, reason: str, cause: Optional[BaseException] = None) -> None:
        error = ConnectionLostError(code=code, reason=reason)
        error.__cause__ = cause
        self._finish(error)

    def _say_goodbye(self) -> None:
        """Put a Close frame behind all that waits, once this side or the peer is done. Nothing follows it."""
        if not self._close_sent and self._is_leaving():
            self._close_sent = True
            waiting = _joined(self._outbox) if self._outbox else b""
            self._unsent = memoryview(b"".join((self._unsent, waiting, encode_close(_close_code(self._end)))))

    # --- writing ------------------------------------------------------------------------------------

    def _flush(self, sock: Socket) -> None:
        try:
            while self._unsent or (self._outbox and not self._close_sent):
                if not self._unsent:
                    self._unsent = memoryview(_joined(self._outbox))
                self._unsent = self._unsent[sock.send(self._unsent) :]
                self._keepalive.wrote()
        except (BlockingIOError, ssl.SSLWantWriteError):
            self._keepalive.stalled()
        except ssl.SSLWantReadError:
            self._write_wants_read = True
            self._keepalive.stalled()
        except OSError as error:
            self._stop_writing(error)

    def _stop_writing(self, error: OSError) -> None:
        """The peer takes nothing more. What it said before, perhaps why, is still there to be read."""
        self._unsent = memoryview(b"")
        self._outbox.clear()
        self._close_sent = True
        if self._write_error is None:
            self._write_error = error
            self._leave_by = Deadline(LINGER)

    # --- reading ------------------------------------------------------------------------------------

    def _read(self, sock: Socket) -> None:
        self._write_wants_read = False
        is_end = self._read_payload(sock) if self._decoder.missing > READ_SIZE else self._read_batch(sock)
        if is_end:
            self._gone = True
            self._lose(_ABNORMAL, "the connection ended without a Close frame")

    def _read_payload(self, sock: Socket) -> bool:
        """The rest of a large payload, straight into its place: to gather and copy it costs as much as to parse it."""
        try:
            size = sock.recv_into(self._decoder.room())
        except _NOTHING_YET:
            return False
        if size:
            self._take(self._decoder.fill(size), size)
        return not size

    def _read_batch(self, sock: Socket) -> bool:
        chunks: list[bytes] = []
        try:
            return _receive_into(chunks, sock)
        finally:  # what came before a broken TLS record counts
            if any(chunks):
                self._take([event for chunk in chunks for event in self._decoder.feed(chunk)], sum(map(len, chunks)))

    def _take(self, events: list[Event], size: int) -> None:
        self._keepalive.heard()
        batch: list[Any] = []
        end: Optional[RuntimeUseError] = None
        try:
            end = self._decode_into(batch, events)
        except ProtocolError as error:
            end = error
        self._uncounted += size
        if batch:
            if type(batch[-1]) in self.last_classes:
                self._is_done = True
                self._leave_by = Deadline(LINGER)
            self.inbox.put(batch, self._uncounted + MESSAGE_OVERHEAD * len(batch))
            self._uncounted = 0
        if end is not None:
            self._finish(end)

    def _decode_into(self, batch: list[Any], events: list[Event]) -> Optional[RuntimeUseError]:
        """Decode messages, answer pings, and return the peer's goodbye, if there is one."""
        append, decode = batch.append, self._decode
        is_wanted = not self._is_leaving()
        for event in events:
            if type(event) is bytes or type(event) is bytearray:
                if is_wanted:
                    append(decode(event))
            elif isinstance(event, Ping):
                self._outbox.append(encode_frame(Opcode.PONG, event.payload))
            elif isinstance(event, Close):
                self._peer_closed = True
                return ConnectionLostError(code=event.code, reason=event.reason)
            elif isinstance(event, Binary):
                append(self._decode_binary(event.payload))
        return self._decoder.error

    def _decode_binary(self, payload: bytes) -> Any:
        raise ProtocolError("a binary message; the protocol has text messages only", close_code=1003)

    # --- keepalive ----------------------------------------------------------------------------------

    def _keep_alive(self, reads: bool) -> None:
        if self._is_leaving():
            return
        if not reads:
            # The answer to a ping may be among what this side leaves unread.
            self._keepalive.heard()
        if self._keepalive.is_dead():
            self._gone = True
            self._lose(_ABNORMAL, self._keepalive.verdict())
        elif self._keepalive.is_due() and not self._unsent:
            self._outbox.append(encode_frame(Opcode.PING, b""))
            self._keepalive.pinged()


def not_started(dialer: Dialer, reason: str) -> ConnectionFailedError:
    return ConnectionFailedError(f"cannot connect to {dialer.endpoint}: {reason}", reason=reason)


def _drop_frames(error: Optional[BaseException]) -> None:
    """Tracebacks keep alive what their frames hold: the socket, half a payload."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def _register(selector: selectors.BaseSelector, sock: Socket, old: int, new: int) -> int:
    # A selector takes no empty interest: a socket that is neither read nor written is left out.
    if old == new:
        return new
    if not new:
        selector.unregister(sock)
    elif not old:
        selector.register(sock, new)
    else:
        selector.modify(sock, new)
    return new


def _has_decrypted(sock: Socket) -> bool:
    # Bytes that TLS has already decrypted never wake a selector.
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


def _receive_into(chunks: list[bytes], sock: Socket) -> bool:
    """Append what is there, up to a batch; True at the end."""
    size = 0
    try:
        while size < BATCH_SIZE:
            chunk = sock.recv(READ_SIZE)
            chunks.append(chunk)
            size += len(chunk)
            if not chunk:
                return True
            if len(chunk) < READ_SIZE and not isinstance(sock, ssl.SSLSocket):  # TLS gives one record a call
                break
    except _NOTHING_YET:
        pass
    return False


def _joined(outbox: deque[bytes]) -> bytes:
    frames = [outbox.popleft()]
    while outbox:
        frames.append(outbox.popleft())
    return b"".join(frames) if len(frames) > 1 else frames[0]


def _close_code(end: Optional[RuntimeUseError]) -> int:
    """The code to close with: the peer's own in answer to its Close, the fault's after a fault."""
    if isinstance(end, ProtocolError):
        return end.close_code
    if isinstance(end, ConnectionLostError) and end.code != _ABNORMAL:
        return end.code
    return 1000
