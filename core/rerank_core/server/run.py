"""Running the application as a process of its own: listen, load, serve, drain, exit."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Coroutine
from types import FrameType
from typing import Any

import uvicorn

from rerank_core.errors import RerankError
from rerank_core.server.app import create_app
from rerank_core.server.exchange import JsonFormatter, TextFormatter
from rerank_core.server.handler import Server
from rerank_core.server.protocol import MAX_HEADER_BYTES, ConnectionLimits, bounded_protocol
from rerank_core.server.settings import ServerSettings
from rerank_core.server.watchdog import Watchdog

logger = logging.getLogger("rerank_core.server")

_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 5  # after the drain, for answers that are being written
_FETCH_SECONDS = 4.0  # of these, for the other side to fetch one
_THREAD_SECONDS = 3.0  # after the last answer, for threads that are still at work
_BACKLOG = 256  # connections that wait to be accepted; an event loop accepts so many at once
_BACKLOGS = 4  # so many of them are accepted before the first one is counted, and excess connections are closed
_OTHER_FILES = 128  # files and sockets of ours that are no connections
_EXIT_STUCK = 1
_EXIT_SIGNALLED = 128  # and the signal's number


def serve(settings: ServerSettings) -> None:
    """Serve until SIGTERM or Ctrl-C; accepted requests are then finished before this returns.

    A second signal ends the process at once. So does the end of the time to finish, when something holds it up.

    Raises:
        InvalidRequestError: when the settings are not safe, or the address cannot be listened on.
        RerankError: when a model cannot be loaded.
    """
    ring = settings.key_ring()
    settings.check_address(ring)
    configure_logging(settings)
    connections, backlog = _connections_allowed(settings.max_connections)
    app = create_app(settings.guarded(ring))
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=bounded_protocol(
            ConnectionLimits(connections, settings.header_timeout, settings.request_timeout, _FETCH_SECONDS)
        ),
        ws="none",
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        backlog=backlog,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    watchdog = Watchdog()
    process = _Process(config, app.state.server, watchdog)
    try:
        process.run()
    except SystemExit:
        if process.failure is None:  # uvicorn has logged what was wrong with the address
            raise
    finally:
        watchdog.stand_down()
    if process.failure is not None:
        raise process.failure


def end_process() -> None:
    """Let the process end by itself, and end it if threads that nobody waits for keep it alive."""
    Watchdog().end_within(_THREAD_SECONDS, 0)


def _connections_allowed(connections: int) -> tuple[int, int]:
    """How many connections there may be, and how many may wait, with the files this process may open."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return connections, _BACKLOG
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _BACKLOGS * _BACKLOG + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections, _BACKLOG
    allowed = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    except (ValueError, OSError):  # macOS has a lower limit of its own behind an infinite one
        allowed = soft
    if allowed == needed:
        return connections, _BACKLOG
    half = max(1, (allowed - _OTHER_FILES) // 2)
    logger.warning("this process may open %d files only, so at most %d connections (ulimit -n)", allowed, half)
    return min(connections, half), max(1, min(_BACKLOG, half // _BACKLOGS))


class _Process(uvicorn.Server):
    """uvicorn, which drains before it stops, stops when a model cannot be loaded, and then exits with 0."""

    def __init__(self, config: uvicorn.Config, server: Server, watchdog: Watchdog) -> None:
        super().__init__(config)
        self.failure: RerankError | None = None
        self._server = server
        self._watchdog = watchdog
        self._signalled = False
        self._background: set[asyncio.Task[None]] = set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn's signature)
        """The first signal stops the server, the second one the process.

        uvicorn would raise the first one again afterwards, and spoil the exit code.
        """
        if self._signalled:
            os._exit(_EXIT_SIGNALLED + sig)
        self._signalled = True
        self._watchdog.end_within(self._server.settings.drain_seconds + 2 * _GRACE_SECONDS, _EXIT_STUCK)
        asyncio.get_running_loop().call_soon_threadsafe(self.stop)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, say where, and watch the models load."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            names = ", ".join(model.name for model in self._server.served.models)
            shown = f"[{host}]" if ":" in host else host
            page = "a page to try it there, " if self._server.settings.page else ""
            logger.info("serving %s on http://%s:%d (%sdocumentation at /docs)", names, shown, port, page)
            self._in_background(self._watch_loading())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Every request has an answer afterwards; threads that still compute do not delay the end."""
        await super().shutdown(sockets)
        if self._signalled:
            self._watchdog.end_within(_THREAD_SECONDS, 0)

    def stop(self) -> None:
        """Take nothing new, finish what was accepted, and exit."""
        logger.info("stopping: accepted requests have %g seconds to finish", self._server.settings.drain_seconds)
        self._in_background(self._drain())

    async def _drain(self) -> None:
        """New requests are refused, and /ready says so, until the accepted ones are done; then stop listening."""
        await self._server.lifecycle.drain(self._server.settings.drain_seconds)
        self.should_exit = True

    async def _watch_loading(self) -> None:
        try:
            await self._server.served.loaded()
        except RerankError as error:
            self.failure = error
            self.should_exit = True
        else:
            logger.info("ready")

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def configure_logging(settings: ServerSettings) -> None:
    """The server's own lines on standard error, as ``log_format`` says."""
    logging.getLogger("uvicorn.access").disabled = True  # its lines hold query strings; ours do not
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    chosen = logging.getLogger("rerank_core").level or logging.INFO  # -v, -q, --log-level
    for name, level in (("rerank_core", chosen), ("uvicorn.error", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.setLevel(level)
        log.propagate = False
