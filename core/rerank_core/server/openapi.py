"""The OpenAPI document: what every path takes and answers, from the wire's own schemas."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from rerank_core.server.handler import Server
from rerank_core.server.operations import ABOUT, DESCRIPTION, MAIN, ONE_MODEL, TAGS, examples
from rerank_core.wire.dialect import ErrorBody
from rerank_core.wire.routes import ROUTES, Route
from rerank_core.wire.tei import Tei, TeiError

_REFERENCE = "#/components/schemas/{model}"
_ERRORS = {
    400: "The request is wrong: `error.code` says how.",
    401: "The API key is missing or not valid.",
    403: "The server does not answer requests for this host name, or of this web page (`Host`, `Origin`).",
    404: "No model of that name.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    415: "The body is not plain JSON: `Content-Type` or `Content-Encoding` says otherwise, or the former is missing.",
    429: "Too many requests with this key (`rate_limit_exceeded`), or the server is full (`overloaded`).",
    500: "The server failed.",
    503: "The model is loading, or the server is stopping.",
    504: "No answer within the time limit.",
}
_TEI_ERRORS = {422: "The request is wrong.", 424: "The model failed."}


def document(app: FastAPI, server: Server) -> Callable[[], dict[str, Any]]:
    """The function that gives the application's OpenAPI document, made once."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title, version=app.version, summary=app.summary, description=DESCRIPTION, routes=app.routes
            )
            schemas = made.setdefault("components", {}).setdefault("schemas", {})
            made["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            model = server.served.find(None).name
            _complete(made["paths"], model, _schema(ErrorBody, schemas))
            for route in ROUTES:
                made["paths"][route.path]["post"] = _operation(route, model, schemas)
            made["tags"] = [{"name": tag, "description": text} for tag, text in TAGS.items()]
            app.openapi_schema = made
        return app.openapi_schema

    return openapi


def _complete(paths: dict[str, Any], model: str, error: dict[str, Any]) -> None:
    """What FastAPI does not know of the operations that are no rankings."""
    for path, operations in paths.items():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # FastAPI's own, which is never given
            operation |= {"summary": ABOUT[path].summary, "description": ABOUT[path].description}
            if path.startswith(("/v1/models", "/info")):
                _add_key(operation, error)
            if path == ONE_MODEL:
                operation["responses"]["404"] = _answer("No model of that name.", error)
                operation["parameters"] = [_model_parameter(model)]


def _model_parameter(model: str) -> dict[str, Any]:
    return {"name": "model", "in": "path", "required": True, "schema": {"type": "string"}, "example": model}


def _operation(route: Route, model: str, schemas: dict[str, Any]) -> dict[str, Any]:
    bodies = [_schema(dialect.body, schemas) for dialect in route.dialects]
    replies = [_schema(dialect.reply, schemas) for dialect in route.dialects]
    errors = [_schema(ErrorBody, schemas)]
    described = dict(_ERRORS)
    if any(isinstance(dialect, Tei) for dialect in route.dialects):
        errors.append(_schema(TeiError, schemas))
        described |= _TEI_ERRORS
    responses = {"200": _answer("The ranking, best first.", *replies)}
    responses |= {str(status): _answer(text, *errors) for status, text in described.items()}
    about = ABOUT[route.path]
    operation: dict[str, Any] = {
        "tags": ["rerank" if route.path in MAIN else "other clients"],
        "summary": about.summary,
        "description": about.description,
        "operationId": "rerank" + route.path.replace("/", "_").replace("-", "_").replace("{model}", "model"),
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": _any_of(bodies), **examples(route, model)}},
        },
        "responses": responses,
        "security": [{"key": []}],
    }
    if "{model}" in route.path:
        operation["parameters"] = [_model_parameter(model)]
    return operation


def _add_key(operation: dict[str, Any], error: dict[str, Any]) -> None:
    operation["security"] = [{"key": []}]
    for status in (401, 403, 429):
        operation["responses"][str(status)] = _answer(_ERRORS[status], error)


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
