"""Bring bundled graphs to the exporter's present form, where the run that made them is not at hand.

    python -m training.refresh --data ../shared/data [NAME ...]

Applies what needs no float weights (``rerank_core/conversion/gated_attention.py``) to the int8 graph of each model in
the package, and compares the logits of training pairs: another order of additions moves a value across the border
between two int8 levels now and then. Nothing is written where that is more than noise. ``sha256.json`` and the digest
in ``cards/NAME.toml`` follow.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from rerank_core.conversion.gated_attention import fuse_attention
from rerank_core.models.source import BUNDLED
from rerank_core.scoring import LocalOptions, LocalScorer

from .bundle import CARDS, MODELS
from .data import TRAINING_SETS, read_set
from .export import checksums, write_checksums

MOST = 0.02
"""The most that logits may move: the standard deviation of the differences, as a share of the logits' own."""

PAIRS = 400


def logits(folder: Path, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """The logit of every (query, text) by the model in ``folder``."""
    scorer = LocalScorer(folder, LocalOptions(backend="onnx"))
    try:
        return np.array([scorer.score(query, [text]).items[0].log_odds for query, text in pairs])
    finally:
        scorer.close()


def refresh(name: str, pairs: Sequence[tuple[str, str]], *, models: Path = MODELS, cards: Path = CARDS) -> str:
    """Refresh one model; returns what was done, for people.

    Args:
        name: the model's name.
        pairs: queries and texts to compare logits on.
        models: the folder that has ``NAME``.
        cards: where the notes about its weights are.

    Raises:
        ValueError: when the logits would move by more than noise. Nothing has changed then.
    """
    folder = models / name
    model = onnx.load(folder / "model.onnx")
    fused = fuse_attention(model.graph)
    if not fused:
        return "nothing to do"
    with tempfile.TemporaryDirectory(dir=models, prefix=".refreshing-") as temporary:
        copy = Path(shutil.copytree(folder, Path(temporary) / name))
        onnx.save(model, copy / "model.onnx")
        write_checksums(copy)
        before, after = logits(folder, pairs), logits(copy, pairs)
        moved = float((after - before).std() / before.std())
        if not moved <= MOST:
            raise ValueError(f"{name}: logits would move by {moved:.1%} of their spread, at most {MOST:.0%} is noise")
        old, new = checksums(folder)["model.onnx"], checksums(copy)["model.onnx"]
        note = cards / f"{name}.toml"
        text = note.read_text(encoding="utf-8").replace(old, new)
        for file in ("model.onnx", "sha256.json"):
            (copy / file).replace(folder / file)
        note.write_text(text, encoding="utf-8")
    return f"{fused} attentions fused; logits moved by {moved:.2%} of their spread ({len(pairs)} pairs)"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.refresh", description="Bring bundled graphs up to date.")
    parser.add_argument("name", nargs="*", metavar="NAME", help=f"of {', '.join(BUNDLED)} (default: all)")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/NAME/train.jsonl.gz")
    options = parser.parse_args()
    examples = [example for name in TRAINING_SETS for example in read_set(options.data, name)]
    chosen = np.random.default_rng(0).choice(len(examples), PAIRS, replace=False)
    pairs = [(examples[row].query, examples[row].positives[0]) for row in chosen]
    for name in options.name or BUNDLED:
        try:
            print(f"{name}: {refresh(name, pairs)}")
        except ValueError as error:
            sys.exit(f"{error}.")


if __name__ == "__main__":
    main()
