"""From a reply to scores: everything a server says is checked before it is used. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rerank_core.client.errors import failed, says_too_many
from rerank_core.client.exchange import Reply, Service
from rerank_core.errors import ProtocolError, RerankError
from rerank_core.ranking import as_probability, sigmoid
from rerank_core.scores import Score
from rerank_core.wire.dialect import shape
from rerank_core.wire.messages import WireResponse, WireResult


class TooMany:
    """A server refused a request for the number or size of its documents.

    Args:
        error: what the caller gets when the request cannot be made smaller.
        counted: whether for their number.
    """

    def __init__(self, error: RerankError, *, counted: bool) -> None:
        self.error = error
        self.counted = counted


def read_reply(reply: Reply, service: Service, count: int) -> tuple[WireResponse, list[Score]] | TooMany:
    """The parsed reply, and one score for each of the ``count`` texts sent, in their order.

    Raises:
        AttemptError: when the status is not a success.
        ProtocolError: when the reply is not a complete and valid answer.
    """
    if not 200 <= reply.status < 300:  # noqa: PLR2004  (HTTP)
        failure = failed(reply, service)
        if says_too_many(reply):
            return TooMany(failure.error, counted=reply.status != 413)  # noqa: PLR2004  (HTTP: the body is too long)
        raise failure
    body = read_json(reply, service)
    try:
        response = service.dialect.read_response(body)
    except ProtocolError as error:
        raise _prefixed(error, service) from error
    except Exception as error:  # a body that breaks a parser in whatever way is no answer
        raise ProtocolError(f"{service.shown}: the reply cannot be read: {shape(body)}.") from error
    try:
        return response, _marked(_scores(response, service, count), reply)
    except ProtocolError as error:
        raise _prefixed(error, service) from error


def read_limit(reply: Reply, service: Service) -> int | None:
    """The server's limit of documents per request, from its information page; None where that does not say."""
    try:
        return service.dialect.read_info(read_json(reply, service))
    except RerankError:
        return None


def read_json(reply: Reply, service: Service) -> Any:
    """The JSON value of a body.

    Raises:
        ProtocolError: when it is none; the message has the status, content type and size, never the text.
    """
    kind = reply.headers.get("content-type", "json").partition(";")[0].lower()
    try:
        if "json" not in kind:
            raise ValueError(kind)  # noqa: TRY301  (one exit for all that is no JSON)
        return json.loads(reply.content)
    except (ValueError, RecursionError):
        what = "an empty body" if not reply.content.strip() else "something that is not JSON"
        raise ProtocolError(
            f"{service.shown} answered with {what} ({reply.described}). Check base_url= and provider=.",
            code="not_json",
        ) from None


def _scores(response: WireResponse, service: Service, count: int) -> list[Score]:
    found: dict[int, WireResult] = {}
    for item in response.results:
        if not 0 <= item.index < count:
            raise ProtocolError(f"a result has index {item.index}, but {count} documents were sent.", code="bad_index")
        if item.index in found:
            raise ProtocolError(f"two results have index {item.index}.", code="duplicate_index")
        found[item.index] = item
    if len(found) != count:
        raise ProtocolError(
            f"{len(found)} results came back for {count} documents; documents would be lost.", code="wrong_score_count"
        )
    truncated = frozenset(response.truncated)
    return [_score(found[position], position in truncated, service) for position in range(count)]


def _marked(scores: list[Score], reply: Reply) -> list[Score]:
    """The scores, marked as the headers say: a server of ours tells where its model has not scored.

    Documents that it did not score have score 0. Where these are not as many as it says, or it gives no number, all of
    the answer is ``degraded``: none of it may be taken for its model's.
    """
    if reply.headers.get("x-degraded", "").strip().lower() != "true":
        return scores
    unscored = [position for position, score in enumerate(scores) if score.relevance_score == 0]
    if reply.headers.get("x-unscored-documents") != str(len(unscored)) or not unscored:
        return [replace(score, degraded=True) for score in scores]
    for position in unscored:
        scores[position] = replace(scores[position], logit=None, degraded=True, judged=False)
    return scores


def _score(item: WireResult, truncated: bool, service: Service) -> Score:
    if service.dialect.scores == "logit":
        return Score(sigmoid(item.score), item.score, truncated=truncated, window=item.window, tokens=item.tokens)
    probability = as_probability(item.score)
    if probability is None:
        raise ProtocolError(
            f"the score of the result with index {item.index} is {item.score:g}, and provider={service.dialect.name!r} "
            f"has probabilities from 0 to 1. The server seems to return logits: use {_logit_providers()}, or have the "
            "server return probabilities.",
            code="score_out_of_range",
            transient=False,
        )
    return Score(probability, item.logit, truncated=truncated, window=item.window, tokens=item.tokens)


def _logit_providers() -> str:
    """The dialects of servers that return logits, as the option that picks them."""
    from rerank_core.wire.registry import CLIENT_DIALECTS

    names: Sequence[str] = sorted({each.name for each in CLIENT_DIALECTS.values() if each.scores == "logit"})
    return " or ".join(f"provider={name!r}" for name in names)


def _prefixed(error: ProtocolError, service: Service) -> ProtocolError:
    """The same error, saying whose reply it is about."""
    return ProtocolError(f"{service.shown}: {error.message}", code=error.code, transient=error.transient)
