"""Word-piece idf table and the BM25-shaped match features computed inside the graph."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

UNKNOWN_ID = 100
CLS_ID = 101
SEP_ID = 102
CONTINUATION = "##"


def inverse_document_frequency(tokenizer: Tokenizer, texts: Iterable[str], vocab_size: int) -> npt.NDArray[np.float32]:
    """Robertson/Sparck Jones idf in its non-negative form, ln(1 + (N - n + 0.5) / (n + 0.5)).

    Counted over word pieces of ``texts``; the special tokens weigh nothing. A piece that never occurs gets
    the idf of one that occurs once: absence from a small collection does not prove that it is rarer.
    """
    passages = list(texts)
    frequency = np.zeros(vocab_size, dtype=np.int64)
    for start in range(0, len(passages), 1024):
        encoded = tokenizer.encode_batch(passages[start : start + 1024], add_special_tokens=False)
        for encoding in encoded:
            frequency[np.unique(np.array(encoding.ids, dtype=np.int64))] += 1
    frequency = np.maximum(frequency, 1)
    idf = np.log1p((len(passages) - frequency + 0.5) / (frequency + 0.5))
    idf[[0, CLS_ID, SEP_ID]] = 0.0
    return idf.astype(np.float32)


def continuation_pieces(tokenizer: Tokenizer, vocab_size: int) -> npt.NDArray[np.uint8]:
    """1 for every word piece that continues a word (``##...``), else 0."""
    flags = np.zeros(vocab_size, dtype=np.uint8)
    for piece, identifier in tokenizer.get_vocab().items():
        if piece.startswith(CONTINUATION):
            flags[identifier] = 1
    return flags


class LexicalMatch(nn.Module):
    """Three exact-match features of a pair, each a share (about 0..1) of the query's total idf.

    1. BM25's term: idf * tf (k1 + 1) / (tf + k1 (1 - b + b length / average length))
       (Robertson & Zaragoza 2009, eq. 3.15), with a constant average length;
    2. word-internal bigrams: piece i and its continuation i + 1 stand side by side in the document too, so
       that a rare word cut into several pieces counts as one rare word;
    3. the same for two pieces across a word boundary, which is a two-word phrase match.
    """

    idf: Tensor
    continuation: Tensor
    FEATURES = ("bm25", "split_word", "phrase")

    def __init__(self, idf: npt.NDArray[np.float32], continuation: npt.NDArray[np.uint8]) -> None:
        super().__init__()
        self.register_buffer("idf", torch.from_numpy(idf))
        self.register_buffer("continuation", torch.from_numpy(continuation))
        self.log_k1 = nn.Parameter(torch.tensor(float(np.log(1.2))))
        self.b_logit = nn.Parameter(torch.tensor(0.0))
        self.average_length = 128.0

    def forward(self, input_ids: Tensor, query: Tensor, document: Tensor) -> Tensor:
        """``query`` and ``document`` flag the content tokens of each side; returns [batch, 3]."""
        idf = self.idf[input_ids] * query
        total = idf.sum(1).clamp(min=1.0)
        same = (input_ids[:, :, None] == input_ids[:, None, :]).to(idf.dtype)
        same = same * query[:, :, None] * document[:, None, :]

        k1, b = self.log_k1.exp(), torch.sigmoid(self.b_logit)
        length = document.sum(1, keepdim=True) / self.average_length
        frequency = same.sum(2)
        saturated = frequency * (k1 + 1.0) / (frequency + k1 * (1.0 - b + b * length))
        bm25 = (idf * saturated).sum(1)

        followed = (same[:, :-1, :-1] * same[:, 1:, 1:]).amax(2)
        weight = followed * (idf[:, :-1] + idf[:, 1:])
        inside_word = self.continuation[input_ids[:, 1:]].to(idf.dtype)
        split_word = (weight * inside_word).sum(1)
        phrase = (weight * (1.0 - inside_word)).sum(1)
        return torch.stack([bm25, split_word, phrase], dim=1) / total[:, None]
