"""What a client may ask before it ranks: which models there are, what the server takes, whether it is well."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import PlainTextResponse, Response

from rerank_core.models.registry import REGISTRY
from rerank_core.server.answers import json_response
from rerank_core.server.handler import Server
from rerank_core.server.shelf import ServedModel, State


class Readiness(BaseModel):
    """How far the server and its models are."""

    status: Literal["loading", "ready", "failed", "draining"]
    models: dict[str, State]


def open_routes(server: Server) -> APIRouter:
    """Health, readiness and metrics: for load balancers and monitors, without a key."""
    router = APIRouter(tags=["operation"])

    @router.get("/health", summary="Whether the process is alive")
    @router.get("/ping", include_in_schema=False)
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @router.get(
        "/ready",
        summary="Whether every model can answer",
        response_model=None,
        responses={200: {"model": Readiness}, 503: {"model": Readiness, "description": "Not yet, or no longer."}},
    )
    async def ready() -> Response:
        server.shelf.start()  # mounted elsewhere, a probe may be all that ever comes before the first request
        models = {model.name: str(model.state) for model in server.shelf.models}
        if server.lifecycle.draining:
            status = "draining"
        elif State.FAILED in models.values():
            status = "failed"
        else:
            status = "ready" if server.shelf.ready else "loading"
        headers = {} if status == "ready" else {"Retry-After": "1"}
        if status == "draining":
            headers["Connection"] = "close"
        code = 200 if status == "ready" else 503
        return json_response({"status": status, "models": models}, status=code, headers=headers)

    @router.get("/metrics", summary="Prometheus metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        for model in server.shelf.models:
            server.metrics.queued_pairs.labels(model.name).set(model.admission.pairs)
            server.metrics.queued_requests.labels(model.name).set(model.admission.requests)
        return Response(server.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router


def model_routes(server: Server) -> APIRouter:
    """The models, in OpenAI's shape, and TEI's ``/info``."""
    router = APIRouter(tags=["models"])

    @router.get("/v1/models", summary="The models served")
    @router.get("/models", include_in_schema=False)
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_description(model) for model in server.shelf.models]}

    @router.get("/v1/models/{model:path}", summary="One model")
    async def one(model: str) -> dict[str, Any]:
        return _description(server.shelf.find(model))

    @router.get("/info", summary="Limits, as Text Embeddings Inference tells them")
    @router.get("/tei/info", include_in_schema=False)
    async def info() -> dict[str, Any]:
        return _tei_info(server)

    return router


def _description(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.name,
        "object": "model",
        "created": 0,
        "owned_by": "rerank-plugins",
        "model_type": "rerank",  # Xinference's clients look for it
        "max_tokens": _max_tokens(model),
        "state": str(model.state),
    }


def _max_tokens(model: ServedModel) -> int | None:
    loaded = model.loaded
    if loaded is not None:
        return loaded.max_tokens
    spec = REGISTRY.get(model.name)
    return None if spec is None else spec.max_tokens


def _tei_info(server: Server) -> dict[str, Any]:
    from rerank_core import __version__

    model, settings = server.shelf.find(None), server.settings
    return {
        "model_id": model.name,
        "model_sha": None,
        "model_dtype": model.loaded.dtype if model.loaded else None,
        "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
        "max_concurrent_requests": settings.max_in_flight_requests,
        "max_input_length": _max_tokens(model),
        "max_client_batch_size": settings.max_documents,
        "auto_truncate": True,
        "version": __version__,
    }
