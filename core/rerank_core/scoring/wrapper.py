"""What scorers that wrap scorers have in common."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Self

from rerank_core.scoring.base import Scorer, gives_places, judges, loaded_by, provider_of

if TYPE_CHECKING:
    from rerank_core.inference.backends.base import LoadedModelInfo


class WrappingScorer:
    """Has the model, identity and provider of its main scorer, and warms up and closes all wrapped scorers.

    A subclass adds ``score`` and ``ascore``, and overrides only what it changes.

    Args:
        main: the scorer whose model the scores are reported under.
        others: the other wrapped scorers.
    """

    def __init__(self, main: Scorer, *others: Scorer) -> None:
        self._main = main
        self._parts = (main, *others)

    @property
    def main(self) -> Scorer:
        """The scorer whose model the scores are reported under."""
        return self._main

    @property
    def others(self) -> tuple[Scorer, ...]:
        """The other wrapped scorers."""
        return self._parts[1:]

    def around(self, main: Scorer, *others: Scorer) -> Self:
        """The same around as many other scorers; everything else, such as a cache's store, is shared."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._main, other._parts = main, (main, *others)
        return other

    @property
    def model(self) -> str:
        """The main scorer's model."""
        return self._main.model

    @property
    def identity(self) -> str:
        """The main scorer's identity."""
        return self._main.identity

    @property
    def pointwise(self) -> bool:
        """Whether the main scorer is."""
        return self._main.pointwise

    @property
    def provider(self) -> str:
        """Where the main scorer's model runs."""
        return provider_of(self._main)

    @property
    def loaded(self) -> LoadedModelInfo | None:
        """What the main scorer has loaded; None before its first use, or where it loads nothing."""
        return loaded_by(self._main)

    @property
    def gives_places(self) -> bool:
        """Whether the main scorer's scores say no more than the place in the order."""
        return gives_places(self._main)

    @property
    def judges(self) -> bool:
        """Whether any of the scorers scores relevance."""
        return any(map(judges, self._parts))

    def warm_up(self) -> None:
        """Warm up every scorer.

        Raises:
            RerankError: when one cannot be warmed up.
        """
        for part in self._parts:
            part.warm_up()

    def close(self) -> None:
        """Close every scorer."""
        with ExitStack() as stack:  # the others are closed even when one fails to
            for part in self._parts:
                stack.callback(part.close)

    async def aclose(self) -> None:
        """Close every scorer."""
        async with AsyncExitStack() as stack:
            for part in self._parts:
                stack.push_async_callback(part.aclose)
