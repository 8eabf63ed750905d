"""The models a server serves: loaded in the background, found by name."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from enum import StrEnum

from rerank_core import forks
from rerank_core.errors import InferenceError, ModelNotFoundError, OverloadedError, RerankError
from rerank_core.inference.backends.base import LoadedModelInfo
from rerank_core.reranker import Reranker
from rerank_core.server.admission import Admission

logger = logging.getLogger("rerank_core.server")

_LOADING_RETRY_SECONDS = 5.0
_POLL_SECONDS = 0.05


class State(StrEnum):
    """How far a model is."""

    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class ServedModel:
    """One model under its public name.

    Args:
        name: what clients call it.
        reranker: what ranks.
        admission: who gets into its queue.
        borrowed: whether the reranker is somebody else's to close.
        answers_cold: whether the reranker answers while its model is being loaded.
    """

    def __init__(
        self,
        name: str,
        reranker: Reranker,
        admission: Admission,
        *,
        borrowed: bool = False,
        answers_cold: bool = False,
    ) -> None:
        self.name = name
        self.reranker = reranker
        self.admission = admission
        self.borrowed = borrowed
        self._answers_cold = answers_cold
        self.state = State.WAITING
        self.error: RerankError | None = None

    @property
    def loaded(self) -> LoadedModelInfo | None:
        """What was loaded; None while it is not."""
        return self.reranker.loaded

    def load(self) -> None:
        """Load the model and run it once; the outcome is in :attr:`state` and :attr:`error`."""
        self.state = State.LOADING
        try:
            self.reranker.warm_up()
        except RerankError as error:
            self._fail(error)
        except Exception as error:
            logger.exception("loading %s failed", self.name)
            self._fail(InferenceError(f"the model {self.name!r} could not be loaded: {type(error).__name__}."))
        else:
            self.state = State.READY

    def _fail(self, error: RerankError) -> None:
        logger.error("the model %s could not be loaded: %s", self.name, error)
        self.error = error
        self.state = State.FAILED

    @property
    def answers(self) -> bool:
        """Whether it answers requests: it is loaded, or need not be."""
        return self.state is State.READY or (self._answers_cold and self.state is not State.FAILED)

    def check_ready(self) -> None:
        """Whether it can answer.

        Raises:
            OverloadedError: with status 503, while it is loading.
            RerankError: what went wrong, when it could not be loaded.
        """
        if self.state is State.FAILED:
            # Whatever it was, for a client it is the server's failure; the log has the rest.
            raise RerankError(f"The model {self.name!r} could not be loaded.", code="model_load_failed")
        if not self.answers:
            raise OverloadedError(
                f"The model {self.name!r} is still loading.",
                code="model_loading",
                status=503,
                retry_after=_LOADING_RETRY_SECONDS,
            )


class ServedModels:
    """All models of a server.

    Args:
        models: by public name; the first is the default.
    """

    def __init__(self, models: Sequence[ServedModel]) -> None:
        self._models: Mapping[str, ServedModel] = {model.name: model for model in models}
        self._default = models[0]
        self._lock = forks.Lock()
        self._thread: threading.Thread | None = None
        forks.in_child(self._begin_anew)

    def start(self) -> None:
        """Load every model, one after the other, on a thread of its own; once."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._load, name="rerank-load", daemon=True)
                self._thread.start()

    def _begin_anew(self) -> None:
        """In a forked child the thread is gone; what it had not finished is to be started again."""
        self._thread = None

    def _load(self) -> None:
        for model in self._models.values():
            if model.state is not State.READY:
                model.load()

    def find(self, name: str | None) -> ServedModel:
        """The model of this name, or the first one when no name is given.

        Raises:
            ModelNotFoundError: when there is none.
        """
        if name is None:
            return self._default
        model = self._models.get(name)
        if model is None:
            raise ModelNotFoundError(
                f"This server has no model of that name. It serves: {', '.join(self._models)}.", param="model"
            )
        return model

    @property
    def models(self) -> tuple[ServedModel, ...]:
        """All of them, the default first."""
        return tuple(self._models.values())

    @property
    def ready(self) -> bool:
        """Whether every model can answer."""
        return all(model.answers for model in self._models.values())

    async def loaded(self) -> None:
        """Load every model, and return when all are loaded.

        Raises:
            RerankError: that of the first model that could not be loaded.
        """
        self.start()
        while any(model.state is not State.READY for model in self.models):
            for model in self.models:
                if model.error is not None:
                    raise model.error
            await asyncio.sleep(_POLL_SECONDS)

    def close(self) -> None:
        """Let go of the models, except those that somebody else closes."""
        for model in self._models.values():
            if not model.borrowed:
                model.reranker.close()
