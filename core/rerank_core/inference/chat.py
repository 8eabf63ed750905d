"""Encoding for generative rerankers, which read a pair through their chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rerank_core.errors import InvalidRequestError, ModelLoadError
from rerank_core.inference.encoding import (
    CHARACTERS_A_TOKEN,
    Block,
    ModelInput,
    TextEncoder,
    copy_tokenizer,
    pad_block,
    share_tokens,
)
from rerank_core.inference.windows import character_span, window_ranges
from rerank_core.results import Span


class ChatEncoder:
    """Encodes pairs for generative rerankers, through the model's own chat template.

    sentence-transformers renders the template, and restores its ending, where the answer is read, after
    truncation.

    Args:
        model: the loaded cross-encoder.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        tokenizer = model[0].tokenizer
        self._pad_id = int(tokenizer.pad_token_id)
        self._tokenizer = copy_tokenizer(tokenizer.backend_tokenizer)  # rendering truncates with the library's own
        try:
            self._render("a", "a", None, limit=None)
        except Exception as error:  # sentence-transformers' own words say what the template lacks
            raise ModelLoadError(f"the chat template does not take a query and a document: {error}") from error

    def start(self, query: str, *, max_tokens: int, windows: bool, prompt: str | None = None) -> TextEncoder:
        """Begin a request: what the returned function encodes stands beside ``query``.

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
        query_offsets = self._offsets(query)

        def encode(position: int, text: str) -> list[ModelInput]:
            # A query within its share stays whole whatever the text is; only beyond it the text's length counts.
            long_query = len(query_offsets) > budget // 2
            offsets = self._offsets(text) if windows or long_query else []
            kept_query, kept_text = share_tokens(len(query_offsets), len(offsets), budget)
            cut = kept_query < len(query_offsets)
            short = query[: character_span(query_offsets, 0, kept_query).end] if cut else query
            if not windows:
                return [self._whole(position, short, text, prompt, max_tokens, cut=cut)]
            inputs = []
            for start, stop in window_ranges(len(offsets), max(1, kept_text)):
                span = character_span(offsets, start, stop)
                ids = self._render(short, text[span.start : span.end], prompt, limit=max_tokens)
                inputs.append(_model_input(position, ids, cut=False, cut_query=cut, window=span))
            return inputs

        return encode

    def pad(self, inputs: Sequence[ModelInput]) -> Block:
        """One block of the given inputs, filled up on the left: the answer is read at the last position."""
        return pad_block(inputs, pad_id=self._pad_id, left=True)

    def _whole(self, position: int, query: str, text: str, prompt: str | None, limit: int, *, cut: bool) -> ModelInput:
        """The pair in one piece, its document shortened if it must be."""
        space = text.find(" ", CHARACTERS_A_TOKEN * limit)
        if space >= 0:  # the beginning of a very long text fills the limit, or it is read whole after all
            ids = self._render(query, text[:space], prompt, limit=limit)
            if len(ids) >= limit:
                return _model_input(position, ids, cut=True, cut_query=cut)
        ids = self._render(query, text, prompt, limit=limit)
        cut_text = len(ids) >= limit and len(self._render(query, text, prompt, limit=None)) > limit
        return _model_input(position, ids, cut=cut_text, cut_query=cut)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        """The character offsets of the text's tokens."""
        (encoding,) = self._tokenizer.encode_batch([text], add_special_tokens=False)
        return list(encoding.offsets)

    def _render(self, query: str, document: str, prompt: str | None, *, limit: int | None) -> list[int]:
        text: dict[str, Any] = {"truncation": False} if limit is None else {"max_length": limit}
        features = self._model.preprocess([(query, document)], prompt=prompt, processing_kwargs={"text": text})
        ids: list[int] = features["input_ids"][0].tolist()
        return ids


def _model_input(
    position: int, ids: list[int], *, cut: bool, cut_query: bool, window: Span | None = None
) -> ModelInput:
    types = np.zeros(len(ids), np.int8)
    return ModelInput(position, np.array(ids, np.int32), types, cut or cut_query, cut_query, window)
