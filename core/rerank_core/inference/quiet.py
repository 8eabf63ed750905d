"""Keeping libraries quiet: their logs, and their telemetry."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from rerank_core import forks

_lock = forks.Lock()
_levels: dict[str, int] = {}  # each logger's level before the first request for quiet, restored after the last
_requests: dict[str, set[object]] = {}  # the requests for quiet that are in force, per logger


@contextmanager
def quiet_loggers(*names: str) -> Iterator[None]:
    """Only errors from the named loggers; what matters is raised as our own error.

    Several threads may ask for it at once: a logger is quiet until the last of them is done.
    """
    request = object()
    try:
        for name in names:
            _quiet(name, request)
        yield
    finally:
        for name in names:
            _restore(name, request)


def _quiet(name: str, request: object) -> None:
    logger = logging.getLogger(name)
    with _lock:
        _levels.setdefault(name, logger.level)
        _requests.setdefault(name, set()).add(request)
        logger.setLevel(logging.ERROR)


def _restore(name: str, request: object) -> None:
    with _lock:
        requests = _requests.get(name, set())
        requests.discard(request)
        if not requests and name in _levels:
            logging.getLogger(name).setLevel(_levels[name])
            del _levels[name]


def _restore_all() -> None:
    """In a forked child: the threads that asked for quiet are not there."""
    for name in tuple(_levels):
        _requests.pop(name, None)
        _restore(name, None)


forks.in_child(_restore_all)


def quiet_onnxruntime() -> ModuleType:
    """ONNX Runtime, imported with its telemetry off.

    Official builds from 1.29 on report models and hardware to Microsoft unless ``ORT_DISABLE_TELEMETRY`` is set before
    the import. A user who sets the variable, or imports the library first, decides otherwise.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime  # type: ignore[no-any-return]  # it has no types
