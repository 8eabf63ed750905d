"""One validated call of a reranker: what the scorer needs to know, and how its scores become the response."""

from __future__ import annotations

import time
import uuid

from rerank_core.documents import check_documents, check_query, clean_text
from rerank_core.ranking import check_threshold, check_top_n, order, unique
from rerank_core.results import Document, RerankResponse, RerankResult, Timings, Usage
from rerank_core.scores import Scores
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores


class RerankRequest:
    """A query and its documents, with the limits of the ranking.

    Args:
        query, documents, top_n, score_threshold: as for :meth:`rerank_core.Reranker.rerank`, not checked yet.

    Attributes:
        query: the query as text for the model.
        texts: the texts to score, each once.

    Raises:
        InvalidRequestError: when an argument is wrong.
    """

    def __init__(self, query: object, documents: object, top_n: object = None, score_threshold: object = None) -> None:
        self._started = time.perf_counter()
        self.query = check_query(query)
        self._documents: list[Document] = check_documents(documents)
        self._top_n = check_top_n(top_n)
        self._threshold = check_threshold(score_threshold)
        self.texts, self._text_of = unique([clean_text(document.text) for document in self._documents])

    def answer(self, scorer: Scorer) -> RerankResponse:
        """Score and rank; without texts no scorer is asked.

        Raises:
            RerankError: whatever the scorer raises.
        """
        return self._response(scorer.model, checked_scores(scorer, self.query, self.texts) if self.texts else None)

    async def aanswer(self, scorer: Scorer) -> RerankResponse:
        """:meth:`answer` for asynchronous code.

        Raises:
            The same as :meth:`answer`.
        """
        return self._response(
            scorer.model, await achecked_scores(scorer, self.query, self.texts) if self.texts else None
        )

    def scores(self, scorer: Scorer) -> list[float]:
        """The relevance score of each document, in order.

        Raises:
            RerankError: whatever the scorer raises.
        """
        return self._in_order(checked_scores(scorer, self.query, self.texts)) if self.texts else []

    async def ascores(self, scorer: Scorer) -> list[float]:
        """:meth:`scores` for asynchronous code.

        Raises:
            The same as :meth:`scores`.
        """
        return self._in_order(await achecked_scores(scorer, self.query, self.texts)) if self.texts else []

    def _in_order(self, scores: Scores) -> list[float]:
        return [scores.items[text].relevance_score for text in self._text_of]

    def _response(self, model: str, scores: Scores | None) -> RerankResponse:
        call_id = f"rerank-{uuid.uuid4().hex[:24]}"
        if scores is None:
            total = time.perf_counter() - self._started
            return RerankResponse(call_id, model, (), timings=Timings(total=total))
        keys = scores.keys()
        judged = [score.relevance_score if score.judged else None for score in scores.items]
        positions = order(
            [keys[text] for text in self._text_of],
            [judged[text] for text in self._text_of],
            threshold=self._threshold,
            top_n=self._top_n,
        )
        return RerankResponse(
            id=call_id,
            model=scores.model,
            results=tuple(self._result(rank, position, scores) for rank, position in enumerate(positions, 1)),
            usage=Usage(scores.tokens, scores.tokens),
            timings=Timings(scores.encode_seconds, scores.inference_seconds, time.perf_counter() - self._started),
            query_truncated=scores.query_truncated,
            degraded=scores.degraded,
        )

    def _result(self, rank: int, position: int, scores: Scores) -> RerankResult:
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
        )
