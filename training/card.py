"""The model cards: fixed text around measured figures, and around notes that are added when a model is bundled."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from .model import RerankMini
from .notes import left_open
from .selection import Choice, best_of, read_choices

MINI, TINY = "rerank-mini-en-v1", "rerank-tiny-en-v1"
EXACT = "fp32"
BASELINES = ("BM25", "bi-encoder")
DIFFERENCES = ((MINI, "BM25"), (MINI, "bi-encoder"), (TINY, MINI))

Figures = dict[str, dict[str, float]]
"""Set to system to nDCG@10."""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def short(system: str) -> str:
    """A column's name: ``mini`` for ``rerank-mini-en-v1``."""
    return system.removeprefix("rerank-").removesuffix("-en-v1")


def figures_table(figures: Figures, queries: dict[str, int], differences: Sequence[tuple[str, str]]) -> str:
    """nDCG@10 of the systems, and the ``differences`` between two of them."""
    systems = list(next(iter(figures.values())))
    means = {name: sum(row[name] for row in figures.values()) / len(figures) for name in systems}
    head = ["set", "queries", *map(short, systems), *(f"{short(one)} - {short(other)}" for one, other in differences)]
    rows = []
    for label, row in {**figures, "**mean**": means}.items():
        cells = [label, str(queries.get(label, ""))]
        cells += [f"{row[name]:.4f}" for name in systems]
        cells += [f"{row[one] - row[other]:+.4f}" for one, other in differences]
        rows.append(cells)
    return table(head, rows)


def chances_table(chances: Mapping[str, Mapping[str, float]]) -> str:
    """The p-values of the first model's differences."""
    others = [name for name in next(iter(chances.values())) if name in BASELINES]
    rows = [[label, *(f"{row[name]:.4f}" for name in others)] for label, row in chances.items()]
    return table(["p", *(f"{short(MINI)} - {name}" for name in others)], rows)


def development_table(choices: Sequence[Choice]) -> str:
    """One row for every interpolation share: fitted feature weights, loss, nDCG@10 by source."""
    sources = list(choices[0].ndcg)
    rows = []
    for row in choices:
        cells = [f"{row.share:g}", *(f"{weight:.1f}" for weight in row.mix), f"{row.loss:.4f}"]
        rows.append(cells + [f"{row.ndcg[name]:.3f}" for name in sources])
    return table(["share", *RerankMini.FEATURES, "loss", *sources], rows)


def verdict(model: str, figures: Figures) -> str:
    """The table in words, losses included."""
    sentences = []
    for name in BASELINES:
        differences = {label: row[model] - row[name] for label, row in figures.items()}
        above = [label for label, value in differences.items() if value > 0]
        losses = [f"{label} {value:+.4f}" for label, value in differences.items() if value <= 0]
        sentences.append(
            f"Above {name} on {len(above)} of {len(figures)} sets (losses: {', '.join(losses) or 'none'})."
        )
    return " ".join(sentences)


def write(target: Path, model: str, out: Path) -> None:
    """Fill the card of ``model`` with what the stages of one run left in ``out``; placeholders of notes stay open."""

    def load(path: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    names = {str(out / name / "int8"): name for name in (MINI, TINY)}

    def measured(folder: str) -> tuple[dict[str, Any], Figures]:
        content = load(out / folder / "quality.json")
        rows = content["ndcg@10"].items()
        return content, {label: {names.get(name, name): value for name, value in row.items()} for label, row in rows}

    quality, figures = measured("quality")
    sample, exact = measured("quality_fp32")
    precision = {label: {EXACT: row[EXACT], MINI: row[MINI]} for label, row in exact.items()}
    run, fitted = load(out / model / "states" / "training.json"), load(out / model / "calibration.json")
    dates = quality["dates"].values()
    choices = read_choices(out / model / "choices.json")
    share = best_of(choices).share
    template = Template((Path(__file__).parent / "cards" / f"{model}.md").read_text(encoding="utf-8"))
    text = template.substitute(
        figures=figures_table(figures, quality["queries"], DIFFERENCES),
        precision=figures_table(precision, sample["queries"], [(MINI, EXACT)]),
        verdict=verdict(model, figures),
        largest=f"{max(abs(row[MINI] - row[EXACT]) for row in exact.values()):.4f}",
        development=development_table(choices),
        share=f"{share:g}",
        rest=f"{1 - share:g}",
        chances=chances_table(quality["p"]),
        date=" to ".join(sorted({min(dates), max(dates)})),
        machine=quality["machine"],
        **left_open(template),
        steps=f"{run['steps']:,}",
        pairs=f"{run['pairs']:,}",
        minutes=f"{run['minutes']:.0f}",
        **{name: f"{value:.3f}" for name, value in fitted.items()},
    )
    target.write_text(text, encoding="utf-8")
