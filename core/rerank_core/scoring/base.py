"""The scorer protocol: a query and texts in, one score per text out, in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from rerank_core.scores import Score, Scores, check_scores

if TYPE_CHECKING:
    from rerank_core.inference.backends.base import LoadedModelInfo

# Score and Scores have their own module; pickled ones, such as those in users' caches, name this one.
__all__ = [
    "Score",
    "Scorer",
    "Scores",
    "achecked_scores",
    "checked_scores",
    "gives_places",
    "judges",
    "loaded_by",
    "provider_of",
]


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores texts against a query.

    Implementations must be safe to call from several threads at once, give one finite score per text in the
    order of the texts, and raise only :class:`~rerank_core.errors.RerankError`. ``score`` is never called
    with an empty list of texts or a blank query.

    A scorer may have optional members, read by the functions of the same names below: ``provider`` (where its model
    runs; "local" is this process), ``loaded`` (a ``LoadedModelInfo`` of what it has loaded), ``judges`` (False where it
    never scores relevance) and ``gives_places`` (True where its scores are places in an order).
    """

    @property
    def model(self) -> str:
        """The name of the model, for people."""
        ...

    @property
    def identity(self) -> str:
        """Everything that decides a score besides the texts: model, revision, precision, limits.

        Equal identities give equal scores, also in another process. May load the model.
        """
        ...

    @property
    def pointwise(self) -> bool:
        """Whether a text's score depends on the query and that text alone, not on the other texts of the request.

        Only then may scores be cached one by one, be used for a request with fewer texts, and equal texts be scored
        once.
        """
        ...

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text."""
        ...

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text without blocking the event loop."""
        ...

    def warm_up(self) -> None:
        """Do now what the first call would otherwise have to do first, such as loading the model."""
        ...

    def close(self) -> None:
        """Release models and connections. Closing twice is fine."""
        ...

    async def aclose(self) -> None:
        """``close`` for asynchronous code."""
        ...


def provider_of(scorer: Scorer) -> str:
    """Where the scorer's model runs: its ``provider``; ``local`` (this process) where it has none."""
    provider = getattr(scorer, "provider", None)
    return provider if isinstance(provider, str) else "local"


def loaded_by(scorer: Scorer) -> LoadedModelInfo | None:
    """What the scorer has loaded into this process; None before its first use, or where it loads nothing."""
    loaded = getattr(scorer, "loaded", None)
    if loaded is None:
        return None
    from rerank_core.inference.backends.base import LoadedModelInfo

    return loaded if isinstance(loaded, LoadedModelInfo) else None


def judges(scorer: Scorer) -> bool:
    """Whether the scorer scores relevance at all."""
    return getattr(scorer, "judges", True) is not False


def gives_places(scorer: Scorer) -> bool:
    """Whether the scores say no more than a text's place in the order, so that no threshold fits them."""
    return getattr(scorer, "gives_places", False) is True


def checked_scores(scorer: Scorer, query: str, texts: Sequence[str]) -> Scores:
    """The scorer's scores, checked.

    Raises:
        ProtocolError: when they are not one valid score per text.
        RerankError: whatever the scorer raises.
    """
    return check_scores(scorer.score(query, texts), len(texts), model=scorer.model)


async def achecked_scores(scorer: Scorer, query: str, texts: Sequence[str]) -> Scores:
    """:func:`checked_scores` for asynchronous code.

    Raises:
        The same as :func:`checked_scores`.
    """
    return check_scores(await scorer.ascore(query, texts), len(texts), model=scorer.model)
