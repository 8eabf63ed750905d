"""Ctrl-C at every bytecode, one after the other."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType


def interrupted_everywhere(call: Callable[[], object], *modules: ModuleType) -> Iterator[int]:
    """Run ``call`` again and again, each time interrupted one place further on, until it comes to its end.

    Places are all bytecodes of the modules' functions, called by this thread. Yields after each interrupt, with its
    number.
    """
    files = {module.__file__ for module in modules}
    number = 0
    gc.collect()
    gc.disable()  # what other tests left would be finalised in the middle, and its finalizers interrupted
    try:
        while _interrupted(call, files, number):
            yield number
            number += 1
    finally:
        gc.enable()


def _interrupted(call: Callable[[], object], files: set[str | None], number: int) -> bool:
    """Whether there was a place of this number to interrupt."""
    left = number

    def trace(frame: FrameType, event: str, _argument: object) -> object:
        nonlocal left
        if event == "call":
            frame.f_trace_opcodes = True
            return trace if frame.f_code.co_filename in files else None
        if event == "opcode":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
