"""Falling back to the next scorer when the first one fails."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rerank_core.errors import ClosedError, InvalidRequestError, RerankError
from rerank_core.events import DEFAULT_HOOKS, Degraded, Hook, emit, logger
from rerank_core.scores import Scores
from rerank_core.scoring.base import Scorer, achecked_scores, checked_scores, judges
from rerank_core.scoring.wrapper import WrappingScorer

Failures = list[tuple[Scorer, RerankError]]


class FallbackScorer(WrappingScorer):
    """Tries scorers in order until one succeeds.

    Scores of any but the first are marked ``degraded``, and a warning says what happened: once, until the first
    succeeds again. An invalid request (:class:`~rerank_core.errors.InvalidRequestError`) is not tried elsewhere, nor is
    one to a closed scorer. After any other failure the next scorer is tried. One that does not score relevance
    (:class:`~rerank_core.scoring.KeepOrderScorer`) is tried only after a temporary failure
    (:attr:`~rerank_core.errors.RerankError.transient`): it would hide a wrong name, a missing device or a refused key
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
        """The scores of the first scorer that succeeds.

        Raises:
            InvalidRequestError, ClosedError: at once, when a scorer finds the request invalid, or is closed.
            RerankError: the last scorer's error, when all failed; notes name the others.
        """
        failures: Failures = []
        for scorer in self._candidates(failures):
            try:
                return self._answer(checked_scores(scorer, query, texts), scorer, failures)
            except RerankError as error:
                _note_failure(failures, scorer, error)
        raise _exhausted(failures)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """The scores of the first scorer that succeeds.

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
        """Warm up every scorer; one that fails is tried again when it is needed.

        Raises:
            InvalidRequestError, ClosedError: at once.
            RerankError: when all fail that would be tried.
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
        """The scorers to try in turn; the caller adds to ``failures``."""
        for scorer in self._parts:
            if not failures or judges(scorer) or any(error.transient for _, error in failures):
                yield scorer

    def _answer(self, scores: Scores, scorer: Scorer, failures: Failures) -> Scores:
        codes = tuple(error.code for _, error in failures)
        if codes != self._warned:
            for failed, error in failures:
                logger.warning(
                    "%r failed (%s), so %r answers, marked degraded. This is logged once, until something changes.",
                    failed.model,
                    error.message.rstrip("."),
                    scorer.model,
                )
            self._warned = codes
        for failed, error in failures:
            emit(self._hooks, Degraded(failed.model, scorer.model, error.code))
        return scores.as_degraded() if failures else scores


def _note_failure(failures: Failures, scorer: Scorer, error: RerankError) -> None:
    """Add the failure, unless no other scorer should be tried.

    Raises:
        InvalidRequestError, ClosedError: as they are.
    """
    if isinstance(error, InvalidRequestError | ClosedError):
        raise error
    failures.append((scorer, error))


def _exhausted(failures: Failures) -> RerankError:
    """The last failure, with notes of the earlier ones; a copy, because a scorer may raise the same object again."""
    *earlier, (_, last) = failures
    if not earlier:
        return last
    error = last.copied()
    error.__cause__ = last
    for scorer, each in earlier:
        error.add_note(f"before that, {scorer.model!r} failed: {each.code}")
    return error
