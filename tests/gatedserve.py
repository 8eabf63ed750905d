"""The command line with a model that waits: ``python gatedserve.py GATE ARGUMENTS``, while the file GATE exists."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from rerank_core.cli import main
from rerank_core.inference.backends.onnx import OnnxBackend
from waiting import wait_for


def gated(run, gate: Path):
    def wait_and_run(self, *arguments):
        wait_for(lambda: not gate.exists())
        return run(self, *arguments)

    return wait_and_run


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a parent may ignore Ctrl-C, and children inherit that
    OnnxBackend.run = gated(OnnxBackend.run, Path(sys.argv.pop(1)))
    main()
