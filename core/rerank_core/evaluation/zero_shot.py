"""Which models were trained on the data that they are measured on: their figures there are not zero-shot."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rerank_core.models.registry import known
from rerank_core.scoring.base import Scorer
from rerank_core.scoring.cascade import CascadeScorer
from rerank_core.scoring.wrapper import WrappingScorer

_SPELLINGS = {
    "naturalquestions": "nq",
    "trecdl": "msmarco",  # judged anew, on MS MARCO's passages
    "duretrieval": "dureader",
    "mrtidy": "mrtydi",
    "t2reranking": "t2ranking",
    "t2retrieval": "t2ranking",
}
"""Other names of the sets in the models' records."""


def trained_on(scorer: Scorer, data: str) -> tuple[str, ...]:
    """The public sets in the name of ``data`` that a model of ``scorer`` was trained on, as its record says.

    A model without a record, and one whose record names no sets, are not known to have seen any.
    """
    sets = sets_in(data)
    records = filter(None, map(known, _models(scorer)))
    return tuple(sorted(sets & {name for record in records for name in record.trained_on}))


def sets_in(name: str) -> set[str]:
    """The public sets that the name of data may stand for, spelt as in the models' records.

    A part of a path stands for what it begins with: ``beir/msmarco/dev``, ``ms-marco-passage``, ``trec_dl19`` and
    ``FiQA2018`` are read, and ``climate-fever`` is not ``fever``.
    """
    found = set()
    for part in name.lower().split("/"):
        begun = ""
        for word in re.findall("[a-z0-9]+", part):
            begun += word
            found |= {begun, begun.rstrip("0123456789")}
    return {_SPELLINGS.get(each, each) for each in found}


def _models(scorer: Scorer) -> Iterator[str]:
    """The names of the models whose scores count: both of a cascade, and no fallback's."""
    if isinstance(scorer, CascadeScorer):
        yield from _models(scorer.cheap)
    if isinstance(scorer, WrappingScorer):
        yield from _models(scorer.main)
    else:
        yield scorer.model
