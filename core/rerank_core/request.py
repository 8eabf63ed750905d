"""One validated call of a reranker: what the scorer needs to know, and how its scores become the response."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Hashable, Sequence
from dataclasses import replace

from rerank_core.cost import together, usage_of
from rerank_core.diversity import scaled, select
from rerank_core.documents import check_documents, check_query, clean_text
from rerank_core.errors import InvalidRequestError
from rerank_core.fusion import Fused, check_retrieval_scores, fuse, known, ranked
from rerank_core.highlights import Sentences
from rerank_core.inference.workers import SLOW_CALLS
from rerank_core.ranking import check_threshold, check_top_n, order, unique
from rerank_core.results import Document, RerankResponse, RerankResult, Timings
from rerank_core.rules import NO_RULES, RankingRules
from rerank_core.scores import Scores
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores, gives_places

_INLINE_CHARACTERS = 32_000  # more than this is split into sentences on a thread, so that the event loop goes on


class RerankRequest:
    """A query and its documents, with the limits of the ranking.

    Args:
        query, documents, top_n, score_threshold, retrieval_scores: as for :meth:`rerank_core.Reranker.rerank`, not
            checked yet.
        rules: what decides the order besides.

    Attributes:
        query: the query as text for the model.
        texts: the texts to score, each once; all of them for a scorer that is not pointwise.

    Raises:
        InvalidRequestError: when an argument is wrong.
    """

    def __init__(
        self,
        query: object,
        documents: object,
        top_n: object = None,
        score_threshold: object = None,
        *,
        retrieval_scores: object = None,
        rules: RankingRules = NO_RULES,
    ) -> None:
        self._started = time.perf_counter()
        self.query = check_query(query)
        self._documents: list[Document] = check_documents(documents)
        self._top_n = check_top_n(top_n)
        self._threshold = check_threshold(score_threshold)
        self._retrieval = check_retrieval_scores(retrieval_scores, len(self._documents))
        scores = known(self._retrieval)
        self._retrieval_ranks = None if scores is None else ranked(scores)
        self._rules = rules
        self._every_text = [clean_text(document.text) for document in self._documents]
        self.texts, self._text_of = unique(self._every_text)

    def answer(self, scorer: Scorer) -> RerankResponse:
        """Score and rank; without texts no scorer is asked.

        Raises:
            RerankError: whatever the scorer raises.
        """
        self._suit(scorer)
        response = self._response(scorer.model, checked_scores(scorer, self.query, self.texts) if self.texts else None)
        sentences = self._sentences(response)
        if not sentences:
            return response
        return self._highlighted(response, sentences, checked_scores(scorer, self.query, sentences.texts))

    async def aanswer(self, scorer: Scorer) -> RerankResponse:
        """:meth:`answer` for asynchronous code.

        Raises:
            The same as :meth:`answer`.
        """
        self._suit(scorer)
        response = self._response(
            scorer.model, await achecked_scores(scorer, self.query, self.texts) if self.texts else None
        )
        long = self._rules.highlights and sum(len(result.text) for result in response) > _INLINE_CHARACTERS
        sentences = await SLOW_CALLS.run(lambda: self._sentences(response)) if long else self._sentences(response)
        if not sentences:
            return response
        return self._highlighted(response, sentences, await achecked_scores(scorer, self.query, sentences.texts))

    def _suit(self, scorer: Scorer) -> None:
        """Show a scorer that reads a list as a whole every document of it; refuse a threshold that means nothing."""
        if not scorer.pointwise:
            self.texts, self._text_of = self._every_text, list(range(len(self._every_text)))
        if self._threshold is not None and gives_places(scorer):
            raise InvalidRequestError(
                f"{scorer.model!r} gives an order and no relevance scores, so no threshold fits it; use top_n=.",
                code="unsupported_parameter",
                param="score_threshold",
            )

    def _sentences(self, response: RerankResponse) -> Sentences | None:
        """What is to be scored besides, for highlights; None for nothing."""
        if self._rules.highlights is None:
            return None
        sentences = Sentences(response.results)
        return sentences if sentences.texts else None

    def _highlighted(self, response: RerankResponse, sentences: Sentences, scores: Scores) -> RerankResponse:
        found = sentences.added(response, scores, self._rules.highlights or 0)
        return replace(
            found,
            usage=together(response.usage, usage_of(scores, self._rules.price_per_million_tokens)),
            timings=replace(found.timings, total=time.perf_counter() - self._started),
        )

    def scores(self, scorer: Scorer) -> list[float]:
        """The relevance score of each document, in order.

        Raises:
            RerankError: whatever the scorer raises.
        """
        self._suit(scorer)
        return self._in_order(checked_scores(scorer, self.query, self.texts)) if self.texts else []

    async def ascores(self, scorer: Scorer) -> list[float]:
        """:meth:`scores` for asynchronous code.

        Raises:
            The same as :meth:`scores`.
        """
        self._suit(scorer)
        return self._in_order(await achecked_scores(scorer, self.query, self.texts)) if self.texts else []

    def _in_order(self, scores: Scores) -> list[float]:
        return [scores.items[text].relevance_score for text in self._text_of]

    def _response(self, model: str, scores: Scores | None) -> RerankResponse:
        call_id = f"rerank-{uuid.uuid4().hex[:24]}"
        if scores is None:
            total = time.perf_counter() - self._started
            return RerankResponse(call_id, model, (), timings=Timings(total=total))
        judged = [score.relevance_score if score.judged else None for score in scores.items]
        fused = self._fused(scores)
        keys = scores.keys()
        positions = order(
            [each.score if each else -math.inf for each in fused] if fused else [keys[text] for text in self._text_of],
            [judged[text] for text in self._text_of],
            threshold=self._threshold,
            top_n=None if self._rules.select else self._top_n,
        )
        if self._rules.select:
            positions = self._selected(positions, scores, fused)
        return RerankResponse(
            id=call_id,
            model=scores.model,
            results=tuple(self._result(rank, position, scores, fused) for rank, position in enumerate(positions, 1)),
            usage=usage_of(scores, self._rules.price_per_million_tokens),
            timings=Timings(scores.encode_seconds, scores.inference_seconds, time.perf_counter() - self._started),
            query_truncated=scores.query_truncated,
            degraded=scores.degraded,
            unscored=sum(not scores.items[text].judged for text in self._text_of),
        )

    def _fused(self, scores: Scores) -> list[Fused | None]:
        """The fused score of each document; an empty list where there is nothing to fuse.

        What was not judged has no score to fuse, only None: it stays behind the rest.
        """
        judged = [position for position, text in enumerate(self._text_of) if scores.items[text].judged]
        if self._rules.fusion is None or not judged:
            return []
        retrieval = self._retrieval and [self._retrieval[position] for position in judged]
        logits = [scores.items[self._text_of[position]].log_odds for position in judged]
        fused = dict(zip(judged, fuse(self._rules.fusion, retrieval, logits), strict=True))
        return [fused.get(position) for position in range(len(self._text_of))]

    def _selected(self, positions: Sequence[int], scores: Scores, fused: Sequence[Fused | None]) -> list[int]:
        """The ranking after the rules on diversity and sources, and the limit.

        What was not judged has no relevance to weigh against novelty: it stays in its order.
        """
        judged = all(score.judged for score in scores.items)
        relevance = [scores.items[self._text_of[position]].relevance_score for position in positions]
        sums = [each.score for each in (fused[position] for position in positions) if each] if fused else []
        chosen = select(
            scaled(sums) if fused and judged else relevance,
            [self.texts[self._text_of[position]] for position in positions],
            [self._source(position) for position in positions],
            trade_off=self._rules.diversify if judged else None,
            per_source=self._rules.max_per_source,
            limit=self._top_n,
        )
        return [positions[each] for each in chosen]

    def _source(self, position: int) -> Hashable | None:
        """What the document's metadata names as its source; None where it names none."""
        value = self._documents[position].metadata.get(self._rules.source_field)
        return value if isinstance(value, Hashable) else repr(value)

    def _result(self, rank: int, position: int, scores: Scores, fused: Sequence[Fused | None]) -> RerankResult:
        score = scores.items[self._text_of[position]]
        return RerankResult(
            index=position,
            rank=rank,
            previous_rank=position + 1,
            relevance_score=score.relevance_score,
            logit=score.logit,
            document=self._documents[position],
            truncated=score.truncated,
            window=score.window,
            cached=score.cached,
            degraded=score.degraded,
            retrieval_score=None if self._retrieval is None else self._retrieval[position],
            retrieval_rank=None if self._retrieval_ranks is None else self._retrieval_ranks[position],
            fused=fused[position] if fused else None,
            tokens=score.tokens,
        )
