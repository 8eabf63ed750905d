"""The OpenAPI document is true: whatever it allows is answered as it says, and nothing breaks the server."""

from __future__ import annotations

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rerank_core.wire.routes import ROUTES
from server_process import running
from waiting import BOUND

CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


@pytest.fixture(scope="module")
def document():
    """Served by a process of its own: whatever in this one draws random numbers would disturb hypothesis."""
    with running() as process:
        yield schemathesis.openapi.from_url(f"{process.url()}/openapi.json")


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_operation_answers_as_documented(document, mode):
    """Every operation with what its schema allows, and with what it does not."""
    checked = []
    for result in document.get_all_operations():
        operation = result.ok()

        @settings(
            max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def check(case):
            if mode is GenerationMode.POSITIVE and isinstance(case.body, dict) and case.body.get("model"):
                case.body["model"] = "rerank-mini-en-v1"  # any other name is only a 404
            case.call_and_validate(checks=CHECKS, timeout=BOUND)

        with suppress(Unsatisfiable):  # an operation without parameters has nothing that could be wrong
            check()
        checked.append(operation.label)
    assert {f"POST {route.path}" for route in ROUTES} <= set(checked)
