"""The work of one API call except the sending: a generator of requests.

It yields lists of requests, is sent the results of their replies, and returns the scores. A synchronous and an
asynchronous driver run the same generator.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rerank_core.client.body import ACCEPTED
from rerank_core.client.exchange import Reply, Request, Service
from rerank_core.client.replies import TooMany, read_limit, read_reply
from rerank_core.client.split import halves, split
from rerank_core.client.urls import beside
from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.scores import Score, Scores
from rerank_core.wire.dialect import Dialect
from rerank_core.wire.messages import WireRequest, WireResponse

Steps = Generator[list[Request], list[Any], Scores]

_INFO_SECONDS = 5.0
_INFO_BYTES = 1_000_000
# A reply may repeat the documents, and JSON may need twelve bytes for one character.
_REPLY_BYTES = 1_000_000
_BYTES_PER_DOCUMENT = 1_000
_BYTES_PER_CHARACTER = 16
_MODEL_NAME_LENGTH = 200


@dataclass
class Client:
    """The work of calls to one service, whose limit of documents per request it remembers.

    Attributes:
        service: the service that requests go to.
        version: of this package, for the User-Agent.
    """

    service: Service
    version: str
    _limit: int | None = None
    _asked: bool = False

    def __post_init__(self) -> None:
        self._limit = self.service.dialect.max_documents

    @property
    def listwise(self) -> bool:
        """Whether scores of different requests cannot be compared."""
        return self.service.dialect.is_listwise(self.service.model or "")

    def prepare(self) -> Generator[list[Request], list[Any], None]:
        """Ask for the server's limit, where the dialect has a page for it; once, unless it could not be reached."""
        path = self.service.dialect.info_path
        if path is None or self._asked:
            return
        url = beside(self.service.url, self.service.dialect.path_for(self.service.model), path)
        read = partial(_read_info, service=self.service)
        (answer,) = yield [Request("GET", url, self._headers(), None, _INFO_BYTES, read, optional_within=_INFO_SECONDS)]
        if answer is not None:
            self._asked = True
            self._limit = answer[0] or self._limit

    def score(self, query: str, texts: Sequence[str], instruction: str | None = None) -> Steps:
        """Score every text: all of them, or an error.

        Raises:
            InvalidRequestError: when the dialect has no field for an instruction, or the texts would have to be split
                over several requests of a list-wise model.
            RerankError: when the server refuses, or its answer is invalid.
        """
        check_instruction(self.service.dialect, instruction, "instruction")
        yield from self.prepare()
        scores: dict[int, Score] = {}
        responses: list[WireResponse] = []
        pending = self._split(texts, scores)
        while pending:
            answers = yield [self._request(query, [texts[i] for i in run], instruction) for run in pending]
            again: list[Sequence[int]] = []
            for run, answer in zip(pending, answers, strict=True):
                if isinstance(answer, TooMany):
                    again += self._smaller(run, answer)
                    continue
                response, found = answer
                responses.append(response)
                scores.update(zip(run, found, strict=True))
            pending = again
        items = tuple(scores[position] for position in range(len(texts)))
        billed = responses if self.service.dialect.bills_searches else ()
        units = [response.search_units for response in billed if response.search_units is not None]
        tokens = sum(response.tokens for response in responses)
        return Scores(items, self._model(responses), tokens, search_units=sum(units) if units else None)

    def _split(self, texts: Sequence[str], scores: dict[int, Score]) -> list[Sequence[int]]:
        dialect = self.service.dialect
        positions: Sequence[int] = range(len(texts))
        if dialect.refuses_empty_text:
            # The model sees nothing of an empty text, and the service refuses the others with it.
            scores.update({i: Score(0.0, truncated=True) for i, text in enumerate(texts) if not text})
            positions = [i for i in positions if i not in scores]
        runs = split(positions, texts, max_documents=self._limit, max_bytes=dialect.max_bytes)
        if self.listwise and len(runs) > 1:
            raise self._cannot_split(len(positions))
        return runs

    def _smaller(self, run: Sequence[int], refusal: TooMany) -> list[Sequence[int]]:
        if len(run) == 1:
            raise refusal.error
        if self.listwise:
            raise self._cannot_split(len(run)) from refusal.error
        runs = halves(run)
        if refusal.counted:
            self._limit = min(self._limit or len(run), len(runs[0]))
        return runs

    def _cannot_split(self, count: int) -> RerankError:
        dialect = self.service.dialect
        limit = f"{self._limit} documents and " if self._limit else ""
        return InvalidRequestError(
            f"{self.service.model!r} compares the documents of a request with each other, so {count} documents cannot "
            f"be split over several requests; {dialect.name!r} takes {limit}{dialect.max_bytes} bytes of text at once. "
            "Send fewer documents.",
            code="too_many_documents",
            param="documents",
        )

    def _request(self, query: str, texts: list[str], instruction: str | None) -> Request:
        asked = WireRequest(
            query,
            texts,
            model=self.service.model,
            return_documents=False,
            instruction=instruction or None,
            return_details=self.service.return_details,
        )
        characters = sum(map(len, texts))
        most_bytes = _REPLY_BYTES + _BYTES_PER_DOCUMENT * len(texts) + _BYTES_PER_CHARACTER * characters
        read = partial(read_reply, service=self.service, count=len(texts))
        return Request("POST", self.service.url, self._headers(), partial(self._body, asked), most_bytes, read)

    def _body(self, asked: WireRequest) -> bytes:
        body = self.service.dialect.write_request(asked)
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/json",
            "Accept-Encoding": ACCEPTED,
            "Content-Type": "application/json",
            "User-Agent": f"rerank-plugins/{self.version}",
            "x-request-id": uuid.uuid4().hex,
            **self.service.dialect.headers(self.service.key_text),
        }

    def _model(self, responses: Sequence[WireResponse]) -> str:
        """The name of the model that scored: the server's, if it gives one."""
        name = next((response.model for response in responses if response.model), None)
        return self.service.name if name is None or not name.isprintable() else name[:_MODEL_NAME_LENGTH]


def check_instruction(dialect: Dialect, instruction: str | None, param: str) -> None:
    """Whether an instruction can be sent; an empty one is not.

    Args:
        dialect: the API's.
        instruction: the instruction.
        param: the argument that it comes from.

    Raises:
        InvalidRequestError: when the dialect has no field for one.
    """
    if instruction and not dialect.takes_instruction:
        raise InvalidRequestError(
            f"provider={dialect.name!r} has no field for an instruction; leave {param}= out.",
            code="unsupported_parameter",
            param=param,
        )


def _read_info(reply: Reply, service: Service) -> tuple[int | None]:
    """The limit in a tuple, because None alone stands for no answer at all."""
    return (read_limit(reply, service),)
