"""``/docs``: the OpenAPI document to read and to try, without anything from elsewhere.

The viewer is Swagger UI (https://github.com/swagger-api/swagger-ui, Apache-2.0), whose files come with the package.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from rerank_core.server.answers import PAGE_HEADERS, json_response

_VIEWER = files("rerank_core.server") / "static" / "swagger-ui"
_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}
# Addresses are relative: the application may be mounted below any path.
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>The rerank HTTP API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="viewer"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#viewer",
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""


def docs_routes(document: Callable[[], dict[str, Any]]) -> APIRouter:
    """The page, its files, and the OpenAPI document that it shows."""
    router = APIRouter(include_in_schema=False)

    @router.get("/openapi.json")
    async def openapi(request: Request) -> Response:
        # Where this application is mounted: its paths are below it.
        root = request.scope.get("root_path", "").rstrip("/") or "/"
        return json_response({**document(), "servers": [{"url": root}]}, headers=dict(PAGE_HEADERS))

    @router.get("/docs")
    async def page() -> Response:
        return Response(_PAGE, media_type="text/html", headers=PAGE_HEADERS)

    @router.get("/docs/start.js")
    async def start() -> Response:
        return Response(_START, media_type="text/javascript", headers=PAGE_HEADERS)

    for name, kind in _ASSETS.items():
        router.add_api_route(f"/docs/{name}", _asset_endpoint(name, kind), methods=["GET"], response_model=None)
    return router


def _asset_endpoint(name: str, kind: str) -> Callable[[], Awaitable[Response]]:
    async def asset() -> Response:
        return Response(_read(name), media_type=kind, headers={**PAGE_HEADERS, "Cache-Control": "max-age=86400"})

    return asset


@cache
def _read(name: str) -> bytes:
    return (_VIEWER / name).read_bytes()
