"""How time grows with the number of documents, their length, the query's length and the threads: straight lines.

    python benchmarks/growth.py

The default model; every point is the median of rounds in which all points take turns. The table has the slope of a line
through the points and the share of their variance that it explains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from measure import QUERY, Result, arguments, documents, keep_plot, medians, turns

from rerank_core import Reranker
from rerank_core.inference.cpus import available_cpus

Points = Mapping[int, float]


def main() -> None:
    """Measure the four series, plot them, keep the table."""
    given = arguments(__doc__, rounds=5)
    series = {
        "documents of 20 to 60 words": growth(by_documents(), given.rounds),
        "words of each of 50 documents": growth(by_length(), given.rounds),
        "words of the query, 50 documents of 60 words": growth(by_query(), given.rounds),
        "threads, 100 documents of 20 to 60 words": growth(by_threads(), given.rounds),
    }
    rows = []
    for name, points in series.items():
        x, y = np.array(list(points)), np.array(list(points.values()))
        if "threads" in name:
            rows.append([name, f"{y[0] / y[-1]:.2f} times as fast with {x[-1]}", ""])
            continue
        slope, _ = np.polyfit(x, y, 1)
        explained = np.corrcoef(x, y)[0, 1] ** 2
        rows.append([name, f"{1000 * slope:.2f} ms each", f"{explained:.3f}"])
    keep_plot(plot(series), given.out / "growth.svg")
    Result(
        "growth",
        "How time grows",
        ["with the number of", "slope", "variance explained by a line"],
        rows,
        [f"`rerank-mini-en-v1`, medians of {given.rounds} rounds."],
        {name: {str(x): y for x, y in points.items()} for name, points in series.items()},
    ).keep(given.out)


def by_documents() -> dict[int, Callable[[], object]]:
    """10 to 400 documents."""
    reranker, texts = Reranker(), documents(400, "short")
    return {count: partial(reranker.rerank, QUERY, texts[:count]) for count in (10, 50, 100, 200, 400)}


def by_length() -> dict[int, Callable[[], object]]:
    """Documents of 20 to 320 words: below the limit of 512 tokens."""
    reranker, words = Reranker(), documents(50, "long")
    cut = {length: [" ".join(text.split()[:length]) for text in words] for length in (20, 80, 160, 240, 300)}
    return {length: partial(reranker.rerank, QUERY, texts) for length, texts in cut.items()}


def by_query() -> dict[int, Callable[[], object]]:
    """Queries of 5 to 160 words."""
    reranker, texts = Reranker(), [" ".join(text.split()[:60]) for text in documents(50, "long")]
    words = documents(1, "long", seed=1)[0].split()
    return {length: partial(reranker.rerank, " ".join(words[:length]), texts) for length in (5, 20, 40, 80, 160)}


def by_threads() -> dict[int, Callable[[], object]]:
    """One thread up to one per CPU."""
    texts = documents(100, "short")
    counts = sorted({1, 2, available_cpus()} & set(range(1, available_cpus() + 1)))
    return {count: partial(Reranker(threads=count).rerank, QUERY, texts) for count in counts}


def growth(runs: Mapping[int, Callable[[], object]], rounds: int) -> Points:
    """Seconds at each point."""
    for run in runs.values():
        run()  # load and warm up
    seconds = medians(turns({str(point): run for point, run in runs.items()}, rounds))
    return {point: seconds[str(point)] for point in runs}


def plot(series: Mapping[str, Points]) -> Figure:
    """One panel for each series, all from zero."""
    figure = Figure(figsize=(4 * len(series), 3), layout="constrained")
    axes = figure.subplots(1, len(series))
    for axis, (name, points) in zip(axes, series.items(), strict=True):
        axis.plot(list(points), [1000 * seconds for seconds in points.values()], "o-", color="#1f6f8b")
        axis.set(xlabel=name, xlim=(0, None), ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("ms")
    return figure


if __name__ == "__main__":
    main()
