"""A budget of time: as many texts are scored as there is time for, and the rest keep their order behind them."""

from __future__ import annotations

import statistics
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from itertools import accumulate

from rerank_core.events import DEFAULT_HOOKS, BudgetSpent, Hook, emit
from rerank_core.options import LIKELY_WINDOWS, OPTIONS
from rerank_core.scores import Score, Scores
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores, loaded_by, provider_of
from rerank_core.scoring.wrapper import WrappingScorer

_PLANNED = 0.8  # of the budget: a pace that is a median is exceeded by every second call
_RECENT = 9
_SAMPLE = 16  # enough to fill the batches that run side by side
_CHARACTERS_PER_TOKEN = 4
_SPECIAL_TOKENS = 4
_SAMPLE_QUERY = "How does a reranker work?"
_SAMPLE_TEXT = "A reranker reads the query and the document together and says how relevant the one is to it. " * 4

Steps = Generator[Sequence[str], Scores, Scores]


class Pace:
    """How many seconds a token takes here: the median of the latest calls, waiting in line included.

    Threads may share it: it is replaced, never changed, so that the worst a race does is to forget one call.
    """

    def __init__(self) -> None:
        self._recent: tuple[float, ...] = ()

    @property
    def seconds_per_token(self) -> float | None:
        """None before the first call that was measured."""
        return statistics.median(self._recent) if self._recent else None

    def learn(self, tokens: int, seconds: float) -> None:
        """Take a call into account that scored ``tokens`` (estimated) tokens in ``seconds``."""
        self._recent = (*self._recent[1 - _RECENT :], seconds / tokens)


def affordable(costs: Sequence[int], seconds_per_token: float, seconds: float) -> int:
    """How many of the first texts fit into ``seconds``, each with its cost in tokens: from one to all.

    One is scored whatever the budget: without it the model would have no say, and the pace could never be learnt anew.
    """
    totals = [total * seconds_per_token for total in accumulate(costs)]
    return max(1, bisect_right(totals, seconds))


