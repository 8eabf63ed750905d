"""Two stages: a cheap scorer scores all texts, an expensive one only the best of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rerank_core.errors import InvalidRequestError
from rerank_core.ranking import order, sigmoid, unique
from rerank_core.scores import Score, Scores
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores
from rerank_core.scoring.wrapper import WrappingScorer

KEEP = 20
"""How many texts the expensive scorer scores where nothing else is said (``benchmarks/cascade.py``)."""

ABOVE = ">"
"""Between the names of a cascade's models, the cheap one first."""


class CascadeScorer(WrappingScorer):
    """Lets ``cheap`` score all texts and ``expensive`` the best ``keep`` of them.

    The scores of two models cannot be compared, so texts that the expensive one did not score come after all that it
    did, in the cheap one's order: their logits are moved down by a constant until the highest is below the expensive
    scorer's lowest. Of ``keep`` texts or fewer the expensive one scores all, and the cheap one is not asked.

    Where the expensive scorer's own fallback scores nothing (:class:`~rerank_core.scoring.KeepOrderScorer`), the cheap
    one's scores are kept, marked ``degraded`` for the texts that the expensive one should have scored.

    Args:
        cheap: scores every text.
        expensive: scores the best texts again.
        keep: how many texts the expensive one scores.

    Raises:
        InvalidRequestError: when ``keep`` is below 1.
    """

    def __init__(self, cheap: Scorer, expensive: Scorer, *, keep: int = KEEP) -> None:
        if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
            raise InvalidRequestError(f"keep must be a whole number of at least 1, got {keep!r}.", param="keep")
        super().__init__(expensive, cheap)
        self._keep = keep

    @property
    def cheap(self) -> Scorer:
        """The scorer of every text."""
        return self.others[0]

    @property
    def identity(self) -> str:
        """Both identities, and how many texts the expensive scorer scores."""
        return f"cascade({self.cheap.identity} > {self._main.identity}, {self._keep})"

    @property
    def pointwise(self) -> bool:
        """False: which texts reach the expensive scorer depends on what else is in the request.

        A cache belongs around each of the two scorers, not around the cascade.
        """
        return False

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever either scorer raises.
        """
        distinct, places = self._distinct(texts)
        best: Sequence[int] = range(len(distinct))
        if len(distinct) <= self._keep:
            scores = checked_scores(self._main, query, distinct)
            if all(score.judged for score in scores.items):
                return _spread(scores, places)
            cheap = checked_scores(self.cheap, query, distinct)
        else:
            cheap = checked_scores(self.cheap, query, distinct)
            best = self._best(cheap)
            scores = checked_scores(self._main, query, [distinct[i] for i in best])
        return _spread(_merge(cheap, scores, best), places)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever either scorer raises.
        """
        distinct, places = self._distinct(texts)
        best: Sequence[int] = range(len(distinct))
        if len(distinct) <= self._keep:
            scores = await achecked_scores(self._main, query, distinct)
            if all(score.judged for score in scores.items):
                return _spread(scores, places)
            cheap = await achecked_scores(self.cheap, query, distinct)
        else:
            cheap = await achecked_scores(self.cheap, query, distinct)
            best = self._best(cheap)
            scores = await achecked_scores(self._main, query, [distinct[i] for i in best])
        return _spread(_merge(cheap, scores, best), places)

    def _distinct(self, texts: Sequence[str]) -> tuple[Sequence[str], Sequence[int]]:
        """The texts to score, and for each text its place there: equal texts must not end up in different tiers.

        A list-wise model is shown them all.
        """
        if all(part.pointwise for part in self._parts):
            return unique(texts)
        return texts, range(len(texts))

    def _best(self, cheap: Scores) -> list[int]:
        return order(cheap.keys(), [score.relevance_score for score in cheap.items], top_n=self._keep)


def stacked(scorers: Sequence[Scorer], *, keep: int = KEEP) -> Scorer:
    """The only one of ``scorers``, or a cascade of all, the cheapest first.

    Args:
        scorers: at least one.
        keep: how many texts each one hands on to the next.
    """
    first, *rest = scorers
    return CascadeScorer(first, stacked(rest, keep=keep), keep=keep) if rest else first


def _spread(scores: Scores, places: Sequence[int]) -> Scores:
    """A score per text, from those of the distinct ones."""
    if len(places) == len(scores.items):
        return scores
    return replace(scores, items=tuple(scores.items[place] for place in places))


def _merge(cheap: Scores, expensive: Scores, best: Sequence[int]) -> Scores:
    """Scores in two tiers: those of the expensive scorer, and below them the cheap one's for all other texts."""
    answers = dict(zip(best, zip(expensive.items, expensive.keys(), strict=True), strict=True))
    upper = {i: (score, key) for i, (score, key) in answers.items() if score.judged}
    lower = {
        i: (replace(score, degraded=True) if i in answers else score, key)
        for i, (score, key) in enumerate(zip(cheap.items, cheap.keys(), strict=True))
        if i not in upper
    }
    merged = _tier(upper)
    merged |= _tier(lower, list(merged.values()))
    items = tuple(merged[i] for i in range(len(cheap.items)))
    if any(score.cached for score in cheap.items):  # otherwise it would look as if all of the work had been done
        items = tuple(replace(score, cached=True) for score in items)
    return Scores(
        items,
        expensive.model if upper else cheap.model,
        cheap.tokens + expensive.tokens,
        cheap.encode_seconds + expensive.encode_seconds,
        cheap.inference_seconds + expensive.inference_seconds,
        search_units=_sum(cheap.search_units, expensive.search_units),
    )


def _sum(*units: int | None) -> int | None:
    """The sum of those that are known; a cascade of a local model and a service has one."""
    known = [each for each in units if each is not None]
    return sum(known) if known else None


def _tier(scores: Mapping[int, tuple[Score, float]], above: Sequence[Score] = ()) -> dict[int, Score]:
    """The scores with logits that sort like their keys, all of them below the scores ``above``."""
    ceiling = min((score.log_odds for score in above), default=math.inf)
    most = min((score.relevance_score for score in above), default=1.0)
    top = max((score.log_odds for score, _ in scores.values()), default=-math.inf)
    shift = max(0.0, top - math.nextafter(ceiling, -math.inf))
    tier: dict[int, Score] = {}
    logit, previous = ceiling, math.inf
    for i, (score, key) in sorted(scores.items(), key=lambda entry: -entry[1][1]):
        if key < previous:  # the subtraction may make two logits equal, and their order would be lost
            logit = min(score.log_odds - shift, math.nextafter(logit, -math.inf))
        probability = min(score.relevance_score, sigmoid(logit)) if shift else score.relevance_score
        tier[i] = replace(score, logit=logit, relevance_score=min(probability, most))
        previous = key
    return tier
