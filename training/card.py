"""The model card: fixed text around measured figures."""

from __future__ import annotations

import json
from pathlib import Path
from string import Template
from typing import Any

from .model import RerankMini

TEMPLATE = Path(__file__).parent / "model_card.md"
SYSTEMS = ("BM25", "bi-encoder", "fp32", "int8")
RETRIEVED = ("covidqa", "cranfield", "squad_dev12")


def figures_table(figures: dict[str, dict[str, float]]) -> str:
    """nDCG@10 of the systems, and the differences of int8 to the others."""
    against = SYSTEMS[:-1]
    head = ["set", *SYSTEMS, *(f"int8 - {name}" for name in against)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    means = {name: sum(row[name] for row in figures.values()) / len(figures) for name in SYSTEMS}
    for label, row in {**figures, "**mean**": means}.items():
        cells = [f"{row[name]:.4f}" for name in SYSTEMS]
        cells += [f"{row['int8'] - row[name]:+.4f}" for name in against]
        lines.append("| " + " | ".join([label, *cells]) + " |")
    return "\n".join(lines)


def development_table(choices: list[dict[str, Any]]) -> str:
    """One row for every interpolation share: fitted feature weights, loss, nDCG@10 by source."""
    sources = list(choices[0]["ndcg"])
    head = ["share", *RerankMini.FEATURES, "loss", *sources]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in choices:
        cells = [f"{row['share']:g}", *(f"{weight:.1f}" for weight in row["mix"]), f"{row['loss']:.4f}"]
        cells += [f"{row['ndcg'][name]:.3f}" for name in sources]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def verdict(figures: dict[str, dict[str, float]]) -> str:
    """The table in words, losses included."""
    sentences = []
    for name in ("BM25", "bi-encoder"):
        differences = {label: row["int8"] - row[name] for label, row in figures.items()}
        above = [label for label, value in differences.items() if value > 0]
        losses = [f"{label} {value:+.4f}" for label, value in differences.items() if value <= 0]
        sentences.append(
            f"Above {name} on {len(above)} of {len(figures)} sets (losses: {', '.join(losses) or 'none'})."
        )
    worst = max(abs(row["int8"] - row["fp32"]) for row in figures.values())
    sentences.append(f"The largest difference between int8 and fp32 is {worst:.4f}.")
    return " ".join(sentences)


def write(target: Path, out: Path) -> None:
    """Fill ``model_card.md`` with what the stages of one run left in ``out``."""

    def load(name: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((out / name).read_text(encoding="utf-8"))
        return content

    quality = load("quality.json")
    figures = quality["ndcg@10"]
    sampled = {len(systems["int8"]) for name, systems in quality["queries"].items() if name in RETRIEVED}
    run, fitted = load("states/training.json"), load("calibration.json")
    text = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        figures=figures_table(figures),
        verdict=verdict(figures),
        development=development_table(load("choices.json")["choices"]),
        queries=max(sampled),
        date=quality["date"],
        steps=f"{run['steps']:,}",
        pairs=f"{run['pairs']:,}",
        minutes=f"{run['minutes']:.0f}",
        **{name: f"{value:.3f}" for name, value in fitted.items()},
    )
    target.write_text(text, encoding="utf-8")
