"""The OpenAPI document: what every path takes and answers, from the wire's own schemas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from rerank_core.wire.dialect import Dialect, ErrorBody
from rerank_core.wire.routes import Route
from rerank_core.wire.tei import Tei, TeiError

_REFERENCE = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request is wrong: `error.code` says how.",
    401: "The API key is missing or not valid.",
    404: "No model of that name.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    429: "Too many requests with this key (`rate_limit_exceeded`), or the server is full (`overloaded`).",
    500: "The server failed.",
    503: "The model is loading, or the server is stopping.",
    504: "No answer within the time limit.",
}
_TEI_ERRORS = {422: "The request is wrong.", 424: "The model failed."}


def document(app: FastAPI, routes: Sequence[Route]) -> Callable[[], dict[str, Any]]:
    """The function that gives the application's OpenAPI document, made once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            error = _schema(ErrorBody, schemas)
            for path, operations in made["paths"].items():
                for operation in operations.values():
                    if path.startswith(("/v1/models", "/info")):
                        _add_key(operation, error)
                    if path.startswith("/v1/models/"):
                        operation["responses"]["404"] = _answer("No model of that name.", error)
                    operation["responses"].pop("422", None)  # FastAPI's own, which is never given
            for route in routes:
                made["paths"][route.path]["post"] = _operation(route, schemas)
            app.openapi_schema = made
        return app.openapi_schema

    return openapi


def _operation(route: Route, schemas: dict[str, Any]) -> dict[str, Any]:
    bodies = [_schema(dialect.body, schemas) for dialect in route.dialects]
    replies = [_schema(dialect.reply, schemas) for dialect in route.dialects]
    errors = [_schema(ErrorBody, schemas)]
    described = dict(_ERRORS)
    if any(isinstance(dialect, Tei) for dialect in route.dialects):
        errors.append(_schema(TeiError, schemas))
        described |= _TEI_ERRORS
    responses = {"200": _answer("The ranking, best first.", *replies)}
    responses |= {str(status): _answer(text, *errors) for status, text in described.items()}
    operation: dict[str, Any] = {
        "tags": ["rerank"],
        "summary": "Rank documents by relevance to a query",
        "description": _description(route.dialects),
        "operationId": "rerank" + route.path.replace("/", "_").replace("-", "_").replace("{model}", "model"),
        "requestBody": {"required": True, "content": {"application/json": {"schema": _any_of(bodies)}}},
        "responses": responses,
        "security": [{"key": []}],
    }
    if "{model}" in route.path:
        operation["parameters"] = [{"name": "model", "in": "path", "required": True, "schema": {"type": "string"}}]
    return operation


def _add_key(operation: dict[str, Any], error: dict[str, Any]) -> None:
    operation["security"] = [{"key": []}]
    for status in (401, 429):
        operation["responses"][str(status)] = _answer(_ERRORS[status], error)


def _description(dialects: Sequence[Dialect]) -> str:
    return " or ".join((type(dialect).__doc__ or "").split("\n", 1)[0] for dialect in dialects)


def _schema(kind: Any, schemas: dict[str, Any]) -> dict[str, Any]:
    """The schema of ``kind``; what it refers to goes among the document's ``schemas``."""
    made = TypeAdapter(kind).json_schema(ref_template=_REFERENCE)
    schemas.update(made.pop("$defs", {}))
    name = getattr(kind, "__name__", None)
    if made.get("type") != "object" or name is None:
        return made
    schemas[name] = made
    return {"$ref": _REFERENCE.format(model=name)}


def _any_of(options: list[dict[str, Any]]) -> dict[str, Any]:
    return options[0] if len(options) == 1 else {"anyOf": options}


def _answer(description: str, *schemas: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _any_of(list(schemas))}}}
