"""Libraries that talk too much: to the log, or to their makers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from rerank_core import forks

_lock = forks.Lock()
_levels: dict[str, int] = {}  # what loggers had before the first who wanted them quiet, for the last to restore
_wishes: dict[str, set[object]] = {}  # who wants which logger quiet


@contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Only errors from the named loggers; what matters comes back as our own error.

    Several threads may want it at once: a logger is quiet from the first of them to the last.
    """
    wish = object()
    try:
        for name in names:
            _quiet(name, wish)
        yield
    finally:
        for name in names:
            _restore(name, wish)


def _quiet(name: str, wish: object) -> None:
    logger = logging.getLogger(name)
    with _lock:
        _levels.setdefault(name, logger.level)
        _wishes.setdefault(name, set()).add(wish)
        logger.setLevel(logging.ERROR)


def _restore(name: str, wish: object) -> None:
    with _lock:
        wishes = _wishes.get(name, set())
        wishes.discard(wish)
        if not wishes and name in _levels:
            logging.getLogger(name).setLevel(_levels[name])
            del _levels[name]


def _restore_all() -> None:
    """In a forked child: those who wanted a logger quiet are not there."""
    for name in tuple(_levels):
        _wishes.pop(name, None)
        _restore(name, None)


forks.in_child(_restore_all)


def quiet_onnxruntime() -> ModuleType:
    """ONNX Runtime, imported with its telemetry off.

    Official builds from 1.29 on report models and hardware to Microsoft unless ``ORT_DISABLE_TELEMETRY`` is set before
    the import. Whoever sets it themselves, or imports the library first, has decided.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime  # type: ignore[no-any-return]  # it has no types
