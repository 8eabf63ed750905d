"""Libraries that talk too much: to the log, or to their makers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Only errors from the named loggers; what matters comes back as our own error."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def quiet_onnxruntime() -> ModuleType:
    """ONNX Runtime, imported with its telemetry off.

    Official builds from 1.29 on report models and hardware to Microsoft unless ``ORT_DISABLE_TELEMETRY`` is set before
    the import. Whoever sets it themselves, or imports the library first, has decided.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime  # type: ignore[no-any-return]  # it has no types
