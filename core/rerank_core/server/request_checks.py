"""What a request wants of the ranking beyond the order: kept, or an error that names the field. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from unicodedata import normalize

from rerank_core.errors import InvalidRequestError
from rerank_core.inference.backends.base import LoadedModelInfo
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest

_LIMITS = ("max_tokens_per_doc", "max_tokens_per_query", "truncate_prompt_tokens")
_SPECIAL_TOKENS = 16  # more than any model has around a pair


def check_before(request: WireRequest, loaded: LoadedModelInfo | None) -> None:
    """Whether a model can do what is requested, as far as is known before it has scored.

    Args:
        request: what is wanted.
        loaded: what the model reads; None where that is not known.

    Raises:
        InvalidRequestError: when it cannot (code ``unsupported_parameter``).
    """
    windows = loaded is not None and loaded.long_documents != "truncate"
    if request.chunked and windows:
        raise _unsupported(request.chunked, "its model reads long documents in pieces of its own")
    read = math.inf if loaded is None or windows else loaded.max_tokens
    for name in _LIMITS:
        most = getattr(request, name)
        if most is not None and most < read and most <= _most_tokens(request, name):
            reads = "all of a text" if read == math.inf else f"{read} tokens of a query and document together"
            raise _unsupported(f"{name}={most}", f"its model reads {reads}", name)


def check_after(
    request: WireRequest, truncated: Collection[int], dialect: Dialect, loaded: LoadedModelInfo | None
) -> None:
    """Whether what was done is what was requested.

    Args:
        request: what is wanted.
        truncated: positions of the texts that were read only in part.
        dialect: whose words an error is in.
        loaded: what the model reads; None where that is not known.

    Raises:
        InvalidRequestError: when a text was cut and must not be (code ``text_too_long``).
    """
    if not request.whole or not truncated:
        return
    limit = "most" if loaded is None else str(loaded.max_tokens)
    raise InvalidRequestError(
        f"{dialect.too_long.format(limit=limit)}, and {request.whole} does not let them be cut ({len(truncated)} of "
        f"{len(request.texts)}).",
        code="text_too_long",
        param=request.whole,
    )


def _most_tokens(request: WireRequest, limit: str) -> int:
    """As many tokens as what a limit is about can have: no tokenizer makes more of a text than it has bytes."""
    query = 0 if limit == "max_tokens_per_doc" else max(map(_expanded_bytes, request.queries or (request.query,)))
    document = 0 if limit == "max_tokens_per_query" else max(map(_expanded_bytes, request.texts))
    return query + document + (_SPECIAL_TOKENS if limit == "truncate_prompt_tokens" else 0)


def _expanded_bytes(text: str) -> int:
    """Bytes after the normalisation that expands a text most: tokenizers normalise first.

    Characters are expanded one by one: in a whole text, marks that follow each other would be put in order as well,
    which takes the square of their number.
    """
    if text.isascii():
        return len(text)
    counts = Counter(text).items()
    return sum(count * len(normalize("NFKD", character).encode("utf-8", "replace")) for character, count in counts)


def _unsupported(what: str, why: str, name: str = "") -> InvalidRequestError:
    return InvalidRequestError(
        f"{what} is not supported by this server: {why}. Leave it out.",
        code="unsupported_parameter",
        param=name or what,
    )
