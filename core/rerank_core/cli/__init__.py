"""The ``rerank`` command."""

from __future__ import annotations

import logging
import signal
import sys


def main() -> None:
    """Entry point of the ``rerank`` command."""
    # Ctrl-C while libraries are being imported ends the process at once; commands handle it themselves later.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows '?', not a traceback
    # Commands say what matters in their own words.
    logging.getLogger("rerank_core").addHandler(logging.NullHandler())

    from rerank_core.cli import evaluate, serve  # noqa: F401  (they add their commands)
    from rerank_core.cli.app import app

    app()
