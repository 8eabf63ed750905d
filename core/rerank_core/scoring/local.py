"""Scoring in this process: load on first use, plan, run, report."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rerank_core.errors import ClosedError, InferenceError, InvalidRequestError, OverloadedError, RerankError
from rerank_core.events import DEFAULT_HOOKS, BatchScored, Degraded, Encoded, Failed, Hook, Scored, Truncated, emit
from rerank_core.inference.workers import SLOW_CALLS
from rerank_core.models.registry import DEFAULT_MODEL, REGISTRY
from rerank_core.models.source import local_path
from rerank_core.option_checks import of_type
from rerank_core.options import LIKELY_WINDOWS
from rerank_core.scores import Score, Scores
from rerank_core.scoring.cold import BackgroundLoad
from rerank_core.scoring.keep_order import KeepOrderScorer
from rerank_core.scoring.options import LocalOptions
from rerank_core.scoring.steps import MakeFuture, Steps, afinish, finish

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rerank_core.inference.backends.base import LoadedModel, LoadedModelInfo
    from rerank_core.inference.encoding import ModelInput
    from rerank_core.inference.scheduler import BatchReport

logger = logging.getLogger("rerank_core")

_LIBRARIES = {"onnx": ("onnxruntime",), "openvino": ("openvino",), "torch": ("torch", "transformers")}


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
        of_type("model", model, str | Path, "a name, a path or a Hub id")
        if not str(model).strip():
            raise InvalidRequestError("model must be a name, a path or a Hub id; got a blank one.", param="model")
        self.model = str(model)
        self.options = LocalOptions() if options is None else options
        self._source = _absolute(model)
        self._hooks = tuple(hooks)
        self._loaded: LoadedModel | None = None
        self._closed = False
        self._background = BackgroundLoad(self.model)

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
        """What was loaded and why, with this scorer's own limits; None before the first use."""
        loaded = self._loaded
        if loaded is None:
            return None
        return replace(loaded.info, max_tokens=self._limit(loaded), long_documents=self.options.long_documents)

    @property
    def takes_instruction(self) -> bool | None:
        """Whether the model does; None before it is loaded."""
        return None if self._loaded is None else self._loaded.info.takes_instruction

    @property
    def identity(self) -> str:
        """The digest of the model, and all else that decides a score: how and where it runs, how texts are encoded.

        Loads the model.

        Raises:
            OverloadedError: while the model loads in the background, with ``when_cold="keep_order"``.
            RerankError: when it cannot be loaded.
        """
        return self.identity_with(None)

    def identity_with(self, instruction: str | None) -> str:
        """:attr:`identity` under an instruction; None for that of the options.

        Raises:
            InvalidRequestError: when the model takes no instruction.
            RerankError: as for :attr:`identity`.
        """
        from rerank_core.inference.encoding import ENCODING_VERSION

        if self._is_cold():
            raise OverloadedError(f"{self.model!r} is still loading.", code="model_loading", status=503)
        loaded = self._load()
        info = loaded.info
        return repr(
            (
                info.fingerprint,
                info.file,
                info.backend,
                info.dtype,
                info.device.partition(":")[0],
                _versions(info.backend),
                ENCODING_VERSION,
                self._limit(loaded),
                self.options.long_documents,
                self._prompt(loaded, instruction),
                info.temperature,
            )
        )

    @property
    def pointwise(self) -> bool:
        """True: a cross-encoder reads one pair at a time."""
        return True

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """Score every text; safe from several threads at once.

        With ``when_cold="keep_order"`` the order is kept, marked degraded, while the model is not loaded.

        Raises:
            ClosedError: after :meth:`close`.
            ModelNotFoundError, ModelLoadError, MissingDependencyError: when the model cannot be loaded.
            InvalidRequestError: when ``max_tokens`` does not fit the model, or it takes no ``instruction``.
            InferenceError: when the model fails.
        """
        return self._scored(query, texts, instruction, wait=False)

    def _scored(self, query: str, texts: Sequence[str], instruction: str | None, *, wait: bool) -> Scores:
        """The scores; ``wait`` for the model, whatever ``when_cold`` says."""
        try:
            if not wait and self._is_cold():
                return self._unscored(query, texts)
            scores: Scores = finish(lambda make: self._steps(self._load(), query, texts, make, instruction))
        except RerankError as error:
            emit(self._hooks, Failed(self.model, error.code))
            raise
        return scores

    async def ascore(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """Score every text without blocking the event loop; cancelling drops what has not started.

        Raises:
            The same as :meth:`score`.
        """
        try:
            if self._is_cold():
                return self._unscored(query, texts)
            loaded = self._loaded
            model = await SLOW_CALLS.run(self._load) if loaded is None else loaded
            scores: Scores = await afinish(lambda make: self._steps(model, query, texts, make, instruction))
        except RerankError as error:
            emit(self._hooks, Failed(self.model, error.code))
            raise
        return scores

    def warm_up(self) -> None:
        """Load the model and run it once, whatever ``when_cold`` says."""
        self._scored("warm up", ["warm up"], None, wait=True)

    def close(self) -> None:
        """Release the model; it leaves memory when no other scorer uses it and no request is running."""
        self._closed = True
        self._loaded = None

    async def aclose(self) -> None:
        """``close`` for asynchronous code."""
        self.close()

    def _is_cold(self) -> bool:
        """Whether calls go on without the model for now, because ``when_cold`` says so."""
        if self.options.when_cold == "wait" or self._loaded is not None or self._closed:
            return False
        return not self._background.is_done(self._load)

    def _unscored(self, query: str, texts: Sequence[str]) -> Scores:
        kept = KeepOrderScorer()
        emit(self._hooks, Degraded(self.model, kept.model, "model_loading"))
        return kept.score(query, texts)

    def _load(self) -> LoadedModel:
        from rerank_core.inference.loading import LoadOptions, load_model

        loaded = self._loaded
        if self._closed:
            raise ClosedError("this reranker is closed; make a new one.")
        if loaded is None:
            loaded = load_model(LoadOptions.of(self._source, self.options), self._hooks)
            _check_token_limit(self.options.max_tokens, loaded.info)
            self._loaded = None if self._closed else loaded
        return loaded

    def _steps(
        self,
        loaded: LoadedModel,
        query: str,
        texts: Sequence[str],
        make_future: MakeFuture,
        instruction: str | None,
    ) -> Steps:
        """The work of one request: yields each future to wait for, is sent its result, returns the scores."""
        from rerank_core.inference.plan import Portion, share_out, tokenizer_errors
        from rerank_core.inference.tokens import CHARACTERS_PER_TOKEN

        workers, options, in_flight = loaded.backend.workers, self.options, self._in_flight(loaded)
        self._report_script(loaded, query, texts)
        started = time.perf_counter()
        windows, limit = options.long_documents != "truncate", self._limit(loaded)
        most_windows = LIKELY_WINDOWS if options.long_documents == "likely_windows" else None

        def begin() -> list[Portion]:
            with tokenizer_errors():
                prompt = self._prompt(loaded, instruction)
                encode = loaded.encoder.start(
                    query, max_tokens=limit, windows=windows, prompt=prompt, most_windows=most_windows
                )
            most = None if windows else CHARACTERS_PER_TOKEN * limit
            portions = [Portion(encode, texts, positions) for positions in share_out(texts, most)]
            portions[0].turn()
            return portions

        # Query and first texts in one task: a small request spends most of its time waiting in the workers' queue.
        portions: list[Portion] = yield workers.submit(begin, make_future())
        while waiting := [portion for portion in portions if not portion.done]:
            yield workers.map(Portion.turn, waiting, limit=in_flight, future=make_future())
        inputs = [item for portion in portions for item in portion.inputs]
        tokens = sum(len(item.ids) for item in inputs)
        encoded = time.perf_counter()
        emit(self._hooks, Encoded(self.model, len(texts), len(inputs), tokens, encoded - started))
        budget = loaded.shared.runner.budget(options.batch_tokens)
        logits: NDArray[np.float32] = yield loaded.scheduler.submit(
            inputs, budget=budget, limit=in_flight, report=self._report_batch, future=make_future()
        )
        inference = time.perf_counter() - encoded
        return self._scores(loaded, inputs, logits, tokens=tokens, encode=encoded - started, inference=inference)

    def _limit(self, loaded: LoadedModel) -> int:
        return self.options.max_tokens or loaded.info.max_tokens

    def _prompt(self, loaded: LoadedModel, instruction: str | None) -> str:
        """The instruction of the call, else of the options; either may be empty; else the checkpoint's own."""
        name, given = ("prompt", self.options.prompt) if instruction is None else ("instruction", instruction)
        if given and not loaded.info.takes_instruction:
            raise InvalidRequestError(
                f"{self.model!r} takes no instruction; leave {name}= out, or use a model that follows instructions "
                "(docs/models.md lists them).",
                code="unsupported_parameter",
                param=name,
            )
        return loaded.info.default_prompt if given is None else given

    def _in_flight(self, loaded: LoadedModel) -> int:
        size = loaded.backend.workers.size
        return size if self.options.threads is None else min(size, self.options.threads)

    def _report_batch(self, batch: BatchReport) -> None:
        event = BatchScored(self.model, batch.inputs, batch.tokens, batch.padding, batch.seconds, batch.waited)
        emit(self._hooks, event)

    def _scores(
        self,
        loaded: LoadedModel,
        inputs: list[ModelInput],
        logits: NDArray[np.float32],
        *,
        tokens: int,
        encode: float,
        inference: float,
    ) -> Scores:
        import numpy as np

        from rerank_core.inference.plan import best_inputs

        if not np.isfinite(logits).all():
            raise InferenceError(f"{self.model!r} gave a score that is not a finite number.", code="non_finite_score")
        if loaded.info.temperature != 1:
            logits = logits / np.float32(loaded.info.temperature)
        read = Counter[int]()
        for item in inputs:
            read[item.text] += len(item.ids)
        items = tuple(
            Score.from_logit(
                logit,
                truncated=item.truncated,
                query_truncated=item.query_truncated,
                window=item.window,
                tokens=read[item.text],
            )
            for logit, item in best_inputs(inputs, logits)
        )
        self._report_truncation(loaded, items)
        emit(self._hooks, Scored(self.model, len(items), tokens, encode + inference))
        return Scores(items, self.model, tokens, encode, inference)

    def _report_script(self, loaded: LoadedModel, query: str, texts: Sequence[str]) -> None:
        from rerank_core.models.scripts import foreign_script

        codes = loaded.info.language_codes
        if not codes or loaded.shared.warned_of_script:
            return
        script = next((found for text in (query, *texts) if (found := foreign_script(text, codes))), None)
        if script is not None:
            loaded.shared.warned_of_script = True
            logger.warning(
                "%s was not trained on texts in %s script (its languages: %s), so its scores for them mean little. "
                "`rerank models --language CODE` lists models that were. This is logged once.",
                self.model,
                script,
                ", ".join(codes),
            )

    def _report_truncation(self, loaded: LoadedModel, items: Sequence[Score]) -> None:
        documents = sum(score.truncated for score in items)
        if not documents:
            return
        query = any(score.query_truncated for score in items)
        limit = self._limit(loaded)
        emit(self._hooks, Truncated(self.model, documents, query, limit))
        if not loaded.shared.warned_of_truncation:
            loaded.shared.warned_of_truncation = True
            logger.warning(
                "%s reads at most %d tokens of a query and document together; %s. Each result says so in 'truncated'. "
                "This is logged once.",
                self.model,
                limit,
                _what_was_cut(query=query, long_documents=self.options.long_documents),
            )


def _versions(backend: str) -> tuple[str, ...]:
    """The versions of the libraries that compute the scores; they are imported by now."""
    return tuple(f"{name} {import_module(name).__version__}" for name in (*_LIBRARIES[backend], "tokenizers"))


def _what_was_cut(*, query: bool, long_documents: str) -> str:
    if query:
        return "the query was cut: shorten it"
    if long_documents == "likely_windows":
        return "of a document only the likely windows were read (long_documents='windows' reads all of it)"
    if long_documents == "windows":
        return "a document has a word longer than the tokenizer reads"
    return (
        "a document was cut (long_documents='windows' reads all of it), or has a word longer than the tokenizer reads"
    )


def _check_token_limit(max_tokens: int | None, info: LoadedModelInfo) -> None:
    if max_tokens is not None and info.token_limit is not None and max_tokens > info.token_limit:
        raise InvalidRequestError(
            f"max_tokens={max_tokens} is more than {info.model!r} can take: its limit is {info.token_limit}. "
            "For longer documents use long_documents='windows'.",
            param="max_tokens",
        )


def _absolute(model: str | Path) -> str | Path:
    """A local path made absolute, so that a later change of the working folder does not change the model."""
    if isinstance(model, str) and model in REGISTRY:
        return model
    return local_path(model) or model
