"""Python code in an interpreter of its own, for what can be seen only there: imports, absent libraries, signals."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from waiting import BOUND


def environment(**changes: str) -> dict[str, str]:
    """This process's environment, with which a child imports what this process does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))} | changes


def fresh(
    code: str,
    *,
    without: Iterable[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    bound: float = BOUND,
) -> str:
    """What the code prints.

    Args:
        code: must succeed.
        without: top-level modules that shall not be installed.
        env: changes to the environment.
        cwd: where it runs.
        bound: seconds it may take.

    Raises:
        AssertionError: when it fails, with what it wrote to standard error.
    """
    absent = "".join(f"sys.modules[{name!r}] = None\n" for name in without)
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{absent}{code}"],
        capture_output=True, text=True, timeout=bound, check=False, env=environment(**env or {}), cwd=cwd,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
