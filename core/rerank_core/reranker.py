"""The engine's entry point: validates a call, scores each distinct text once, and ranks."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from rerank_core.documents import DocumentLike
from rerank_core.errors import InvalidRequestError
from rerank_core.events import DEFAULT_HOOKS, Hook
from rerank_core.fusion import Fusion, resolved
from rerank_core.many import Query, arerank_many, rerank_many
from rerank_core.option_text import with_arguments
from rerank_core.options import MODEL, OPTIONS, RerankerOptions, completed, effective_provider, of_scorer, with_options
from rerank_core.probe import CheckReport, FirstCheck, check
from rerank_core.request import RerankRequest
from rerank_core.results import RerankResponse
from rerank_core.rules import SOURCE_FIELD, RankingRules
from rerank_core.scoring.api import ApiScorer
from rerank_core.scoring.base import Scorer, loaded_by, provider_of
from rerank_core.scoring.budget import Pace, budgeted
from rerank_core.scoring.calibrated import CalibratedScorer, Calibration
from rerank_core.scoring.fallback import FallbackScorer
from rerank_core.scoring.instructed import instructed
from rerank_core.scoring.keep_order import KeepOrderScorer
from rerank_core.scoring.making import changed, make_scorer
from rerank_core.scoring.options import ApiOptions, LocalOptions

if TYPE_CHECKING:
    from rerank_core.inference.backends.base import LoadedModelInfo


class Reranker:
    """Ranks documents by relevance to a query.

    Cheap to make: the model is loaded on first use (or by :meth:`warm_up`), once per process however many
    rerankers use it. Safe to share between threads and event loops.

    Args:
        model: which model; see :class:`~rerank_core.options.ModelOption`.
        **options: see :class:`~rerank_core.options.RerankerOptions` and ``docs/options.md``.

    Raises:
        InvalidRequestError: when an option has a value it cannot have, or belongs to the other kind of model:
            ``device=`` with ``provider="cohere"``, ``api_key=`` with a model in this process.
        AuthenticationError: when a hosted service's API key is missing; the message names the variable.
        TypeError: when there is no option of a name; the message has the one that was probably meant.

    Example:
        >>> from rerank_core import Reranker
        >>> response = Reranker().rerank("What is the capital of France?", ["Berlin is big.", "Paris, of course."])
        >>> response[0].index
        1
    """

    def __init__(self, model: str | Path | None = None, **options: Unpack[RerankerOptions]) -> None:
        given = completed(options, OPTIONS, Reranker.__init__)
        rules = _rules(given)
        self._base_scorer = _scorer(model, given)
        self.provider = provider_of(self._base_scorer)
        if rules.price_per_million_tokens is not None and getattr(self._base_scorer, "bills_searches", False):
            raise InvalidRequestError(
                f"provider={self.provider!r} bills per search, not per token; leave price_per_million_tokens= out, and "
                "read usage.search_units.",
                param="price_per_million_tokens",
            )
        self._scorer = self._base_scorer
        fitted = _calibration(given["calibration"])
        if fitted is not None:
            self._scorer = CalibratedScorer(self._scorer, fitted)
        share = None if fitted is None else fitted.fusion
        self._rules = replace(rules, fusion=resolved(rules.fusion, share, calibrated=fitted is not None))
        self._hooks = _hooks(given)
        self._judge = self._scorer
        self._first_check = FirstCheck(self._judge, due=given["check_first"])
        if given["on_failure"] == "keep_order":
            self._scorer = FallbackScorer([self._scorer, KeepOrderScorer()], hooks=self._hooks)
        self._max_latency = given["max_latency"]
        self._pace = Pace()

    __init__.__signature__ = with_options(__init__, OPTIONS)  # type: ignore[attr-defined]

    @property
    def model(self) -> str:
        """The model's name."""
        return self._scorer.model

    @property
    def scorer(self) -> Scorer:
        """The scorer in use, with the calibration and fallback of the options around it."""
        return self._scorer

    @property
    def loaded(self) -> LoadedModelInfo | None:
        """What was loaded, where and why; None before the first use, or when the model is not in this process."""
        return loaded_by(self._base_scorer)

    def __repr__(self) -> str:
        loaded = self.loaded
        where = f", backend={loaded.backend!r}, dtype={loaded.dtype!r}, device={loaded.device!r}" if loaded else ""
        if isinstance(self._base_scorer, ApiScorer):
            where = f", url={self._base_scorer.url!r}"
        return f"{type(self).__name__}(model={self.model!r}, provider={self.provider!r}{where})"

    def with_rules(self, *, fusion: Fusion | None = None, highlights: int | None = None) -> Reranker:
        """The same model, and the same options but these.

        It shares the scorer: closing one closes both.

        Args:
            fusion: as the option, but for ``"calibrated"``; None keeps it as it is.
            highlights: as the option; None keeps it as it is.

        Raises:
            InvalidRequestError: when one has a value it cannot have.
        """
        given = {"fusion": fusion, "highlights": highlights}
        other = {name: value for name, value in given.items() if value is not None}
        if not other:
            return self
        made = Reranker(scorer=self._scorer, max_latency=self._max_latency, **asdict(self._rules) | other)
        made._pace, made._hooks = self._pace, self._hooks  # what one call teaches helps the other
        made._judge, made._first_check = self._judge, self._first_check
        return made

    def rerank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
        retrieval_scores: Iterable[float | None] | None = None,
        instruction: str | None = None,
        max_latency: float | None = None,
    ) -> RerankResponse:
        """Rank ``documents`` by relevance to ``query``.

        Args:
            query: what is looked for; not blank.
            documents: strings, mappings with a ``text`` (other fields come back as metadata) or
                :class:`~rerank_core.Document` objects. Equal texts are scored once and share the score.
            top_n: most results to return; None for all.
            score_threshold: results below this probability (0..1) are left out, before ``top_n`` applies.
            retrieval_scores: the retriever's score of each document, higher is better, in any unit; they come back with
                the results, and count where ``fusion`` says so. The order of the documents stands in for them where
                they are not given, or one is None.
            instruction: what the model is asked besides the query in this call, for models that follow instructions; an
                empty one means none, None what ``prompt`` says. The model of a ``scorer`` has to take it; its
                fallbacks and the first stage of a cascade follow it where they can.
            max_latency: seconds for this call, instead of the option's.

        Returns:
            The results, best first; documents with equal scores keep their order. An empty list of documents
            gives an empty response and loads no model.

        Raises:
            InvalidRequestError: when an argument is wrong; its ``code`` and ``param`` say which.
            RerankError: when the model cannot be loaded or fails.
        """
        request = RerankRequest(
            query, documents, top_n, score_threshold, retrieval_scores=retrieval_scores, rules=self._rules
        )
        if request.texts:
            self._first_check.wait()
        return request.answer(self._scorer_for(instruction, max_latency))

    async def arerank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
        retrieval_scores: Iterable[float | None] | None = None,
        instruction: str | None = None,
        max_latency: float | None = None,
    ) -> RerankResponse:
        """:meth:`rerank` for asynchronous code: the event loop goes on while the model works.

        Raises:
            The same as :meth:`rerank`.
        """
        request = RerankRequest(
            query, documents, top_n, score_threshold, retrieval_scores=retrieval_scores, rules=self._rules
        )
        if request.texts:
            await self._first_check.await_()
        return await request.aanswer(self._scorer_for(instruction, max_latency))

    def rerank_many(
        self,
        requests: Iterable[Query],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
        instruction: str | None = None,
        max_latency: float | None = None,
    ) -> list[RerankResponse]:
        """Rank the documents of many queries: what a loop of :meth:`rerank` gives, sooner.

        Queries are at work together: texts of several share the batches of a local model, and requests to a server go
        out side by side, each query with the whole ``timeout``. Those that are done make room for the next ones, so
        that ``requests`` is read as the work proceeds: no more than 16 queries (4 over HTTP) and 4,096 texts are at
        work, or tokenised, at once, or one query where it has more.

        Args:
            requests: pairs of a query and its documents, or these and the retrieval scores, each as for :meth:`rerank`;
                a list, or anything that yields them one by one, always in the calling thread.
            top_n: most results per query; None for all.
            score_threshold: as for :meth:`rerank`.
            instruction: as for :meth:`rerank`, for all queries.
            max_latency: as for :meth:`rerank`, for each query.

        Returns:
            One response per query, in order. ``timings.total`` is from the moment the query was read to its answer.

        Raises:
            InvalidRequestError: when an argument is wrong; ``param`` says which of the requests.
            RerankError: when a query fails: the first failure, with a note that says which query it was. The others
                are then ended and their results dropped;
                with ``on_failure="keep_order"`` one whose failure is transient
                keeps its documents' order instead. A scorer of your own that is at work then ends its call unheard.

        Example:
            >>> from rerank_core import Reranker
            >>> questions = [("capital of France", ["Berlin", "Paris"]), ("a German city", ["Berlin", "Paris"])]
            >>> [response[0].text for response in Reranker().rerank_many(questions)]
            ['Paris', 'Berlin']
        """
        self._first_check.wait()
        scorer = self._scorer_for(instruction, max_latency)
        return rerank_many(scorer, requests, top_n, score_threshold, rules=self._rules)

    async def arerank_many(
        self,
        requests: Iterable[Query] | AsyncIterable[Query],
        *,
        top_n: int | None = None,
        score_threshold: float | None = None,
        instruction: str | None = None,
        max_latency: float | None = None,
    ) -> list[RerankResponse]:
        """:meth:`rerank_many` for asynchronous code; ``requests`` may be an asynchronous iterable as well.

        When it raises or is cancelled, no query is at work any more.

        Raises:
            The same as :meth:`rerank_many`.
        """
        await self._first_check.await_()
        scorer = self._scorer_for(instruction, max_latency)
        return await arerank_many(scorer, requests, top_n, score_threshold, rules=self._rules)

    def score(self, query: str, texts: Iterable[str], *, instruction: str | None = None) -> list[float]:
        """How relevant each of ``texts`` is to ``query``, for those who only want numbers.

        Args:
            query: what is looked for; not blank.
            texts: strings; documents as for :meth:`rerank` are taken, too. Equal ones are scored once.
            instruction: as for :meth:`rerank`.

        Returns:
            One relevance score per text, 0..1, in the order of the texts, whatever ``max_latency`` says; an empty list
            for no texts. Where
            ``on_failure="keep_order"`` had to keep the order, all are 0: numbers cannot say ``degraded``.

        Raises:
            The same as :meth:`rerank`.

        Example:
            >>> from rerank_core import Reranker
            >>> berlin, paris = Reranker().score("What is the capital of France?", ["Berlin is big.", "Paris."])
            >>> paris > berlin
            True
        """
        request = RerankRequest(query, texts)
        if request.texts:
            self._first_check.wait()
        return request.scores(instructed(self._scorer, instruction))

    async def ascore(self, query: str, texts: Iterable[str], *, instruction: str | None = None) -> list[float]:
        """:meth:`score` for asynchronous code.

        Raises:
            The same as :meth:`rerank`.
        """
        request = RerankRequest(query, texts)
        if request.texts:
            await self._first_check.await_()
        return await request.ascores(instructed(self._scorer, instruction))

    def warm_up(self) -> None:
        """Load the model now, and run it once; measure its pace for ``max_latency``, check it for ``check_first``.

        Raises:
            RerankError: when it cannot be loaded or fails, or does not rank.
        """
        self._first_check.wait()
        self._scorer_for(None, None).warm_up()

    def check(self) -> CheckReport:
        """Whether this model or server really ranks: pairs whose answers are known.

        It finds a model without its head or template, and a server that mixes up or invents scores. It takes
        16 requests, about 4,000 tokens, and 12 requests more for each further language of the model.

        Returns:
            What was found; ``report.require()`` raises where something is wrong.

        Raises:
            RerankError: when nothing can be scored: a model that cannot be loaded, a server that cannot be reached.
        """
        return check(self._judge)

    def _scorer_for(self, instruction: str | None, max_latency: float | None) -> Scorer:
        """The scorer of one call."""
        seconds = self._max_latency if max_latency is None else max_latency
        return instructed(budgeted(self._scorer, seconds, self._pace, self._hooks), instruction)

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


