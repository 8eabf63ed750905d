"""A model that loads in the background while calls go on without it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from rerank_core import forks
from rerank_core.errors import RerankError
from rerank_core.events import logger
from rerank_core.inference.workers import SLOW_CALLS


class BackgroundLoad:
    """Loads a model once, on a thread that no fork and no exit waits for. A forked child begins anew.

    Args:
        model: its name, for the log.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._lock = forks.Lock()
        self._loading: Future[None] | None = None
        forks.in_child(self._begin_anew)

    def is_done(self, load: Callable[[], object]) -> bool:
        """Whether the model is loaded; the first call begins to load it.

        Args:
            load: loads it, and keeps what it loads.

        Raises:
            RerankError: why it could not be loaded. After a transient failure the next call begins again; a lasting
                one is raised each time.
        """
        with self._lock:
            loading = self._loading
            if loading is None:
                logger.warning(
                    "%s is being loaded; until then documents keep their order, marked degraded.", self._model
                )
                self._loading = SLOW_CALLS.submit(lambda: _done(load))
                return False
            if not loading.done():
                return False
            error = loading.exception()
            if error is None:
                return True
            if not isinstance(error, RerankError):
                self._loading = None
                raise error
            if error.transient:
                self._loading = None
        raise error.copied() from error

    def _begin_anew(self) -> None:
        self._loading = None


def _done(load: Callable[[], object]) -> None:
    """Load, and give nothing back: a future that held the model would keep it in memory."""
    load()
