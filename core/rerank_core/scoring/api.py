"""Scoring through the rerank HTTP API, in any of its dialects."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

from rerank_core.call_group import ending
from rerank_core.errors import AuthenticationError, InferenceError, InvalidRequestError, RerankError
from rerank_core.events import DEFAULT_HOOKS, Degraded, Failed, Hook, Retried, Scored, Truncated, emit
from rerank_core.option_checks import api_key, hidden_key
from rerank_core.options import DEFAULT_RETRIES, DEFAULT_TIMEOUT
from rerank_core.scores import Scores
from rerank_core.scoring.options import ApiOptions

if TYPE_CHECKING:
    from pydantic import SecretStr

    from rerank_core.client.exchange import Request, Service
    from rerank_core.client.retry import Deadline
    from rerank_core.client.steps import Client, Steps
    from rerank_core.client.transport import AsyncTransport, SyncTransport
    from rerank_core.wire.dialect import Dialect

T = TypeVar("T")


class ApiScorer:
    """A reranker behind HTTP: the rerank API itself, or a service or server with an API like it.

    Safe to share between threads and event loops; each loop has connections of its own. More documents than one request
    may hold are split over several, four at a time; the result is that of one call: all scores or an error. Empty texts
    that a service would refuse get the score 0 and are marked ``truncated``: the model did not see them.

    A pickled scorer leaves out an API key given in code; the copy reads it from the environment. Copies within the
    process keep it.

    Args:
        model: the model's name at the service; None where a server has only one.
        provider: the dialect, one of :data:`rerank_core.wire.registry.CLIENT_DIALECTS`; None for ``"native"``, the
            rerank API at the address given, and without one for ``"assisters"``, its hosted service.
        options: address, key, timeout, retries and HTTP client.
        hooks: called with each event.

    Raises:
        InvalidRequestError: when an option has an invalid value, or a model or an address is missing.
        AuthenticationError: when a hosted service's API key is missing.
    """

    def __init__(
        self,
        model: str | None = None,
        provider: str | None = None,
        options: ApiOptions | None = None,
        *,
        hooks: Sequence[Hook] = DEFAULT_HOOKS,
    ) -> None:
        self.options = ApiOptions() if options is None else options
        alone = "assisters" if self.options.base_url is None else "native"
        self.provider = alone if provider is None else provider
        self._model = model
        self._hooks = tuple(hooks)
        self._start()

    def __getstate__(self) -> dict[str, Any]:
        if self.options.http_client is not None:
            raise TypeError("a scorer with an http_client of its own cannot be pickled.")
        options = replace(self.options, api_key=None)
        return {"options": options, "provider": self.provider, "_model": self._model, "_hooks": self._hooks}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __copy__(self) -> ApiScorer:
        return type(self)(self._model, self.provider, self.options, hooks=self._hooks)

    def __deepcopy__(self, _memo: dict[int, Any]) -> ApiScorer:
        return self.__copy__()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._model!r}, provider={self.provider!r}, url={self.url!r})"

    @property
    def model(self) -> str:
        """The model's name; the provider's, where the server chooses the model."""
        return self._service.name

    @property
    def url(self) -> str:
        """Where requests are posted to, without the query string."""
        return self._service.shown

    @property
    def takes_instruction(self) -> bool:
        """Whether the API has a field for one; the model behind it may refuse it all the same."""
        return self._service.dialect.takes_instruction

    @property
    def identity(self) -> str:
        """Dialect, address and model: all that is known here about what decides a score."""
        return self.identity_with(None)

    def identity_with(self, instruction: str | None) -> str:
        """:attr:`identity` under an instruction; None for that of the options."""
        query = self._service.url.partition("?")[2]
        digest = sha256(query.encode()).hexdigest()[:16] if query else ""
        known = ("api", self._service.dialect.name, self.url, digest, self._model)
        asked = self._instruction(instruction)
        return repr(known if asked is None else (*known, asked))

    @property
    def bills_searches(self) -> bool:
        """Whether this is a hosted service that bills per search; at another address nobody knows who bills."""
        return self._service.dialect.bills_searches and self.options.base_url is None

    @property
    def pointwise(self) -> bool:
        """False for models that compare the documents of a request with each other (list-wise), by their names."""
        return not self._client.listwise

    def score(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """Score every text; safe from several threads at once.

        Raises:
            ClosedError: after :meth:`close`.
            InvalidRequestError: when the server finds the request invalid, or the model cannot take so many texts, or
                the API has no field for an ``instruction``.
            AuthenticationError, ModelNotFoundError: when the server refuses the key or the model.
            RateLimitError, OverloadedError, TimeoutError, ConnectionError, InferenceError: when it has not answered
                after all retries, or the deadline has passed.
            ProtocolError: when its answer is incomplete or invalid.
        """
        started = time.perf_counter()
        with self._failures():
            return self._report(self._run(self._steps(query, texts, instruction)), started)

    async def ascore(self, query: str, texts: Sequence[str], *, instruction: str | None = None) -> Scores:
        """Score every text without blocking the event loop; cancelling closes the connections in use.

        Raises:
            The same as :meth:`score`.
        """
        started = time.perf_counter()
        with self._failures():
            return self._report(await self._arun(self._steps(query, texts, instruction)), started)

    def warm_up(self) -> None:
        """Make the HTTP client, and get the server's limits where the dialect has a page for them. Scores nothing.

        Raises:
            ClosedError: after :meth:`close`.
        """
        if self._sync.usable:
            self._sync.client()
            self._run(self._client.prepare())

    def close(self) -> None:
        """Close the connections; each event loop closes its own. Closing twice is fine."""
        self._sync.close()
        self._async.close()

    async def aclose(self) -> None:
        """``close`` for asynchronous code: when it returns, the running loop's connections are closed."""
        self._sync.close()
        await self._async.aclose()

    def _start(self) -> None:
        from rerank_core import __version__
        from rerank_core.client.factory import Certificates
        from rerank_core.client.steps import Client
        from rerank_core.client.transport import AsyncTransport, Settings, SyncTransport

        self._service: Service = _service(self._model, self.provider, self.options)
        self._client: Client = Client(self._service, __version__)
        retries = self.options.max_retries
        settings = Settings(
            self._service,
            DEFAULT_RETRIES if retries is None else retries,
            self.options.http_client,
            self._retried,
        )
        certificates = Certificates()
        self._sync: SyncTransport = SyncTransport(settings, certificates)
        self._async: AsyncTransport = AsyncTransport(settings, certificates)

    def _instruction(self, instruction: str | None) -> str | None:
        """That of the call, else of the options."""
        return self.options.prompt if instruction is None else instruction

    def _steps(self, query: str, texts: Sequence[str], instruction: str | None) -> Steps:
        return self._client.score(query, texts, self._instruction(instruction))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Report errors as events; running out of memory becomes an error of ours."""
        try:
            try:
                yield
            except MemoryError as error:
                raise InferenceError(f"{self.url}: this process has no memory left.", code="out_of_memory") from error
        except RerankError as error:
            emit(self._hooks, Failed(self.model, error.code))
            raise

    def _run(self, steps: Generator[list[Request], list[Any], T]) -> T:
        deadline = self._deadline()
        with ending(deadline.expire) as group:
            try:
                requests = next(steps)
                while True:
                    requests = steps.send(self._sync.send_all(requests, deadline))
            except StopIteration as done:
                result: T = done.value
                return result
            except RerankError:
                if group is not None and group.ended:  # cancelled, not failed
                    raise CancelledError from None
                raise

    async def _arun(self, steps: Generator[list[Request], list[Any], T]) -> T:
        deadline = self._deadline()
        answers: list[Any] | None = None
        while True:
            try:
                requests = next(steps) if answers is None else steps.send(answers)
            except StopIteration as done:  # must not leave a coroutine
                result: T = done.value
                return result
            answers = await self._async.send_all(requests, deadline)

    def _deadline(self) -> Deadline:
        from rerank_core.client.retry import Deadline

        timeout = self.options.timeout
        return Deadline(DEFAULT_TIMEOUT if timeout is None else timeout, self.url)

    def _retried(self, retry: int, wait: float, code: str) -> None:
        emit(self._hooks, Retried(self.model, retry, wait, code))

    def _report(self, scores: Scores, started: float) -> Scores:
        seconds = time.perf_counter() - started
        truncated = sum(score.truncated for score in scores.items)
        if truncated:
            emit(self._hooks, Truncated(scores.model, truncated, query=False, max_tokens=0))
        emit(self._hooks, Scored(scores.model, len(scores.items), scores.tokens, seconds))
        if scores.degraded:
            emit(self._hooks, Degraded(self.model, scores.model, "server_degraded"))
        return replace(scores, inference_seconds=seconds)


def _service(model: object, provider: object, options: ApiOptions) -> Service:
    """The service to call, from the user's options."""
    from rerank_core.client.exchange import Service
    from rerank_core.client.steps import check_instruction
    from rerank_core.client.urls import endpoint, host_of
    from rerank_core.wire.native import Assisters, Native
    from rerank_core.wire.registry import CLIENT_DIALECTS
    from rerank_core.wire.registry import dialect as find_dialect

    if not isinstance(provider, str):
        raise InvalidRequestError(f"provider must be a string, got {type(provider).__name__}.", param="provider")
    dialect = find_dialect(provider)
    check_instruction(dialect, options.prompt, "prompt")
    if model is not None and (not isinstance(model, str) or not model.strip()):
        raise InvalidRequestError(
            f"model must be a name the service knows, got {type(model).__name__ if model else model!r}.", param="model"
        )
    if model is None and (dialect.model_required or "{model}" in dialect.path):
        # An address alone means the rerank API itself: then nobody has named a provider.
        alone = options.base_url is not None and dialect.name == Native.name
        who = "base_url= is the address of a rerank API, which" if alone else f"provider={provider!r}"
        raise InvalidRequestError(f"{who} needs the name of a model: give model=.", code="missing_model", param="model")
    if options.return_details and not dialect.gives_details:
        raise InvalidRequestError(
            f"provider={provider!r} has no field for details; leave return_details= out.", param="return_details"
        )
    base_url = dialect.base_url if options.base_url is None else options.base_url
    if base_url is None:
        elsewhere = f" The hosted service is provider={Assisters.name!r}." if dialect.name == Native.name else ""
        raise InvalidRequestError(
            f"provider={provider!r} is a server of your own: give its address as base_url=.{elsewhere}",
            param="base_url",
        )
    url = endpoint(base_url, dialect.path_for(model))
    services = {host_of(each.base_url) for each in CLIENT_DIALECTS.values() if each.base_url is not None}
    given = api_key("api_key", options.api_key)
    key = given or _key_of_environment(dialect, provider, required=host_of(url) in services)
    return Service(dialect, url, model, key, options.return_details)


def _key_of_environment(dialect: Dialect, provider: str, *, required: bool) -> SecretStr | None:
    """The API key in the environment.

    Raises:
        AuthenticationError: when a hosted service's key is missing.
        InvalidRequestError: when it cannot be sent.
    """
    variable = dialect.key_variable
    names = (*((variable,) if variable else ()), *dialect.other_key_variables)
    key = next((value for value in map(os.environ.get, names) if value), None)
    if key:
        return hidden_key("api_key", key)
    if required and variable:
        raise AuthenticationError(
            f"provider={provider!r} needs an API key: set {variable}, or give api_key=.",
            code="missing_api_key",
            param="api_key",
        )
    return None
