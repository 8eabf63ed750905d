"""``rerank serve --ray``: start Ray and Serve, run the application there until a signal, and leave nothing behind."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.inference.cpus import available_cpus
from rerank_core.optional import optional
from rerank_core.server.ray import NAME, application
from rerank_core.server.run import configure_logging
from rerank_core.server.settings import ServerSettings
from rerank_core.variables import RAY

with optional("rerank serve --ray", extra="ray"):
    import ray
    from ray import serve
    from ray.serve.config import ProxyLocation
    from ray.serve.schema import LoggingConfig

logger = logging.getLogger("rerank_core.server")

_ENVIRONMENT = {
    **RAY,
    # Serve would kill, and start again, a proxy that a busy machine has not started within five seconds.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
_OBJECT_STORE_BYTES = 100_000_000  # requests and answers pass through none
_START_SECONDS = 180.0  # for Serve's proxy
_POLL_SECONDS = 0.5
_EXIT_SIGNALLED = 128  # and the signal's number


def serve_on_ray(settings: ServerSettings, replicas: int) -> None:
    """Serve with so many replicas until SIGTERM or Ctrl-C; accepted requests are then finished before this returns.

    Ray is that of ``RAY_ADDRESS``, or one of its own on this machine, which ends with it. A second signal ends this
    process at once.

    Raises:
        InvalidRequestError: when the settings are not safe, or the machine has fewer CPUs than replicas.
        RerankError: when a model cannot be loaded.
    """
    configure_logging(settings)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    cpus = available_cpus()
    if _is_own() and replicas > cpus:
        raise InvalidRequestError(
            f"{replicas} replicas need a CPU each, and there are {cpus}. Give a lower --replicas.", param="replicas"
        )
    made = application(settings, replicas=replicas, cpus=max(1, cpus // replicas))
    stop = threading.Event()
    with _cluster(cpus):
        _stop_on_signals(stop)
        port = settings.port or _free_port(settings.host)
        _listen(settings.host, port)
        try:
            serve.run(made, name=NAME)
        except RuntimeError as error:
            raise RerankError("the replicas did not start; their own lines above say why.") from error
        logger.info(
            "serving %s on http://%s:%d, %d replicas", ", ".join(settings.served), settings.host, port, replicas
        )
        if _is_own():
            logger.info("metrics of all replicas: http://127.0.0.1:%d/metrics", _metrics_port())
        logger.info("ready")
        stop.wait()
        logger.info("stopping: accepted requests have %g seconds to finish", settings.drain_seconds)
        _drain(settings.drain_seconds)


@contextmanager
def _cluster(cpus: int) -> Iterator[None]:
    """Ray and Serve; both are ended afterwards if they were started here."""
    local: dict[str, Any] = {}
    if _is_own():
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        local = {"num_cpus": cpus, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    ray.init(logging_level=logging.WARNING, **local)
    try:
        yield
    finally:
        if _is_own():
            serve.shutdown()
        ray.shutdown()


def _is_own() -> bool:
    """Whether Ray is started here, and not somebody's cluster."""
    return "RAY_ADDRESS" not in os.environ


def _metrics_port() -> int:
    """Where Ray exports the metrics of the replicas on this machine."""
    (node,) = ray.nodes()
    port: int = node["MetricsExportPort"]
    return port


def _listen(host: str, port: int) -> None:
    """Start Serve, and return when its proxy takes connections."""
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    options = {"host": host, "port": port}
    with suppress(TimeoutError):  # of Serve's own, a minute; a busy machine takes longer
        serve.start(proxy_location=ProxyLocation.HeadOnly, http_options=options, logging_config=quiet)
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            socket.create_connection((host, port), timeout=_POLL_SECONDS).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(_POLL_SECONDS)
        else:
            return


def _drain(seconds: float) -> None:
    """Stop the application, and return when its replicas have answered what they had accepted, or after this time."""
    end = time.monotonic() + seconds
    while True:
        try:
            serve.delete(NAME)
        except TimeoutError:  # of Serve's own, a minute
            if time.monotonic() > end:
                return  # what is left is ended with Serve
        else:
            return


def _stop_on_signals(stop: threading.Event) -> None:
    """The first signal sets ``stop``, the second one ends the process."""

    def stopped(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            os._exit(_EXIT_SIGNALLED + number)
        stop.set()

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, stopped)


def _free_port(host: str) -> int:
    """A port that nobody listens on: Serve itself takes none of the system's choice."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as free:
        free.bind((host, 0))
        port: int = free.getsockname()[1]
        return port
