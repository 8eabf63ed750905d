"""A model that waits, or loads only when it may, in a process of its own: ``import gates; gates.hold("FILE")``."""

from __future__ import annotations

from pathlib import Path

from rerank_core.inference import loading
from rerank_core.inference.backends.onnx import OnnxBackend
from waiting import wait_for


def hold(file: str) -> None:
    """Hold every batch of every model while the file exists."""
    gate, run = Path(file), OnnxBackend.run

    def wait_and_run(self, *arguments):
        wait_for(lambda: not gate.exists())
        return run(self, *arguments)

    OnnxBackend.run = wait_and_run


def hold_loading(file: str) -> None:
    """Hold every load while the file exists, as a slow download does; ``FILE.loads`` gets a line for each."""
    gate, find = Path(file), loading.locate

    def wait_and_find(*arguments, **options):
        with Path(f"{file}.loads").open("a") as log:
            log.write("load\n")
        wait_for(lambda: not gate.exists())
        return find(*arguments, **options)

    loading.locate = wait_and_find
