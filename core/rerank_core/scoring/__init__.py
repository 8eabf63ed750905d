"""Scorers: anything that gives each text one score. Each does one thing; scorers wrap scorers."""

from rerank_core.scoring.api import ApiScorer
from rerank_core.scoring.base import Score, Scorer, Scores
from rerank_core.scoring.budget import BudgetScorer
from rerank_core.scoring.cached import CachedScorer
from rerank_core.scoring.calibrated import CalibratedScorer, Calibration
from rerank_core.scoring.cascade import CascadeScorer
from rerank_core.scoring.fake import FakeScorer
from rerank_core.scoring.fallback import FallbackScorer
from rerank_core.scoring.instructed import InstructableScorer, InstructedScorer
from rerank_core.scoring.keep_order import KeepOrderScorer
from rerank_core.scoring.listwise import ListwiseScorer
from rerank_core.scoring.local import LocalScorer
from rerank_core.scoring.options import ApiOptions, LocalOptions
from rerank_core.scoring.shadow import ShadowScorer

__all__ = [
    "ApiOptions",
    "ApiScorer",
    "BudgetScorer",
    "CachedScorer",
    "CalibratedScorer",
    "Calibration",
    "CascadeScorer",
    "FakeScorer",
    "FallbackScorer",
    "InstructableScorer",
    "InstructedScorer",
    "KeepOrderScorer",
    "ListwiseScorer",
    "LocalOptions",
    "LocalScorer",
    "Score",
    "Scorer",
    "Scores",
    "ShadowScorer",
]
