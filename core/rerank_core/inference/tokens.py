"""Tokenising texts of any length: no more of a text than is needed, and in pieces.

A tokenizer takes a whole text in one call that cannot be interrupted; its time and memory grow with the text. Here it
gets pieces. Where a piece is cut, its last tokens may differ from those of the whole text: a word may go on, a
combining mark may follow, a special token may be cut in two. Tokens are settled, that is, the same as in the whole
text, when they end with a word (as the tokenizer's own pre-tokenizer splits) at some distance from the cut. Longer
words are cut inside, ``_INSIDE`` tokens before the end of the piece: which byte pairs are merged, and what a unigram
model chooses, depends on nearby characters.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Generator
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Encoding, Tokenizer
from tokenizers.models import WordPiece

CHARACTERS_PER_TOKEN = 8
"""A beginning of this many characters per token is nearly always enough. English has four to five."""

PIECE = 16_384
"""Characters that are tokenised in some 10 to 80 ms."""

_LEAST = 1024  # fewest characters that are worth a call
_LONGER = 8  # how many times longer than usual a beginning may get for the tokens wanted
_LETTER = "a"
_LOOKALIKES = {"<": "\u2039", "[": "\u2045", "|": "\u2223"}  # for the first character of a control token
_MARGIN = 64  # characters between what is settled and the cut
_INSIDE = 128  # tokens between what is settled and the cut, inside of a word that goes on behind it


# No repr for what holds tokens: they are the text.
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Tokens:
    """The tokens of a text, or of its beginning.

    Attributes:
        ids: token ids, shape [tokens].
        end: how many characters of the text they were made from.
        complete: whether they represent the whole text: not where the text goes on, or where the tokenizer took a word
            for unknown because of its length.
        offsets: the first character of each token and the one after its last, shape [tokens, 2]; empty where they were
            not asked for.
    """

    ids: NDArray[np.int32]
    end: int
    complete: bool
    offsets: NDArray[np.int32]


class TextTokenizer:
    """A tokenizer for texts of any length.

    Args:
        tokenizer: the model's own; this object changes it (no truncation, no padding).
        piece: characters per piece.
    """

    def __init__(self, tokenizer: Tokenizer, *, piece: int = PIECE) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.piece = piece
        model = tokenizer.model
        self._longest_word: int | None = None
        self._unknown: int | None = None
        if isinstance(model, WordPiece):
            self._longest_word = model.max_input_chars_per_word
            self._unknown = tokenizer.token_to_id(model.unk_token)
        added = tokenizer.get_added_tokens_decoder().values()
        self._margin = min(_MARGIN + max((len(token.content) for token in added), default=0), piece // 4)
        controls = sorted((token.content for token in added if _is_control(token)), key=len, reverse=True)
        self._controls = re.compile("|".join(map(re.escape, controls))) if controls else None
        # A word that is read in word pieces has at most this many: its own tokens are never cut.
        self._inside = max(_INSIDE, (self._longest_word or 0) + 1)

    def beginning(self, text: str, needed: int, *, offsets: bool = False) -> Tokens:
        """The first tokens of ``text``: at least ``needed``, or all there are, or those of a very long beginning.

        The characters read grow with ``needed``, not with the text: at most ``_LONGER`` times ``CHARACTERS_PER_TOKEN``
        per token. They are the first tokens of the whole text. Only where so many characters give fewer tokens than
        needed may the last word be cut.

        Args:
            text: the text.
            needed: how many tokens can be used.
            offsets: whether the offsets are wanted too.
        """
        size = max(_LEAST, CHARACTERS_PER_TOKEN * needed)
        most = _LONGER * size
        while len(text) > size:
            encoding = self.encode(text[:size])
            settled = self.settled(encoding, size) if len(encoding.ids) >= needed or size == most else 0
            if settled >= needed or size == most:
                count = settled if settled >= needed else self._end_of_word(encoding, settled, size)
                ids = np.array(encoding.ids[:count], np.int32)
                return Tokens(ids, size, complete=False, offsets=_offsets(encoding, offsets)[:count])
            size *= 2
        encoding = self.encode(text)
        ids = np.array(encoding.ids, np.int32)
        missed = self.misses_words(text, ids, lambda: _offsets(encoding, wanted=True))
        return Tokens(ids, len(text), complete=not missed, offsets=_offsets(encoding, offsets))

    def all(self, text: str) -> Generator[None, None, Tokens]:
        """All tokens of ``text``, with offsets; yields between pieces, so that other work gets a turn."""
        reading = _Reading(self, text)
        while not reading.step():
            yield
        return reading.tokens()

    def encode(self, text: str) -> Encoding:
        """The tokenizer's encoding of ``text``, without special tokens around it."""
        # As a batch of one, the library tokenises without holding Python's global lock, and on one thread.
        (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        return encoding

    def as_words(self, text: str) -> str:
        """``text`` of the same length in which nothing is a control token, such as the one that ends a chat's turn.

        For models that read texts inside of a chat: a document must not be able to end its turn and answer.
        """
        return text if self._controls is None else self._controls.sub(_disarmed, text)

    @property
    def drops_long_words(self) -> bool:
        """Whether a word above some length becomes one unknown token, whatever it is."""
        return self._longest_word is not None

    @property
    def margin(self) -> int:
        """How many characters before and after a token can change it."""
        return self._margin

    def settled(self, encoding: Encoding, end: int) -> int:
        """How many tokens of a text that was cut at ``end`` are tokens of the whole text too."""
        words, offsets = encoding.word_ids, encoding.offsets
        count = bisect_left(offsets, end - self._margin, key=itemgetter(0))
        if count == len(offsets):  # the last word may go on
            count = max(0, count - 1)
        for _ in range(self._inside):
            if count == 0 or (words[count - 1] != words[count] and offsets[count - 1][1] <= offsets[count][0]):
                return count
            count -= 1
        while count and offsets[count - 1][1] > offsets[count][0]:  # both hold a part of one character
            count -= 1
        return count

    def _end_of_word(self, encoding: Encoding, settled: int, end: int) -> int:
        """How many tokens of a text that was cut at ``end`` to read when no more of it will be read."""
        words, offsets = encoding.word_ids, encoding.offsets
        if settled == len(words) or not self.drops_long_words:
            return len(words)
        stop = next((i for i in range(settled, len(words)) if words[i] != words[settled]), len(words))
        # Half a word has other word pieces than the whole one; a word beyond the longest is unknown in any case.
        too_long = offsets[settled][1] - offsets[settled][0] > self._margin
        return stop if too_long or offsets[stop - 1][1] <= end - self._margin else settled

    def misses_words(self, text: str, ids: NDArray[np.int32], offsets: Callable[[], NDArray[np.int32]]) -> bool:
        """Whether a word of ``text`` became an unknown token only because of its length."""
        if self._longest_word is None or self._unknown is None:
            return False
        unknown = ids == self._unknown
        if not unknown.any():
            return False
        spans = offsets()[unknown]
        # Normalising can make a word longer, by four at most, and much shorter.
        long = spans[spans[:, 1] - spans[:, 0] > self._longest_word // 4].tolist()
        return any(self._is_too_long(text[start : min(end, start + PIECE)]) for start, end in long)

    def _is_too_long(self, word: str) -> bool:
        normalizer = self._tokenizer.normalizer
        normal = word if normalizer is None else normalizer.normalize_str(word)
        return len(normal) > (self._longest_word or 0)


class _Reading:
    """Tokenises one text in pieces that overlap.

    A piece begins some words before the tokens that are wanted from it, because the first tokens of a text may differ:
    tokenizers put a space before a text, or strip it. Where the overlap has other tokens than before, the piece begins
    at the seam instead.
    """

    def __init__(self, tokenizer: TextTokenizer, text: str) -> None:
        self._tokenizer = tokenizer
        self._text = text
        self._ids: list[NDArray[np.int32]] = [np.empty(0, np.int32)]
        self._offsets: list[NDArray[np.int32]] = [np.empty((0, 2), np.int32)]
        self._begin = 0  # where the next piece begins
        self._seam = 0  # the text before it has been tokenised
        self._size = tokenizer.piece
        self._open = False  # whether the last token goes on after the seam: a word longer than any piece

    def step(self) -> bool:
        """Tokenise one piece; whether it was the last."""
        begin, end = self._begin, min(len(self._text), self._begin + self._size)
        encoding = self._tokenizer.encode(self._text[begin:end])
        ids = np.array(encoding.ids, np.int32)
        offsets = _offsets(encoding, wanted=True) + begin
        first = self._first(encoding, ids, offsets)
        if first is None:
            self._begin = self._seam
        elif end == len(self._text):
            self._take(ids[first:], offsets[first:])
            return True
        elif (settled := self._tokenizer.settled(encoding, end - begin)) > first:
            self._take(ids[first:settled], offsets[first:settled])
            self._go_on(encoding, offsets, settled)
        elif first < len(ids) and offsets[first, 0] > self._seam + self._tokenizer.margin:
            self._begin = self._seam = int(offsets[first, 0])  # only characters without tokens lie before it
        elif first < len(ids) and self._size < 4 * self._tokenizer.piece:
            self._size *= 2
        else:
            self._take(ids[first:], offsets[first:])
            self._go_on_blindly(offsets, begin, end)
        return False

    def tokens(self) -> Tokens:
        """All tokens, after the last step."""
        ids, offsets = np.concatenate(self._ids), np.concatenate(self._offsets)
        missed = self._tokenizer.misses_words(self._text, ids, lambda: offsets)
        return Tokens(ids, len(self._text), complete=not missed, offsets=offsets)

    def _first(self, encoding: Encoding, ids: NDArray[np.int32], offsets: NDArray[np.int32]) -> int | None:
        """The position of the first token after the seam; None where the overlap has other tokens than before."""
        if self._open:
            return self._skip_word(encoding, offsets)
        if self._begin == self._seam:
            return 0
        first = int(np.searchsorted(offsets[:, 0], self._seam))
        if first in (0, len(ids)) or offsets[first, 0] != self._seam:
            return None
        same = ids[first - 1] == self._ids[-1][-1] and (offsets[first - 1] == self._offsets[-1][-1]).all()
        return first if same else None

    def _skip_word(self, encoding: Encoding, offsets: NDArray[np.int32]) -> int:
        """The position of the first token after the open word, inside of which this piece begins."""
        words = encoding.word_ids
        if not words:
            return 0
        start = int(offsets[0, 0])
        goes_on = self._in_one_word(_LETTER, self._begin, start, self._text[start])
        count = next((i for i, word in enumerate(words) if word != words[0]), len(words)) if goes_on else 0
        if count:
            self._offsets[-1][-1, 1] = offsets[count - 1, 1]
        if count < len(words):
            self._open = False
            self._seam = self._begin = int(offsets[count, 0])
        return count

    def _in_one_word(self, before: str, start: int, end: int, after: str) -> bool:
        """Whether two letters are in one word when these characters, which have no tokens, stand between them."""
        words = self._tokenizer.encode(before + "".join(set(self._text[start:end])) + after).word_ids
        return words[0] == words[-1]

    def _take(self, ids: NDArray[np.int32], offsets: NDArray[np.int32]) -> None:
        if len(ids):
            self._ids.append(ids)
            self._offsets.append(offsets)

    def _go_on(self, encoding: Encoding, offsets: NDArray[np.int32], settled: int) -> None:
        """Go on after the settled tokens, reading some words before them again."""
        self._seam = int(offsets[settled, 0])
        context = int(np.searchsorted(offsets[:, 0], self._seam - self._tokenizer.margin))
        words, earliest = encoding.word_ids, self._seam - self._tokenizer.piece // 4
        while context and words[context - 1] == words[context] and offsets[context, 0] > earliest:
            context -= 1
        self._begin = int(offsets[context, 0])
        self._size = self._tokenizer.piece

    def _go_on_blindly(self, offsets: NDArray[np.int32], begin: int, end: int) -> None:
        """Go on at the cut: there is no better place."""
        pending = self._open or len(offsets) > 0
        word_start, word_end = offsets[-1].tolist() if len(offsets) else (begin, begin)
        letter = self._text[word_end - 1] if len(offsets) else _LETTER
        self._open = self._tokenizer.drops_long_words and pending and self._in_one_word(letter, word_end, end, _LETTER)
        self._seam = end
        # Well inside of the word: a combining mark alone has no token.
        self._begin = max(end - self._tokenizer.margin, word_start) if self._open else end
        self._size = self._tokenizer.piece


def _offsets(encoding: Encoding, wanted: bool) -> NDArray[np.int32]:
    return np.array(encoding.offsets if wanted else [], np.int32).reshape(-1, 2)


def _is_control(token: AddedToken) -> bool:
    """Words that a checkpoint calls special remain words."""
    return bool(token.special and token.content and not token.content[0].isalnum())


def _disarmed(control: re.Match[str]) -> str:
    first, rest = control[0][0], control[0][1:]
    return _LOOKALIKES.get(first, "\ufffd") + rest
