"""Scoring by list-wise models in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rerank_core.errors import ClosedError, InvalidRequestError, OverloadedError, RerankError
from rerank_core.events import DEFAULT_HOOKS, Degraded, Failed, Hook, MalformedAnswers, Scored, emit, logger
from rerank_core.inference.workers import SLOW_CALLS
from rerank_core.models.registry import known
from rerank_core.scores import Scores
from rerank_core.scoring.cold import BackgroundLoad
from rerank_core.scoring.keep_order import KeepOrderScorer
from rerank_core.scoring.options import LocalOptions
from rerank_core.scoring.steps import MakeFuture, Steps, afinish, finish

if TYPE_CHECKING:
    from rerank_core.inference.backends.base import LoadedModelInfo
    from rerank_core.inference.listwise.base import LoadedList, Ranked


class ListwiseScorer:
    """A list-wise model that runs in this process: it reads several documents together.

    Its scores belong to a whole request. They are not cached, and equal documents are shown as often as they are given.

    Args:
        model: a list-wise model's registry name or Hub id.
        options: how to load and run it. ``max_tokens`` limits one list; ``threads``, ``batch_tokens`` and
            ``long_documents`` do nothing for these models.
        hooks: called with each event.

    Raises:
        InvalidRequestError: when no list-wise model has this name, or an option is for other models.
    """

    def __init__(
        self, model: str, options: LocalOptions | None = None, *, hooks: Sequence[Hook] = DEFAULT_HOOKS
    ) -> None:
        spec = known(model)
        if spec is None or spec.listwise is None:
            raise InvalidRequestError(f"no list-wise model has the name {model!r}; `rerank models` lists all.")
        self.model = model
        self.options = LocalOptions() if options is None else options
        self._spec = spec
        self._gives_places = spec.score == "order"
        self._hooks = tuple(hooks)
        self._loaded: LoadedList | None = None
        self._closed = False
        self._background = BackgroundLoad(model)
        _check(self.options, model)

    def __getstate__(self) -> dict[str, Any]:
        """Without the model: a copy in another process loads its own, or shares one that is loaded there."""
        return {name: value for name, value in self.__dict__.items() if name != "_background"} | {"_loaded": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._background = BackgroundLoad(self.model)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {'loaded' if self._loaded else 'not loaded'})"

    @property
    def loaded(self) -> LoadedModelInfo | None:
        """What was loaded; None before the first use."""
        return None if self._loaded is None else self._loaded.info

    @property
    def identity(self) -> str:
        """The digest of the model, and all else that decides its scores. Loads the model.

        Raises:
            OverloadedError: while the model loads in the background, with ``when_cold="keep_order"``.
            RerankError: when it cannot be loaded.
        """
        if self._is_cold():
            raise OverloadedError(f"{self.model!r} is still loading.", code="model_loading", status=503)
        info = self._load().info
        versions = tuple(f"{name} {import_module(name).__version__}" for name in ("torch", "transformers"))
        return repr((info.fingerprint, info.dtype, info.device.partition(":")[0], versions, self._limit()))

    @property
    def pointwise(self) -> bool:
        """False: a score depends on the texts beside it."""
        return False

    @property
    def gives_places(self) -> bool:
        """Whether the scores say no more than the place in the order, so that no threshold fits them."""
        return self._gives_places

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Rank the texts; safe from several threads at once. No list ever holds texts of two calls.

        Raises:
            ClosedError: after :meth:`close`.
            ModelNotFoundError, ModelLoadError, MissingDependencyError: when the model cannot be loaded.
            InvalidRequestError: when ``max_tokens`` leaves no room for the texts.
            InferenceError: when the model fails, or none of its answers is an order.
        """
        return self._scored(query, texts, wait=False)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Rank the texts without blocking the event loop; cancelling drops what has not started.

        Raises:
            The same as :meth:`score`.
        """
        try:
            if self._is_cold():
                return self._unscored(query, texts)
            loaded = self._loaded
            model = await SLOW_CALLS.run(self._load) if loaded is None else loaded
            scores: Scores = await afinish(lambda make: self._steps(model, query, texts, make))
        except RerankError as error:
            emit(self._hooks, Failed(self.model, error.code))
            raise
        return scores

    def warm_up(self) -> None:
        """Load the model, whatever ``when_cold`` says."""
        self._scored("warm up", ["warm up"], wait=True)

    def close(self) -> None:
        """Release the model; it leaves memory when no other scorer uses it and no request is running."""
        self._closed = True
        self._loaded = None

    async def aclose(self) -> None:
        """``close`` for asynchronous code."""
        self.close()

    def _scored(self, query: str, texts: Sequence[str], *, wait: bool) -> Scores:
        try:
            if not wait and self._is_cold():
                return self._unscored(query, texts)
            scores: Scores = finish(lambda make: self._steps(self._load(), query, texts, make))
        except RerankError as error:
            emit(self._hooks, Failed(self.model, error.code))
            raise
        return scores

    def _is_cold(self) -> bool:
        """Whether calls go on without the model for now, because ``when_cold`` says so."""
        if self.options.when_cold == "wait" or self._loaded is not None or self._closed:
            return False
        return not self._background.is_done(self._load)

    def _unscored(self, query: str, texts: Sequence[str]) -> Scores:
        kept = KeepOrderScorer()
        emit(self._hooks, Degraded(self.model, kept.model, "model_loading"))
        return kept.score(query, texts)

    def _load(self) -> LoadedList:
        from rerank_core.inference.listwise.loading import load_list_model
        from rerank_core.inference.loading import LoadOptions

        loaded = self._loaded
        if self._closed:
            raise ClosedError("this reranker is closed; make a new one.")
        if loaded is None:
            loaded = load_list_model(LoadOptions.of(self.model, self.options), self._spec, self._hooks)
            self._loaded = None if self._closed else loaded
        return loaded

    def _limit(self) -> int:
        return self.options.max_tokens or self._spec.max_tokens

    def _steps(self, loaded: LoadedList, query: str, texts: Sequence[str], make_future: MakeFuture) -> Steps:
        """The work of one request: each task of the model, on the model's thread."""
        backend, started = loaded.shared.backend, time.perf_counter()
        work = backend.work(query, texts, self._limit())
        try:
            task = next(work)
            while True:
                done = yield backend.workers.submit(task, make_future())
                task = work.send(done)
        except StopIteration as end:
            ranked: Ranked = end.value
        self._report(loaded, ranked)
        seconds = time.perf_counter() - started
        emit(self._hooks, Scored(self.model, len(texts), ranked.tokens, seconds))
        return Scores(ranked.scores, self.model, ranked.tokens, 0.0, seconds)

    def _report(self, loaded: LoadedList, ranked: Ranked) -> None:
        if not ranked.malformed:
            return
        emit(self._hooks, MalformedAnswers(self.model, ranked.answers, ranked.malformed))
        if not loaded.shared.warned_of_malformed:
            loaded.shared.warned_of_malformed = True
            logger.warning(
                "%s gave no order in %d of %d answers; documents that were last seen there keep their place, marked "
                "degraded. This is logged once; each event says it.",
                self.model,
                ranked.malformed,
                ranked.answers,
            )


def _check(options: LocalOptions, model: str) -> None:
    if options.prompt:
        raise InvalidRequestError(
            f"{model!r} takes no instruction; leave prompt= out.", code="unsupported_parameter", param="prompt"
        )
    if options.long_documents != "truncate":
        raise InvalidRequestError(
            f"{model!r} reads several documents together and has no windows of one; leave long_documents= out.",
            code="unsupported_parameter",
            param="long_documents",
        )
