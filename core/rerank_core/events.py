"""What the engine reports while it works: frozen records, handed to hooks.

A hook is any callable that takes an event. It is called on the thread that does the work, should return soon, and must
not rank: it may be on the very thread that the model needs. Logging, metrics and tracing are hooks; the engine does not
know them. Events never hold keys, queries or documents.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

__all__ = [
    "DEFAULT_HOOKS",
    "BatchScored",
    "BudgetSpent",
    "CacheUsed",
    "Degraded",
    "Encoded",
    "Event",
    "Failed",
    "Hook",
    "MalformedAnswers",
    "ModelLoaded",
    "Retried",
    "Scored",
    "ShadowCompared",
    "ShadowDropped",
    "Truncated",
    "emit",
    "log_event",
]

logger = logging.getLogger("rerank_core")


@dataclass(frozen=True, slots=True)
class ModelLoaded:
    """A model was loaded into this process."""

    model: str
    backend: str
    dtype: str
    device: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """A request was tokenised into ``inputs`` model inputs (windows counted singly)."""

    model: str
    documents: int
    inputs: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class BatchScored:
    """One batch went through the model; ``padding`` of its tokens were padding.

    When it held inputs of several scorers, each reports its own part; the seconds are those of the whole batch.
    ``waited`` is how many seconds the oldest request in it had been queued.
    """

    model: str
    inputs: int
    tokens: int
    padding: int
    seconds: float
    waited: float = 0.0


@dataclass(frozen=True, slots=True)
class Scored:
    """A request was scored."""

    model: str
    documents: int
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Truncated:
    """The model saw less than the whole text of ``documents`` documents, or of the query.

    ``max_tokens`` is 0 where a server does not report its limit.
    """

    model: str
    documents: int
    query: bool
    max_tokens: int


@dataclass(frozen=True, slots=True)
class CacheUsed:
    """A request used the score cache."""

    model: str
    hits: int
    misses: int


@dataclass(frozen=True, slots=True)
class BudgetSpent:
    """``max_latency`` seconds sufficed for the first ``scored`` texts of a request; ``unscored`` keep their order."""

    model: str
    scored: int
    unscored: int
    max_latency: float


@dataclass(frozen=True, slots=True)
class Degraded:
    """``failed`` could not score (error code ``code``), so ``used`` did.

    The code is ``server_degraded`` where a server says that its answer is not its model's.
    """

    failed: str
    used: str
    code: str


@dataclass(frozen=True, slots=True)
class MalformedAnswers:
    """A list-wise model was asked ``answers`` times in one request, and ``malformed`` of its answers were no order."""

    model: str
    answers: int
    malformed: int


@dataclass(frozen=True, slots=True)
class Retried:
    """A request to a server failed with the error code ``code``; retry number ``retry`` starts in ``wait`` seconds."""

    model: str
    retry: int
    wait: float
    code: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A request failed with the error code ``code``."""

    model: str
    code: str


@dataclass(frozen=True, slots=True)
class ShadowCompared:
    """A candidate scored the same ``documents`` texts as the live model.

    ``moved`` of them have another place; of the first ``top_n`` both rankings have the share ``overlap`` (0..1).
    ``seconds`` is how long the candidate took, ``live_seconds`` the live model.
    """

    live: str
    candidate: str
    documents: int
    moved: int
    top_n: int
    overlap: float
    first_differs: bool
    seconds: float
    live_seconds: float


@dataclass(frozen=True, slots=True)
class ShadowDropped:
    """A request was not compared: its code is ``queue_full``, ``degraded``, or that of the candidate's error."""

    live: str
    candidate: str
    code: str


Event = (
    ModelLoaded
    | Encoded
    | BatchScored
    | Scored
    | Truncated
    | CacheUsed
    | BudgetSpent
    | Degraded
    | MalformedAnswers
    | Retried
    | Failed
    | ShadowCompared
    | ShadowDropped
)
Hook = Callable[[Event], None]


def emit(hooks: Iterable[Hook], event: Event) -> None:
    """Hand ``event`` to every hook. A hook that raises is logged and does not disturb the request."""
    for hook in hooks:
        try:
            hook(event)
        except Exception:  # a broken metric must not take search down
            logger.exception("the hook %r failed on %s", hook, type(event).__name__)


def log_event(event: Event) -> None:
    """The default hook: every event, for debugging."""
    logger.debug("%r", event)


DEFAULT_HOOKS: tuple[Hook, ...] = (log_event,)
