"""The one way to the terminal: everything that commands print goes through here.

Styles and cursor movements are our own. Text from outside is made harmless, wherever it stands.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from rerank_core.errors import RerankError
from rerank_core.files import accessing, reason
from rerank_core.shown import STEERING, escaped, json_text, visible, zoned_time

_WIDEST = 10_000
_SUCCESS, _FAILED = (None, 0, 1), 3  # 1: nothing found
_SIZES = ("COLUMNS", "LINES", "TERMINAL_WIDTH")


_hushed = False


def hush(wanted: bool) -> None:
    """Whether remarks and progress are left out of standard error from here on. Errors never are."""
    global _hushed  # noqa: PLW0603  (of the process, as standard error is)
    _hushed = wanted


def hushed() -> bool:
    """Whether nobody wants to see progress."""
    return _hushed


class Terminal(Console):
    """A console that text cannot steer: what is rendered on it is text, styles are ours."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What :class:`rich.console.Console` renders, with :func:`visible` text."""
        if isinstance(renderable, str):
            renderable = visible(renderable)
        elif isinstance(renderable, Text):  # before it is laid out, so that columns fit
            renderable = _visible_text(renderable)
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)

    def print(self, *objects: Any, **options: Any) -> None:
        """What :class:`rich.console.Console` prints.

        Raises:
            RerankError: when it cannot be written.
        """
        with _writing("standard error" if self.stderr else "standard output"):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Whoever reads has enough: the command goes on, without an output, to the exit code it would have."""
        _discard(sys.stderr if self.stderr else sys.stdout)


def say(text: str, *, error: bool = False) -> None:
    """Print a message; lines after its first are indented, so that no name with a line break looks like a message.

    Args:
        text: the message.
        error: whether it goes to standard error, where failing to print is no failure of the command.

    Raises:
        RerankError: when it cannot be written to standard output.
    """
    import typer  # reads the terminal's size when it is imported

    shown = visible(text).replace("\n", "\n  ")
    if not error:
        with _writing("standard output"):
            typer.echo(shown)
        return
    with suppress(OSError):
        typer.echo(shown, err=True)


def say_line(text: str) -> None:
    """Print one line of results to standard output: what would break or steer it is shown as an escape.

    Raises:
        RerankError: when it cannot be written.
    """
    import typer

    with _writing("standard output"):
        typer.echo(visible(text).replace("\n", "\\n"))


def note(text: str) -> None:
    """Print a remark on the results to standard error, dim on a terminal; nothing after :func:`hush`."""
    if _hushed:
        return
    console = Terminal(stderr=True)
    with suppress(RerankError):
        console.print(Text(text.replace("\n", " "), "dim"), soft_wrap=True)


def say_text(text: str) -> None:
    """Write a file's text to standard output as it is, in UTF-8.

    Raises:
        RerankError: when it cannot be written.
    """
    import typer

    with _writing("standard output"):
        typer.echo(text.encode("utf-8"), nl=False)


def say_json(value: object) -> None:
    """Print a value as one line of JSON, whatever the encoding of standard output is.

    Raises:
        RerankError: when it cannot be written.
    """
    import typer

    with _writing("standard output"):
        typer.echo(json_text(value, encoding=getattr(sys.stdout, "encoding", None) or "ascii"))


class LogLines(logging.Handler):
    """Log records on standard error, with their time in UTC (RFC 3339)."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        say(f"{zoned_time(record.created)} {record.levelname} {record.getMessage()}", error=True)


@contextmanager
def writing_to(file: Path | None) -> Iterator[None]:
    """What is printed to standard output within goes to a file instead, if one is given, in UTF-8.

    Raises:
        InvalidRequestError: when the file cannot be written.
        RerankError: when the disk fails.
    """
    if file is None:
        yield
        return
    with accessing(file, "write"):
        stream = file.open("w", encoding="utf-8")
    try:
        with redirect_stdout(stream):
            yield
    finally:
        with accessing(file, "write"):
            stream.close()


def forget_odd_sizes() -> None:
    """Drop sizes of the terminal that are none from the environment: libraries turn them into errors, or gigabytes."""
    for name in _SIZES:
        size = os.environ.get(name, "1")
        if not (size.isascii() and size.isdigit() and len(size) <= len(str(_WIDEST)) and 0 < int(size) <= _WIDEST):
            del os.environ[name]


def flushed(code: str | int | None) -> str | int | None:
    """The exit code of a command that ended with ``code``, once all it printed is written: 3 where it cannot be."""
    if sys.stdout is None:
        return code
    try:
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer must not be tried again when the interpreter ends.
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError) or code not in _SUCCESS:
            return code
        say(f"rerank: cannot write to standard output: {reason(error)}.", error=True)
        return _FAILED
    return code


@contextmanager
def _writing(place: str) -> Iterator[None]:
    """A full disk is an error; a reader that has enough is none, and what the command found stays its exit code."""
    try:
        yield
    except BrokenPipeError:
        _discard(sys.stdout)
    except OSError as error:
        raise RerankError(f"cannot write to {place}: {reason(error)}.", code="storage_failed") from error


def _discard(stream: TextIO) -> None:
    """Send what is still to be written, also what stands in the buffer, to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _visible_text(text: Text) -> Text:
    if STEERING.search(text.plain) is None:
        return text
    shown, end = text.blank_copy(), 0
    for found in STEERING.finditer(text.plain):
        shown.append_text(text[end : found.start()])
        shown.append(escaped(found[0]))
        end = found.end()
    shown.append_text(text[end:])
    return shown
