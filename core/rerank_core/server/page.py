"""``/``: the playground, a page on which one tries queries and documents of one's own.

Files written by hand (``static/page/``), without a build. The page calls the API like any other client.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from fastapi import APIRouter
from starlette.responses import Response

from rerank_core.server.answers import PAGE_HEADERS

_FILES = files("rerank_core.server") / "static" / "page"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# Addresses in the page are relative: the application may be mounted below any path.
_PATHS = {"/" if file.name == "index.html" else f"/page/{file.name}": file.name for file in _FILES.iterdir()}


def page_routes() -> APIRouter:
    """The page and its files, open to everybody: they hold nothing that needs a key."""
    router = APIRouter(include_in_schema=False)
    for path, name in _PATHS.items():
        kind = _KINDS[PurePosixPath(name).suffix]
        router.add_api_route(path, _endpoint(name, kind), methods=["GET"], response_model=None)
    return router


def _endpoint(name: str, kind: str) -> Callable[[], Awaitable[Response]]:
    async def file() -> Response:
        return Response(_read(name), media_type=kind, headers={**PAGE_HEADERS, "Cache-Control": "no-cache"})

    return file


@cache
def _read(name: str) -> bytes:
    return (_FILES / name).read_bytes()
