"""Every error raised on purpose, as one tree.

ThreadhouseError
├── RequestError          a client's request is refused; api/transport/error_codes.py maps it to the wire
│   ├── InvalidRequest    the request has the right shape but is not possible now (-32600)
│   │   ├── NotFound      the owner has no such object; another user's object is answered alike
│   │   ├── BodyTooLarge  the body of an HTTP request has more bytes than this server accepts (HTTP 413)
│   │   ├── HistoryTooLarge  the thread has more than may be put before a model
│   │   ├── ConfigWriteRefused  an edit of a user's configuration is not possible
│   │   │   └── StaleConfigVersion  the configuration has changed since it was read
│   │   └── Conflict      the object is in a state that does not allow the request
│   │       └── NotSteerable  the running turn accepts no input
│   ├── InvalidParams     params of the wrong shape, type or range (-32602)
│   ├── UnknownMethod     no such method, or one refused by design (-32601)
│   ├── Overloaded        over a limit; may be tried again after retry_after_ms (-32001)
│   ├── RequestTimeout    the body of an HTTP request did not arrive in time (HTTP 408)
│   ├── McpRequestFailed  an MCP server, or the connection to it, failed; has the code of the server's error
│   ├── Unauthorized      no credential or a wrong one (HTTP 401)
│   └── Forbidden         a foreign Origin or Host, or a role without the permission (HTTP 403)
├── ConfigError           the configuration cannot be used; names file, key and expectation
├── BackupError           a backup cannot be made, used or restored
├── Unavailable           a part of the deployment does not answer (Redis, database, no worker in time)
├── CallLost              a worker began a request, and its outcome is unknown
├── AddressRefused        a host that must not be reached from here: private, local or reserved
├── ClaimLost             this process no longer holds the turn: publish and write nothing more
├── InvalidImage          an image that no model API accepts
├── ModelError            the model failed; has what clients see
└── ToolError             a tool call that is not possible; its text is what the model sees
    └── SandboxUnavailable  commands cannot be contained on this host; names what to install
"""

from __future__ import annotations

from collections.abc import Mapping


class ThreadhouseError(Exception):
    """The root of the tree. str() is a sentence for the person who can solve the problem."""


class RequestError(ThreadhouseError):
    """A client's request that is refused and has changed nothing."""


class InvalidRequest(RequestError):
    """A request of the right shape that is not possible now."""


class NotFound(InvalidRequest):
    """The owner has no such object."""


class BodyTooLarge(InvalidRequest):
    """The body of an HTTP request has more bytes than this server accepts."""


class HistoryTooLarge(InvalidRequest):
    """A thread has more bytes than may be put before a model: compact it, or start a new one."""


class ConfigWriteRefused(InvalidRequest):
    """An edit of a user's configuration is not possible.

    reason: what clients see as `config_write_error_code`
    """

    def __init__(self, message: str, reason: str = "configValidationError") -> None:
        super().__init__(message)
        self.reason = reason


class StaleConfigVersion(ConfigWriteRefused):
    """The configuration has changed since it was read."""

    def __init__(self, message: str) -> None:
        super().__init__(message, "configVersionConflict")


class Conflict(InvalidRequest):
    """The object is in a state that does not allow the request."""


class NotSteerable(Conflict):
    """The running turn accepts no input: wait for its end, or interrupt it.

    turn_kind: "compact" or "review"
    """

    def __init__(self, turn_kind: str) -> None:
        super().__init__(f"cannot steer a {turn_kind} turn")
        self.turn_kind = turn_kind


class InvalidParams(RequestError):
    """Params of the wrong shape, type or range."""


class UnknownMethod(RequestError):
    """No such method, or one refused by design."""


class Overloaded(RequestError):
    """Over a limit.

    retry_after_ms: after how many milliseconds another attempt may succeed
    """

    def __init__(self, message: str, retry_after_ms: int = 1000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class RequestTimeout(RequestError):
    """The body of an HTTP request did not arrive in time."""


class McpRequestFailed(RequestError):
    """An MCP server, or the connection to it, failed. code, data: of the server's own JSON-RPC error."""

    def __init__(self, message: str, code: int = -32603, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class Unauthorized(RequestError):
    """No credential, or one that is wrong, expired or revoked."""


class Forbidden(RequestError):
    """A foreign Origin or Host, or a role that may not do this."""


class ConfigError(ThreadhouseError):
    """The configuration cannot be used."""


class BackupError(ThreadhouseError):
    """A backup cannot be made, used or restored; names the file or folder, and what to do."""


class Unavailable(ThreadhouseError):
    """A part of the deployment does not answer; a later attempt may succeed."""


class CallLost(ThreadhouseError):
    """A worker began a request, and its outcome is unknown: check before you try again."""


class AddressRefused(ThreadhouseError):
    """A host with an address that must not be reached from here (shared.addresses)."""


class ClaimLost(ThreadhouseError):
    """This process no longer holds the turn."""


class InvalidImage(ThreadhouseError):
    """An image that no model API accepts; str() says why."""


class ModelError(ThreadhouseError):
    """The model failed.

    info:          CodexErrorInfo of PROTOCOL 3.2, which clients see when the error is final
    http_status:   the model server's status; None: none came (connection, stream)
    retry_after_s: seconds that the model server asks us to wait, or None
    retryable:     whether another attempt may succeed (PROTOCOL section 10)
    details:       the cause, for `additionalDetails`; never a secret
    cut_short:     the answer was longer than allowed
    url:           of the request, without secrets, which only the operator may see
    """

    def __init__(
        self,
        message: str,
        *,
        info: str | Mapping[str, Mapping[str, object]] = "other",
        http_status: int | None = None,
        retry_after_s: float | None = None,
        retryable: bool = False,
        details: str | None = None,
        cut_short: bool = False,
        url: str | None = None,
    ) -> None:
        super().__init__(message)
        self.info = info
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.retryable = retryable
        self.details = details
        self.cut_short = cut_short
        self.url = url


class ToolError(ThreadhouseError):
    """A tool call that is not possible; str() is what the model sees."""


# What users of a server that is not their own read of SandboxUnavailable.
NO_FOLDERS = "this server cannot work in its folders at the moment: try again, or tell its operator"


class SandboxUnavailable(ToolError):
    """Commands cannot be contained on this host; str() names what to install."""
