"""Scoring in this process: load on first use, plan, run, report."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from rerank_core.errors import InferenceError, InvalidRequestError, RerankError
from rerank_core.events import DEFAULT_HOOKS, BatchScored, Encoded, Failed, Hook, Scored, Truncated, emit
from rerank_core.models.registry import DEFAULT_MODEL
from rerank_core.scoring.base import Score, Scores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.inference.backends.base import LoadedModel, LoadedModelInfo
    from rerank_core.inference.plan import Plan

R = TypeVar("R")
LONG_DOCUMENTS = ("truncate", "windows")
BACKENDS = ("auto", "onnx", "torch")
DTYPES = ("float32", "float16", "bfloat16", "int8")

logger = logging.getLogger("rerank_core")


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How a model is loaded and run in this process. See :class:`~rerank_core.Reranker` for each option.

    Raises:
        InvalidRequestError: when a value is not one of those allowed.
    """

    long_documents: str = "truncate"
    max_tokens: int | None = None
    batch_tokens: int | None = None
    threads: int | None = None
    backend: str = "auto"
    device: str | None = None
    dtype: str | None = None
    device_map: str | None = None
    prompt: str | None = None
    revision: str | None = None
    trust_remote_code: bool = False
    local_files_only: bool = False

    def __post_init__(self) -> None:
        _check_choice("long_documents", self.long_documents, LONG_DOCUMENTS)
        _check_choice("backend", self.backend, BACKENDS)
        if self.dtype is not None:
            _check_choice("dtype", self.dtype, DTYPES)
        for name in ("max_tokens", "batch_tokens", "threads"):
            _check_positive(name, getattr(self, name))


