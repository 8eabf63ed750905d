"""The engine's entry point: validates a call, scores each distinct text once, and ranks."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, get_args

from rerank_core.documents import DocumentLike
from rerank_core.errors import InvalidRequestError
from rerank_core.events import DEFAULT_HOOKS, Hook
from rerank_core.many import arerank_many, rerank_many
from rerank_core.request import RerankRequest
from rerank_core.results import RerankResponse
from rerank_core.scoring.api import ApiOptions, ApiScorer
from rerank_core.scoring.base import Scorer, loaded_by
from rerank_core.scoring.base import provider_of as scorers_provider
from rerank_core.scoring.calibrated import CalibratedScorer, Calibration
from rerank_core.scoring.fallback import FallbackScorer
from rerank_core.scoring.keep_order import KeepOrderScorer
from rerank_core.scoring.local_options import BackendChoice, LocalOptions, LongDocuments, Precision
from rerank_core.scoring.making import changed, make_scorer

if TYPE_CHECKING:
    import httpx
    from pydantic import SecretStr

    from rerank_core.inference.backends.base import LoadedModelInfo

OnFailure = Literal["raise", "keep_order"]


def provider_of(provider: str | None, base_url: str | None) -> str:
    """The effective provider: as given; else the rerank API itself where ``base_url`` is; else this process."""
    if provider is not None:
        return provider
    return "local" if base_url is None else "assisters"


class Reranker:
    """Ranks documents by relevance to a query.

    Cheap to make: the model is loaded on first use (or by :meth:`warm_up`), once per process however many
    rerankers use it. Safe to share between threads and event loops.

    Args:
        model: ``rerank-mini-en-v1`` (bundled, the default), any name of ``rerank models``, a local folder or
            ``.onnx`` file, or any Hugging Face Hub id.
        provider: where the model runs: ``"local"`` is this process; ``"assisters"``, ``"cohere"``, ``"jina"``,
            ``"voyage"``, ``"tei"``, ``"vllm"`` and others are services and servers reached over HTTP. None is
            ``"assisters"``, the rerank API itself, if ``base_url`` is given, and ``"local"`` otherwise.
        scorer: a ready scorer (with a cache, a fallback, a cascade) instead of a model; it has its own options
            and hooks, so none may be given here, ``on_failure`` apart.
        on_failure: ``"raise"``, or ``"keep_order"`` to get the documents in the order given, with score 0 and marked
            ``degraded``, when something fails in passing: the model while it runs, or a server that cannot be reached,
            is full or answers wrongly. ``score_threshold`` then drops nothing, because nothing was judged; ``top_n``
            applies. A warning says once what happened. What will not pass (a wrong name, address or provider, a
            missing device or library, a refused key, whatever is wrong with the call itself) is raised all the same.
        base_url: over HTTP only: the root of the API, with or without ``/v1``, or the whole endpoint; None for the
            hosted service's own.
        api_key: over HTTP only: the API key; None for the one in the provider's environment variable
            (``ASSISTERS_API_KEY``, ``COHERE_API_KEY``, ...). It is never shown, logged or pickled.
        timeout: over HTTP only: seconds for a whole call with all its requests and retries; None for 60.
        max_retries: over HTTP only: most retries of a request that failed in passing; None for 2.
        http_client: over HTTP only: your own ``httpx.Client``, for :meth:`rerank`, or ``httpx.AsyncClient``, for
            :meth:`arerank`, with its proxies, certificates and limits. It is not closed here.
        calibration: a file of ``rerank calibrate``, or a :class:`~rerank_core.scoring.Calibration`: relevance scores
            are then probabilities fitted on labelled data, which mean the same whatever the model. The order does not
            change.
        long_documents: what happens to a document longer than the model reads: ``"truncate"`` reads its
            beginning, ``"windows"`` reads all of it in overlapping windows and takes the best one's score.
            This and all further options but ``hooks`` are for a model in this process only.
        max_tokens: most tokens of query and document together; None for the model's own limit.
        batch_tokens: token budget of a batch; None for what suits the backend.
        threads: most batches in flight at once; None, or anything above, for all CPUs the process may use. On torch
            one batch at a time is in flight, on torch's own threads (``torch.set_num_threads``).
        backend: ``"auto"`` (the fastest that keeps the scores), ``"onnx"`` or ``"torch"``.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``; None for the best there is.
        dtype: ``"float32"``, ``"float16"``, ``"bfloat16"`` or ``"int8"`` (ONNX); None for the model's own file
            format if it is bundled, float32 otherwise.
        device_map: passed to transformers untouched, to spread a model over devices; None for one device.
        prompt: the instruction for models trained with one; None means the checkpoint's own default, "" none.
        revision: a Hub commit, branch or tag.
        trust_remote_code: whether a checkpoint may run its own code; for Hub models ``revision`` must then be a
            full commit hash.
        local_files_only: whether downloading is forbidden (``HF_HUB_OFFLINE=1`` does the same).
        hooks: called with each event of :mod:`rerank_core.events`; None for the log.

    Raises:
        InvalidRequestError: when an option has a value it cannot have, or belongs to the other kind of model:
            ``device=`` with ``provider="cohere"``, ``api_key=`` with a model in this process.
        AuthenticationError: when a hosted service's API key is missing; the message names the variable.

    Example:
        >>> from rerank_core import Reranker
        >>> response = Reranker().rerank("What is the capital of France?", ["Berlin is big.", "Paris, of course."])
        >>> response[0].index
        1
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        provider: str | None = None,
        scorer: Scorer | None = None,
        on_failure: OnFailure = "raise",
        base_url: str | None = None,
        api_key: str | SecretStr | None = None,
        timeout: float | None = None,
        max_retries: int | None = None,
        http_client: httpx.Client | httpx.AsyncClient | None = None,
        calibration: str | Path | Calibration | None = None,
        long_documents: LongDocuments = "truncate",
        max_tokens: int | None = None,
        batch_tokens: int | None = None,
        threads: int | None = None,
        backend: BackendChoice = "auto",
        device: str | None = None,
        dtype: Precision | None = None,
        device_map: str | None = None,
        prompt: str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        local_files_only: bool = False,
        hooks: Sequence[Hook] | None = None,
    ) -> None:
        local = LocalOptions(
            long_documents=long_documents,
            max_tokens=max_tokens,
            batch_tokens=batch_tokens,
            threads=threads,
            backend=backend,
            device=device,
            dtype=dtype,
            device_map=device_map,
            prompt=prompt,
            revision=revision,
            trust_remote_code=trust_remote_code,
            local_files_only=local_files_only,
        )
        api = ApiOptions(
            base_url=base_url, api_key=api_key, timeout=timeout, max_retries=max_retries, http_client=http_client
        )
        if on_failure not in get_args(OnFailure):
            raise InvalidRequestError(
                f"on_failure must be one of {', '.join(get_args(OnFailure))}; got {on_failure!r}.", param="on_failure"
            )
        hooks_or_log = DEFAULT_HOOKS if hooks is None else hooks
        if scorer is None:
            self.provider = provider_of(provider, base_url)
            self._asked = make_scorer(model, self.provider, local, api, hooks_or_log)
        elif (model, hooks) != (None, None) or provider not in (None, "local") or changed(local) or changed(api):
            raise InvalidRequestError(
                "scorer= brings its own model, options and hooks; give either a scorer, or a model with options.",
                param="scorer",
            )
        else:
            self.provider = scorers_provider(scorer)
            self._asked = scorer
        self._scorer = self._asked
        if calibration is not None:
            fitted = calibration if isinstance(calibration, Calibration) else Calibration.load(calibration)
            self._scorer = CalibratedScorer(self._scorer, fitted)
        if on_failure == "keep_order":
            self._scorer = FallbackScorer([self._scorer, KeepOrderScorer()], hooks=hooks_or_log)

    @property
    def model(self) -> str:
        """The model's name."""
        return self._scorer.model

    @property
    def scorer(self) -> Scorer:
        """The scorer that is asked, with the calibration and fallback of the options around it."""
        return self._scorer

    @property
    def loaded(self) -> LoadedModelInfo | None:
        """What was loaded, where and why; None before the first use, or when the model is not in this process."""
        return loaded_by(self._asked)

    def __repr__(self) -> str:
        loaded = self.loaded
        where = f", backend={loaded.backend!r}, dtype={loaded.dtype!r}, device={loaded.device!r}" if loaded else ""
        if isinstance(self._asked, ApiScorer):
            where = f", url={self._asked.url!r}"
        return f"{type(self).__name__}(model={self.model!r}, provider={self.provider!r}{where})"

    def rerank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
    ) -> RerankResponse:
        """Rank ``documents`` by relevance to ``query``.

        Args:
            query: what is looked for; not blank.
            documents: strings, mappings with a ``text`` (other fields come back as metadata) or
                :class:`~rerank_core.Document` objects. Equal texts are scored once and share the score.
            top_n: most results to return; None for all.
            score_threshold: results below this probability (0..1) are left out, before ``top_n`` applies.

        Returns:
            The results, best first; documents with equal scores keep their order. An empty list of documents
            gives an empty response and loads no model.

        Raises:
            InvalidRequestError: when an argument is wrong; its ``code`` and ``param`` say which.
            RerankError: when the model cannot be loaded or fails.
        """
        return RerankRequest(query, documents, top_n, score_threshold).answer(self._scorer)

    async def arerank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
    ) -> RerankResponse:
        """:meth:`rerank` for asynchronous code: the event loop goes on while the model works.

        Raises:
            The same as :meth:`rerank`.
        """
        return await RerankRequest(query, documents, top_n, score_threshold).aanswer(self._scorer)

    def rerank_many(
        self,
        requests: Iterable[tuple[str, Iterable[DocumentLike]]],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
    ) -> list[RerankResponse]:
        """Rank the documents of many queries: what a loop of :meth:`rerank` gives, sooner.

        Queries are at work together: texts of several share the batches of a local model, and requests to a server go
        out side by side, each query with the whole ``timeout``. Those that are done make room for the next ones, so
        that ``requests`` is read as the work proceeds: no more than 16 queries (4 over HTTP) and 4,096 texts are at
        work, or tokenised, at once, or one query where it has more.

        Args:
            requests: pairs of a query and its documents, each as for :meth:`rerank`; a list, or anything that yields
                them one by one, always in the calling thread.
            top_n: most results per query; None for all.
            score_threshold: as for :meth:`rerank`.

        Returns:
            One response per query, in order. ``timings.total`` is from the moment the query was read to its answer.

        Raises:
            InvalidRequestError: when an argument is wrong; ``param`` says which of the requests.
            RerankError: when a query fails: the first failure, with a note that says which query it was. The others
                are then ended and their results dropped; with ``on_failure="keep_order"`` a query that fails in passing
                keeps its documents' order instead. A scorer of your own that is at work then ends its call unheard.

        Example:
            >>> from rerank_core import Reranker
            >>> questions = [("capital of France", ["Berlin", "Paris"]), ("a German city", ["Berlin", "Paris"])]
            >>> [response[0].text for response in Reranker().rerank_many(questions)]
            ['Paris', 'Berlin']
        """
        return rerank_many(self._scorer, requests, top_n=top_n, score_threshold=score_threshold)

    async def arerank_many(
        self,
        requests: Iterable[tuple[str, Iterable[DocumentLike]]] | AsyncIterable[tuple[str, Iterable[DocumentLike]]],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
    ) -> list[RerankResponse]:
        """:meth:`rerank_many` for asynchronous code; ``requests`` may be an asynchronous iterable as well.

        When it raises or is cancelled, no query is at work any more.

        Raises:
            The same as :meth:`rerank_many`.
        """
        return await arerank_many(self._scorer, requests, top_n=top_n, score_threshold=score_threshold)

    def score(self, query: str, texts: Iterable[str]) -> list[float]:
        """How relevant each of ``texts`` is to ``query``, for those who only want numbers.

        Args:
            query: what is looked for; not blank.
            texts: strings; documents as for :meth:`rerank` are taken, too. Equal ones are scored once.

        Returns:
            One relevance score per text, 0..1, in the order of the texts; an empty list for no texts. Where
            ``on_failure="keep_order"`` had to keep the order, all are 0: numbers cannot say ``degraded``.

        Raises:
            The same as :meth:`rerank`.

        Example:
            >>> from rerank_core import Reranker
            >>> berlin, paris = Reranker().score("What is the capital of France?", ["Berlin is big.", "Paris."])
            >>> paris > berlin
            True
        """
        return RerankRequest(query, texts).scores(self._scorer)

    async def ascore(self, query: str, texts: Iterable[str]) -> list[float]:
        """:meth:`score` for asynchronous code.

        Raises:
            The same as :meth:`rerank`.
        """
        return await RerankRequest(query, texts).ascores(self._scorer)

    def warm_up(self) -> None:
        """Load the model now, and run it once.

        Raises:
            RerankError: when it cannot be loaded or fails.
        """
        self._scorer.warm_up()

    def close(self) -> None:
        """Let go of the model. Closing twice is fine; ranking afterwards raises ``ClosedError``."""
        self._scorer.close()

    async def aclose(self) -> None:
        """:meth:`close` for asynchronous code."""
        await self._scorer.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
