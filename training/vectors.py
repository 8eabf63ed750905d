"""Sentence vectors of bi-encoders, computed once per text and kept on disk.

A store is a folder of shards, each with the keys of its texts and their vectors in float16. A shard is written whole or
not at all, so a run that was interrupted goes on with the texts that no shard has.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from .bodies import E5, MINILM, MPNET, Body, open_body
from .model import RerankMini, pool
from .tokenizer import collate

logger = logging.getLogger(__name__)

SHARD = 512
TOKENS_PER_BLOCK = 1024
"""Larger blocks fall out of the processor's cache."""
LEVELS = 127
QUERY, PASSAGE = "query", "passage"
MAX_TOKENS = 256

Vectors = npt.NDArray[np.float16]


class Int8Linear(nn.Module):
    """A linear layer in int8, one scale per output of the weights and one per row of the inputs.

    Three times as fast as float32 where the processor has VNNI (bfloat16 may be slower than float32 without AMX).
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach()
        scale = weight.abs().amax(1).clamp(min=1e-12) / LEVELS
        self.register_buffer("weight", (weight / scale[:, None]).round().to(torch.int8).t().contiguous())
        self.register_buffer("scale", scale)
        self.register_buffer("bias", linear.bias.detach())

    def forward(self, inputs: Tensor) -> Tensor:
        """As ``nn.Linear``."""
        rows = inputs.reshape(-1, inputs.shape[-1])
        scale = rows.abs().amax(1, keepdim=True).clamp(min=1e-12) / LEVELS
        product = torch._int_mm((rows / scale).round_().to(torch.int8), self.weight)  # noqa: SLF001 (torch's only int8 product)
        outputs = product.float().mul_(scale * self.scale).add_(self.bias)
        return outputs.view(*inputs.shape[:-1], -1)


def in_int8(model: RerankMini) -> RerankMini:
    """``model`` with the linear layers of its encoder in int8, in place."""
    for layer in model.layers:
        for name, module in list(layer.named_children()):
            if isinstance(module, nn.Linear):
                setattr(layer, name, Int8Linear(module))
    return model


def key(text: str) -> int:
    """64 bits that stand for a text."""
    return int.from_bytes(hashlib.sha1(text.encode(), usedforsecurity=False).digest()[:8], "little")


class VectorStore:
    """The vectors of one body and one role (query or passage)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        keys, vectors = [], []
        for file in sorted(folder.glob("*.npz")):
            with np.load(file) as shard:
                keys.append(shard["keys"])
                vectors.append(shard["vectors"])
        self.shards = len(keys)
        self.row = {int(number): row for row, number in enumerate(np.concatenate(keys))} if keys else {}
        self.vectors: Vectors = np.concatenate(vectors) if vectors else np.zeros((0, 0), dtype=np.float16)

    def missing(self, texts: Sequence[str]) -> list[str]:
        """The distinct texts that have no vector yet, in order."""
        return [text for text in dict.fromkeys(texts) if key(text) not in self.row]

    def add(self, texts: Sequence[str], vectors: Vectors) -> None:
        """Write one shard; it is in the store from the next time it is opened."""
        part = self.folder / "shard.part"
        with part.open("wb") as file:
            np.savez(file, keys=np.array([key(text) for text in texts], dtype=np.uint64), vectors=vectors)
        part.replace(self.folder / f"{self.shards:06d}.npz")
        self.shards += 1

    def __getitem__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors [texts, width].

        Raises:
            KeyError: when a text has none.
        """
        return self.vectors[[self.row[key(text)] for text in texts]].astype(np.float32)


class Embedder:
    """Mean-pooled, normalised vectors of a body."""

    def __init__(self, body: Body, max_tokens: int) -> None:
        self.body = body
        self.max_tokens = min(max_tokens, body.max_tokens)
        self.model = in_int8(body.encoder())

    @torch.no_grad()
    def __call__(self, texts: Sequence[str], prefix: str) -> Vectors:
        """The vectors [texts, width] of ``texts``, each cut to ``max_tokens``."""
        encoded = self.body.tokenizer.encode_batch([prefix + text for text in texts])
        ids = [[*item.ids[:-1][: self.max_tokens - 1], item.ids[-1]] for item in encoded]
        vectors = np.zeros((len(ids), self.body.shape.hidden), dtype=np.float16)
        for rows in blocks([len(item) for item in ids]):
            block = collate([(ids[row], len(ids[row])) for row in rows])
            *_, states = self.model.read_alone(block)
            vectors[rows] = pool(states, block.attention_mask).half().numpy()
        return vectors


def blocks(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Row numbers of texts of similar length, at most ``TOKENS_PER_BLOCK`` padded tokens together."""
    block: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        if block and (len(block) + 1) * lengths[row] > TOKENS_PER_BLOCK:
            yield block
            block = []
        block.append(row)
    if block:
        yield block


def fill(store: VectorStore, embedder: Embedder, texts: Sequence[str], prefix: str) -> None:
    """Compute what ``store`` lacks of ``texts``, shard by shard."""
    missing = store.missing(texts)
    started = time.monotonic()
    for start in range(0, len(missing), SHARD):
        shard = missing[start : start + SHARD]
        store.add(shard, embedder(shard, prefix))
        done, seconds = start + len(shard), time.monotonic() - started
        logger.info("%s: %d of %d, %.1f per second", store.folder, done, len(missing), done / seconds)


def write_texts(path: Path, queries: Sequence[str], passages: Sequence[str]) -> None:
    """What ``python -m training.vectors`` reads: the distinct texts of both roles."""
    rows = dict.fromkeys([*((QUERY, text) for text in queries), *((PASSAGE, text) for text in passages)])
    part = path.with_suffix(".part")
    part.write_text("".join(json.dumps({"role": role, "text": text}) + "\n" for role, text in rows), encoding="utf-8")
    part.replace(path)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m training.vectors", description="Compute what a store lacks.")
    parser.add_argument("--body", choices=(MINILM, MPNET, E5), required=True)
    parser.add_argument("--wheels", type=Path, required=True, help="folder of the bodies' wheels")
    parser.add_argument("--texts", type=Path, required=True, help='one {"role": "query" or "passage", "text"} per line')
    parser.add_argument("--store", type=Path, required=True, help="folder; a body's vectors are in BODY/ROLE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    rows = [json.loads(line) for line in options.texts.read_text(encoding="utf-8").splitlines()]
    body = open_body(options.body, options.wheels)
    embedder = Embedder(body, MAX_TOKENS)
    for role, prefix in ((QUERY, body.query_prefix), (PASSAGE, body.document_prefix)):
        store = VectorStore(options.store / body.name / role)
        fill(store, embedder, [row["text"] for row in rows if row["role"] == role], prefix)


if __name__ == "__main__":
    main()
