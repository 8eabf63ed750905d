"""Models that give every passage of a list a vector, and score it by its cosine with the query's: jina-reranker-v3.

The model's own code does it (``rerank`` of ``modeling.py``, https://huggingface.co/jinaai/jina-reranker-v3): as many
passages as fit are read in one pass, each behind all before it, and the query at the end.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rerank_core.errors import InferenceError, InvalidRequestError, ModelLoadError
from rerank_core.inference.encoding import copy_tokenizer
from rerank_core.inference.listwise.base import Ranked, Task
from rerank_core.inference.tokens import TextTokenizer
from rerank_core.inference.workers import Workers
from rerank_core.scores import Score

_QUERY_TOKENS, _PASSAGE_TOKENS = 512, 2048  # what its code reads of each


class ListEmbedder:
    """A model with a ``rerank`` of its own.

    Args:
        model: the transformers model, of the checkpoint's own code.
        tokenizer: its tokenizer.
    """

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self._model = model
        self._texts = TextTokenizer(copy_tokenizer(tokenizer.backend_tokenizer))
        self.device = str(model.device)
        self.workers = Workers(1, "rerank-torch")

    def work(self, query: str, texts: Sequence[str], max_tokens: int) -> Generator[Task, Any, Ranked]:
        """Rank ``texts`` in one task: what the model's code puts together for itself cannot be interrupted.

        Raises:
            InvalidRequestError: when ``max_tokens`` is less than the model's code reads.
            InferenceError: when the model fails, or gives not one score per text.
        """
        if max_tokens < _QUERY_TOKENS + _PASSAGE_TOKENS:
            raise InvalidRequestError(
                f"max_tokens={max_tokens}: this model's code reads up to {_QUERY_TOKENS} tokens of a query and "
                f"{_PASSAGE_TOKENS} of each passage, whatever is asked; leave max_tokens= out.",
                param="max_tokens",
            )
        cosines: list[float] = yield partial(self._ask, query, texts)
        lengths = [self._length(text, _PASSAGE_TOKENS) for text in texts]
        asked, query_cut = self._length(query, _QUERY_TOKENS)
        scores = tuple(
            Score((1 + cosine) / 2, cosine, truncated=cut or query_cut, query_truncated=query_cut, tokens=length)
            for cosine, (length, cut) in zip(cosines, lengths, strict=True)
        )
        return Ranked(scores, asked + sum(length for length, _ in lengths), 1)

    def close(self) -> None:
        """Stop the worker; the weights go when the last reference does."""
        self.workers.close()

    def _ask(self, query: str, texts: Sequence[str]) -> list[float]:
        try:
            answers = self._model.rerank(query, list(texts))
            cosines = {int(answer["index"]): float(answer["relevance_score"]) for answer in answers}
        except Exception as error:  # foreign code may raise anything
            raise InferenceError(f"the model's own code failed on {len(texts)} passages.") from error
        if sorted(cosines) != list(range(len(texts))):
            raise InferenceError(f"the model's own code gave {len(cosines)} scores for {len(texts)} passages.")
        return [min(max(cosines[position], -1.0), 1.0) for position in range(len(texts))]

    def _length(self, text: str, most: int) -> tuple[int, bool]:
        """How many tokens of a text are read, and whether it has more."""
        tokens = self._texts.beginning(text, most + 1)
        return min(len(tokens.ids), most), len(tokens.ids) > most or not tokens.complete


def load_embedder(folder: Path, name: str, device: str, kwargs: dict[str, Any]) -> ListEmbedder:
    """The model in a checkpoint folder, by the code in it.

    Raises:
        ModelLoadError: when that code has no ``rerank``.
    """
    from transformers import AutoModel, AutoTokenizer

    model = AutoModel.from_pretrained(folder, local_files_only=True, trust_remote_code=True, **kwargs)
    if not callable(getattr(model, "rerank", None)):
        raise ModelLoadError(f"the code of {name!r} has no rerank(query, documents): it is another model.")
    if "device_map" not in kwargs:
        model = model.to(device)
    return ListEmbedder(model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True))
