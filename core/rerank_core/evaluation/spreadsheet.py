"""An evaluation as CSV: a row for each first stage, system and query."""

from __future__ import annotations

import csv
import io

from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.report import Evaluation
from rerank_core.evaluation.stages import Report

_FORMULA = ("=", "+", "-", "@", "\t")


def to_csv(found: Evaluation | Report) -> str:
    """The report as CSV (RFC 4180) with a header; ``rank`` is that of the best wanted document, from 1."""
    written = io.StringIO()
    rows = csv.writer(written, lineterminator="\r\n")
    evaluations = Report.of(found).evaluations
    measures = list(evaluations[0].baseline.measures)
    fixed = ["first_stage", "system", "query", "text", "candidates", "reachable", "rank", "cut_documents"]
    rows.writerow([*fixed, "change", *measures])
    for each in evaluations:
        before = each.baseline.measures[MAIN]
        for system in each.systems:
            for query, case in each.cases.items():
                outcome = system.outcomes[query]
                rank = min((rank for rank in outcome.ranks if rank is not None), default="")
                values = [f"{system.measures[measure][query]:.4f}" for measure in system.measures]
                change = f"{system.measures[MAIN][query] - before[query]:.4f}"
                names = [_safe(text) for text in (each.first_stage, system.name, query, case.query)]
                rows.writerow([*names, case.candidates, int(case.reachable), rank, outcome.cut, change, *values])
    return written.getvalue()


def _safe(text: str) -> str:
    """``text`` as a spreadsheet shows it: what begins like a formula would be computed (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(_FORMULA) else text
