"""Trace functions of threads, such as coverage's.

CPython 3.11 knows one moment for all threads in which a trace function is installed. A thread that comes upon another's
ends before it ran, and who started it waits for ever. Python audit hooks, such as filelock's, make that moment long.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any


def install_patiently() -> None:
    """Have ``sys.settrace`` try again when another thread is at it."""
    sys.settrace = _patient(sys.settrace)


def _patient(install: Callable[[Any], None]) -> Callable[[Any], None]:
    def settrace(function: Any, /) -> None:
        while True:
            try:
                return install(function)
            except RuntimeError:
                time.sleep(0)

    return settrace
