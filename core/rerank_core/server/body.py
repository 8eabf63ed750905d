"""Reading a request's body, within limits."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from rerank_core.errors import InvalidRequestError

__all__ = ["ClientDisconnect", "check_content_type", "read_body"]


def check_content_type(request: Request) -> None:
    """Whether the body claims to be JSON; one without a content type may be.

    Raises:
        InvalidRequestError: with status 415, otherwise.
    """
    kind = request.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if kind and kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise InvalidRequestError(
            "The body must be JSON: send it with 'Content-Type: application/json'.",
            code="unsupported_media_type",
            status=415,
        )


async def read_body(request: Request, *, limit: int, seconds: float) -> bytes:
    """The whole body.

    Args:
        request: the request.
        limit: most bytes it may have; counted while they arrive, whatever the headers say.
        seconds: how long it may take to arrive.

    Raises:
        InvalidRequestError: with status 413 when it is too large, 408 when it takes too long.
        ClientDisconnect: when the client leaves before it is complete.
    """
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise _too_large(limit)
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise _too_large(limit)
    except TimeoutError:
        raise InvalidRequestError(
            f"The body did not arrive within {seconds:g} seconds.", code="request_timeout", status=408
        ) from None
    return bytes(body)


def _too_large(limit: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"The body is larger than {limit} bytes. Send fewer or shorter documents.",
        code="payload_too_large",
        status=413,
    )
