"""What a job will take, from the time of its first rows."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from rerank_core.bulk.job import Job
from rerank_core.bulk.scoring import RerankBatch
from rerank_core.errors import InvalidRequestError
from rerank_core.reranker import Reranker

SAMPLE = 200


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was found in the first rows, and what it means for all.

    Attributes:
        rows: all rows, about: from the files' sizes, where they do not say it.
        pairs: pairs of all rows, about.
        tokens: tokens of all pairs, about.
        seconds: of all, about, on this machine.
        sample: how many rows were scored for it.
        rejects: how many of these are bad.
    """

    rows: int
    pairs: int
    tokens: int
    seconds: float
    sample: int
    rejects: int


def estimate(job: Job, reranker: Reranker, *, sample: int = SAMPLE) -> Estimate:
    """Score the first rows, and reckon what the others will take. Nothing is written.

    Args:
        job: the job; its output is not looked at.
        reranker: what scores.
        sample: how many rows to score.

    Raises:
        InvalidRequestError: when a file cannot be read, or there are no rows.
        RerankError: when the model fails.
    """
    with tempfile.TemporaryDirectory() as folder:  # for the texts of runs
        job = replace(job, output=Path(folder))
        job.keep_texts()
        return _estimate(job, reranker, sample)


def _estimate(job: Job, reranker: Reranker, sample: int) -> Estimate:
    positions = range(len(job.files))
    first = list(islice(chain.from_iterable(map(job.rows, positions)), sample))
    if not first:
        raise InvalidRequestError(f"{_named([file.name for file in job.inputs()])}: no rows.", param="files")
    reranker.warm_up()
    started = time.perf_counter()
    scored = RerankBatch(reranker, columns=job.columns).score(first)
    seconds = time.perf_counter() - started
    rows = max(len(first), job.rows_about())
    times = rows / len(first)
    return Estimate(
        rows,
        round(scored.pairs * times),
        round(scored.tokens * times),
        seconds * times,
        len(first),
        len(scored.rejects),
    )


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
