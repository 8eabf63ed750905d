"""The untrained starts side by side: quality on the lists to choose on, against what their layers cost.

Feature weights are fitted on all kinds of text but one and measured on that one, so that no figure is of lists that
its weights were fitted on.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .bodies import E5, MINILM, MPNET
from .card import table
from .retrieved import KIND
from .selection import DevelopmentPairs, fit_mix, list_ndcg

FloatArray = npt.NDArray[np.float32]
START = np.array([6.3, 9.1, 1.2, 1.5, 0.3], dtype=np.float32)
"""The bundled mini's weights, from which the fit begins."""

WIDTH = {MINILM: 384, MPNET: 768, E5: 384, f"{E5}-bare": 384}
REFERENCE = 6 * 384**2
"""The bundled mini's layers times its squared width: the cost of a token is about proportional to that."""


@dataclass(frozen=True)
class Features:
    """What ``training.starts`` left of one body: features [pairs, 5] after each layer, and the lists' grades."""

    by_layers: Mapping[int, FloatArray]
    data: DevelopmentPairs


def load(folder: Path, sources: Sequence[str]) -> Features:
    """Read ``sources`` of one body."""
    parts: dict[int, list[FloatArray]] = {}
    names: list[str] = []
    grades: list[npt.NDArray[np.int64]] = []
    owners: list[npt.NDArray[np.int64]] = []
    for source in sources:
        with np.load(folder / f"{source}.npz") as file:
            for column, layers in enumerate(file["layers"].tolist()):
                features = np.concatenate([file["similar"][:, column], file["lexical"]], axis=1)
                parts.setdefault(layers, []).append(features)
            grades.append(file["grades"])
            owners.append(len(names) + np.repeat(np.arange(len(file["lengths"])), file["lengths"]))
            names += [source] * len(file["lengths"])
    data = DevelopmentPairs(tuple(names), (), np.concatenate(owners), np.concatenate(grades))
    return Features({layers: np.concatenate(values) for layers, values in parts.items()}, data)


def part_of(features: FloatArray, data: DevelopmentPairs, wanted: Sequence[str]) -> tuple[FloatArray, DevelopmentPairs]:
    """The pairs of some sources."""
    lists = [number for number, source in enumerate(data.sources) if source in wanted]
    place = {number: row for row, number in enumerate(lists)}
    rows = np.flatnonzero(np.isin(data.list_of_pair, lists))
    owners = np.array([place[number] for number in data.list_of_pair[rows].tolist()])
    sources = tuple(data.sources[number] for number in lists)
    return features[rows], DevelopmentPairs(sources, (), owners, data.grades[rows])


def across_kinds(features: FloatArray, data: DevelopmentPairs, columns: Sequence[int]) -> FloatArray:
    """nDCG@10 of every list with the features in ``columns``, weights fitted on the other kinds of text."""
    found = np.zeros(len(data.sources), dtype=np.float32)
    kinds = np.array([KIND[source] for source in data.sources])
    for kind in sorted(set(kinds.tolist())):
        inside = [source for source in KIND if KIND[source] == kind]
        outside = [source for source in KIND if KIND[source] != kind]
        seen, lists = part_of(features[:, columns], data, outside)
        mix, _ = fit_mix(seen, np.zeros(len(seen), dtype=np.float32), START[list(columns)], lists)
        held, lists = part_of(features[:, columns], data, inside)
        found[kinds == kind] = list_ndcg(lists, held @ mix)
    return found


def list_weights(sources: Sequence[str]) -> FloatArray:
    """What each list counts, so that kinds of text weigh the same, and sources within them; the sum is 1."""
    count = Counter(sources)
    inside = Counter(KIND[source] for source in count)
    kinds = len(inside)
    return np.array([1 / kinds / inside[KIND[source]] / count[source] for source in sources], dtype=np.float32)


def by_source(values: FloatArray, sources: Sequence[str]) -> dict[str, float]:
    """Means by source."""
    names = np.array(sources)
    return {source: float(values[names == source].mean()) for source in dict.fromkeys(sources)}


def difference(values: FloatArray, others: FloatArray, sources: Sequence[str]) -> str:
    """The weighted mean of the lists' differences, and its standard error from their spread within sources."""
    weights, apart, names = list_weights(sources), values - others, np.array(sources)
    variance = sum(
        float((weights[rows] ** 2).sum() * apart[rows].var(ddof=1)) for rows in (names == name for name in set(sources))
    )
    return f"{weights @ apart:+.3f} ± {variance**0.5:.3f}"


LEXICAL, ALL = "lexical", "all"
SETTINGS = {"cosine": (0,), "maxsim": (1,), LEXICAL: (2, 3, 4), "cosine + lexical": (0, 2, 3, 4), ALL: (0, 1, 2, 3, 4)}


def measured(name: str, found: Features, layers: Sequence[int]) -> Iterator[tuple[str, int, str, FloatArray]]:
    """(body, layers, setting, nDCG@10 of the lists): all settings after the last layer, ``ALL`` after each."""
    for count in layers:
        for setting, columns in SETTINGS.items():
            if (setting == LEXICAL and name != MINILM) or (setting != ALL and count != max(found.by_layers)):
                continue
            yield name, count, setting, across_kinds(found.by_layers[count], found.data, columns)


def rows(found: Sequence[tuple[str, int, str, FloatArray]], sources: Sequence[str]) -> Iterator[list[str]]:
    """Table rows; differences are to the first body's last layer with all features."""
    first = [values for name, _, setting, values in found if name == found[0][0] and setting == ALL][-1]
    weights = list_weights(sources)
    for name, count, setting, values in found:
        cost = "0" if setting == LEXICAL else f"{count * WIDTH[name] ** 2 / REFERENCE:.2g}"
        cells = [f"{value:.3f}" for value in by_source(values, sources).values()]
        yield [name, str(count), setting, cost, *cells, f"{weights @ values:.3f}", difference(values, first, sources)]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.comparison", description="A table of untrained starts.")
    parser.add_argument("--starts", type=Path, required=True, help="what training.starts wrote")
    parser.add_argument("--layers", type=int, nargs="+", default=[3, 4, 6, 8, 10, 12])
    options = parser.parse_args()
    folders = [options.starts / name for name in WIDTH if (options.starts / name).is_dir()]
    sources = [name for name in KIND if all((folder / f"{name}.npz").exists() for folder in folders)]
    found: list[tuple[str, int, str, FloatArray]] = []
    for folder in folders:
        features = load(folder, sources)
        found += measured(folder.name, features, [count for count in options.layers if count in features.by_layers])
    lines = list(rows(found, features.data.sources))
    print(table(["body", "layers", "features", "cost", *sources, "mean of kinds", f"to {folders[0].name}"], lines))


if __name__ == "__main__":
    main()
