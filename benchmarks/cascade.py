"""What a cascade saves and loses: a cheap model's order, of which an expensive model ranks only the top.

    python benchmarks/cascade.py --data ../shared/data/eval --scores FOLDER/scores.db

The five sets of ``first_stages.py``, BM25's best 100 or the judged passages, nDCG@10. Scores are kept in the file,
which may be the one of ``first_stages.py``. Times are of 100 documents of 10 to 380 words, measured in turns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from statistics import mean

from first_stages import DEPTHS, lexical, sampled
from measure import QUERY, ROOT, Result, arguments, documents, medians, turns
from quality import SETS

from rerank_core import Reranker
from rerank_core.evaluation import Plan, load_data
from rerank_core.evaluation.labelled import LabelledData
from rerank_core.evaluation.measures import MAIN
from rerank_core.evaluation.measures import measure as measures_of
from rerank_core.evaluation.significance import compare
from rerank_core.evaluation.store import ScoreStore
from rerank_core.scoring import CascadeScorer, LocalScorer, Scorer
from rerank_core.scoring.cached import CachedScorer
from rerank_core.scoring.cascade import KEEP

TINY, MINI, SMALL = "rerank-tiny-en-v1", "rerank-mini-en-v1", "rerank-small-en-v2"
KEEPS = (10, 20, 40)
PAIRS = ((TINY, MINI), (TINY, SMALL), (MINI, SMALL))
Logits = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By model, query and document."""


@dataclass(frozen=True)
class System:
    """A model alone, or on the best ``keep`` of a cheap one."""

    model: str
    cheap: str | None = None
    keep: int = 0

    def __str__(self) -> str:
        return f"`{self.model}`" if self.cheap is None else f"`{self.model}` on the best {self.keep} of `{self.cheap}`"


SYSTEMS = [
    *(System(model) for model in (TINY, MINI, SMALL)),
    *(System(expensive, cheap, keep) for cheap, expensive in PAIRS for keep in KEEPS),
]

NAMED = System(SMALL, TINY, KEEP)
"""What ``Reranker("rerank-tiny-en-v1>rerank-small-en-v2")`` is."""


def main() -> None:
    """Quality on the sets, then times."""
    given = arguments(
        __doc__, data=ROOT.parent / "shared" / "data" / "eval", scores=ROOT / "build" / "scores.db", queries=100
    )
    given.scores.parent.mkdir(parents=True, exist_ok=True)
    values: dict[System, list[list[float]]] = {system: [] for system in SYSTEMS}
    with closing(ScoreStore(given.scores, ours=True)) as store:
        scorers = {name: CachedScorer(LocalScorer(name), store, hooks=()) for name in (TINY, MINI, SMALL)}
        for name, plan in SETS.items():
            data = load_data(given.data / name)
            data = data if plan.pool else sampled(data, given.queries)
            logits = scored(data, plan, scorers)
            for system in SYSTEMS:
                values[system].append(quality(data, plan, logits, system))
            print(f"{name}: done", flush=True)
    seconds = times()
    rows = []
    for system, sets in values.items():
        whole = values[System(system.model)]
        means = [mean(each) for each in sets]
        loss = ""
        if system.cheap is not None:
            loss = difference(whole, sets)
        share = seconds[str(system)] / seconds[str(System(system.model))]
        rows.append([str(system), *(f"{each:.3f}" for each in means), f"{mean(means):.3f}", loss, f"{share:.2f}"])
    Result(
        "cascade",
        "Cascades, nDCG@10",
        ["", *SETS, "mean", "against the expensive one alone", "share of its time"],
        rows,
        [
            "The mean is of the five sets; p is of a paired randomisation test over all queries.",
            f"{sum(map(len, values[SYSTEMS[0]]))} queries.",
            f"{NAMED} against {System(MINI)}: {difference(values[System(MINI)], values[NAMED])}.",
        ],
        {"seconds": seconds},
    ).keep(given.out)


def difference(before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]) -> str:
    """Of the means over the sets, with the p-value over all queries."""
    change = compare([x for each in before for x in each], [x for each in after for x in each])
    return f"{mean(map(mean, after)) - mean(map(mean, before)):+.3f} (p = {change.p_value:.3f})"


def scored(data: LabelledData, plan: Plan, scorers: Mapping[str, Scorer]) -> Logits:
    """Every model's logits of BM25's candidates, in their order."""
    found = lexical(data, plan, DEPTHS["BM25"])
    logits: dict[str, dict[str, dict[str, float]]] = {name: {} for name in scorers}
    for query, candidates in found.items():
        texts = [data.documents[candidate] for candidate in candidates]
        for name, scorer in scorers.items():
            items = scorer.score(data.queries[query], texts).items
            logits[name][query] = dict(zip(candidates, (item.log_odds for item in items), strict=True))
    return logits


def quality(data: LabelledData, plan: Plan, logits: Logits, system: System) -> list[float]:
    """nDCG@10 per query."""
    rankings = {}
    for query, scores in logits[system.model].items():
        first = ordered(scores if system.cheap is None else logits[system.cheap][query])
        top = first[: system.keep]
        rankings[query] = [*ordered({name: scores[name] for name in top}), *first[system.keep :]]
    judgments = {query: data.judgments[query] for query in rankings}
    return list(measures_of(judgments, rankings, relevant_grade=plan.relevant_grade)[MAIN].values())


def ordered(scores: Mapping[str, float]) -> Sequence[str]:
    """Best first; equals in the order of the candidates."""
    return sorted(scores, key=lambda name: -scores[name])


def times() -> dict[str, float]:
    """Seconds of each system for 100 documents."""
    texts = documents(100)
    runs = {str(system): partial(Reranker(scorer=scorer_of(system)).rerank, QUERY, texts) for system in SYSTEMS}
    turns(runs, 1)  # load the models
    return medians(turns(runs, 5))


def scorer_of(system: System) -> Scorer:
    """The scorer that a user would write."""
    expensive = LocalScorer(system.model)
    return expensive if system.cheap is None else CascadeScorer(LocalScorer(system.cheap), expensive, keep=system.keep)


if __name__ == "__main__":
    main()
