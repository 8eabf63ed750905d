"""One competitor of ``peers.py``, in a process of its own, in the environment that has it.

    python benchmarks/peer.py NAME FOLDER

FOLDER holds the checkpoint as torch and ONNX files (``torch/``, ``onnx/``). Each line of standard input is a JSON
object with a query and documents; the answer is a line with the seconds and the scores, in the documents' order.
Only this module's own libraries are imported, so that it runs where this package is not installed.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

MOST_BYTES = 16 << 30
"""Of memory: one that takes more ends here, and not the machine."""

LIMIT = 512
"""Tokens of a pair."""

Score = Callable[[str, Sequence[str]], Sequence[float]]
"""Logits of a query's documents, in their order."""


def cross_encoder(folder: Path, batch: str) -> Score:
    """sentence-transformers, with a batch size."""
    torch, library = import_module("torch"), import_module("sentence_transformers")
    model = library.CrossEncoder(str(folder / "torch"), device="cpu", activation_fn=torch.nn.Identity())

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        pairs = [(query, text) for text in texts]
        return [float(value) for value in model.predict(pairs, batch_size=int(batch), show_progress_bar=False)]

    return score


def ours(folder: Path, name: str) -> Score:
    """This package: a precision of the checkpoint's ONNX file, or a bundled model."""
    reranker: Any = import_module("rerank_core").Reranker
    if name.startswith("rerank-"):
        engine = reranker(name)
    else:
        backend = "openvino" if name == "bfloat16" else "onnx"
        engine = reranker(folder / "onnx", backend=backend, dtype=name)

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        logits = {result.index: result.logit for result in engine.rerank(query, texts)}
        return [logits[number] for number in range(len(texts))]

    return score


def flashrank(folder: Path, _: str) -> Score:
    """FlashRank with the float32 ONNX file in the place of one of its models."""
    library = import_module("flashrank")
    name = "ms-marco-TinyBERT-L-2-v2"
    _lay_out(folder, folder / "flashrank" / name, "flashrank-TinyBERT-L-2-v2.onnx")
    ranker = library.Ranker(name, cache_dir=str(folder / "flashrank"), max_length=LIMIT, log_level="ERROR")

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        passages = [{"id": number, "text": text} for number, text in enumerate(texts)]
        found = ranker.rerank(library.RerankRequest(query=query, passages=passages))
        by_id = {item["id"]: _logit(float(item["score"])) for item in found}
        return [by_id[number] for number in range(len(texts))]

    return score


def fastembed(folder: Path, _: str) -> Score:
    """The library fastembed with the float32 ONNX file as a custom model."""
    encoders: Any = import_module("fastembed.rerank.cross_encoder")
    description: Any = import_module("fastembed.common.model_description")
    encoders.TextCrossEncoder.add_custom_model(
        "rerank/checkpoint", sources=description.ModelSource(hf="rerank/checkpoint"), model_file="model.onnx"
    )
    place = folder / "fastembed"
    _lay_out(folder, place, "model.onnx")
    model = encoders.TextCrossEncoder("rerank/checkpoint", specific_model_path=str(place))
    return lambda query, texts: [float(value) for value in model.rerank(query, texts)]


def rerankers(folder: Path, _: str) -> Score:
    """The rerankers library's cross-encoder, with its own batch size."""
    library = import_module("rerankers")
    ranker = library.Reranker(str(folder / "torch"), model_type="cross-encoder", device="cpu", verbose=0)

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        found = ranker.rank(query=query, docs=list(texts), doc_ids=list(range(len(texts))))
        by_id = {item.document.doc_id: float(item.score) for item in found.results}
        return [by_id[number] for number in range(len(texts))]

    return score


def infinity(folder: Path, _: str) -> Score:
    """The engine of infinity on torch, as its server runs it."""
    os.environ["DO_NOT_TRACK"] = "1"
    library: Any = import_module("infinity_emb")
    arguments = library.EngineArgs(
        model_name_or_path=str(folder / "torch"), engine="torch", device="cpu", bettertransformer=False, dtype="float32"
    )
    loop = asyncio.new_event_loop()
    engine = library.AsyncEmbeddingEngine.from_args(arguments)
    loop.run_until_complete(engine.astart())

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        found, _ = loop.run_until_complete(engine.rerank(query=query, docs=list(texts), raw_scores=True))
        by_index = {item.index: float(item.relevance_score) for item in found}
        return [by_index[number] for number in range(len(texts))]

    return score


COMPETITORS: dict[str, Callable[[Path, str], Score]] = {
    "cross-encoder": cross_encoder,
    "ours": ours,
    "flashrank": flashrank,
    "fastembed": fastembed,
    "rerankers": rerankers,
    "infinity": infinity,
}


def _lay_out(folder: Path, place: Path, file: str) -> None:
    """The checkpoint as these libraries expect it, with the limit that all have: 512 tokens."""
    if place.exists():
        return
    shutil.copytree(folder / "torch", place)
    shutil.copy(folder / "onnx" / "model.onnx", place / file)
    tokens = {key: f"[{key[:-6].upper()}]" for key in ("unk_token", "sep_token", "pad_token", "cls_token")}
    (place / "special_tokens_map.json").write_text(json.dumps(tokens))
    config = json.loads((place / "tokenizer_config.json").read_text())
    # fastembed takes the lesser of the two, and the body's tokenizer was saved with a max_length of 128.
    (place / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": LIMIT, "max_length": LIMIT}))


def _logit(probability: float) -> float:
    bounded = min(max(probability, 1e-12), 1 - 1e-7)
    return math.log(bounded / (1 - bounded))


def main() -> None:
    """Load, say so, and answer until standard input ends."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints
    kind, _, detail = name.partition(":")
    score = COMPETITORS[kind](folder, detail)
    score("warm up", ["warm up", "once more"])
    answers.write(json.dumps({"ready": name}) + "\n")
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        scores = score(request["query"], request["documents"])
        answers.write(json.dumps({"seconds": time.perf_counter() - started, "scores": list(scores)}) + "\n")


if __name__ == "__main__":
    main()
