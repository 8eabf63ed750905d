"""Does reranking help on my data? Labelled data in, measured rankings and a verdict out."""

from rerank_core.evaluation.data import LabelledData, load_data
from rerank_core.evaluation.plan import Plan
from rerank_core.evaluation.report import Evaluation, SystemReport
from rerank_core.evaluation.runner import evaluate

__all__ = ["Evaluation", "LabelledData", "Plan", "SystemReport", "evaluate", "load_data"]
