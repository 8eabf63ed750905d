"""A model that waits, in a process of its own: ``python -c "import gates; gates.hold('FILE') ..."``."""

from __future__ import annotations

from pathlib import Path

from rerank_core.inference.backends.onnx import OnnxBackend
from waiting import wait_for


def hold(file: str) -> None:
    """Hold every batch of every model while the file exists."""
    gate, run = Path(file), OnnxBackend.run

    def wait_and_run(self, *arguments):
        wait_for(lambda: not gate.exists())
        return run(self, *arguments)

    OnnxBackend.run = wait_and_run
