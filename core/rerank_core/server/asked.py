"""What a request asks of the ranking beyond the order: kept, or an error that names the field. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from unicodedata import normalize

from rerank_core.errors import InvalidRequestError
from rerank_core.inference.backends.base import LoadedModelInfo
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest

_SPECIAL = " " * 16  # stands for the special tokens around a pair


def check_before(asked: WireRequest, loaded: LoadedModelInfo | None) -> None:
    """Whether a model can do what is asked, as far as can be told before it has scored.

    Args:
        asked: the request.
        loaded: what the model reads; None where that is not known.

    Raises:
        InvalidRequestError: when it cannot (code ``unsupported_parameter``).
    """
    windows = loaded is not None and loaded.long_documents == "windows"
    if asked.chunked and windows:
        raise _unsupported(asked.chunked, "its model reads long documents in pieces of its own")
    for name, texts in _limited(asked):
        most = getattr(asked, name)
        read = math.inf if loaded is None or windows else loaded.max_tokens
        if most < read and not all(_fits(text, most) for text in texts):
            reads = "all of a text" if read == math.inf else f"{read} tokens of a query and document together"
            raise _unsupported(f"{name}={most}", f"its model reads {reads}", name)


def check_after(
    asked: WireRequest, truncated: Collection[int], dialect: Dialect, loaded: LoadedModelInfo | None
) -> None:
    """Whether what was done is what was asked.

    Args:
        asked: the request.
        truncated: positions of the texts that were read only in part.
        dialect: whose words an error is in.
        loaded: what the model reads; None where that is not known.

    Raises:
        InvalidRequestError: when a text was cut and must not be (code ``text_too_long``).
    """
    if not asked.whole or not truncated:
        return
    limit = "most" if loaded is None else str(loaded.max_tokens)
    raise InvalidRequestError(
        f"{dialect.too_long.format(limit=limit)}, and {asked.whole} does not let them be cut ({len(truncated)} of "
        f"{len(asked.texts)}).",
        code="text_too_long",
        param=asked.whole,
    )


def _limited(asked: WireRequest) -> Iterator[tuple[str, Iterable[str]]]:
    """The limits of tokens that are asked for, and the texts that each is about."""
    queries = asked.queries or (asked.query,)
    if asked.max_tokens_per_doc is not None:
        yield "max_tokens_per_doc", asked.texts
    if asked.max_tokens_per_query is not None:
        yield "max_tokens_per_query", queries
    if asked.truncate_prompt_tokens is not None:
        longest = max(queries, key=len)
        yield "truncate_prompt_tokens", (f"{longest}{_SPECIAL}{text}" for text in asked.texts)


def _fits(text: str, tokens: int) -> bool:
    """Whether a text has certainly no more tokens: no tokenizer makes more of it than it has bytes, and a beginning.

    Those bytes are counted after the normalisation that expands a text most: tokenizers normalise first.
    """
    return len(text) < tokens and len(normalize("NFKD", text).encode("utf-8", "replace")) < tokens


def _unsupported(what: str, why: str, name: str = "") -> InvalidRequestError:
    return InvalidRequestError(
        f"{what} is not supported by this server: {why}. Leave it out.",
        code="unsupported_parameter",
        param=name or what,
    )
