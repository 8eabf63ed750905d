"""One HTTP request and its reply, as plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr

from rerank_core.client.urls import shown
from rerank_core.wire.dialect import Dialect


@dataclass(frozen=True, slots=True)
class Service:
    """The service that requests go to.

    Attributes:
        dialect: the dialect it speaks.
        url: where requests are posted to.
        model: the model asked for; None for the server's choice.
        api_key: the key, if there is one.
        return_details: whether results should say what was read of their texts.
    """

    dialect: Dialect
    url: str = field(repr=False)
    model: str | None = None
    api_key: SecretStr | None = None
    return_details: bool = False

    @property
    def shown(self) -> str:
        """The address, for messages."""
        return shown(self.url)

    @property
    def name(self) -> str:
        """The model's name, or the dialect's where the service chooses the model; for people."""
        return self.model or self.dialect.name

    @property
    def key_text(self) -> str | None:
        """The key as it is sent."""
        return self.api_key.get_secret_value() if self.api_key else None


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """What a server answered.

    Attributes:
        status: the HTTP status.
        headers: with names in lower case.
        content: the body, decompressed.
        request_id: what identifies the request in the server's log.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    request_id: str = ""

    @property
    def described(self) -> str:
        """Status, content type and size: what a message may say about any body."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip()[:64] or "no content type"
        return (
            f"status {self.status}, {kind if kind.isprintable() else 'an odd content type'}, {len(self.content)} bytes"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """One request to send, and how to read its reply.

    Attributes:
        method: the HTTP method.
        url: the whole address, query string included.
        headers: all but those that httpx adds by itself; they hold the key.
        body: writes the body; called for each attempt, so that not all bodies are in memory at once.
        most_bytes: the longest reply to accept.
        read: turns a reply into the result; raises AttemptError or RerankError where it cannot.
        optional_within: timeout in seconds of a request whose answer can be done without: it is not retried, and its
            result is None where it fails. None for a request whose answer is needed.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: Callable[[], bytes] | None
    most_bytes: int
    read: Callable[[Reply], Any]
    optional_within: float | None = None
