"""Scorers: anything that gives each text one score. They compose; each does one thing."""

from rerank_core.scoring.base import Score, Scorer, Scores
from rerank_core.scoring.cached import CachedScorer
from rerank_core.scoring.cascade import CascadeScorer
from rerank_core.scoring.fake import FakeScorer
from rerank_core.scoring.fallback import FallbackScorer
from rerank_core.scoring.local import LocalOptions, LocalScorer

__all__ = [
    "CachedScorer",
    "CascadeScorer",
    "FakeScorer",
    "FallbackScorer",
    "LocalOptions",
    "LocalScorer",
    "Score",
    "Scorer",
    "Scores",
]
