"""A scorer under an instruction: what is asked of one call besides its query, for models that follow instructions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeGuard

from rerank_core.documents import clean_text
from rerank_core.errors import InvalidRequestError
from rerank_core.scores import Scores
from rerank_core.scoring.base import Scorer
from rerank_core.scoring.wrapper import WrappingScorer


class InstructableScorer(Scorer, Protocol):
    """A scorer that takes an instruction with each call; it refuses one where its model has no use for it."""

    def identity_with(self, instruction: str) -> str:
        """:attr:`identity` under an instruction."""
        ...

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """Score every text."""
        ...

    async def ascore(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """Score every text without blocking the event loop."""
        ...


class InstructedScorer(WrappingScorer):
    """Every call of ``scorer`` under one instruction, which is part of the identity."""

    def __init__(self, scorer: InstructableScorer, instruction: str) -> None:
        super().__init__(scorer)
        self._scorer = scorer
        self._instruction = instruction

    @property
    def identity(self) -> str:
        """The scorer's under this instruction."""
        return self._scorer.identity_with(self._instruction)

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever the scorer raises.
        """
        return self._scorer.score(query, texts, instruction=self._instruction)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever the scorer raises.
        """
        return await self._scorer.ascore(query, texts, instruction=self._instruction)


def instructed(scorer: Scorer, instruction: object) -> Scorer:
    """``scorer`` under an instruction; the same scorer for None.

    Of a scorer that wraps others, the main one gets the instruction: fallbacks and the first stages of cascades score
    without it.

    Raises:
        InvalidRequestError: when it is not a string, or the scorer takes none.
    """
    if instruction is None:
        return scorer
    if not isinstance(instruction, str):
        raise InvalidRequestError(
            f"instruction must be a string, got {type(instruction).__name__}.", param="instruction"
        )
    if _takes_instructions(scorer):
        return InstructedScorer(scorer, clean_text(instruction))
    if isinstance(scorer, WrappingScorer):
        return scorer.around(instructed(scorer.main, instruction))
    raise InvalidRequestError(
        f"the scorer of {scorer.model!r} takes no instruction; leave instruction= out.",
        code="unsupported_parameter",
        param="instruction",
    )


def _takes_instructions(scorer: Scorer) -> TypeGuard[InstructableScorer]:
    """By the method alone: to ask a protocol would read the identity, which loads the model."""
    return callable(getattr(scorer, "identity_with", None))
