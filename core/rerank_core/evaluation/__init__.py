"""Does reranking help on my data? Labelled data in, measured rankings and a verdict out."""

from rerank_core.evaluation.calibration import fit_calibration
from rerank_core.evaluation.calibration_pairs import labelled_scores
from rerank_core.evaluation.data import load_data
from rerank_core.evaluation.fusion_fit import FusionFit, ScoredCandidates, fit_fusion
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.page import write_page
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.report import Evaluation, SystemReport
from rerank_core.evaluation.runner import evaluate
from rerank_core.evaluation.scored import System
from rerank_core.evaluation.store import ScoreStore
from rerank_core.evaluation.table import print_evaluation

__all__ = [
    "Evaluation",
    "FusionFit",
    "LabelledData",
    "Plan",
    "ScoreStore",
    "ScoredCandidates",
    "System",
    "SystemReport",
    "evaluate",
    "fit_calibration",
    "fit_fusion",
    "labelled_scores",
    "load_data",
    "print_evaluation",
    "write_page",
]
