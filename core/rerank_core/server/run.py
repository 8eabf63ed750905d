"""Running the application as a process of its own: listen, load, serve, drain, exit."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from rerank_core.errors import RerankError
from rerank_core.server.app import create_app
from rerank_core.server.exchange import JsonFormatter
from rerank_core.server.handler import Server
from rerank_core.server.settings import ServerSettings
from rerank_core.server.shelf import State

logger = logging.getLogger("rerank_core.server")

_KEEP_ALIVE_SECONDS = 75
_GRACE_SECONDS = 5  # after the drain, for answers on their way out
_POLL_SECONDS = 0.05


def serve(settings: ServerSettings) -> None:
    """Serve until SIGTERM or Ctrl-C; accepted requests are then finished before this returns.

    Raises:
        InvalidRequestError: when the settings are not safe, or the address cannot be listened on.
        RerankError: when a model cannot be loaded.
    """
    settings.check_address(settings.key_ring())
    _configure_logging(settings)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    process = _Process(config, app.state.server)
    try:
        process.run()
    except SystemExit:
        if process.failure is None:  # uvicorn has logged what was wrong with the address
            raise
    if process.failure is not None:
        raise process.failure


class _Process(uvicorn.Server):
    """uvicorn, which drains before it stops, stops when a model cannot be loaded, and then exits with 0."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self.failure: RerankError | None = None
        self._server = server
        self._background: set[asyncio.Task[None]] = set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals stop the server; uvicorn would raise them again afterwards and spoil the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows
                loop.add_signal_handler(number, self.stop)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, say where, and watch the models load."""
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            names = ", ".join(model.name for model in self._server.shelf.models)
            shown = f"[{host}]" if ":" in host else host
            logger.info("serving %s on http://%s:%d (documentation at /docs)", names, shown, port)
            self._in_background(self._watch_loading())

    def stop(self) -> None:
        """Take nothing new, finish what was accepted, and exit; at once when asked a second time."""
        if self._server.lifecycle.draining:
            self.should_exit = self.force_exit = True
            return
        logger.info("stopping: accepted requests have %g seconds to finish", self._server.settings.drain_seconds)
        self._in_background(self._drain())

    async def _drain(self) -> None:
        """New requests are refused, and /ready says so, until the accepted ones are done; then stop listening."""
        await self._server.lifecycle.drain(self._server.settings.drain_seconds)
        self.should_exit = True

    async def _watch_loading(self) -> None:
        models = self._server.shelf.models
        while not self._server.shelf.ready:
            failed = next((model for model in models if model.state is State.FAILED), None)
            if failed is not None:
                self.failure = failed.error
                self.should_exit = True
                return
            await asyncio.sleep(_POLL_SECONDS)
        logger.info("ready")

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _configure_logging(settings: ServerSettings) -> None:
    logging.getLogger("uvicorn.access").disabled = True  # its lines hold query strings; ours do not
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    for name, level in (("rerank_core", logging.INFO), ("uvicorn.error", logging.WARNING)):
        log = logging.getLogger(name)
        log.handlers = [handler]
        log.setLevel(level)
        log.propagate = False
