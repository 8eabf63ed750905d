"""Reading a request's body, within limits."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from rerank_core.errors import InvalidRequestError

_MOST_DIGITS = 18

__all__ = ["ClientDisconnect", "check_body_headers", "read_body"]


def check_body_headers(request: Request) -> None:
    """Whether the body claims to be plain JSON.

    One without a content type is refused as well: that is what a web page may send to any server without asking,
    where JSON takes the server's consent (https://fetch.spec.whatwg.org/#cors-safelisted-request-header).

    Raises:
        InvalidRequestError: with status 415, otherwise.
    """
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise _unsupported("The body must be JSON: send it with 'Content-Type: application/json'.")
    coding = request.headers.get("content-encoding", "").strip().lower()
    if coding not in ("", "identity"):
        raise _unsupported("The body is compressed (Content-Encoding); send it as it is, without that header.")


async def read_body(request: Request, *, limit: int) -> bytes:
    """The whole body.

    Args:
        request: the request.
        limit: most bytes it may have; counted while they arrive, whatever the headers say.

    Raises:
        InvalidRequestError: with status 413 when it is too large.
        ClientDisconnect: when the client leaves before it is complete.
    """
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > _MOST_DIGITS or int(length) > limit):
        raise _too_large(limit)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise _too_large(limit)
    return bytes(body)


def _unsupported(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, code="unsupported_media_type", status=415)


def _too_large(limit: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"The body is larger than {limit} bytes. Send fewer or shorter documents.",
        code="payload_too_large",
        status=413,
    )
