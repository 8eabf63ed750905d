"""All errors, as one tree.

::

    RerankError
     ├─ InvalidRequestError       the call itself is wrong: fix it and try again
     ├─ AuthenticationError       the API key is missing or refused
     ├─ ModelNotFoundError        no model has this name
     ├─ ModelLoadError            the model is known but cannot, or must not, be loaded
     ├─ RateLimitError            too many requests for this key
     ├─ OverloadedError           the server is full or starting; a retry may succeed
     ├─ TimeoutError              the deadline passed
     ├─ ConnectionError           the server could not be reached
     ├─ ProtocolError             a scorer's or server's answer is invalid
     ├─ ClosedError               the reranker was closed
     ├─ InferenceError            the model failed while it was running
     └─ MissingDependencyError    an optional library is not installed

Every error has ``type``, ``code`` and ``status`` as the rerank HTTP API writes them, and ``transient``: whether the
same call may succeed later without any change. Messages say what was seen, what was expected and what to do; they never
hold keys, queries or documents.
"""

from __future__ import annotations

import builtins
from typing import Any, Self

__all__ = [
    "AuthenticationError",
    "ClosedError",
    "ConnectionError",
    "InferenceError",
    "InvalidRequestError",
    "MissingDependencyError",
    "ModelLoadError",
    "ModelNotFoundError",
    "OverloadedError",
    "ProtocolError",
    "RateLimitError",
    "RerankError",
    "TimeoutError",
]


class RerankError(Exception):
    """Base of all errors raised on purpose by this package.

    Args:
        message: what was seen, what was expected, what to do.
        code: a more specific, stable name for the situation; the class's own when not given.
        param: the argument the error is about, if there is one.
        status: the HTTP status, where it is not the class's own.
        retry_after: seconds after which a retry may succeed, where the server says so.
        transient: whether the same call may succeed later, where that differs from the class's own.
    """

    type: str = "api_error"
    code: str = "internal_error"
    status: int = 500
    transient: bool = True

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        transient: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code
        if status is not None:
            self.status = status
        if transient is not None:
            self.transient = transient

    def __reduce__(self) -> tuple[object, ...]:
        details = {name: getattr(self, name) for name in ("code", "param", "status", "retry_after", "transient")}
        return (_rebuild, (self.__class__, self.message, details))

    def copied(self) -> Self:
        """The same error as a new object, to raise or add notes to: many calls may raise the original at once."""
        fresh = self.__class__.__new__(self.__class__)
        fresh.args = self.args
        fresh.__dict__.update(self.__dict__)
        fresh.__dict__.pop("__notes__", None)
        for note in getattr(self, "__notes__", ()):
            fresh.add_note(note)
        return fresh


def _rebuild(cls: builtins.type[RerankError], message: str, details: dict[str, Any]) -> RerankError:
    """Unpickle: exceptions with keyword-only arguments do not round-trip by themselves."""
    error = cls.__new__(cls)
    RerankError.__init__(error, message, **details)
    return error


class InvalidRequestError(RerankError, ValueError):
    """The call itself is wrong: a blank query, a document that is not text, a limit below one."""

    type = "invalid_request_error"
    code = "invalid_request"
    status = 400
    transient = False


class AuthenticationError(RerankError, ValueError):
    """The API key is missing or refused. A ``ValueError``, as the adapters' frameworks expect."""

    type = "authentication_error"
    code = "invalid_api_key"
    status = 401
    transient = False


class ModelNotFoundError(RerankError):
    """No model has this name."""

    type = "invalid_request_error"
    code = "model_not_found"
    status = 404
    transient = False


class ModelLoadError(RerankError):
    """The model is known but cannot, or must not, be loaded: it would fail or score garbage."""

    code = "model_load_failed"
    transient = False


class RateLimitError(RerankError):
    """Too many requests for this key."""

    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    status = 429


class OverloadedError(RerankError):
    """The server is full (429), or is starting or stopping (503); a retry may succeed."""

    type = "overloaded_error"
    code = "overloaded"
    status = 429


class TimeoutError(RerankError, builtins.TimeoutError):  # noqa: A001  (the public name; builtins' is its base)
    """The deadline passed before the scores were ready."""

    code = "deadline_exceeded"
    status = 504


class ConnectionError(RerankError, builtins.ConnectionError):  # noqa: A001  (as above)
    """The server could not be reached."""

    code = "connection_failed"
    status = 502


class ProtocolError(RerankError):
    """The answer of a scorer or server is invalid: a wrong count, NaN, a bad index."""

    code = "protocol_error"
    status = 502


class ClosedError(RerankError):
    """The reranker was closed; make a new one."""

    code = "closed"
    status = 503
    transient = False


class InferenceError(RerankError):
    """The model failed while it was running; the original error is the cause."""

    code = "inference_failed"


class MissingDependencyError(RerankError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""

    code = "missing_dependency"
    transient = False


def missing_dependency(library: str, *, extra: str, what: str) -> MissingDependencyError:
    """The error for a missing optional library, with the command that installs it."""
    return MissingDependencyError(
        f"{what} needs the package {library!r}, which is not installed. Run: pip install 'rerank-plugins[{extra}]'"
    )
