"""From values to HTTP answers: JSON bodies, error bodies, the headers that go with them."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.responses import Response

from rerank_core.errors import AuthenticationError, RerankError
from rerank_core.wire.dialect import error_body

# Pages reach this server only, run only its scripts, and stand in no other page.
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_WRONG_MEDIA = 415
_UNREAD = (408, 413)  # the rest of the body is not waited for


def json_bytes(value: Any) -> bytes:
    """JSON in UTF-8. What UTF-8 cannot express (a lone surrogate a client sent) goes back escaped, as it came."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, allow_nan=False, separators=(",", ":")).encode()


def json_response(body: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(json_bytes(body), status, headers, media_type="application/json")


def error_response(error: RerankError, translated: tuple[int, dict[str, Any]] | None = None) -> Response:
    """The answer that reports ``error``, in a dialect's ``translated`` form if one is given."""
    status, body = translated or (error.status, error_body(error))
    headers = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if status in _UNREAD or error.code == "shutting_down":
        headers["Connection"] = "close"
    if status == _WRONG_MEDIA:  # RFC 9110, 15.5.16: what would have been taken
        headers |= {"Accept": "application/json", "Accept-Encoding": "identity"}
    if isinstance(error, AuthenticationError):
        headers["WWW-Authenticate"] = 'Bearer realm="rerank"'
    return json_response(body, status=status, headers=headers)
