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
    """A scorer that takes an instruction with each call; it refuses one where its model has no use for it.

    It may have an optional member ``takes_instruction``: False where it is known to refuse every instruction.
    """

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
    """Every call of ``scorer`` under one instruction, which is part of the identity.

    Args:
        scorer: the scorer.
        instruction: the instruction.
        required: whether the scorer's refusal is an error; otherwise it then scores without the instruction.
    """

    def __init__(self, scorer: InstructableScorer, instruction: str, *, required: bool = True) -> None:
        super().__init__(scorer)
        self._scorer = scorer
        self._instruction = instruction
        self._required = required

    @property
    def identity(self) -> str:
        """The scorer's under this instruction."""
        try:
            return self._scorer.identity if self._is_deaf() else self._scorer.identity_with(self._instruction)
        except InvalidRequestError as error:
            self._check(error)
        return self._scorer.identity

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever the scorer raises.
        """
        if not self._is_deaf():
            try:
                return self._scorer.score(query, texts, instruction=self._instruction)
            except InvalidRequestError as error:
                self._check(error)
        return self._scorer.score(query, texts)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text.

        Raises:
            RerankError: whatever the scorer raises.
        """
        if not self._is_deaf():
            try:
                return await self._scorer.ascore(query, texts, instruction=self._instruction)
            except InvalidRequestError as error:
                self._check(error)
        return await self._scorer.ascore(query, texts)

    def _is_deaf(self) -> bool:
        """Whether there is no need to ask: what would be a refusal is also reported as a failure."""
        return not self._required and getattr(self._scorer, "takes_instruction", True) is False

    def _check(self, error: InvalidRequestError) -> None:
        """Raise the error, unless it is a refusal of the instruction that does not matter."""
        if self._required or (error.code, error.param) != ("unsupported_parameter", "instruction"):
            raise error


def instructed(scorer: Scorer, instruction: object) -> Scorer:
    """``scorer`` under an instruction; the same scorer for None.

    Of a scorer that wraps others, the main one has to follow it. The others, such as fallbacks and the first stages of
    cascades, follow it where they can: a model that takes none scores without.

    Raises:
        InvalidRequestError: when it is not a string, or the main scorer takes none.
    """
    if instruction is None:
        return scorer
    if not isinstance(instruction, str):
        raise InvalidRequestError(
            f"instruction must be a string, got {type(instruction).__name__}.", param="instruction"
        )
    return _instructed(scorer, clean_text(instruction), required=True)


def _instructed(scorer: Scorer, instruction: str, *, required: bool) -> Scorer:
    if _takes_instructions(scorer):
        return InstructedScorer(scorer, instruction, required=required)
    if isinstance(scorer, WrappingScorer):
        main = _instructed(scorer.main, instruction, required=required)
        return scorer.around(main, *(_instructed(each, instruction, required=False) for each in scorer.others))
    if not required:
        return scorer
    raise InvalidRequestError(
        f"the scorer of {scorer.model!r} takes no instruction; leave instruction= out.",
        code="unsupported_parameter",
        param="instruction",
    )


def _takes_instructions(scorer: Scorer) -> TypeGuard[InstructableScorer]:
    """By the method alone: to ask a protocol would read the identity, which loads the model."""
    return callable(getattr(scorer, "identity_with", None))
