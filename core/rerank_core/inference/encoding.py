"""From a query and texts to model inputs: tokenise once, cut to fit, add what the architecture expects."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from rerank_core.errors import InvalidRequestError, ModelLoadError
from rerank_core.inference.tokens import TextTokenizer, Tokens
from rerank_core.inference.windows import character_span, likely_ranges, window_ranges
from rerank_core.results import Span

ENCODING_VERSION = 3
"""Part of every scorer's identity, hence of every cache key: raised whenever equal texts may become other inputs."""

_WINDOWS_PER_TURN = 64


# No repr for what holds tokens: they are the text.
@dataclass(frozen=True, slots=True, repr=False, eq=False)
class ModelInput:
    """One sequence for the model: a query with a document, or with one window of it.

    Attributes:
        text: position of the text this belongs to.
        ids: token ids, shape [length], special tokens included.
        types: segment ids, shape [length].
        truncated: whether the model reads less than the document and the query: tokens were left out, or the tokenizer
            took a word for unknown because of its length.
        query_truncated: whether it reads less than the query.
        window: the document's characters in this window, when windows are used.
    """

    text: int
    ids: NDArray[np.int32]
    types: NDArray[np.int8]
    truncated: bool = False
    query_truncated: bool = False
    window: Span | None = None


ModelInputs = Generator[None, None, list[ModelInput]]
"""The work on one text: yields where other work may have a turn, returns its model inputs, at least one."""

