"""What stands in a file."""

from __future__ import annotations

from pathlib import Path

from rerank_core.errors import InvalidRequestError
from rerank_core.files import accessing


def contents(file: Path) -> bytes:
    """The bytes of a file.

    Raises:
        InvalidRequestError: when it cannot be read.
    """
    with accessing(file):
        return file.read_bytes()


def decoded(data: bytes, name: str) -> str:
    r"""UTF-8 text with ``\n`` between lines.

    Raises:
        InvalidRequestError: when it is none; ``name`` is the file's, for the message.
    """
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"{name} is not UTF-8 text (byte {error.start}).") from error
