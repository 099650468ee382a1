"""A synchronous client for agent runtimes that speak the runtimeuse protocol.

==================  ==================================================================================
``client``          ``Client``: the configuration of a connection, and calls that open one each
``session``         ``Session``: one connection for several requests
``streams``         the streams that both have: one request as an iterator
``invoking``        ``invoke``, which both have: a stream that is run to its end
``calls``           the other calls that both have
``sandbox_calls``   programs and files in the sandbox, for both
``many``            jobs and maps: many prompts
``run``             ``Run``: one request under way
``typed_run``       ``TypedRun``: one whose answer is of a type, asked for until it fits
``options``         the options of calls
``keywords``        the same as keywords of a call
``observers``       the interface to be told what calls do
``messages``        the messages, and the return values of calls
``usage``           ``Usage``: tokens, cost and time
``exceptions``      all that is raised
``transports``      how a runtime is reached
``_call/``          the caller's thread: the life of one call
``_connection/``    the connection thread: one socket
``_protocol/``      no thread, no I/O: frames, messages, the state of a request
``_common/``        helpers that all of these use
``outputs``         above the core: typed answers
``commands``        above the core: a command as with ``subprocess.run``
``files``           above the core: files and folders into a sandbox and out of it
``sandboxes``       above the core: a client of what is started for it and closed at the end
``jobs``            above the core: runs in the background, and many at once
``otel``            above the core: calls as OpenTelemetry traces and metrics (an extra)
``artifacts``       above the core: artifacts in a bucket
``journal``         above the core: calls recorded, replayed and followed
``web``             above the core: runs as web responses
``notebook``        above the core: what notebooks show
``local``           an agent runtime in Python (an extra)
``testing``         a runtime that plays a script (an extra)
``cli``             the command ``runtimeuse-sync`` (an extra)
==================  ==================================================================================
"""

from ._common.redaction import Redactor
from ._common.words import harmless
from .client import Client, RuntimeUseClient
from .exceptions import (
    AgentRuntimeError,
    CancelledException,
    CommandFailedError,
    ConnectionFailedError,
    ConnectionLostError,
    IdleTimeoutError,
    InvocationTimeoutError,
    MessageTooLargeError,
    OutputValidationError,
    ProtocolError,
    RuntimeUseError,
)
from .messages import (
    AgentRuntimeMessageInterface,
    ArtifactUploadRequestMessageInterface,
    ArtifactUploadResponseMessageInterface,
    ArtifactUploadResult,
    AssistantMessageInterface,
    CancelMessage,
    CommandExecutionMessage,
    CommandExecutionResult,
    CommandExecutionResultMessageInterface,
    CommandInterface,
    CommandOutputMessageInterface,
    CommandResultItem,
    CompletedCommand,
    EndSessionConfirmMessage,
    EndSessionMessage,
    ErrorMessageInterface,
    HeartbeatMessageInterface,
    InvocationMessage,
    QueryResult,
    ResultMessageInterface,
    RuntimeEnvironmentDownloadableInterface,
    StructuredOutputResult,
    TextResult,
    Tick,
)
from .observers import ObservedCall, Observer
from .options import (
    ExecuteCommandsOptions,
    IsCancelledCallback,
    OnArtifactUploadRequestCallback,
    OnAssistantMessageCallback,
    OnCommandOutputCallback,
    OnErrorMessageCallback,
    OnHeartbeatCallback,
    OnResultMessageCallback,
    QueryOptions,
)
from .run import Run
from .session import Session
from .session import Session as RuntimeUseSession
from .transports import (
    Connection,
    RawResult,
    Transport,
    UnknownMessage,
    WebSocketTransport,
    decode_message,
    encode_message,
)
from .usage import Usage

__all__ = [
    "AgentRuntimeError",
    "AgentRuntimeMessageInterface",
    "ArtifactUploadRequestMessageInterface",
    "ArtifactUploadResponseMessageInterface",
    "ArtifactUploadResult",
    "AssistantMessageInterface",
    "CancelMessage",
    "CancelledException",
    "Client",
    "CommandExecutionMessage",
    "CommandExecutionResult",
    "CommandExecutionResultMessageInterface",
    "CommandFailedError",
    "CommandInterface",
    "CommandOutputMessageInterface",
    "CommandResultItem",
    "CompletedCommand",
    "Connection",
    "ConnectionFailedError",
    "ConnectionLostError",
    "EndSessionConfirmMessage",
    "EndSessionMessage",
    "ErrorMessageInterface",
    "ExecuteCommandsOptions",
    "HeartbeatMessageInterface",
    "IdleTimeoutError",
    "InvocationMessage",
    "InvocationTimeoutError",
    "IsCancelledCallback",
    "MessageTooLargeError",
    "ObservedCall",
    "Observer",
    "OnArtifactUploadRequestCallback",
    "OnAssistantMessageCallback",
    "OnCommandOutputCallback",
    "OnErrorMessageCallback",
    "OnHeartbeatCallback",
    "OnResultMessageCallback",
    "OutputValidationError",
    "ProtocolError",
    "QueryOptions",
    "QueryResult",
    "RawResult",
    "Redactor",
    "ResultMessageInterface",
    "Run",
    "RuntimeEnvironmentDownloadableInterface",
    "RuntimeUseClient",
    "RuntimeUseError",
    "RuntimeUseSession",
    "Session",
    "StructuredOutputResult",
    "TextResult",
    "Tick",
    "Transport",
    "UnknownMessage",
    "Usage",
    "WebSocketTransport",
    "decode_message",
    "encode_message",
    "harmless",
]
