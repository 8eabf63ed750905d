"""The next scorer when the first one fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rerank_core.errors import ClosedError, InvalidRequestError, RerankError
from rerank_core.events import DEFAULT_HOOKS, Degraded, Hook, emit, logger
from rerank_core.scores import Scores
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores, judges
from rerank_core.scoring.wrapper import WrappingScorer

Failures = list[tuple[Scorer, RerankError]]


class FallbackScorer(WrappingScorer):
    """Asks scorers in order until one answers.

    Scores of any but the first are marked ``degraded``, and a warning says what happened: once, until the first
    answers again. A request that is itself wrong (:class:`~rerank_core.errors.InvalidRequestError`) is not tried
    elsewhere, nor is one to a closed scorer. Any other failure leads to the next scorer that judges relevance; one that
    judges nothing (:class:`~rerank_core.scoring.KeepOrderScorer`) is asked only where a failure may pass
    (:attr:`~rerank_core.errors.RerankError.transient`): a wrong name, a missing device or a refused key would be hidden
    for ever.

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
        super().__init__(*scorers)
        self._hooks = tuple(hooks)
        self._warned: tuple[str, ...] = ()

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """The first answer there is.

        Raises:
            InvalidRequestError, ClosedError: at once, when a scorer finds the request itself wrong, or is closed.
            RerankError: the last scorer's error, when none answered; notes name the others.
        """
        failures: Failures = []
        for scorer in self._candidates(failures):
            try:
                return self._answer(checked_scores(scorer, query, texts), scorer, failures)
            except RerankError as error:
                _note_failure(failures, scorer, error)
        raise _exhausted(failures)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """The first answer there is.

        Raises:
            The same as :meth:`score`.
        """
        failures: Failures = []
        for scorer in self._candidates(failures):
            try:
                return self._answer(await achecked_scores(scorer, query, texts), scorer, failures)
            except RerankError as error:
                _note_failure(failures, scorer, error)
        raise _exhausted(failures)

    def warm_up(self) -> None:
        """Warm up every scorer; one that cannot is left for the moment it is needed.

        Raises:
            InvalidRequestError, ClosedError: at once.
            RerankError: when none of them can that would be asked.
        """
        failures: Failures = []
        ready = False
        for scorer in self._candidates(failures):
            try:
                scorer.warm_up()
                ready = True
            except RerankError as error:
                _note_failure(failures, scorer, error)
        if not ready:
            raise _exhausted(failures)

    def _candidates(self, failures: Failures) -> Iterator[Scorer]:
        """Who is asked next, after ``failures``, to which the caller adds."""
        for scorer in self._parts:
            if not failures or judges(scorer) or any(error.transient for _, error in failures):
                yield scorer

    def _answer(self, scores: Scores, scorer: Scorer, failures: Failures) -> Scores:
        codes = tuple(error.code for _, error in failures)
        if codes != self._warned:
            for failed, error in failures:
                logger.warning(
                    "%r failed (%s), so %r answers, marked degraded. This is said once, until something changes.",
                    failed.model,
                    error.message,
                    scorer.model,
                )
            self._warned = codes
        for failed, error in failures:
            emit(self._hooks, Degraded(failed.model, scorer.model, error.code))
        return scores.as_degraded() if failures else scores


def _note_failure(failures: Failures, scorer: Scorer, error: RerankError) -> None:
    """Add the failure, unless nobody else should be asked.

    Raises:
        InvalidRequestError, ClosedError: as they are.
    """
    if isinstance(error, InvalidRequestError | ClosedError):
        raise error
    failures.append((scorer, error))


def _exhausted(failures: Failures) -> RerankError:
    """The last failure, with the earlier ones noted on it; a copy, because scorers may raise one object again."""
    *earlier, (_, last) = failures
    if not earlier:
        return last
    error = last.copied()
    error.__cause__ = last
    for scorer, each in earlier:
        error.add_note(f"before that, {scorer.model!r} failed: {each.code}")
    return error