def _scorer(model: str | Path | None, given: dict[str, Any]) -> Scorer:
    """The scorer that is given, or that model and options stand for; after a check of all options."""
    local = LocalOptions(**{name: given[name] for name in of_scorer("local")})
    api = ApiOptions(**{name: given[name] for name in of_scorer("http")})
    for name in ("on_failure", "max_latency", "check_first"):
        OPTIONS[name].check(given[name])
    scorer: Scorer | None = given["scorer"]
    if scorer is None:
        return make_scorer(model, effective_provider(given["provider"], api.base_url), local, api, _hooks(given))
    named = model is not None or given["hooks"] is not None or given["provider"] not in {None, "local"}
    if named or changed(local) or changed(api):
        raise InvalidRequestError(
            "scorer= brings its own model, options and hooks; give either a scorer, or a model with options.",
            param="scorer",
        )
    return scorer


def _rules(given: dict[str, Any]) -> RankingRules:
    """The options that no scorer sees, checked."""
    checked = {field.name: OPTIONS[field.name].check(given[field.name]) for field in fields(RankingRules)}
    return RankingRules(**checked | {"source_field": checked["source_field"] or SOURCE_FIELD})


def _calibration(given: str | Path | Calibration | None) -> Calibration | None:
    return given if given is None or isinstance(given, Calibration) else Calibration.load(given)


def _hooks(given: dict[str, Any]) -> Sequence[Hook]:
    return DEFAULT_HOOKS if given["hooks"] is None else given["hooks"]


Reranker.__doc__ = with_arguments(Reranker.__doc__, [MODEL, *OPTIONS.values()])
