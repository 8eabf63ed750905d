"""What a request asks of the ranking beyond the order: kept, or an error that names the field. Pure."""

from __future__ import annotations

from collections.abc import Collection

from rerank_core.errors import InvalidRequestError
from rerank_core.inference.backends.base import LoadedModelInfo
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest

_TOKEN_LIMITS = ("max_tokens_per_doc", "max_tokens_per_query", "truncate_prompt_tokens")


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
    for name in _TOKEN_LIMITS:
        most = getattr(asked, name)
        if most is None:
            continue
        if loaded is None or windows:
            raise _unsupported(name, "there is no limit to the tokens that its model reads")
        if most < loaded.max_tokens:
            raise _unsupported(
                f"{name}={most}", f"its model reads {loaded.max_tokens} tokens of a query and document together", name
            )


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


def _unsupported(what: str, why: str, name: str = "") -> InvalidRequestError:
    return InvalidRequestError(
        f"{what} is not supported by this server: {why}. Leave it out.",
        code="unsupported_parameter",
        param=name or what,
    )
