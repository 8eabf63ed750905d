"""Servers as child processes on loopback: started, waited for, stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx

from compat.environments import BUILD

# No telemetry, and no hub: everything that is served was made here.
QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "VLLM_NO_USAGE_STATS": "1",
}


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running(
    name: str, command: Sequence[object], health: str, *, seconds: float, env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run ``command`` until the block ends; its output goes to ``build/compat/logs``.

    Args:
        name: of the log.
        command: program and arguments.
        health: an address that answers 200 when it is ready.
        seconds: how long that may take.
        env: more environment variables.

    Raises:
        RuntimeError: when it ends or does not answer in time.
    """
    log = BUILD / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        # In a session of its own: some of these servers start more processes, and all must go.
        process = subprocess.Popen(  # noqa: S603  (commands are written in compat.servers)
            [str(word) for word in command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **QUIET, **(env or {})},
            start_new_session=True,
        )
        try:
            _wait(process, health, seconds, name)
            yield
        finally:
            _stop(process)


def _wait(process: subprocess.Popen[bytes], health: str, seconds: float, name: str) -> None:
    deadline = time.monotonic() + seconds
    with httpx.Client(trust_env=False, timeout=5) as http:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended with {process.returncode} while starting: see build/compat/logs.")
            try:
                if http.get(health).status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.5)
    raise RuntimeError(f"{name} did not answer within {seconds:g} seconds: see build/compat/logs.")


def _stop(process: subprocess.Popen[bytes]) -> None:
    for sign, seconds in ((signal.SIGTERM, 20), (signal.SIGKILL, 10)):
        try:
            os.killpg(process.pid, sign)
            process.wait(seconds)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
    process.wait(10)
