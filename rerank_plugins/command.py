"""The entry point of the ``rerank`` command, light, so that Ctrl-C ends it quietly from the first moment."""

from __future__ import annotations

import signal


def main() -> None:
    """Entry point of the ``rerank`` command."""
    # Ctrl-C while libraries are being imported ends the process at once; commands handle it themselves later.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rerank_core.cli import main as run

    run()