TextEncoder = Callable[[int, str], ModelInputs]
"""Takes a text's position and the text."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Block:
    """A padded batch, as the model takes it: three int64 arrays of shape [batch, sequence]."""

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    token_type_ids: NDArray[np.int64]


class Encoder(Protocol):
    """Builds the inputs of one architecture.

    ``takes_instruction`` says whether it has a place for one.
    """

    takes_instruction: bool

    def start(
        self, query: str, *, max_tokens: int, windows: bool, prompt: str | None, most_windows: int | None = None
    ) -> TextEncoder:
        """Begin a request: the returned function encodes texts as pairs with ``query``.

        Args:
            query: the query.
            max_tokens: most tokens of one model input.
            windows: whether long texts are cut into windows instead of truncated.
            prompt: the model's instruction.
            most_windows: most windows of a text, the likely ones; None for all.
        """
        ...

    def pad(self, inputs: Sequence[ModelInput]) -> Block:
        """One block of the given inputs."""
        ...


def share_tokens(query: int, document: int, budget: int) -> tuple[int, int]:
    """How many query and document tokens fit into ``budget``.

    The document is cut first. The query is cut only when it exceeds half of the budget and the document does not leave
    it more. The result is that of cutting the longer side, token by token.
    """
    if query + document <= budget:
        return query, document
    kept_query = min(query, max(budget // 2, budget - document))
    return kept_query, min(document, budget - kept_query)


def pad_block(inputs: Sequence[ModelInput], *, pad_id: int, left: bool = False) -> Block:
    """Stack inputs into one block, filled up with ``pad_id`` on the right (or left)."""
    shape = (len(inputs), max(len(item.ids) for item in inputs))
    ids = np.full(shape, pad_id, np.int64)
    mask = np.zeros(shape, np.int64)
    types = np.zeros(shape, np.int64)
    for row, item in enumerate(inputs):
        length = len(item.ids)
        columns = slice(shape[1] - length, None) if left else slice(0, length)
        ids[row, columns] = item.ids
        mask[row, columns] = 1
        types[row, columns] = item.types
    return Block(ids, mask, types)


@dataclass(frozen=True, slots=True)
class PairTemplate:
    """The special tokens around a pair, and the segment of every part.

    ``[CLS] query [SEP] document [SEP]`` with segments 0 and 1 for BERT, ``<s> query </s></s> document </s>``
    for the RoBERTa family, and so on: read from the tokenizer itself, never assumed.

    Attributes:
        prefix: token ids before the query.
        middle: token ids between query and document.
        suffix: token ids after the document.
        types: segment ids of prefix tokens, query, middle tokens, document, suffix tokens, in this order.
    """

    prefix: tuple[int, ...]
    middle: tuple[int, ...]
    suffix: tuple[int, ...]
    types: tuple[int, ...]

    @property
    def special_tokens(self) -> int:
        """How many tokens the template itself takes."""
        return len(self.prefix) + len(self.middle) + len(self.suffix)

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> PairTemplate:
        """Read the template from a tokenizer, by encoding a probe pair.

        Raises:
            ModelLoadError: when the tokenizer does not put the query before the document.
        """
        probe = tokenizer.encode("a", "b", add_special_tokens=True)
        sides = probe.sequence_ids
        if 0 not in sides or 1 not in sides or sides.index(0) > sides.index(1):
            raise ModelLoadError(
                "the tokenizer does not build pairs of a query followed by a document, "
                "so this cannot be a cross-encoder's tokenizer."
            )
        first, second = sides.index(0), sides.index(1)
        first_end = len(sides) - sides[::-1].index(0)
        second_end = len(sides) - sides[::-1].index(1)
        ids, types = probe.ids, probe.type_ids
        return cls(
            prefix=tuple(ids[:first]),
            middle=tuple(ids[first_end:second]),
            suffix=tuple(ids[second_end:]),
            types=(*types[: first + 1], *types[first_end : second + 1], *types[second_end:]),
        )

    def assemble(
        self, query: NDArray[np.int32], document: NDArray[np.int32]
    ) -> tuple[NDArray[np.int32], NDArray[np.int8]]:
        """Token and segment ids of the pair, each of shape [length]."""
        parts = (self.prefix, query, self.middle, document, self.suffix)
        ids = np.concatenate([np.asarray(part, np.int32) for part in parts])
        runs = [1] * len(self.types)
        runs[len(self.prefix)] = len(query)
        runs[len(self.prefix) + 1 + len(self.middle)] = len(document)
        return ids, np.repeat(np.array(self.types, np.int8), runs)


def copy_tokenizer(tokenizer: Tokenizer) -> Tokenizer:
    """A copy without truncation and padding, which the library that owns the original may switch on and off."""
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


class PairEncoder:
    """Encodes pairs for encoders with a classification head, with the fast tokenizer of the model.

    Args:
        tokenizer: the model's own tokenizer; this object changes it (no truncation, no padding).
        pad_id: the token id to fill up with.
    """

    def __init__(self, tokenizer: Tokenizer, *, pad_id: int = 0) -> None:
        self._tokenizer = TextTokenizer(tokenizer)
        self._template = PairTemplate.of(tokenizer)
        self.takes_instruction = True
        self._pad_id = pad_id

    @classmethod
    def from_file(cls, path: Path) -> PairEncoder:
        """Read a ``tokenizer.json``.

        Raises:
            ModelLoadError: when there is none, or it cannot be read.
        """
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise ModelLoadError(f"cannot read the tokenizer file {path.name!r}: {error}") from error
        padding = tokenizer.padding
        pad_id = int(padding["pad_id"]) if padding else _pad_id_by_name(tokenizer)
        return cls(tokenizer, pad_id=pad_id)

    def start(
        self, query: str, *, max_tokens: int, windows: bool, prompt: str | None = None, most_windows: int | None = None
    ) -> TextEncoder:
        """Begin a request: the returned function encodes texts as pairs with ``query``.

        A ``prompt`` goes directly before the query, as sentence-transformers does for these models.

        Raises:
            InvalidRequestError: when ``max_tokens`` leaves no room for one query and one document token.
        """
        budget = max_tokens - self._template.special_tokens
        if budget < 2:  # noqa: PLR2004  (one token each)
            raise InvalidRequestError(
                f"max_tokens={max_tokens} leaves no room for text: this model's special tokens take "
                f"{self._template.special_tokens}.",
                param="max_tokens",
            )
        read = self._tokenizer.beginning((prompt or "") + query, budget)
        most = budget - min(len(read.ids), budget // 2)  # the largest share a document can have

        def encode(position: int, text: str) -> ModelInputs:
            if not windows:
                return [self._cut(position, read, self._tokenizer.beginning(text, most), budget)]
            tokens = yield from self._tokenizer.all(text)
            return (yield from self._windows(position, read, tokens, budget, most_windows))

        return encode

    def pad(self, inputs: Sequence[ModelInput]) -> Block:
        """One block of the given inputs, filled up on the right."""
        return pad_block(inputs, pad_id=self._pad_id)

    def _cut(self, position: int, query: Tokens, text: Tokens, budget: int) -> ModelInput:
        """The one input of a text, cut to what fits."""
        kept_query, kept_text = share_tokens(len(query.ids), len(text.ids), budget)
        ids, types = self._template.assemble(query.ids[:kept_query], text.ids[:kept_text])
        cut_query = not query.complete or kept_query < len(query.ids)
        cut = cut_query or not text.complete or kept_text < len(text.ids)
        return ModelInput(position, ids, types, truncated=cut, query_truncated=cut_query)

    def _windows(self, position: int, query: Tokens, text: Tokens, budget: int, most: int | None) -> ModelInputs:
        """The inputs of a text that is read in windows: all of them, or the ``most`` likely ones."""
        kept_query, kept_text = share_tokens(len(query.ids), len(text.ids), budget)
        cut_query = not query.complete or kept_query < len(query.ids)
        ranges = every = window_ranges(len(text.ids), max(1, kept_text))
        if most is not None:
            ranges = likely_ranges(query.ids[:kept_query], text.ids, every, most)
        cut = cut_query or not text.complete or len(ranges) < len(every)
        inputs: list[ModelInput] = []
        for start, stop in ranges:
            if len(inputs) % _WINDOWS_PER_TURN == _WINDOWS_PER_TURN - 1:
                yield
            ids, types = self._template.assemble(query.ids[:kept_query], text.ids[start:stop])
            span = character_span(text.offsets, start, stop)
            inputs.append(ModelInput(position, ids, types, cut, cut_query, span))
        return inputs


def _pad_id_by_name(tokenizer: Tokenizer) -> int:
    """The id of the padding token by its usual names; 0, hidden by the attention mask, where there is none."""
    for name in ("[PAD]", "<pad>", "<|endoftext|>"):
        if (token_id := tokenizer.token_to_id(name)) is not None:
            return int(token_id)
    return 0
