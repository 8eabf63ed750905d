"""Does reranking help on my data? Labelled data in, measured rankings and a verdict out."""

from rerank_core.evaluation.calibration import fit_calibration
from rerank_core.evaluation.calibration_pairs import labelled_scores
from rerank_core.evaluation.data import load_data
from rerank_core.evaluation.decision import Decision, Fact, decide
from rerank_core.evaluation.fusion_fit import FusionFit, ScoredCandidates, fit_fusion
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.markdown import to_markdown
from rerank_core.evaluation.page import to_html, write_page
from rerank_core.evaluation.pictures import draw_rank_changes
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.report import Evaluation, SystemReport
from rerank_core.evaluation.runner import evaluate
from rerank_core.evaluation.scored import System
from rerank_core.evaluation.spreadsheet import to_csv
from rerank_core.evaluation.stages import Change, Report
from rerank_core.evaluation.store import ScoreStore
from rerank_core.evaluation.table import print_evaluation

__all__ = [
    "Change",
    "Decision",
    "Evaluation",
    "Fact",
    "FusionFit",
    "LabelledData",
    "Plan",
    "Report",
    "ScoreStore",
    "ScoredCandidates",
    "System",
    "SystemReport",
    "decide",
    "draw_rank_changes",
    "evaluate",
    "fit_calibration",
    "fit_fusion",
    "labelled_scores",
    "load_data",
    "print_evaluation",
    "to_csv",
    "to_html",
    "to_markdown",
    "write_page",
]
