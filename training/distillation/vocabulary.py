"""multilingual-e5-small for English: lower case only, and those pieces of its vocabulary that English text needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence

from tokenizers import Regex, Tokenizer, normalizers

from training.bodies import Body, e5
from training.packed_e5 import PackedE5

BATCH = 2000
LEAST = 3
"""A piece is kept that occurs so often in the corpus."""
BLANK = "\u2581"
"""SentencePiece's mark for the beginning of a word; pieces without it continue one."""
SINGLE = (range(0x250), range(0x370, 0x400), range(0x2000, 0x2300))
"""Latin, Greek, punctuation and symbols: single characters of these are always kept, so that any word can be spelt."""


def english_e5(packed: PackedE5, kept: Collection[str]) -> Body:
    """The body with the pieces ``kept`` of its vocabulary, and a tokenizer that reads lower case."""
    body = e5(packed, kept)
    body.tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Nmt(),
            normalizers.NFKC(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    return body


def kept_pieces(tokenizer: Tokenizer, texts: Iterable[str], words: Sequence[str]) -> set[str]:
    """Lower-case pieces: those that occur ``LEAST`` times in the texts, those of the words, and single characters.

    Args:
        tokenizer: of the whole vocabulary.
        texts: the corpus.
        words: a list of English words, in lower case.
    """
    counted = count_pieces(tokenizer, texts)
    kept = {piece for piece, count in counted.items() if count >= LEAST}
    kept |= count_pieces(tokenizer, words).keys()
    kept |= {piece for piece in tokenizer.get_vocab() if len(piece) == 1 and any(ord(piece) in part for part in SINGLE)}
    return {piece for piece in kept | {BLANK} if piece == piece.lower()}


def count_pieces(tokenizer: Tokenizer, texts: Iterable[str]) -> Counter[str]:
    """How often each piece occurs in ``texts`` in lower case."""
    counted: Counter[str] = Counter()
    for batch in batches(texts):
        for item in tokenizer.encode_batch([text.lower() for text in batch], add_special_tokens=False):
            counted.update(item.tokens)
    return counted


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """``texts`` in lists of ``BATCH``."""
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def english_words(lines: Iterable[str]) -> list[str]:
    """The distinct words of a word list, one per line: lower case, without those that need more than ASCII."""
    words = (line.strip() for line in lines)
    return sorted({word.lower() for word in words if word and word.isascii()})
