"""ONNX files as the Hub has them, against what ``rerank export`` writes of the same checkpoint.

    python benchmarks/hub_files.py

The checkpoint is the one of ``throughput.py``. The Hub's files are written by torch's older exporter with operator set
14 and quantised by ONNX Runtime with one scale per tensor and batch, as Optimum does. ONNX Runtime fuses what it knows
when it loads a file; ours come with attention and norms in the form that it runs fastest. All take turns.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from measure import Result, arguments, documents, medians, turns
from onnxruntime.quantization import QuantType, quantize_dynamic
from throughput import build_checkpoint, timed

from rerank_core import Reranker
from rerank_core.conversion.export import export_onnx

KINDS = ("short", "mixed", "long")


def main() -> None:
    """Write both forms, take turns for each kind of text, print the table."""
    given = arguments(__doc__, documents=100, rounds=5)
    with tempfile.TemporaryDirectory() as name:
        compare(Path(name), given.documents, given.rounds).keep(given.out)


def hub_folder(checkpoint: Path, folder: Path) -> Path:
    """``onnx/model.onnx`` and ``onnx/model_quantized.onnx`` of a checkpoint, with its tokenizer."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    files = folder / "onnx"
    files.mkdir(parents=True)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    tokenizer.save_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint).eval()
    model.config.save_pretrained(folder)
    example = tokenizer(["a query"] * 2, ["a document", "a longer document"], padding=True, return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that most files of the Hub were made with is deprecated
        torch.onnx.export(
            model,
            tuple(example[name] for name in names),
            str(files / "model.onnx"),
            input_names=names,
            output_names=["logits"],
            dynamic_axes={name: {0: "batch", 1: "sequence"} for name in names} | {"logits": {0: "batch"}},
            opset_version=14,
            dynamo=False,
        )
    quantize_dynamic(files / "model.onnx", files / "model_quantized.onnx", weight_type=QuantType.QInt8)
    return folder


def compare(folder: Path, count: int, rounds: int) -> Result:
    """Documents per second of the four files on each kind of text, and how far they are from ours in float32."""
    checkpoint = build_checkpoint(folder / "torch")
    ours, theirs = export_onnx(checkpoint, folder / "ours").folder, hub_folder(checkpoint, folder / "hub")
    rerankers = {
        "`rerank export`, float32": Reranker(ours, backend="onnx"),
        "as the Hub has it, float32": Reranker(theirs, backend="onnx"),
        "`rerank export`, int8": Reranker(ours, backend="onnx", dtype="int8"),
        "as the Hub has it, int8": Reranker(theirs, backend="onnx", dtype="int8"),
    }
    rates: dict[str, dict[str, float]] = {name: {} for name in rerankers}
    differences = dict.fromkeys(rerankers, 0.0)
    for kind in KINDS:
        texts = documents(count, kind)
        runs: dict[str, Any] = {name: timed(reranker, texts) for name, reranker in rerankers.items()}
        logits = {name: run() for name, run in runs.items()}
        expected = next(iter(logits.values()))
        for name, seconds in medians(turns(runs, rounds)).items():
            rates[name][kind] = count / seconds
            differences[name] = max(differences[name], float(np.abs(logits[name] - expected).max()))
    first = next(iter(rates.values()))
    rows = [
        [name, *(f"{rate:.1f} ({rate / first[kind]:.2f})" for kind, rate in each.items()), f"{differences[name]:.1e}"]
        for name, each in rates.items()
    ]
    return Result(
        "hub_files",
        f"ONNX files of the Hub and our exports, the same weights on {count} documents",
        ["", *KINDS, "largest logit difference"],
        rows,
        [
            "Documents per second, and in brackets how many times as fast as our float32 file.",
            "A file with one scale per batch is run one pair at a time, so that neighbours change no score.",
            f"Medians of {rounds} rounds.",
        ],
        {"documents_per_second": rates, "largest_logit_difference": differences},
    )


if __name__ == "__main__":
    main()
