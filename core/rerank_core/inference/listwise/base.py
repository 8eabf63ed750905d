"""What list-wise models have in common."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rerank_core.inference.backends.base import LoadedModelInfo
from rerank_core.inference.workers import Workers
from rerank_core.scores import Score

Task = Callable[[], Any]
"""A piece of work for the model's thread."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What a list-wise model says of a query's texts.

    Attributes:
        scores: one per text, in the order of the texts.
        tokens: how many the model read and wrote.
        answers: how many times it was asked.
        malformed: how many of its answers could not be read.
    """

    scores: tuple[Score, ...]
    tokens: int
    answers: int
    malformed: int = 0


class ListModel(Protocol):
    """A list-wise model that is loaded."""

    workers: Workers
    device: str

    def work(self, query: str, texts: Sequence[str], max_tokens: int) -> Generator[Task, Any, Ranked]:
        """Rank ``texts``: yields tasks for the model's thread, one after the other, and is sent their results.

        Between two tasks the model may work for other requests; no task ever holds texts of two requests.

        Raises:
            InferenceError: when the model fails, or none of its answers can be read.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@dataclass(eq=False, slots=True, weakref_slot=True)
class SharedList:
    """A list-wise model in this process, shared by all scorers that ask for the same weights in the same place."""

    backend: ListModel
    fingerprint: str
    warned_of_malformed: bool = field(default=False)


@dataclass(frozen=True, eq=False, slots=True)
class LoadedList:
    """A shared list-wise model, as one scorer has loaded it.

    Attributes:
        info: what was loaded and why.
        shared: the model itself.
        seconds: how long loading took, or None when the model was there already.
    """

    info: LoadedModelInfo
    shared: SharedList
    seconds: float | None
