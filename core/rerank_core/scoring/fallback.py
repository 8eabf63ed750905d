"""The next scorer when the first one fails."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack

from rerank_core.errors import ClosedError, InvalidRequestError, RerankError
from rerank_core.events import DEFAULT_HOOKS, Degraded, Hook, emit
from rerank_core.scoring.base import Scorer, Scores, check_scores


class FallbackScorer:
    """Asks scorers in order until one answers.

    Scores of any but the first are marked ``degraded``. A request that is itself wrong
    (:class:`~rerank_core.errors.InvalidRequestError`) is not tried elsewhere, nor is one to a closed scorer.

    Args:
        scorers: at least two, the preferred one first.
        hooks: called with each event.

    Raises:
        InvalidRequestError: when fewer than two scorers are given.
    """

    def __init__(self, scorers: Sequence[Scorer], *, hooks: Sequence[Hook] = DEFAULT_HOOKS) -> None:
        if len(scorers) < 2:  # noqa: PLR2004  (one to fail, one to step in)
            raise InvalidRequestError(
                f"FallbackScorer needs at least two scorers, got {len(scorers)}.", param="scorers"
            )
        self._scorers = tuple(scorers)
        self._hooks = tuple(hooks)

    @property
    def model(self) -> str:
        """The preferred scorer's model."""
        return self._scorers[0].model

    @property
    def identity(self) -> str:
        """The preferred scorer's identity; what a stand-in scores is marked and must not be kept under it."""
        return self._scorers[0].identity

    @property
    def pointwise(self) -> bool:
        """Whether the preferred scorer is; a stand-in's scores are marked, and nobody takes them for its own."""
        return self._scorers[0].pointwise

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """The first answer there is.

        Raises:
            InvalidRequestError, ClosedError: at once, when a scorer finds the request itself wrong, or is closed.
            RerankError: the last scorer's error, when none answered; a note lists the others.
        """
        failures: list[tuple[Scorer, RerankError]] = []
        for scorer in self._scorers:
            try:
                scores = check_scores(scorer.score(query, texts), len(texts))
            except (InvalidRequestError, ClosedError):
                raise
            except RerankError as error:
                failures.append((scorer, error))
            else:
                return self._answer(scores, scorer, failures)
        raise _exhausted(failures)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """The first answer there is.

        Raises:
            InvalidRequestError, ClosedError: at once, when a scorer finds the request itself wrong, or is closed.
            RerankError: the last scorer's error, when none answered; a note lists the others.
        """
        failures: list[tuple[Scorer, RerankError]] = []
        for scorer in self._scorers:
            try:
                scores = check_scores(await scorer.ascore(query, texts), len(texts))
            except (InvalidRequestError, ClosedError):
                raise
            except RerankError as error:
                failures.append((scorer, error))
            else:
                return self._answer(scores, scorer, failures)
        raise _exhausted(failures)

    def warm_up(self) -> None:
        """Warm up every scorer; one that cannot is left for the moment it is needed.

        Raises:
            RerankError: when none of them can.
        """
        failures = []
        for scorer in self._scorers:
            try:
                scorer.warm_up()
            except RerankError as error:
                failures.append((scorer, error))
        if len(failures) == len(self._scorers):
            raise _exhausted(failures)

    def close(self) -> None:
        """Close every scorer."""
        with ExitStack() as stack:  # the others are closed even when one fails to
            for scorer in self._scorers:
                stack.callback(scorer.close)

    async def aclose(self) -> None:
        """Close every scorer."""
        async with AsyncExitStack() as stack:
            for scorer in self._scorers:
                stack.push_async_callback(scorer.aclose)

    def _answer(self, scores: Scores, scorer: Scorer, failures: list[tuple[Scorer, RerankError]]) -> Scores:
        if not failures:
            return scores
        for failed, error in failures:
            emit(self._hooks, Degraded(failed.model, scorer.model, error.code))
        return scores.as_degraded()


def _exhausted(failures: list[tuple[Scorer, RerankError]]) -> RerankError:
    """The last failure, with the earlier ones noted on it."""
    *earlier, (_, last) = failures
    for scorer, error in earlier:
        last.add_note(f"before that, {scorer.model!r} failed: {error.code}")
    return last
