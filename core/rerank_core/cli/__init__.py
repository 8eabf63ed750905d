"""The ``rerank`` command."""

from __future__ import annotations

import logging
import sys


def main() -> None:
    """Entry point of the ``rerank`` command."""
    from rerank_core.cli.app import app

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows '?', not a traceback
    # Commands say what matters in their own words.
    logging.getLogger("rerank_core").addHandler(logging.NullHandler())
    app()
