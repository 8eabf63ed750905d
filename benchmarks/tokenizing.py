"""Tokens per second on one core: of the tokenizer alone, and of the model behind it.

    python benchmarks/tokenizing.py

Both read the same 100 mixed documents and take turns. The tokenizer makes the model's inputs as every request does, in
one thread; the model's time is that of a whole call on one thread, tokenising included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from measure import QUERY, Result, arguments, documents, medians, turns

from rerank_core import Reranker
from rerank_core.inference.encoding import PairEncoder
from rerank_core.models.source import BUNDLED

MODELS = ("rerank-tiny-en-v1", "rerank-mini-en-v1", "rerank-small-en-v2")
MAX_TOKENS = 512
DOCUMENTS = 100


def main() -> None:
    """Let tokenizers and models take turns, keep the table."""
    given = arguments(__doc__, rounds=3)
    texts = documents(DOCUMENTS)
    competitors: dict[str, Callable[[], object]] = {}
    tokens = {}
    for model in MODELS:
        encoder = PairEncoder.from_file(BUNDLED[model] / "tokenizer.json")
        reranker = Reranker(model, threads=1)
        tokens[model] = encoded(encoder, texts)
        competitors[f"tokenizer {model}"] = partial(encoded, encoder, texts)
        competitors[model] = partial(reranker.rerank, QUERY, texts)
        reranker.rerank(QUERY, texts)  # load and warm up
    seconds = medians(turns(competitors, given.rounds))
    rows, data = [], {}
    for model in MODELS:
        alone, whole = (tokens[model] / seconds[name] for name in (f"tokenizer {model}", model))
        rows.append([f"`{model}`", f"{alone:,.0f}", f"{whole:,.0f}", f"{alone / whole:.0f}"])
        data[model] = {"tokens": tokens[model], "tokenizer": alone, "model": whole}
    Result(
        "tokenizing",
        "Tokens per second on one core: the tokenizer, and the model",
        ["", "tokenizer", "whole call", "times as fast"],
        rows,
        [f"{DOCUMENTS} documents of 10 to 380 words, medians of {given.rounds} rounds."],
        data,
    ).keep(given.out)


def encoded(encoder: PairEncoder, texts: Sequence[str]) -> int:
    """Make the inputs of one request; how many tokens they have."""
    encode = encoder.start(QUERY, max_tokens=MAX_TOKENS, windows=False)
    total = 0
    for position, text in enumerate(texts):
        work = encode(position, text)
        while True:
            try:
                next(work)
            except StopIteration as done:
                total += sum(len(item.ids) for item in done.value)
                break
    return total


if __name__ == "__main__":
    main()
