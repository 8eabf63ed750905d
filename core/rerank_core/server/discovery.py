"""What a client may ask before it ranks: which models there are, what the server takes, whether it is well."""

from __future__ import annotations

import re
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from rerank_core.models.registry import REGISTRY
from rerank_core.server.answers import json_response
from rerank_core.server.handler import Server
from rerank_core.server.served import ServedModel, State
from rerank_core.wire.routes import ROUTES

_VERSIONED = re.compile(r"(.*?/v\d+)/")


class Readiness(BaseModel):
    """How far the server and its models are."""

    status: Literal["loading", "ready", "failed", "draining"]
    models: dict[str, State]


def open_routes(server: Server) -> APIRouter:
    """Health, readiness and metrics: for load balancers and monitors, without a key."""
    router = APIRouter(tags=["operation"])

    @router.get("/health")
    @router.get("/ping", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(
        "/ready",
        response_model=None,
        responses={200: {"model": Readiness}, 503: {"model": Readiness, "description": "Not yet, or no longer."}},
    )
    async def ready() -> Response:
        server.served.start()  # mounted elsewhere, a probe may be all that ever comes before the first request
        models = {model.name: str(model.state) for model in server.served.models}
        if server.lifecycle.draining:
            status = "draining"
        elif State.FAILED in models.values():
            status = "failed"
        else:
            status = "ready" if server.served.ready else "loading"
        headers = {} if status == "ready" else {"Retry-After": "1"}
        if status == "draining":
            headers["Connection"] = "close"
        code = 200 if status == "ready" else 503
        return json_response({"status": status, "models": models}, status=code, headers=headers)

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        return Response(server.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def model_routes(server: Server) -> APIRouter:
    """The models below every base URL that clients of a dialect have, and TEI's ``/info``."""
    router = APIRouter(tags=["models"])

    async def models() -> dict[str, Any]:
        described = [_description(model) for model in server.served.models]
        return {"object": "list", "data": described, "models": described}

    async def one(model: str) -> dict[str, Any]:
        return _description(server.served.find(model))

    for base in base_paths():
        shown = base == "/v1"
        router.add_api_route(f"{base}/models", models, include_in_schema=shown)
        router.add_api_route(f"{base}/models/{{model:path}}", one, include_in_schema=shown)

    @router.get("/info")
    @router.get("/tei/info", include_in_schema=False)
    async def info() -> dict[str, Any]:
        return _tei_info(server)

    return router


def base_paths() -> list[str]:
    """What clients have as base URL, below the server's root: the version in a path, or else the folder it is in."""
    return sorted({_base(route.path) for route in ROUTES})


def _base(path: str) -> str:
    versioned = _VERSIONED.match(path)
    return versioned[1] if versioned else path.rpartition("/")[0]


def _description(model: ServedModel) -> dict[str, Any]:
    """One model, in the words of OpenAI's clients and, from ``name`` on, of Xinference's and Cohere's."""
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "rerank-plugins",
        "max_tokens": _max_tokens(model),
        "state": str(model.state),
        "name": model.name,
        "model_type": "rerank",
        "endpoints": ["rerank"],
    }


def _max_tokens(model: ServedModel) -> int | None:
    loaded = model.loaded
    if loaded is not None:
        return loaded.max_tokens
    spec = REGISTRY.get(model.name)
    return None if spec is None else spec.max_tokens


def _tei_info(server: Server) -> dict[str, Any]:
    from rerank_core import __version__

    model, settings = server.served.find(None), server.settings
    loaded = model.loaded
    return {
        "model_id": model.name,
        "served_model_name": model.name,
        "model_sha": None,
        "model_dtype": loaded.dtype if loaded else None,
        "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        "max_concurrent_requests": settings.max_in_flight_requests,
        "max_input_length": _max_tokens(model),
        "max_batch_tokens": settings.batch_tokens or (loaded.batch_tokens if loaded else None),
        "max_batch_requests": None,
        "max_client_batch_size": settings.max_documents,
        "auto_truncate": True,
        "tokenization_workers": loaded.workers if loaded else None,
        "version": __version__,
    }