class BudgetScorer(WrappingScorer):
    """Scores as many of the first texts as there is time for.

    The others keep their order behind those scored: their score is 0, not judged and marked ``degraded``, so that no
    threshold drops them and no cache keeps them. How many fit follows from the pace of the latest calls. Before there
    are any, the first call measures it on its first 16 texts; :meth:`warm_up` does so beforehand where the model is in
    this process. Loading a model does not count against the budget.

    Args:
        scorer: what scores.
        max_latency: seconds for one call. A target, not a deadline: a call that has begun is not cut short.
        pace: what earlier calls have taught; None to begin anew.
        clock: seconds from any moment on.
        hooks: called with each event.

    Raises:
        InvalidRequestError: when ``max_latency`` is no number above 0.
    """

    def __init__(
        self,
        scorer: Scorer,
        max_latency: float,
        *,
        pace: Pace | None = None,
        clock: Callable[[], float] = time.perf_counter,
        hooks: Sequence[Hook] = DEFAULT_HOOKS,
    ) -> None:
        OPTIONS["max_latency"].check(max_latency)
        super().__init__(scorer)
        self._seconds = min(max_latency, sys.float_info.max)  # a whole number may be beyond all floats
        self._pace = Pace() if pace is None else pace
        self._clock = clock
        self._hooks = tuple(hooks)

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score as many of the first texts as there is time for.

        Raises:
            RerankError: whatever the scorer raises.
        """
        steps = self._steps(query, texts)
        asked = next(steps)
        while True:
            scores = checked_scores(self._main, query, asked)
            try:
                asked = steps.send(scores)
            except StopIteration as done:
                result: Scores = done.value
                return result

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """:meth:`score` without blocking the event loop.

        Raises:
            RerankError: whatever the scorer raises.
        """
        steps = self._steps(query, texts)
        asked = next(steps)
        while True:
            scores = await achecked_scores(self._main, query, asked)
            try:
                asked = steps.send(scores)
            except StopIteration as done:  # must not leave a coroutine
                result: Scores = done.value
                return result

    def warm_up(self) -> None:
        """Warm up the scorer, and measure its pace if its model is in this process: elsewhere each text may cost.

        Raises:
            RerankError: whatever the scorer raises.
        """
        super().warm_up()
        if self._pace.seconds_per_token is None and provider_of(self._main) == "local":
            self.score(_SAMPLE_QUERY, [f"{number}. {_SAMPLE_TEXT}" for number in range(_SAMPLE)])

    def _steps(self, query: str, texts: Sequence[str]) -> Steps:
        """Yields the texts to score next, is sent their scores, and returns the answer."""
        started, costs = self._clock(), self._costs(query, texts)
        asked: list[Scores] = []
        measured = None
        if self._pace.seconds_per_token is None:
            asked.append((yield texts[:1]))  # loads the model, where it is not loaded
            started, costs = self._clock(), self._costs(query, texts)
            if asked[0].genuine:
                measured = yield texts[:_SAMPLE]
                asked.append(measured)
                self._learn(costs[:_SAMPLE], measured, self._clock() - started)
        pace, left = self._pace.seconds_per_token, self._seconds - (self._clock() - started)
        count = len(texts) if pace is None else affordable(costs, pace, left * _PLANNED)
        if measured is None or count > len(measured.items):
            begun = self._clock()
            asked.append((yield texts[:count]))
            self._learn(costs[:count], asked[-1], self._clock() - begun)
        return self._answer(_with_all_costs(asked), len(texts) - len(asked[-1].items))

    def _costs(self, query: str, texts: Sequence[str]) -> list[int]:
        """Roughly the tokens of each pair; the pace is in the same unit, so that only their proportions matter."""
        most, loaded = None, loaded_by(self._main)
        if loaded is not None and loaded.long_documents != "windows":
            most = loaded.max_tokens * (LIKELY_WINDOWS if loaded.long_documents == "likely_windows" else 1)
        costs = [_SPECIAL_TOKENS + (len(query) + len(text)) // _CHARACTERS_PER_TOKEN for text in texts]
        return costs if most is None else [min(cost, most) for cost in costs]

    def _learn(self, costs: Sequence[int], scores: Scores, seconds: float) -> None:
        """From calls in which the scorer did all of the work."""
        if scores.genuine and not any(score.cached for score in scores.items):
            self._pace.learn(sum(costs), seconds)

    def _answer(self, scores: Scores, left: int) -> Scores:
        if not left:
            return scores
        emit(self._hooks, BudgetSpent(self.model, len(scores.items), left, self._seconds))
        return replace(scores, items=scores.items + (Score(0.0, degraded=True, judged=False),) * left)


def _with_all_costs(asked: Sequence[Scores]) -> Scores:
    """The last of the scores, with the work of all: what was scored to measure the pace was billed as well."""
    units = [scores.search_units for scores in asked if scores.search_units is not None]
    return replace(
        asked[-1],
        tokens=sum(scores.tokens for scores in asked),
        encode_seconds=sum(scores.encode_seconds for scores in asked),
        inference_seconds=sum(scores.inference_seconds for scores in asked),
        search_units=sum(units) if units else None,
    )


def budgeted(scorer: Scorer, max_latency: object, pace: Pace, hooks: Sequence[Hook]) -> Scorer:
    """``scorer`` with a budget of ``max_latency`` seconds; the same scorer for None.

    Of a scorer that wraps others, the main one gets the budget: a cache costs nothing, and a cascade's first model
    scores all texts.

    Raises:
        InvalidRequestError: when it is no number above 0.
    """
    if max_latency is None:
        return scorer
    if isinstance(scorer, WrappingScorer):
        return scorer.around(budgeted(scorer.main, max_latency, pace, hooks), *scorer.others)
    return BudgetScorer(scorer, max_latency, pace=pace, hooks=hooks)  # type: ignore[arg-type]  # it checks its type
