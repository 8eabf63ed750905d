"""A reply's body within its limits: time and size are checked while it arrives and while it is decompressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping

from rerank_core.client.exchange import Reply, Request
from rerank_core.client.retry import AttemptError, Deadline
from rerank_core.client.urls import shown
from rerank_core.errors import ProtocolError

ACCEPTED = "gzip"  # how replies may be compressed; every other coding would need its own limit
_STEP = 65_536  # most bytes that one step of decompression gives
_GZIP = 16 + zlib.MAX_WBITS


class Body:
    """Collects the body of one reply.

    The bytes that arrive and the bytes that come out of decompression are each bounded by the request's ``most_bytes``.
    The body of a failure is only read for details, so an unexpected content coding is no error there.

    Args:
        status: the reply's.
        headers: the reply's, with names in lower case.
        request: the request that it answers.
        deadline: checked with every piece and every step.
        decoded: whether the pieces are decompressed already.
    """

    def __init__(
        self, status: int, headers: Mapping[str, str], request: Request, deadline: Deadline, *, decoded: bool = False
    ) -> None:
        self._status = status
        self._headers = headers
        self._request = request
        self._deadline = deadline
        self._received = 0
        self._data = bytearray()
        self._broken = False
        codings = [] if decoded else _codings(headers)
        self._gzip = _Gzip() if codings and codings[0] in ("gzip", "x-gzip") else None
        if len(codings) > 1 or (codings and self._gzip is None):
            self._break("in a content coding that was not asked for; expected none, or gzip once")

    def add(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            AttemptError: when there is no time left, the body is too long, or cannot be decompressed.
        """
        self._received += len(piece)
        self._check(self._received)
        try:
            for step in (piece,) if self._gzip is None else self._gzip.steps(piece):
                self._check(len(self._data) + len(step))
                if not self._broken:
                    self._data += step
        except zlib.error as error:
            self._break("that cannot be decompressed", error)

    def reply(self) -> Reply:
        """The reply with the whole body.

        Raises:
            AttemptError: when the end of a compressed body is missing.
        """
        if self._gzip is not None and self._received and not self._gzip.ended:
            self._break("that cannot be decompressed: its end is missing")
        return Reply(self._status, self._headers, bytes(self._data), self._request.headers["x-request-id"])

    def _check(self, size: int) -> None:
        if not self._deadline.left:
            raise AttemptError(self._deadline.error())
        if size > self._request.most_bytes:
            message = f"{shown(self._request.url)}: the reply is longer than {self._request.most_bytes} bytes."
            raise AttemptError(ProtocolError(message, code="reply_too_long"))

    def _break(self, what: str, cause: Exception | None = None) -> None:
        self._broken = True
        self._gzip = None
        self._data.clear()
        if 200 <= self._status < 300:  # noqa: PLR2004  (HTTP)
            raise AttemptError(ProtocolError(f"{shown(self._request.url)} sent a body {what}.")) from cause


class _Gzip:
    """One gzip stream, decompressed in steps of bounded size."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP)

    @property
    def ended(self) -> bool:
        """Whether the end has been seen."""
        return self._inflate.eof

    def steps(self, piece: bytes) -> Iterator[bytes]:
        """The decompressed bytes of ``piece``, in at least one step.

        Raises:
            zlib.error: when it is no gzip, or more than one stream.
        """
        more = True
        while more:
            step = self._inflate.decompress(piece, _STEP)
            piece = self._inflate.unconsumed_tail
            more = bool(piece) or len(step) == _STEP
            yield step
        if self._inflate.unused_data:
            raise zlib.error("something follows the end")


def _codings(headers: Mapping[str, str]) -> list[str]:
    named = (coding.strip().lower() for coding in headers.get("content-encoding", "").split(","))
    return [coding for coding in named if coding not in ("", "identity")]
