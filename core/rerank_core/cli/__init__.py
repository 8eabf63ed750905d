"""The ``rerank`` command."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

_STANDARD_STREAMS = (0, 1, 2)


def main() -> None:
    """Run the ``rerank`` command; its entry point is ``rerank_plugins/command.py``."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows '?', not a traceback
    # Commands say what matters in their own words.
    logging.getLogger("rerank_core").addHandler(logging.NullHandler())

    from rerank_core.cli.terminal import flushed, forget_odd_sizes

    forget_odd_sizes()
    try:
        with_all_commands()()
    except SystemExit as done:
        sys.exit(flushed(done.code))


def with_all_commands() -> typer.Typer:
    """The app, once every module of commands has added its own."""
    from rerank_core.cli import bulk, cache, doctor, evaluate, mcp, query, serve  # noqa: F401  (they add their commands)
    from rerank_core.cli.app import app

    return app


def _open_closed_streams() -> None:
    """Give standard streams that are closed to the null device, or the next file opened would take their place."""
    for descriptor in _STANDARD_STREAMS:
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest descriptor that is free
