"""Every error raised on purpose, as one tree.

ThreadhouseError
├── RequestError          a client asked for something that cannot be; api/error_codes.py says how it is told
│   ├── InvalidRequest    the request has the right shape and still makes no sense now (-32600)
│   │   ├── NotFound      no such thing for this owner; somebody else's is answered alike
│   │   └── Conflict      the thing is there, in a state that does not allow this
│   │       └── NotSteerable  the turn that runs takes no input
│   ├── InvalidParams     params of the wrong shape, type or range (-32602)
│   ├── UnknownMethod     no such method, or one refused by design (-32601)
│   ├── Overloaded        over a limit; may be tried again after retry_after_ms (-32001)
│   ├── Unauthorized      no or a wrong credential (HTTP 401)
│   └── Forbidden         a foreign Origin or Host, or a role that may not (HTTP 403)
├── ConfigError           the configuration cannot be used; names file, key and expectation
├── Unavailable           a part of the deployment does not answer (Redis, database, no worker in time)
├── CallLost              a worker began to carry a request out, and what came of it is unknown
├── AddressRefused        a host that must not be reached from here: private, local or reserved
├── ClaimLost             this process no longer holds the turn; say and write nothing more
├── ModelError            the model failed; carries what the client is told
├── ToolError             a tool call that cannot be carried out; its text is what the model is told
└── SandboxUnavailable    commands cannot be contained on this host; names what to install
"""

from __future__ import annotations

from typing import Any


class ThreadhouseError(Exception):
    """Root of the tree; str() is a sentence for the one who can act."""


class RequestError(ThreadhouseError):
    """A client's request is refused and changed nothing."""


class InvalidRequest(RequestError):
    """Right shape, but it makes no sense as things stand."""


class NotFound(InvalidRequest):
    """No such thing for this owner."""


class Conflict(InvalidRequest):
    """The thing is in a state that does not allow this."""


class NotSteerable(Conflict):
    """The turn that runs takes no input: wait for its end, or interrupt it.

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

    retry_after_ms: when trying again makes sense, in milliseconds.
    """

    def __init__(self, message: str, retry_after_ms: int = 1000) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Unauthorized(RequestError):
    """No credential, or one that is wrong, expired or revoked."""


class Forbidden(RequestError):
    """A foreign Origin or Host, or a role that may not do this."""


class ConfigError(ThreadhouseError):
    """The configuration cannot be used."""


class Unavailable(ThreadhouseError):
    """A part of the deployment does not answer; trying again later makes sense."""


class CallLost(ThreadhouseError):
    """A worker began to carry a request out, and what came of it is unknown: look before trying again."""


class AddressRefused(ThreadhouseError):
    """A host has an address that must not be reached from here (shared.addresses)."""


class ClaimLost(ThreadhouseError):
    """This process no longer holds the turn."""


class ModelError(ThreadhouseError):
    """The model failed.

    info:          CodexErrorInfo of PROTOCOL 3.2, what the client is told when this is final
    http_status:   the upstream's status, or None (connection, stream)
    retry_after_s: seconds that the upstream asked us to wait, or None
    retryable:     whether sampling again may help (PROTOCOL section 10)
    details:       the cause, for `additionalDetails`; never a secret
    cut_short:     the answer became longer than it may be
    """

    def __init__(
        self,
        message: str,
        *,
        info: str | dict[str, Any] = "other",
        http_status: int | None = None,
        retry_after_s: float | None = None,
        retryable: bool = False,
        details: str | None = None,
        cut_short: bool = False,
    ) -> None:
        super().__init__(message)
        self.info = info
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.retryable = retryable
        self.details = details
        self.cut_short = cut_short


class ToolError(ThreadhouseError):
    """A tool call that cannot be carried out; str() is what the model is told."""


class SandboxUnavailable(ToolError):
    """Commands cannot be contained on this host; str() names what to install."""
