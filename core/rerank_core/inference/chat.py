"""Encoding for generative rerankers, which read a pair through their chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rerank_core.errors import InvalidRequestError, ModelLoadError
from rerank_core.inference.encoding import Block, EncodedRequest, ModelInput, pad_block, share_tokens
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
        self._tokenizer = model[0].tokenizer
        self._pad_id = int(self._tokenizer.pad_token_id)
        try:
            self._render("a", "a", None, limit=None)
        except Exception as error:  # sentence-transformers' own words say what the template lacks
            raise ModelLoadError(f"the chat template does not take a query and a document: {error}") from error

    def encode(
        self, query: str, texts: Sequence[str], *, max_tokens: int, windows: bool, prompt: str | None = None
    ) -> EncodedRequest:
        """Model inputs for every text, at least one each, in order; ``prompt`` becomes the instruction.

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
        inputs: list[ModelInput] = []
        query_truncated = False
        for position, text in enumerate(texts):
            offsets = self._offsets(text)
            kept_query, kept_text = share_tokens(len(query_offsets), len(offsets), budget)
            cut = kept_query < len(query_offsets)
            query_truncated |= cut
            short = query[: character_span(query_offsets, 0, kept_query).end] if cut else query
            if not windows:
                inputs.append(self._whole(position, short, text, prompt, max_tokens, cut=cut))
                continue
            for start, stop in window_ranges(len(offsets), max(1, kept_text)):
                span = character_span(offsets, start, stop)
                ids = self._render(short, text[span.start : span.end], prompt, limit=max_tokens)
                inputs.append(_model_input(position, ids, truncated=cut, window=span))
        return EncodedRequest(inputs, query_truncated)

    def pad(self, inputs: Sequence[ModelInput]) -> Block:
        """One block of the given inputs, filled up on the left: the answer is read at the last position."""
        return pad_block(inputs, pad_id=self._pad_id, left=True)

    def _whole(self, position: int, query: str, text: str, prompt: str | None, limit: int, *, cut: bool) -> ModelInput:
        """The pair in one piece, its document shortened if it must be."""
        ids = self._render(query, text, prompt, limit=limit)
        if not cut and len(ids) >= limit:
            cut = len(self._render(query, text, prompt, limit=None)) > limit
        return _model_input(position, ids, truncated=cut)

    def _offsets(self, text: str) -> list[tuple[int, int]]:
        """The character offsets of the text's tokens."""
        encoding = self._tokenizer.backend_tokenizer.encode(text, add_special_tokens=False)
        return list(encoding.offsets)

    def _render(self, query: str, document: str, prompt: str | None, *, limit: int | None) -> list[int]:
        text: dict[str, Any] = {"truncation": False} if limit is None else {"max_length": limit}
        features = self._model.preprocess([(query, document)], prompt=prompt, processing_kwargs={"text": text})
        ids: list[int] = features["input_ids"][0].tolist()
        return ids


def _model_input(position: int, ids: list[int], *, truncated: bool, window: Span | None = None) -> ModelInput:
    return ModelInput(position, np.array(ids, np.int32), np.zeros(len(ids), np.int8), truncated, window)
