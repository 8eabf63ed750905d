"""Access to the file system: its errors become errors of ours that name the file and the reason."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rerank_core.errors import InvalidRequestError, RerankError

_MACHINE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE})


@contextmanager
def accessing(path: str | Path, doing: str = "read", *, param: str | None = None) -> Iterator[None]:
    """Translate what the file system raises in this block.

    Keep the block to the access itself: the caller, who knows the format, handles errors of decoding or parsing.

    Args:
        path: the file or folder.
        doing: the action, for the message "cannot {doing} {path}".
        param: the argument that named the path.

    Raises:
        InvalidRequestError: when the path is missing, of the wrong kind, not permitted, a loop of symbolic links, or no
            path at all, or when the content does not fit in memory.
        RerankError: when the storage fails, so that another path is no remedy: a full or broken disk (code
            ``storage_failed``).
    """
    try:
        yield
    except (RerankError, UnicodeError):
        raise
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        message = f"cannot {doing} {path}: {reason(error)}."
        if isinstance(error, OSError) and error.errno in _MACHINE:
            raise RerankError(message, code="storage_failed", param=param) from error
        raise InvalidRequestError(message, param=param) from error


def reason(error: BaseException) -> str:
    """Why the file system refused, in words."""
    if isinstance(error, MemoryError):
        return "it does not fit in memory"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, RuntimeError):  # pathlib raises it for a loop (until Python 3.12) and for a missing home
        return "its symbolic links lead in a circle" if "loop" in str(error).lower() else str(error)
    return str(error)


def resolved(path: Path, doing: str = "read") -> Path:
    """``path`` without symbolic links.

    Raises:
        InvalidRequestError: when they lead in a circle, or may not be read.
    """
    with accessing(path, doing):
        return path.resolve()
