"""Export to ONNX, and the check that the file computes what torch computes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from tokenizers import Tokenizer

from .model import RerankMini
from .tokenizer import collate

OPSET = 18
LARGEST_DIFFERENCE = 1e-3
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
CONFIG = {
    "model_type": "rerank-mini",
    "num_labels": 1,
    "max_position_embeddings": 512,
    "max_tokens": 512,
    "licence": "Apache-2.0",
    "base_model": "sentence-transformers/all-MiniLM-L6-v2",
}


def export_onnx(model: RerankMini, tokenizer: Tokenizer, folder: Path) -> Path:
    """Write ``model.onnx`` (float32), ``tokenizer.json`` and ``config.json``; returns the model's path."""
    folder.mkdir(parents=True, exist_ok=True)
    model = model.eval()
    example = collate([([101, *range(2000, 2008), 102, 101, *range(2003, 2020), 102], 10)] * 2)
    batch, sequence = torch.export.Dim("batch", min=1), torch.export.Dim("sequence", min=4, max=512)
    path = folder / "model.onnx"
    program = torch.onnx.export(
        model,
        example,
        dynamo=True,
        opset_version=OPSET,
        input_names=list(INPUTS),
        output_names=["logits"],
        dynamic_shapes=tuple({0: batch, 1: sequence} for _ in INPUTS),
        verbose=False,
    )
    if program is None:
        raise RuntimeError("the exporter returned no program")
    onnx.save(without_metadata(program.model_proto), path)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n", encoding="utf-8")
    return path


def without_metadata(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Drop the exporter's stack traces: they hold paths of this machine and a quarter of a megabyte."""
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info, *graph.graph.initializer):
        del part.metadata_props[:]
    for node in graph.graph.node:
        node.doc_string = ""
    return graph


def check_export(model: RerankMini, path: Path) -> float:
    """The largest |torch - ONNX Runtime| over blocks of several shapes, empty sides and padding included.

    Raises:
        ValueError: when it is no rounding, or a logit is not finite.
    """
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    worst = 0.0
    for lengths in ([(5, 7)], [(3, 60), (12, 4), (0, 9), (6, 0), (0, 0)], [(20, 400), (2, 2)]):
        pairs = []
        for query, document in lengths:
            ids = generator.integers(1996, 3000, query + document).tolist()
            pairs.append(([101, *ids[:query], 102, 101, *ids[query:], 102], query + 2))
        block = collate(pairs)
        with torch.no_grad():
            expected = model(*block).numpy()
        actual = session.run(None, {name: value.numpy() for name, value in zip(INPUTS, block, strict=True)})[0]
        if not np.isfinite(actual).all():
            raise ValueError(f"not finite for lengths {lengths}: {actual}")
        worst = max(worst, float(np.abs(expected - actual).max()))
    if worst > LARGEST_DIFFERENCE:
        raise ValueError(
            f"the exported graph differs from the model by {worst:.1e}; at most {LARGEST_DIFFERENCE} is rounding"
        )
    return worst


def write_checksums(folder: Path) -> None:
    """``sha256.json``: file name to hexadecimal digest."""
    names = ("model.onnx", "tokenizer.json", "config.json")
    digests = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    (folder / "sha256.json").write_text(json.dumps(digests, indent=2) + "\n", encoding="utf-8")
