"""What reading long documents in windows gains, and what reading only the likely ones saves and loses.

    python benchmarks/long_documents.py --data ../shared/data/eval/covidqa

The documents are whole papers, put together again from the passages of the set, some 4,000 words each. A query's
relevant document is the paper that its relevant passage is from; candidates are BM25's best papers, with the relevant
one in the last place where it is not among them. Each way reads the same candidates.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from measure import ROOT, Result, arguments

from rerank_core import Reranker, RerankResponse
from rerank_core.bm25 import Bm25
from rerank_core.evaluation import load_data
from rerank_core.options import LongDocuments

WAYS: dict[LongDocuments, str] = {
    "truncate": "the beginning",
    "likely_windows": "the first window and the likely ones",
    "windows": "all windows",
}
DATA = ROOT.parent / "shared" / "data" / "eval" / "covidqa"


@dataclass(frozen=True)
class Question:
    """A query, its candidates, which of them is relevant, and where in it the relevant passage stands."""

    text: str
    papers: Sequence[str]
    relevant: int
    passage: range


def main() -> None:
    """Rank the papers each way."""
    given = arguments(__doc__, data=DATA, queries=40, candidates=10)
    found = questions(given.data, given.queries, given.candidates)
    rows: list[list[str]] = []
    data: dict[str, dict[str, float]] = {}
    for way, words in WAYS.items():
        reranker = Reranker(long_documents=way)
        reranker.warm_up()
        started = time.perf_counter()
        responses = [reranker.rerank(each.text, each.papers) for each in found]
        seconds = time.perf_counter() - started
        gains = [1 / math.log2(1 + rank(each, response)) for each, response in zip(found, responses, strict=True)]
        places = [in_passage(each, response) for each, response in zip(found, responses, strict=True)]
        tokens = sum(response.usage.prompt_tokens for response in responses)
        data[way] = {"ndcg": mean(gains), "in_passage": mean(places), "tokens": tokens, "seconds": seconds}
        shares = [f"{tokens / len(found):.0f}", f"{1000 * seconds / len(found):.0f}"]
        rows.append([f"`{way}`: {words}", f"{mean(gains):.3f}", f"{mean(places):.2f}", *shares])
    Result(
        "long_documents",
        f"Whole papers, {given.candidates} candidates per query",
        ["read", "nDCG", "best window is the relevant passage", "tokens per query", "ms per query"],
        rows,
        [f"`rerank-mini-en-v1`, {len(found)} queries of covidqa."],
        data,
    ).keep(given.out)


def questions(folder: Path, count: int, candidates: int) -> list[Question]:
    """A sample of the set's queries, each with the best papers."""
    data = load_data(folder)
    papers: dict[str, dict[str, str]] = defaultdict(dict)
    for name in sorted(data.documents, key=lambda name: tuple(map(int, name.split("_")))):
        papers[paper_of(name)][name] = data.documents[name]
    names, texts = list(papers), ["\n\n".join(passages.values()) for passages in papers.values()]
    index = Bm25(texts)
    sample = random.Random(0).sample(sorted(data.queries), count)  # noqa: S311  (a reproducible benchmark)
    found = []
    for query in sample:
        (passage,) = data.judgments[query]
        relevant = names.index(paper_of(passage))
        rows = index.top(data.queries[query], candidates)
        rows = rows if relevant in rows else [*rows[: candidates - 1], relevant]
        found.append(
            Question(data.queries[query], [texts[row] for row in rows], rows.index(relevant), place(papers, passage))
        )
    return found


def paper_of(passage: str) -> str:
    """The paper that a passage is from, by its name."""
    return passage.rsplit("_", 1)[0]


def place(papers: Mapping[str, Mapping[str, str]], passage: str) -> range:
    """The passage's characters in its paper."""
    start = 0
    for name, text in papers[paper_of(passage)].items():
        if name == passage:
            return range(start, start + len(text))
        start += len(text) + 2
    raise KeyError(passage)


def rank(question: Question, response: RerankResponse) -> int:
    """Of the relevant paper."""
    return next(result.rank for result in response if result.index == question.relevant)


def in_passage(question: Question, response: RerankResponse) -> bool:
    """Whether what was read best of the relevant paper overlaps the relevant passage."""
    result = next(result for result in response if result.index == question.relevant)
    if result.window is None:
        read = result.document.text[: 512 * 4]  # about what a model of 512 tokens reads
        return question.passage.start < len(read)
    return result.window.start < question.passage.stop and question.passage.start < result.window.end


if __name__ == "__main__":
    main()
