"""Encoding for generative rerankers, which read a pair through their chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rerank_core.errors import InvalidRequestError, ModelLoadError
from rerank_core.inference.encoding import (
    Block,
    ModelInput,
    ModelInputs,
    TextEncoder,
    copy_tokenizer,
    pad_block,
    share_tokens,
)
from rerank_core.inference.tokens import CHARACTERS_PER_TOKEN, TextTokenizer, Tokens
from rerank_core.inference.windows import character_span, likely_ranges, window_ranges
from rerank_core.results import Span

_WINDOWS_PER_TURN = 8  # rendering one takes some milliseconds


@dataclass(frozen=True, slots=True, repr=False)
class _Query:
    """The part of a query that is read, and whether it is less than the whole."""

    text: str
    cut: bool


class ChatEncoder:
    """Encodes pairs for generative rerankers, through the model's own chat template.

    sentence-transformers renders the template; after truncation it restores the template's ending, where the answer is
    read.

    Args:
        model: the loaded cross-encoder.

    Attributes:
        takes_instruction: whether the template has a place for one.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        tokenizer = model[0].tokenizer
        self._pad_id = int(tokenizer.pad_token_id)
        # A copy: rendering switches truncation on and off in the library's own.
        self._tokenizer = TextTokenizer(copy_tokenizer(tokenizer.backend_tokenizer))
        try:
            plain = self._render("a", "a", None, limit=None)
            self.takes_instruction = self._render("a", "a", "b", limit=None) != plain
        except Exception as error:  # the library's message says what the template lacks
            raise ModelLoadError(f"the chat template does not take a query and a document: {error}") from error

    def start(
        self, query: str, *, max_tokens: int, windows: bool, prompt: str | None = None, most_windows: int | None = None
    ) -> TextEncoder:
        """Begin a request: the returned function encodes texts as pairs with ``query``.

        A ``prompt`` becomes the instruction, where the template has a place for one.

        Raises:
            InvalidRequestError: when ``max_tokens`` leaves no room beside the template.
        """
        frame = len(self._render("a", "a", prompt, limit=None))
        budget = max_tokens - frame
        if budget < 2:  # noqa: PLR2004  (one token each)
            raise InvalidRequestError(
                f"max_tokens={max_tokens} leaves no room for text: the template and instruction take {frame}.",
                param="max_tokens",
            )
        query = self._tokenizer.as_words(query)
        read = self._tokenizer.beginning(query, budget, offsets=True)

        def render_windows(
            position: int, short: _Query, text: str, tokens: Tokens, every: list[tuple[int, int]]
        ) -> ModelInputs:
            ranges = every if most_windows is None else likely_ranges(read.ids, tokens.ids, every, most_windows)
            cut = not tokens.complete or len(ranges) < len(every)
            inputs: list[ModelInput] = []
            for start, stop in ranges:
                if len(inputs) % _WINDOWS_PER_TURN == _WINDOWS_PER_TURN - 1:
                    yield
                span = character_span(tokens.offsets, start, stop)
                ids = self._render(short.text, text[span.start : span.end], prompt, limit=max_tokens)
                inputs.append(_model_input(position, ids, short, cut=cut, window=span))
            return inputs

        def encode(position: int, text: str) -> ModelInputs:
            text = self._tokenizer.as_words(text)
            if windows:
                tokens = yield from self._tokenizer.all(text)
                kept_query, kept_text = share_tokens(len(read.ids), len(tokens.ids), budget)
                ranges = window_ranges(len(tokens.ids), max(1, kept_text))
                return (yield from render_windows(position, _shorten(query, read, kept_query), text, tokens, ranges))
            # A query within its half stays whole whatever the text is; the text's length counts only for a longer one.
            long_query = len(read.ids) > budget // 2
            length = len(self._tokenizer.beginning(text, budget).ids) if long_query else 0
            kept_query, _ = share_tokens(len(read.ids), length, budget)
            return [self._whole(position, _shorten(query, read, kept_query), text, prompt, max_tokens)]

        return encode

    def pad(self, inputs: Sequence[ModelInput]) -> Block:
        """One block of the given inputs, filled up on the left: the answer is read at the last position."""
        return pad_block(inputs, pad_id=self._pad_id, left=True)

    def _whole(self, position: int, query: _Query, text: str, prompt: str | None, limit: int) -> ModelInput:
        """The pair in one piece, its document shortened if it must be."""
        end, complete = len(text), True
        if end > CHARACTERS_PER_TOKEN * limit:
            tokens = self._tokenizer.beginning(text, limit)
            end, complete = tokens.end, tokens.complete
        ids = self._render(query.text, text[:end], prompt, limit=limit)
        cut = not complete or (
            len(ids) >= limit and len(self._render(query.text, text[:end], prompt, limit=None)) > limit
        )
        return _model_input(position, ids, query, cut=cut)

    def _render(self, query: str, document: str, prompt: str | None, *, limit: int | None) -> list[int]:
        text: dict[str, Any] = {"truncation": False} if limit is None else {"max_length": limit}
        features = self._model.preprocess([(query, document)], prompt=prompt, processing_kwargs={"text": text})
        ids: list[int] = features["input_ids"][0].tolist()
        return ids


def _shorten(query: str, read: Tokens, kept: int) -> _Query:
    """The text of the first ``kept`` tokens of a query."""
    if read.complete and kept == len(read.ids):
        return _Query(query, cut=False)
    return _Query(query[: character_span(read.offsets, 0, kept).end], cut=True)


def _model_input(position: int, ids: list[int], query: _Query, *, cut: bool, window: Span | None = None) -> ModelInput:
    types = np.zeros(len(ids), np.int8)
    return ModelInput(position, np.array(ids, np.int32), types, cut or query.cut, query.cut, window)
