"""Scoring files of pairs of any size: bad rows set aside, work kept as it is done, a job that was ended goes on."""

from rerank_core.bulk.columns import Columns
from rerank_core.bulk.inputs import find_files
from rerank_core.bulk.job import Job, Progress, Totals, run
from rerank_core.bulk.negatives import Band, Mined, hard_negatives, scored_rows
from rerank_core.bulk.scoring import RerankBatch

__all__ = [
    "Band",
    "Columns",
    "Job",
    "Mined",
    "Progress",
    "RerankBatch",
    "Totals",
    "find_files",
    "hard_negatives",
    "run",
    "scored_rows",
]
