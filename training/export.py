"""Export to ONNX, and the check that the file computes what torch computes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer

from rerank_core.conversion.graph import check_float32, write_graph
from rerank_core.inference import encoding
from rerank_core.inference.backends.base import relevance_logits
from rerank_core.inference.backends.onnx import OnnxBackend

from .model import Block, RerankMini
from .tokenizer import collate

INPUTS = Block._fields
CHECKSUMS = "sha256.json"
HASHED = ("model.onnx", "tokenizer.json", "config.json")
SHORTEST, LONGEST = 4, 512
"""Tokens of a pair; the shortest is two empty sides with their special tokens."""
CONFIG = {
    "model_type": "rerank-mini",
    "num_labels": 1,
    "max_position_embeddings": LONGEST,
    "max_tokens": LONGEST,
    "licence": "Apache-2.0",
    "base_model": "sentence-transformers/all-MiniLM-L6-v2",
}


def export_onnx(model: RerankMini, tokenizer: Tokenizer, folder: Path, base_model: str | None = None) -> Path:
    """Write ``model.onnx`` (float32), ``tokenizer.json`` and ``config.json``; returns the model's path.

    Args:
        model: on the CPU.
        tokenizer: with the pair template.
        folder: gets the files; it is made.
        base_model: what the weights started from, where that is not all-MiniLM-L6-v2.

    Raises:
        ModelLoadError: when torch cannot express the model as a graph.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    example = collate([([101, *range(2000, 2008), 102, 101, *range(2003, 2020), 102], 10)] * 2)
    write_graph(model, arrays(example), path, inputs=INPUTS, lengths=(SHORTEST, LONGEST))
    config = CONFIG if base_model is None else {**CONFIG, "base_model": base_model}
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return path


def arrays(block: Block) -> encoding.Block:
    """The block as the engine takes it."""
    return encoding.Block(*(part.numpy() for part in block))


def check_export(model: RerankMini, path: Path) -> float:
    """The largest |torch - ONNX Runtime| over blocks of several shapes, empty sides and padding included.

    Raises:
        ModelLoadError: when it is more than rounding, or a logit is not finite.
    """
    backend = OnnxBackend(path)
    generator = np.random.default_rng(0)
    worst = 0.0
    for lengths in ([(5, 7)], [(3, 60), (12, 4), (0, 9), (6, 0), (0, 0)], [(20, 400), (2, 2)]):
        pairs = []
        for query, document in lengths:
            ids = generator.integers(1996, 3000, query + document).tolist()
            pairs.append(([101, *ids[:query], 102, 101, *ids[query:], 102], query + 2))
        block = collate(pairs)
        with torch.no_grad():
            expected = relevance_logits(model(*block).numpy())
        worst = max(worst, check_float32(backend.run(arrays(block)), expected))
    return worst


def checksums(folder: Path) -> dict[str, str]:
    """The sha256 of each file that decides a score, in hexadecimal digits."""
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in HASHED}


def write_checksums(folder: Path) -> None:
    """``sha256.json``: file name to hexadecimal digest."""
    (folder / CHECKSUMS).write_text(json.dumps(checksums(folder), indent=2) + "\n", encoding="utf-8")