class LocalScorer:
    """A cross-encoder that runs in this process.

    The model is loaded on first use, once per process for all scorers that ask for the same one.

    Args:
        model: a registry name, a local folder or ``.onnx`` file, or a Hub id.
        options: how to load and run it.
        hooks: called with each event.
    """

    def __init__(
        self,
        model: str | Path = DEFAULT_MODEL,
        options: LocalOptions | None = None,
        *,
        hooks: Sequence[Hook] = DEFAULT_HOOKS,
    ) -> None:
        self.model = str(model)
        self.options = LocalOptions() if options is None else options
        self._source = model
        self._hooks = tuple(hooks)
        self._loaded: LoadedModel | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._warned = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {'loaded' if self._loaded else 'not loaded'})"

    @property
    def loaded(self) -> LoadedModelInfo | None:
        """What was loaded and why, or None before the first use."""
        return None if self._loaded is None else self._loaded.info

    @property
    def identity(self) -> str:
        """Model, weights, precision and every option that changes a score. Loads the model."""
        loaded = self._load()
        info, options = loaded.info, self.options
        return repr(
            (
                info.fingerprint,
                info.file,
                info.backend,
                info.dtype,
                self._limit(loaded),
                options.long_documents,
                options.prompt or "",
            )
        )

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text; safe from several threads at once.

        Raises:
            ModelNotFoundError, ModelLoadError, MissingDependencyError: when the model cannot be loaded.
            InvalidRequestError: when ``max_tokens`` does not fit the model.
            InferenceError: when the model fails.
        """
        try:
            loaded = self._load()
            started = time.perf_counter()
            plan = _wait(loaded.backend.workers.submit(lambda: self._plan(loaded, query, texts)))
            planned = time.perf_counter()
            logits = _wait(self._run(loaded, plan))
            return self._scores(loaded, plan, logits, planned - started, time.perf_counter() - planned)
        except RerankError as error:
            emit(self._hooks, Failed(self.model, error.code))
            raise

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text while the event loop goes on; cancelling drops the batches not yet started.

        Raises:
            The same as :meth:`score`.
        """
        try:
            loaded = await asyncio.to_thread(self._load) if self._loaded is None else self._loaded
            started = time.perf_counter()
            plan = await asyncio.wrap_future(loaded.backend.workers.submit(lambda: self._plan(loaded, query, texts)))
            planned = time.perf_counter()
            logits = await asyncio.wrap_future(self._run(loaded, plan))
            return self._scores(loaded, plan, logits, planned - started, time.perf_counter() - planned)
        except RerankError as error:
            emit(self._hooks, Failed(self.model, error.code))
            raise

    def warm_up(self) -> None:
        """Load the model and run it once."""
        self.score("warm up", ["warm up"])

    def close(self) -> None:
        """Let go of the model; it leaves memory when no other scorer uses it."""
        with self._lock:
            self._loaded = None
            self._closed = True

    async def aclose(self) -> None:
        """``close`` for asynchronous code."""
        self.close()

    def _load(self) -> LoadedModel:
        from rerank_core.inference.loading import LoadOptions, shared_model

        with self._lock:
            if self._closed:
                raise InvalidRequestError("this reranker is closed; make a new one.", code="closed")
            if self._loaded is None:
                options = self.options
                loaded = shared_model(
                    LoadOptions(
                        model=self._source,
                        backend=options.backend,
                        device=options.device,
                        dtype=options.dtype,
                        device_map=options.device_map,
                        revision=options.revision,
                        trust_remote_code=options.trust_remote_code,
                        local_files_only=options.local_files_only,
                    ),
                    self._hooks,
                )
                _check_token_limit(options.max_tokens, loaded.info)
                self._loaded = loaded
            return self._loaded

    def _plan(self, loaded: LoadedModel, query: str, texts: Sequence[str]) -> Plan:
        from rerank_core.inference.plan import make_plan

        started = time.perf_counter()
        options = self.options
        # 0 says that this graph must see one input at a time; no option overrides that.
        budget = loaded.backend.batch_tokens and (options.batch_tokens or loaded.backend.batch_tokens)
        plan = make_plan(
            loaded.encoder,
            query,
            texts,
            max_tokens=self._limit(loaded),
            windows=options.long_documents == "windows",
            prompt=options.prompt,
            budget=budget,
            in_flight=self._in_flight(loaded),
        )
        seconds = time.perf_counter() - started
        emit(
            self._hooks,
            Encoded(self.model, len(texts), len(plan.inputs), plan.tokens, len(plan.batches), seconds),
        )
        return plan

    def _limit(self, loaded: LoadedModel) -> int:
        return self.options.max_tokens or loaded.info.max_tokens

    def _in_flight(self, loaded: LoadedModel) -> int:
        size = loaded.backend.workers.size
        return size if self.options.threads is None else min(size, self.options.threads)

    def _run(self, loaded: LoadedModel, plan: Plan) -> Future[list[NDArray[np.float32]]]:
        import numpy as np

        def run(batch: list[int]) -> NDArray[np.float32]:
            started = time.perf_counter()
            inputs = [plan.inputs[i] for i in batch]
            block = loaded.encoder.pad(inputs)
            logits = loaded.backend.run(block)
            if not np.isfinite(logits).all():
                raise InferenceError(f"{self.model!r} gave a score that is not a finite number.")
            tokens = sum(len(item.ids) for item in inputs)
            seconds = time.perf_counter() - started
            emit(self._hooks, BatchScored(self.model, len(batch), tokens, block.input_ids.size - tokens, seconds))
            return logits

        return loaded.backend.workers.map(run, plan.batches, limit=self._in_flight(loaded))

    def _scores(
        self, loaded: LoadedModel, plan: Plan, logits: list[NDArray[np.float32]], encode: float, inference: float
    ) -> Scores:
        from rerank_core.inference.plan import best_inputs

        items = tuple(
            Score.from_logit(logit, truncated=item.truncated, window=item.window)
            for logit, item in best_inputs(plan, logits)
        )
        self._report_truncation(loaded, items, query=plan.query_truncated)
        emit(self._hooks, Scored(self.model, plan.texts, plan.tokens, encode + inference))
        return Scores(items, self.model, plan.tokens, plan.query_truncated, encode, inference)

    def _report_truncation(self, loaded: LoadedModel, items: Sequence[Score], *, query: bool) -> None:
        documents = sum(score.truncated for score in items)
        if not documents:
            return
        limit = self._limit(loaded)
        emit(self._hooks, Truncated(self.model, documents, query, limit))
        if not self._warned:
            self._warned = True
            logger.warning(
                "%s reads at most %d tokens of a query and document together; %s was cut. Each result says so in "
                "'truncated'; long_documents='windows' reads everything. This is said once.",
                self.model,
                limit,
                "the query" if query else "a document",
            )


def _wait(future: Future[R]) -> R:
    """The future's result; what has not started is dropped when the wait is interrupted."""
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def _check_token_limit(max_tokens: int | None, info: LoadedModelInfo) -> None:
    if max_tokens is not None and info.token_limit is not None and max_tokens > info.token_limit:
        raise InvalidRequestError(
            f"max_tokens={max_tokens} is more than {info.model!r} can take: its limit is {info.token_limit}. "
            "For longer documents use long_documents='windows'.",
            param="max_tokens",
        )


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InvalidRequestError(f"{name} must be one of {', '.join(choices)}; got {value!r}.", param=name)


def _check_positive(name: str, value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidRequestError(f"{name} must be a whole number of at least 1, or None; got {value!r}.", param=name)
