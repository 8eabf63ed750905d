"""The scorer protocol: a query and texts in, one score per text out, in the same order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from rerank_core.ranking import logit_of, sigmoid
from rerank_core.results import Span

if TYPE_CHECKING:
    from rerank_core.inference.backends.base import LoadedModelInfo


@dataclass(frozen=True, slots=True)
class Score:
    """How relevant one text is.

    Attributes:
        relevance_score: probability, 0..1.
        logit: the model's raw output, or None where only the probability is known.
        truncated: whether the model saw less than the whole query and text.
        query_truncated: whether the query had to be cut.
        window: the characters of the best window, when windows were used.
        cached: whether the score comes from a cache, or one that decided what was scored does.
        degraded: whether a fallback gave it.
        judged: whether relevance was looked at; False where the order of the input was kept instead, so that there is
            nothing a threshold could be compared with.
    """

    relevance_score: float
    logit: float | None = None
    truncated: bool = False
    query_truncated: bool = False
    window: Span | None = None
    cached: bool = False
    degraded: bool = False
    judged: bool = True

    @property
    def log_odds(self) -> float:
        """The logit, recovered from the probability where only that is known."""
        return logit_of(self.relevance_score) if self.logit is None else self.logit

    @property
    def genuine(self) -> bool:
        """Whether the scorer that was asked judged the text: not a fallback, and not nobody."""
        return self.judged and not self.degraded

    @classmethod
    def from_logit(
        cls, logit: float, *, truncated: bool = False, query_truncated: bool = False, window: Span | None = None
    ) -> Score:
        """The score of a raw model output."""
        return cls(sigmoid(logit), logit, truncated=truncated, query_truncated=query_truncated, window=window)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a scorer answers: one :class:`Score` per text, in order, and the facts of the call.

    Attributes:
        items: one score per text.
        model: the model that scored.
        tokens: tokens fed to the model.
        encode_seconds: time spent tokenising.
        inference_seconds: time spent in the model, or waiting for a server.
        judged: False says of every text at once that its relevance was not looked at (:attr:`Score.judged`).
    """

    items: tuple[Score, ...]
    model: str
    tokens: int = 0
    encode_seconds: float = 0.0
    inference_seconds: float = 0.0
    judged: bool = True

    def __post_init__(self) -> None:
        if not self.judged:
            object.__setattr__(self, "items", tuple(replace(score, judged=False) for score in self.items))

    @property
    def query_truncated(self) -> bool:
        """Whether the query had to be cut for any of the texts."""
        return any(score.query_truncated for score in self.items)

    @property
    def degraded(self) -> bool:
        """Whether any score comes from a fallback."""
        return any(score.degraded for score in self.items)

    @property
    def genuine(self) -> bool:
        """Whether every score is one."""
        return all(score.genuine for score in self.items)

    def keys(self) -> list[float]:
        """What to sort by: logits where every score has one, else probabilities."""
        logits = [score.logit for score in self.items if score.logit is not None]
        return logits if len(logits) == len(self.items) else [score.relevance_score for score in self.items]

    def as_degraded(self) -> Scores:
        """The same scores, marked as a fallback's."""
        return replace(self, items=tuple(replace(score, degraded=True) for score in self.items))


@runtime_checkable
class Scorer(Protocol):
    """Anything that scores texts against a query.

    Implementations must be safe to call from several threads at once, give one finite score per text in the
    order of the texts, and raise only :class:`~rerank_core.errors.RerankError`. ``score`` is never called
    with an empty list of texts or a blank query.

    A scorer may have three more members, which :func:`provider_of`, :func:`loaded_by` and :func:`judges` look for:
    ``provider`` (where its model runs; "local" is this process), ``loaded`` (what it has loaded, a ``LoadedModelInfo``)
    and ``judges`` (False where it never looks at relevance).
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

        Only then may scores be remembered one by one, or be taken for those of a request with fewer texts.
        """
        ...

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text."""
        ...

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """Score every text without blocking the event loop."""
        ...

    def warm_up(self) -> None:
        """Do now what the first call would otherwise wait for."""
        ...

    def close(self) -> None:
        """Let go of models and connections. Closing twice is fine."""
        ...

    async def aclose(self) -> None:
        """``close`` for asynchronous code."""
        ...


def provider_of(scorer: Scorer) -> str:
    """Where the scorer's model runs: what it says itself, or this process."""
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
    """Whether the scorer looks at relevance at all."""
    return getattr(scorer, "judges", True) is not False
