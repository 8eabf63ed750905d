"""The application: routes, limits and error bodies, put together from settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from cachetools import LRUCache
from fastapi import Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response

from rerank_core.errors import InvalidRequestError, RerankError
from rerank_core.events import DEFAULT_HOOKS, Hook
from rerank_core.options import OF_SERVED_MODELS
from rerank_core.reranker import Reranker
from rerank_core.scoring.base import Scorer
from rerank_core.scoring.cached import CachedScorer
from rerank_core.scoring.making import local_scorer
from rerank_core.scoring.options import LocalOptions
from rerank_core.scoring.shadow import ShadowScorer
from rerank_core.server.admission import Admission
from rerank_core.server.answers import error_response
from rerank_core.server.discovery import model_routes, open_routes
from rerank_core.server.docs import docs_routes
from rerank_core.server.exchange import Exchange, ExchangeMiddleware
from rerank_core.server.guard import GuardMiddleware
from rerank_core.server.handler import Server, rerank_endpoint
from rerank_core.server.keys import RateLimits
from rerank_core.server.lifecycle import Lifecycle
from rerank_core.server.metrics import Metrics
from rerank_core.server.openapi import document
from rerank_core.server.page import page_routes
from rerank_core.server.served import ServedModel, ServedModels
from rerank_core.server.settings import ServerSettings, load_settings
from rerank_core.wire.routes import ROUTES

_NOT_FOUND = (
    "There is nothing at this path. Rerank requests go to POST /v1/rerank, /v2/rerank or /rerank; a client whose base "
    "URL ends in /v1 or /v2 may be adding another one."
)
# Hub ids have a slash.
_BY_PATH = {route.path.replace("{model}", "{model:path}"): route for route in ROUTES}


def create_app(
    settings: ServerSettings | None = None,
    rerankers: Mapping[str, Reranker] | None = None,
    *,
    limits: RateLimits | None = None,
) -> FastAPI:
    """The rerank HTTP API as an ASGI application.

    Models are loaded in the background when the application starts; mounted in another application, whose start it
    does not see, when ``/ready`` or the first request is asked for. Only what the settings name is ever loaded, and
    with ``local_files_only`` nothing is downloaded.

    Args:
        settings: what to serve; None for the environment's ``RERANK_*`` variables and the defaults.
        rerankers: ready engines (with a cascade, a fallback) by the name they are served under, before the models
            of the settings, and instead of one of the same name. Closing them is their owner's business.
        limits: where the requests of each API key are counted, when several processes serve one limit; None for this
            process.

    Raises:
        InvalidRequestError: when the API keys cannot be read.
    """
    settings = load_settings() if settings is None else settings
    ring, metrics = settings.key_ring(limits), Metrics()
    served = _served_models(settings, metrics, rerankers or {})
    for model in served.models:
        metrics.watch(model.name, model.admission)
    # Twice what the models accept: as many bodies may be arriving as there are requests being worked on.
    lifecycle = Lifecycle(2 * settings.max_in_flight_requests * len(served.models))
    server = Server(settings, served, metrics, lifecycle)

    async def admit(request: Request) -> None:
        await ring.admit(request.headers)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server.served.start()
        yield
        server.served.close()

    from rerank_core import __version__

    app = FastAPI(
        title="rerank-plugins",
        summary="The rerank HTTP API.",
        version=__version__,
        lifespan=lifespan,
        middleware=_middleware(settings, metrics),
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RerankError, _rerank_error)
    app.state.server = server
    for path, route in _BY_PATH.items():
        app.add_api_route(
            path, rerank_endpoint(server, route), methods=["POST"], dependencies=[Depends(admit)], response_model=None
        )
    app.include_router(model_routes(server), dependencies=[Depends(admit)])
    app.include_router(open_routes(server))
    app.openapi = document(app, server)  # type: ignore[method-assign]  # FastAPI's documented way to extend it
    app.include_router(docs_routes(app.openapi))
    if settings.page:
        app.include_router(page_routes())
    return app


def _middleware(settings: ServerSettings, metrics: Metrics) -> list[Middleware]:
    around = [Middleware(ExchangeMiddleware, metrics=metrics)]
    if settings.allowed_hosts:
        around.append(Middleware(GuardMiddleware, hosts=settings.allowed_hosts, origins=settings.cors_origins))
    if settings.cors_origins:
        around.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
                expose_headers=["x-request-id", "retry-after"],
            )
        )
    return around


def _served_models(settings: ServerSettings, metrics: Metrics, rerankers: Mapping[str, Reranker]) -> ServedModels:
    served = {
        name: _reranker(name, source, settings, (*DEFAULT_HOOKS, metrics.hook(name)))
        for name, source in settings.served.items()
        if name not in rerankers
    }
    return ServedModels(
        [
            ServedModel(
                name,
                reranker,
                Admission(settings.max_queued_pairs, settings.max_in_flight_requests),
                borrowed=name in rerankers,
                answers_cold=name in served and settings.options_of(name)["when_cold"] == "keep_order",
            )
            for name, reranker in {**rerankers, **served}.items()
        ]
    )


def _reranker(name: str, source: str, settings: ServerSettings, hooks: Sequence[Hook]) -> Reranker:
    """One model's reranker, with a cache if the settings ask for one, and the first one's with its candidate."""

    def cached(scorer: Scorer) -> Scorer:
        entries = settings.cache_entries
        return CachedScorer(scorer, LRUCache(entries), hooks=hooks) if entries else scorer

    options = settings.options_of(name)
    around = {option: options.pop(option) for option in OF_SERVED_MODELS}
    scorer = local_scorer(source, LocalOptions(**options), hooks, cached)
    if settings.shadow is not None and name == next(iter(settings.served)):
        candidate = local_scorer(settings.shadow, LocalOptions(), DEFAULT_HOOKS)
        scorer = ShadowScorer(scorer, candidate, log=settings.shadow_log, hooks=hooks)
    return Reranker(scorer=scorer, **around)


def _rerank_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, RerankError):
        raise error
    Exchange.of(request.scope).code = error.code
    route = _BY_PATH.get(getattr(request.scope.get("route"), "path", ""))
    return error_response(error, route.dialect.write_error(error) if route else None)


def _http_error(request: Request, error: Exception) -> Response:
    """What the framework itself answers, in the API's words: unknown paths and methods."""
    if not isinstance(error, HTTPException):
        raise error
    allowed = (error.headers or {}).get("allow") or (error.headers or {}).get("Allow")
    if allowed == "GET":
        allowed = "GET, HEAD"
    translated = {
        404: InvalidRequestError(_NOT_FOUND, code="not_found", status=404),
        405: InvalidRequestError(f"This path takes {allowed or 'POST'}.", code="method_not_allowed", status=405),
    }.get(error.status_code) or InvalidRequestError("The request cannot be read.", status=error.status_code)
    Exchange.of(request.scope).code = translated.code
    response = error_response(translated)
    if allowed:
        response.headers["Allow"] = allowed
    return response
