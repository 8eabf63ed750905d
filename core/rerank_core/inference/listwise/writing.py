"""Language models that write the order of the passages they are shown: the LightOn-rerank LW family.

Prompt, generation and reading of the answer are those of its authors' implementation
(https://huggingface.co/collections/lightonai/lighton-rerank; the same in mteb, ``lighton_rerank_models.py``). Where a
prompt is too long, only its passages are cut: the reference cuts its end, where the answer is asked for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rerank_core.errors import InferenceError, InvalidRequestError
from rerank_core.inference.encoding import copy_tokenizer
from rerank_core.inference.listwise.base import Ranked, Task
from rerank_core.inference.listwise.sliding import places, read_order, share, windows
from rerank_core.inference.quiet import quiet_loggers
from rerank_core.inference.tokens import TextTokenizer, Tokens
from rerank_core.inference.windows import character_span
from rerank_core.inference.workers import Workers
from rerank_core.models.spec import ListWise
from rerank_core.scores import Score

_MOST_WRITTEN = 30  # tokens of an answer: "[4] > [3] > [2] > [1]" has some fifteen
_NO_THOUGHTS = "<think>\n\n</think>\n\n"


@dataclass(frozen=True, slots=True)
class _Answer:
    """What the model wrote about one window: an order, or None; which texts were cut, and the query; tokens."""

    order: list[int] | None
    cut: list[bool]
    query_cut: bool
    tokens: int


class OrderWriter:
    """A language model that writes the order of a window of passages.

    Args:
        model: the transformers model.
        tokenizer: its tokenizer.
        spec: how it reads lists.
        name: the model's name, for errors.
    """

    def __init__(self, model: Any, tokenizer: Any, spec: ListWise, name: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._texts = TextTokenizer(copy_tokenizer(tokenizer.backend_tokenizer))
        self._spec = spec
        self._name = name
        self.device = str(model.device)
        self.workers = Workers(1, "rerank-torch")

    def work(self, query: str, texts: Sequence[str], max_tokens: int) -> Generator[Task, Any, Ranked]:
        """Rank ``texts``, a window per task.

        A text whose last window had a malformed answer is marked degraded: its place there is the one it had.

        Raises:
            InvalidRequestError: when ``max_tokens`` leaves no room for the passages.
            InferenceError: when the model fails, or all of its answers are malformed.
        """
        order, cut, unread = list(range(len(texts))), [False] * len(texts), set[int]()
        every = windows(len(texts), self._spec.window, self._spec.stride)
        malformed = tokens = 0
        query_cut = False
        for window in every:
            shown = [order[place] for place in window]
            answer: _Answer = yield partial(self._ask, query, [texts[position] for position in shown], max_tokens)
            tokens, query_cut = tokens + answer.tokens, query_cut or answer.query_cut
            for position, was_cut in zip(shown, answer.cut, strict=True):
                cut[position] = cut[position] or was_cut
            if answer.order is None:
                malformed += 1
                unread.update(shown)
            else:
                order[window.start : window.stop] = [shown[place] for place in answer.order]
                unread.difference_update(shown)
        if every and malformed == len(every):
            raise InferenceError(
                f"{self._name!r} was shown {len(every)} lists and gave an order of none: its answers are no orders. "
                "Is this the model that its name says?",
                code="malformed_answer",
            )
        scores = tuple(
            Score(place, truncated=cut[i] or query_cut, query_truncated=query_cut, degraded=i in unread)
            for i, place in enumerate(places(order))
        )
        return Ranked(scores, tokens, len(every), malformed)

    def close(self) -> None:
        """Stop the worker; the weights go when the last reference does."""
        self.workers.close()

    def _ask(self, query: str, texts: Sequence[str], max_tokens: int) -> _Answer:
        """What the model writes about one window."""
        import torch

        ids, cut, query_cut = self._prompt(query, texts, max_tokens)
        try:
            with torch.inference_mode(), quiet_loggers("transformers"):
                inputs = torch.tensor([ids], device=self.device)
                written = self._model.generate(
                    input_ids=inputs,
                    attention_mask=torch.ones_like(inputs),
                    max_new_tokens=_MOST_WRITTEN,
                    do_sample=False,
                    pad_token_id=self._tokenizer.eos_token_id,
                )[0][len(ids) :]
        except torch.OutOfMemoryError as error:
            raise InferenceError(
                f"a list of {len(ids)} tokens does not fit into the memory of {self.device}: give a lower max_tokens=.",
                code="out_of_memory",
            ) from error
        except Exception as error:
            raise InferenceError(f"the model failed on a list of {len(ids)} tokens.") from error
        answer = self._tokenizer.decode(written, skip_special_tokens=True)
        return _Answer(read_order(answer, len(texts)), cut, query_cut, len(ids) + len(written))

    def _prompt(self, query: str, texts: Sequence[str], max_tokens: int) -> tuple[list[int], list[bool], bool]:
        """The prompt's tokens, at most ``max_tokens``; which passages were cut for it, and whether the query was."""
        query, texts = self._texts.as_words(query), [self._texts.as_words(text) for text in texts]
        frame = len(self._encoded("", [""] * len(texts)))
        room = max_tokens - frame
        if room < 2 * (len(texts) + 1):
            raise InvalidRequestError(
                f"max_tokens={max_tokens} leaves no room for a query and {len(texts)} passages: the prompt around them "
                f"has {frame} tokens.",
                param="max_tokens",
            )
        read = self._texts.beginning(query, room // 2, offsets=True)
        query = _begin(query, read, room // 2)
        passages = [self._texts.beginning(text, room, offsets=True) for text in texts]
        room -= min(len(read.ids), room // 2)
        while True:
            most = share([len(passage.ids) for passage in passages], room)
            shown = [_begin(text, passage, most) for text, passage in zip(texts, passages, strict=True)]
            ids = self._encoded(query, shown)
            if len(ids) <= max_tokens:
                cut = [len(short) < len(text) for short, text in zip(shown, texts, strict=True)]
                return ids, cut, not read.complete or len(read.ids) > (max_tokens - frame) // 2
            room -= len(ids) - max_tokens  # tokens that the seams between the parts have made

    def _encoded(self, query: str, texts: Sequence[str]) -> list[int]:
        body = "\n".join(f"[{number}]: {text}" for number, text in enumerate(texts, 1))
        user = f"Query: {query}\n\nRank these passages from most to least relevant:\n{body}\n\nRanking:"
        prompt = f"<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n"
        ids: list[int] = self._tokenizer(prompt + (_NO_THOUGHTS if self._spec.thinks else ""))["input_ids"]
        return ids


def _begin(text: str, tokens: Tokens, most: int) -> str:
    """The text's first ``most`` tokens."""
    if len(tokens.ids) <= most:
        return text if tokens.complete else text[: tokens.end]
    return text[: character_span(tokens.offsets, 0, most).end] if most else ""


def load_writer(folder: Path, spec: ListWise, name: str, device: str, kwargs: dict[str, Any]) -> OrderWriter:
    """The model in a checkpoint folder; of one that reads pictures as well, only the language part is used.

    Args:
        folder: the checkpoint.
        spec: how it reads lists.
        name: the model's name, for errors.
        device: where it runs.
        kwargs: for transformers' ``from_pretrained``.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoTokenizer

    architecture = (AutoConfig.from_pretrained(folder, local_files_only=True).architectures or [""])[0]
    reads_pictures = architecture.endswith("ForConditionalGeneration")
    auto: Any = AutoModelForImageTextToText if reads_pictures else AutoModelForCausalLM
    model = auto.from_pretrained(folder, local_files_only=True, **kwargs)
    if "device_map" not in kwargs:
        model = model.to(device)
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return OrderWriter(model.eval(), tokenizer, spec, name)
